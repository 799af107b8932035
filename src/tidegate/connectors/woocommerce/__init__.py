"""WooCommerce: a channel. Orders come by the shop's webhooks and by polls, stock and shipments go out.

Its webhooks are signed but not retried, lose their topic's meaning on the way and are switched off after failures. Polling
with overlap is therefore part of the connector.
"""

from __future__ import annotations

from datetime import timedelta

from tidegate.commerce.commands import CommandKind
from tidegate.connectors.woocommerce import (
    cancelling,
    catalogue,
    client,
    fulfilment,
    mapper,
    orders,
    refunds,
    stock,
    subscriptions,
    webhooks,
    wire,
)
from tidegate.sdk.budgets import Adaptive
from tidegate.sdk.connector import CommandSpec, Connector, Feed, Field, Shown, ShownField, Target
from tidegate.sdk.health import Checks

CONNECTOR = Connector(
    name="woocommerce",
    title="WooCommerce",
    version="1.0.0",
    mapping_version=1,
    roles=frozenset({"channel"}),
    fields=(
        Field(name="consumer_key", question="Consumer key (ck_...), with permission Read/Write", secret=True),
        Field(name="consumer_secret", question="Consumer secret (cs_...)", secret=True),
    ),
    open_session=client.open_session,
    inspect=client.inspect,
    normalize=mapper.normalize,
    webhook=webhooks.WEBHOOK,
    subscribe=subscriptions.subscribe,
    checks=Checks(webhook=subscriptions.check_webhook),
    feeds={
        "orders": Feed(read=orders.read_orders, interval=timedelta(seconds=15)),
        "missing": Feed(read=orders.read_missing, interval=timedelta(minutes=10), open_orders=wire.PAGE_MAX),
        "counts": Feed(read=orders.count_orders, interval=timedelta(minutes=15), counts=timedelta(hours=1)),
        "webhooks": Feed(read=subscriptions.read_hooks, interval=timedelta(minutes=1), mends=True),
        "products": Feed(read=catalogue.read_products, interval=timedelta(minutes=5), is_of_articles=True),
        "variations": Feed(read=catalogue.read_variations, interval=timedelta(minutes=5), is_of_articles=True),
    },
    fetch={
        "order": orders.fetch_order,
        "variant": catalogue.fetch_variant,
        "product": catalogue.fetch_product,
        "window": orders.fetch_window,
    },
    shown=Shown(
        read=catalogue.read_shown,
        fields=frozenset({ShownField.STOCK, ShownField.PRICE, ShownField.PRICE_WITH_TAX}),
        articles_max=100,
    ),
    commands={
        CommandKind.FULFILLMENT_CREATE: CommandSpec(
            execute=fulfilment.create_fulfillment,
            find=fulfilment.find_fulfillment,
            readback_settle=timedelta(seconds=40),
            charge=3.0,
        ),
        CommandKind.ORDER_CANCEL: CommandSpec(
            execute=cancelling.cancel_order,
            find=cancelling.find_cancelled,
            safe_to_resend=True,
            readback_settle=timedelta(seconds=40),
            charge=2.0,
        ),
        CommandKind.REFUND_CREATE: CommandSpec(
            execute=refunds.create_refund,
            find=refunds.find_refund,
            readback_settle=timedelta(seconds=40),
            charge=3.0,
        ),
        CommandKind.INVENTORY_SET: CommandSpec(
            execute=stock.set_inventory,
            find=stock.find_inventory,
            bulk_max=stock.BATCH_MAX,
            safe_to_resend=True,
            readback_settle=timedelta(seconds=40),
        ),
    },
    targets={
        CommandKind.FULFILLMENT_CREATE: (
            Target(path="carrier", title="the carrier in the note to the buyer"),
            Target(path="tracking", title="the tracking number in the note to the buyer"),
        )
    },
    budget=Adaptive(
        start=2,
        floor=1,
        ceiling=4,
        source="WooCommerce has no limit of its own; a host has a few PHP workers, and shoppers need them too",
    ),
    concurrency_max=4,
    request_deadline=timedelta(seconds=30),
    cancels_own_orders=True,
    enforces_stock=False,
    conditional_set=False,
    stock_number="available",
    deducts_own_orders=False,
)
