"""Tryton: an ERP. Orders go in, shipments and movements of goods are read back by polling; it sends no webhooks."""

from __future__ import annotations

from datetime import timedelta

from tidegate.commerce.commands import CommandKind
from tidegate.connectors.tryton import checks, client, feeds, mapper, orders, shown
from tidegate.sdk.budgets import Concurrency
from tidegate.sdk.connector import CommandSpec, Connector, Feed, Field, Shown, ShownField, Target

_COMMENT = "in the comment of the sale, for the people who pack"
ORDER_TARGETS = (
    Target(path="number", title="the reference of the sale"),
    Target(path="customer.ref", title="code of the party that the sale belongs to"),
    Target(path="payment_method", title="name of the payment term"),
    Target(path="shipping_method", title="description of the shipping line"),
    Target(path="note", title="first lines of the comment of the sale"),
    Target(path="fields.description", title="the description of the sale"),
    Target(path="customer.email", title=_COMMENT),
    Target(path="shipping.name", title=_COMMENT),
    Target(path="shipping.company", title=_COMMENT),
    Target(path="shipping.street1", title=_COMMENT),
    Target(path="shipping.street2", title=_COMMENT),
    Target(path="shipping.postal_code", title=_COMMENT),
    Target(path="shipping.city", title=_COMMENT),
    Target(path="shipping.country", title=_COMMENT),
    Target(path="lines.sku", title="code of the product, looked up among those that `connect` has bound"),
    Target(path="lines.fields.description", title="the description of the line"),
)

CONNECTOR = Connector(
    name="tryton",
    title="Tryton",
    version="1.0.0",
    mapping_version=1,
    roles=frozenset({"erp"}),
    fields=(
        Field(name="database", question="Database of Tryton", secret=False, default="tryton"),
        Field(name="company", question="Id of the company", secret=False, default="1"),
        Field(name="web_shop", question="Name of the web shop record", secret=False, default="Tidegate"),
        Field(name="customer", question="Party that web orders belong to", secret=False, default="Web customers"),
        Field(
            name="shipping_sku", question="Code of the service article for shipping", secret=False, default="SHIPPING"
        ),
        Field(
            name="discount_sku", question="Code of the service article for discounts", secret=False, default="DISCOUNT"
        ),
        Field(name="prices", question="List prices in Tryton are 'net' or 'gross'", secret=False, default="net"),
        Field(name="rest_key", question="Key of a user application of kind 'rest', validated", secret=True),
    ),
    open_session=client.open_session,
    inspect=client.inspect,
    normalize=mapper.normalize,
    checks=checks.CHECKS,
    feeds={
        "moves": Feed(read=feeds.read_moves, interval=timedelta(seconds=2)),
        "shipments": Feed(read=feeds.read_shipments, interval=timedelta(seconds=2)),
    },
    shown=Shown(
        read=shown.read_shown,
        fields=frozenset({ShownField.ON_HAND, ShownField.PRICE, ShownField.PRICE_WITH_TAX}),
        articles_max=shown.ARTICLES_PER_PAGE,
        charge=4.0,
    ),
    commands={
        CommandKind.ORDER_CREATE: CommandSpec(
            execute=orders.create_order,
            find=orders.find_order,
            find_many=orders.find_orders,
            bulk_max=orders.ORDERS_MAX,
            safe_to_resend=True,
            readback_settle=timedelta(seconds=5),
            charge=4.0,
            charge_each=3.0,
        ),
        CommandKind.ORDER_CANCEL: CommandSpec(
            execute=orders.cancel_order,
            find=orders.find_cancelled_order,
            safe_to_resend=True,
            readback_settle=timedelta(seconds=5),
            charge=2.0,
        ),
    },
    targets={CommandKind.ORDER_CREATE: ORDER_TARGETS},
    names_location=True,
    budget=Concurrency(8, source="Tryton has no limit of its own; its workers share one database"),
    concurrency_max=8,
    request_deadline=timedelta(seconds=30),
)
