"""Vendure: a channel. Orders come by the webhooks of our plugin and by polls, stock and fulfillments go out.

The shop runs our plugin (folder `plugin`), which keeps an outbox in the shop's own transactions and makes fulfillment
and stock repeatable calls.
"""

from __future__ import annotations

from datetime import timedelta

from tidegate.commerce.commands import CommandKind
from tidegate.connectors.vendure import cancelling, checks, client, errors, mapper, shown, webhooks
from tidegate.sdk.connector import CommandSpec, Connector, Feed, Field, Shown, ShownField, Target, TokenBucket

CONNECTOR = Connector(
    name="vendure",
    title="Vendure",
    version="1.0.0",
    mapping_version=1,
    roles=frozenset({"channel"}),
    fields=(
        Field(name="username", question="Identifier of an administrator", secret=False, default="superadmin"),
        Field(name="password", question="Password of that administrator", secret=True),
    ),
    open_session=client.open_session,
    inspect=client.inspect,
    normalize=mapper.normalize,
    refuses_session=errors.refuses_session,
    webhook=webhooks.WEBHOOK,
    subscribe=client.subscribe,
    checks=checks.CHECKS,
    feeds={"orders": Feed(read=client.read_orders, interval=timedelta(seconds=10))},
    fetch={"order": client.fetch_order},
    shown=Shown(
        read=shown.read_shown,
        fields=frozenset({ShownField.STOCK, ShownField.PRICE, ShownField.PRICE_WITH_TAX}),
        articles_max=shown.ARTICLES_PER_PAGE,
    ),
    commands={
        CommandKind.FULFILLMENT_CREATE: CommandSpec(
            execute=client.create_fulfillment,
            find=client.find_fulfillment,
            safe_to_resend=True,
            readback_settle=timedelta(seconds=5),
        ),
        CommandKind.ORDER_CANCEL: CommandSpec(
            execute=cancelling.cancel_order,
            find=cancelling.find_cancelled,
            safe_to_resend=True,
            readback_settle=timedelta(seconds=5),
        ),
        CommandKind.INVENTORY_SET: CommandSpec(
            execute=client.set_inventory,
            find=client.find_inventory,
            bulk_max=100,
            safe_to_resend=True,
            readback_settle=timedelta(seconds=5),
        ),
    },
    targets={
        CommandKind.FULFILLMENT_CREATE: (
            Target(path="carrier", title="the method of the fulfillment"),
            Target(path="tracking", title="the tracking code of the fulfillment"),
        )
    },
    budget=TokenBucket(
        capacity=40,
        per_second=20,
        source="Vendure has no limit of its own; a shop of one process does about 60 writes/s",
    ),
    concurrency_max=4,
    request_deadline=timedelta(seconds=20),
    cancels_own_orders=True,
    enforces_stock=True,
    conditional_set=False,
    stock_number="on_hand",
    deducts_own_orders=True,
)
