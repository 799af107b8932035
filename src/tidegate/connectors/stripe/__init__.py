"""Stripe: a payment provider. Payments, refunds and disputes come in; captures, releases and refunds go out.

Events come by webhooks and by the events API, which fills gaps; both carry the same bodies.
"""

from __future__ import annotations

from datetime import timedelta

from tidegate.commerce.commands import CommandKind
from tidegate.connectors.stripe import checks, client, commands, limits, mapper, webhooks
from tidegate.sdk.budgets import All, CostBucket, PerOperation, TokenBucket
from tidegate.sdk.connector import CommandSpec, Connector, Feed, Field

CONNECTOR = Connector(
    name="stripe",
    title="Stripe",
    version="1.0.0",
    mapping_version=1,
    roles=frozenset({"payment"}),
    fields=(
        Field(name="api_key", question="Secret or restricted key (sk_... or rk_...)", secret=True),
        Field(
            name="webhook_secret",
            question="Signing secret of an endpoint that you made by hand (whsec_...); empty: Tidegate makes the endpoint",
            secret=True,
            default="",
        ),
        Field(
            name="account",
            question="Connected account (acct_...) that the key acts for; empty: the key's own",
            secret=False,
            default="",
        ),
    ),
    open_session=client.open_session,
    inspect=client.inspect,
    normalize=mapper.normalize,
    webhook=webhooks.WEBHOOK,
    subscribe=client.subscribe,
    checks=checks.CHECKS,
    feeds={"events": Feed(read=client.read_events, interval=timedelta(seconds=60), operation="events.list")},
    fetch={"payment": client.fetch_payment, "refund": client.fetch_refund},
    commands={
        CommandKind.PAYMENT_CAPTURE: CommandSpec(
            execute=commands.capture,
            find=commands.find_capture,
            readback_settle=timedelta(seconds=35),
            operation="payment_intents.capture",
        ),
        CommandKind.PAYMENT_VOID: CommandSpec(
            execute=commands.void,
            find=commands.find_void,
            safe_to_resend=True,
            operation="payment_intents.cancel",
            readback_settle=timedelta(seconds=35),
        ),
        CommandKind.REFUND_CREATE: CommandSpec(
            execute=commands.refund,
            find=commands.find_refund,
            readback_settle=timedelta(seconds=35),
            operation="refunds.create",
        ),
    },
    base_url="https://api.stripe.com",
    budget=All(
        CostBucket(capacity=limits.SANDBOX_PER_SECOND, per_second=limits.SANDBOX_PER_SECOND),
        PerOperation({}, default=TokenBucket(capacity=25, per_second=25)),
        source="docs.stripe.com/rate-limits: 25 a second per endpoint; per account 25 in a sandbox and 100 live",
    ),
    read_budget=limits.read_budget,
    concurrency_max=8,
    request_deadline=timedelta(seconds=30),
)
