"""Standard Webhooks: whatever can send or take signed events: Zapier, Make, a 3PL, a marketplace, a script of one's own.

In: documented event types become canonical changes, so that such a system can be a channel, a warehouse or an ERP.
Out: orders, cancellations, shipments and stock numbers go there as signed requests.
"""

from __future__ import annotations

from datetime import timedelta

from tidegate.commerce.commands import CommandKind
from tidegate.connectors.standard_webhooks import client, mapper, webhooks
from tidegate.sdk.connector import CommandSpec, Connector, Field, TokenBucket

RETRIES = (
    timedelta(seconds=5),
    timedelta(seconds=15),
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    *(timedelta(hours=hours) for hours in (2, 5, 10, 14, 20, 24)),
)
"""The waits between the tries, the first of which is made at once: those of the specification, and two more behind its first
one. Two tries in a row that fail by chance are common in a sale, and five minutes are a long time then."""


CONNECTOR = Connector(
    name="standard_webhooks",
    title="Standard Webhooks",
    version="1.0.0",
    mapping_version=1,
    roles=frozenset({"channel", "erp", "listener"}),
    fields=(
        Field(name="locations", question="Its stock locations, separated by commas", secret=False, default="main"),
        Field(name="signs_with", question="We sign with 'hmac' or 'ed25519'", secret=False, default="hmac"),
        Field(name="payload_kb", question="Largest request that it takes, in kB", secret=False, default="20"),
        Field(
            name="verify_key",
            question="Secret (whsec_...) or public key (whpk_...) of its deliveries, nothing: we make a secret",
            secret=True,
            default="",
        ),
        Field(
            name="signing_key",
            question="Key that we sign with (whsec_... or whsk_...), several with a space between",
            secret=True,
            make=client.make_signing_key,
        ),
    ),
    open_session=client.open_session,
    inspect=client.inspect,
    normalize=mapper.normalize,
    webhook=webhooks.WEBHOOK,
    hand_over=client.hand_over,
    commands={
        CommandKind.ORDER_CREATE: CommandSpec(execute=client.send_one, safe_to_resend=True, retries=RETRIES),
        CommandKind.ORDER_CANCEL: CommandSpec(execute=client.send_one, safe_to_resend=True, retries=RETRIES),
        CommandKind.FULFILLMENT_CREATE: CommandSpec(execute=client.send_one, safe_to_resend=True, retries=RETRIES),
        CommandKind.EVENT_SEND: CommandSpec(execute=client.send_event, safe_to_resend=True, retries=RETRIES),
        CommandKind.INVENTORY_SET: CommandSpec(execute=client.send_stock, bulk_max=50, safe_to_resend=True),
    },
    base_url=client.NO_ADDRESS,
    articles_are_ours=True,
    names_location=True,
    cancels_own_orders=True,
    cancel_pays_back=True,
    answers_by_status=True,
    budget=TokenBucket(
        capacity=20, per_second=10, source="the specification names no limit; a receiver that has one answers 429"
    ),
    shares_host=True,
    concurrency_max=4,
    request_deadline=timedelta(seconds=20),
)
