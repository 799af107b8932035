"""The connector of the hostile remote: a channel and an ERP, and the example to copy a new connector from.

Every connector folder has these files: client (endpoints), mapper (pure), webhooks, errors (table), README, fixtures.
"""

from __future__ import annotations

from datetime import timedelta

from tidegate.commerce.commands import CommandKind
from tidegate.commerce.stock import StockNumber
from tidegate.sdk.connector import CommandSpec, Connector, Feed, Field, Shown, ShownField, Target, TokenBucket
from tidegate.sdk.testing.hostile_connector import checks, client, mapper, webhooks

BULK_MAX = 50
ORDER_TARGETS = (
    "number", "customer.ref", "customer.email", "shipping_method", "payment_method", "note", "shipping.country",
    "shipping.phone", "lines.sku", "lines.title", "lines.tax_code", "fields.branch", "lines.fields.bin",
)  # fmt: skip
"""What a map may fill; the remote keeps it as it comes."""


def build_connector(
    *,
    name: str = "hostile",
    stock_number: StockNumber = "on_hand",
    readback_settle: timedelta = timedelta(seconds=1),
    request_deadline: timedelta = timedelta(seconds=5),
    feed_interval: timedelta = timedelta(seconds=1),
    budget: TokenBucket | None = None,
    counts_every: timedelta | None = None,
) -> Connector:
    """Return the connector; tests choose the knobs that change what the engine has to do."""
    command = CommandKind
    return Connector(
        name=name,
        title="Hostile remote (test kit)",
        version="1.0.0",
        mapping_version=1,
        roles=frozenset({"channel", "erp"}),
        fields=(
            Field(name="url", question="Address of the remote", secret=False),
            Field(name="api_key", question="API key", secret=True, default="hostile-api-key"),
        ),
        open_session=client.open_session,
        inspect=client.inspect,
        normalize=mapper.normalize,
        webhook=webhooks.WEBHOOK,
        subscribe=client.subscribe,
        checks=checks.CHECKS,
        feeds={
            "orders": Feed(read=client.read_orders, interval=feed_interval),
            "moves": Feed(read=client.read_moves, interval=feed_interval),
            "shipments": Feed(read=client.read_shipments, interval=feed_interval),
            **(
                {}
                if counts_every is None
                else {"counts": Feed(read=client.count_orders, interval=counts_every, counts=timedelta(hours=1))}
            ),
        },
        fetch={
            "order": client.fetch_order,
            "variant": client.fetch_variant,
            "product": client.fetch_product,
            "window": client.fetch_window,
        },
        shown=Shown(
            read=client.read_shown,
            fields=frozenset({ShownField.STOCK, ShownField.ON_HAND, ShownField.PRICE_WITH_TAX}),
            articles_max=client.PAGE_LIMIT,
        ),
        commands={
            command.ORDER_CREATE: CommandSpec(
                execute=client.create_order, find=client.find_order, readback_settle=readback_settle
            ),
            command.ORDER_CANCEL: CommandSpec(
                execute=client.cancel_order,
                find=client.find_cancelled_order,
                safe_to_resend=True,
                readback_settle=readback_settle,
            ),
            command.FULFILLMENT_CREATE: CommandSpec(
                execute=client.create_fulfillment, find=client.find_fulfillment, readback_settle=readback_settle
            ),
            command.REFUND_CREATE: CommandSpec(
                execute=client.create_refund, find=client.find_refund, readback_settle=readback_settle
            ),
            command.INVENTORY_SET: CommandSpec(
                execute=client.set_inventory,
                find=client.find_inventory,
                bulk_max=BULK_MAX,
                safe_to_resend=True,
                readback_settle=readback_settle,
            ),
        },
        targets={
            command.ORDER_CREATE: tuple(Target(path=path, title=f"`{path}` of the order") for path in ORDER_TARGETS),
            command.FULFILLMENT_CREATE: (
                Target(path="carrier", title="who carries it"),
                Target(path="tracking", title="where it is", chars_max=40),
            ),
        },
        names_location=True,
        cancels_own_orders=True,
        budget=budget or TokenBucket(capacity=1000, per_second=1000, source="a test's own choice"),
        concurrency_max=8,
        request_deadline=request_deadline,
        enforces_stock=False,
        conditional_set=False,
        stock_number=stock_number,
        deducts_own_orders=stock_number == "on_hand",
    )


CONNECTOR = build_connector()
