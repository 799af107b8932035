"""`/v1/orders`: orders without their customers, and why they are as they are."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter
from msgspec import Meta

from tidegate.commerce.states import FulfillmentState, OrderState, PaymentState
from tidegate.kernel.ids import public_id
from tidegate.kernel.text import mask_people
from tidegate.monitor import orders_view
from tidegate.monitor.explain import explain_order
from tidegate.monitor.orders_view import OrderFilter, OrderRows
from tidegate.monitor.story import Story
from tidegate.web.api.desk import Desk
from tidegate.web.api.documents import READ_PROBLEMS, answer, needs, problems
from tidegate.web.api.identifiers import TEXT, Connection
from tidegate.web.api.lists import EXAMPLE_CURSOR, Cursor, Limit, read_id_cursor, write_cursor
from tidegate.web.api.timeline import Step, of_step

LIST = "orders"
Reference = Annotated[
    str,
    PathParameter(
        description="Our id (`ord_...`), the number that people use, or the channel's id.",
        min_length=1,
        max_length=200,
        pattern=TEXT,
    ),
]


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """An order in short. Amounts are in the smallest unit of the currency."""

    id: str
    channel: str
    external_id: Annotated[str, Meta(description="The channel's id")]
    number: str
    version: Annotated[int, Meta(description="Grows with each applied change")]
    order_state: str
    payment_state: str
    fulfillment_state: str
    return_state: str
    currency: str
    total_minor: int
    placed_at: datetime


class OrderLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of an order."""

    id: str
    external_id: str
    sku: str
    title: str
    ordered: int
    current: Annotated[int, Meta(description="ordered + added - cancelled")]
    shipped: int
    fulfilled: Annotated[int, Meta(description="Confirmed in the channel")]
    unit_price: Annotated[str, Meta(description="A decimal number, exact")]
    total_minor: int
    location: str | None


class OrderPayment(msgspec.Struct, frozen=True, kw_only=True):
    """A payment of an order."""

    external_id: str
    kind: str
    state: str
    amount_minor: int
    currency: str
    method: str


class OrderFulfillment(msgspec.Struct, frozen=True, kw_only=True):
    """A shipment."""

    id: str
    source: str
    state: str
    carrier: str | None
    tracking: str | None
    shipped_at: datetime
    units: Annotated[dict[str, int], Meta(description="SKU to number of units")]


class OrderBackorder(msgspec.Struct, frozen=True, kw_only=True):
    """Units that an order waits for, because it was decided so."""

    sku: str
    units: int
    promised_on: Annotated[date | None, Meta(description="By what was on its way when that was decided")]
    decided_by: str
    decided_at: datetime


class OrderDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One order. Customer and addresses are not given out."""

    id: str
    channel: str
    external_id: str
    number: str
    version: int
    order_state: str
    payment_state: str
    fulfillment_state: str
    return_state: str
    currency: str
    total_minor: int
    shipping_minor: int
    discount_minor: int
    tax_minor: int
    totals_mismatch: Annotated[bool, Meta(description="The channel's lines and totals do not add up")]
    shipping_method: str | None
    placed_at: datetime
    lines: tuple[OrderLine, ...]
    payments: tuple[OrderPayment, ...]
    fulfillments: tuple[OrderFulfillment, ...]
    backorders: Annotated[tuple[OrderBackorder, ...], Meta(description="What it waits for, or waited for")]


class OrderPage(msgspec.Struct, frozen=True, kw_only=True):
    """Orders, those that came last first."""

    items: tuple[Order, ...]
    next_cursor: Annotated[str | None, Meta(description="For the next page; null on the last one")]


class OrderWait(msgspec.Struct, frozen=True, kw_only=True):
    """A command of the order that is not finished, and what holds it."""

    command_id: str
    kind: str
    connection: str
    state: str
    rule: str
    words: str
    until: datetime | None


class OrderStory(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that happened to an order."""

    order_id: str
    number: str
    channel: str
    steps: Annotated[tuple[Step, ...], Meta(description="By time")]
    waits: tuple[OrderWait, ...]


_ORDER = Order(
    id="ord_c0_06c6vd1t9kfsm3k0b4xk9qk2zw",
    channel="shop",
    external_id="42",
    number="1001",
    version=1,
    order_state="open",
    payment_state="paid",
    fulfillment_state="unfulfilled",
    return_state="none",
    currency="EUR",
    total_minor=1990,
    placed_at=datetime.fromisoformat("2026-11-27T09:59:58+00:00"),
)
_DETAIL = OrderDetail(
    **{name: getattr(_ORDER, name) for name in Order.__struct_fields__},
    shipping_minor=0,
    discount_minor=0,
    tax_minor=318,
    totals_mismatch=False,
    shipping_method="standard",
    lines=(
        OrderLine(
            id="lin_c0_06c6vd1t9kfsm3k0b4xk9qk2zw",
            external_id="77",
            sku="TS-RED-M",
            title="A shirt",
            ordered=1,
            current=1,
            shipped=0,
            fulfilled=0,
            unit_price="19.90",
            total_minor=1990,
            location="main",
        ),
    ),
    payments=(),
    fulfillments=(),
    backorders=(
        OrderBackorder(
            sku="TS-RED-M",
            units=1,
            promised_on=date(2026, 12, 5),
            decided_by="policy",
            decided_at=datetime.fromisoformat("2026-11-27T10:00:02+00:00"),
        ),
    ),
)
_STORY = OrderStory(
    order_id=_ORDER.id,
    number="1001",
    channel="shop",
    steps=(
        Step(
            at=datetime.fromisoformat("2026-11-27T10:00:00.123+00:00"),
            kind="received",
            words="received from shop: order.updated",
            about="evt_c0_06c6vd1t9kfsm3k0b4xk9qk2zw",
            tone="plain",
        ),
    ),
    waits=(),
)


@get(
    "/",
    **needs("orders:read"),
    summary="List orders",
    responses={
        200: answer(
            OrderPage, "Orders, those that came last first", OrderPage(items=(_ORDER,), next_cursor=EXAMPLE_CURSOR)
        ),
        **problems(*READ_PROBLEMS),
    },
)
async def list_orders(
    desk: NamedDependency[Desk],
    limit: Limit = 50,
    cursor: Cursor = None,
    connection: Connection = None,
    number: Annotated[
        str | None, QueryParameter(description="Only with this number.", min_length=1, max_length=200, pattern=TEXT)
    ] = None,
    order_state: Annotated[OrderState | None, QueryParameter(description="Only in this state.")] = None,
    payment_state: Annotated[PaymentState | None, QueryParameter(description="Only in this state of payment.")] = None,
    fulfillment_state: Annotated[
        FulfillmentState | None, QueryParameter(description="Only in this state of fulfillment.")
    ] = None,
    since: Annotated[datetime | None, QueryParameter(description="First seen since.")] = None,
) -> OrderPage:
    """Orders, those that we saw last first. Whose they are is not given out."""
    async with desk.reading() as conn:
        chosen = OrderFilter(
            connection_id=await desk.find_connection(conn, connection),
            order_state=order_state,
            payment_state=payment_state,
            fulfillment_state=fulfillment_state,
            number=number,
            since=since,
            before=read_id_cursor(LIST, cursor),
        )
        rows = await orders_view.list_orders(conn, desk.tenant_id, chosen, limit + 1)
    items = tuple(Order(**_fields(row, desk.cell, Order)) for row in rows[:limit])
    more = write_cursor(LIST, rows[limit - 1]["order_id"]) if len(rows) > limit else None
    return OrderPage(items=items, next_cursor=more)


@get(
    "/{reference:str}",
    **needs("orders:read"),
    summary="Show an order",
    responses={200: answer(OrderDetail, "One order", _DETAIL), **problems(*READ_PROBLEMS, 409)},
)
async def show_order(desk: NamedDependency[Desk], reference: Reference) -> OrderDetail:
    """One order with its lines, payments and shipments. When several channels have such a number: 409 `order_ambiguous`."""
    async with desk.reading() as conn:
        found = await orders_view.find_order(conn, desk.tenant_id, reference, cell=desk.cell)
        rows = await orders_view.read_order(conn, desk.tenant_id, found["order_id"])
    return _detail(rows, desk.cell)


@get(
    "/{reference:str}/why",
    **needs("orders:read"),
    summary="Explain an order",
    responses={200: answer(OrderStory, "What happened, by time", _STORY), **problems(*READ_PROBLEMS, 409)},
)
async def tell_order(desk: NamedDependency[Desk], reference: Reference) -> OrderStory:
    """Everything that happened to one order, from the first delivery to the last answer, and what it waits for."""
    async with desk.reading() as conn:
        found = await orders_view.find_order(conn, desk.tenant_id, reference, cell=desk.cell)
        story = await explain_order(conn, desk.tenant_id, found, cell=desk.cell, now=desk.now)
    return _story(story)


def build_router() -> Router:
    """Return the routes of orders."""
    return Router("/orders", route_handlers=[list_orders, show_order, tell_order], tags=["orders"])


def _fields(row: Any, cell: str, model: type[msgspec.Struct]) -> dict[str, Any]:
    made = {"id", "lines", "payments", "fulfillments", "backorders"}
    return {
        "id": public_id("ord", cell, row["order_id"]),
        **{name: row[name] for name in model.__struct_fields__ if name not in made},
    }


def _detail(rows: OrderRows, cell: str) -> OrderDetail:
    return OrderDetail(
        **_fields(rows.order, cell, OrderDetail),
        lines=tuple(_line(row, cell) for row in rows.lines),
        payments=tuple(
            OrderPayment(**{name: row[name] for name in OrderPayment.__struct_fields__}) for row in rows.payments
        ),
        fulfillments=tuple(_fulfillment(row, cell) for row in rows.fulfillments),
        backorders=tuple(
            OrderBackorder(**{name: row[name] for name in OrderBackorder.__struct_fields__}) for row in rows.backorders
        ),
    )


def _line(row: Any, cell: str) -> OrderLine:
    price: Decimal = row["unit_price"]
    counted = {name: row[name] for name in OrderLine.__struct_fields__ if name not in ("id", "unit_price")}
    return OrderLine(id=public_id("lin", cell, row["line_id"]), unit_price=f"{price.normalize():f}", **counted)


def _fulfillment(row: Any, cell: str) -> OrderFulfillment:
    units = msgspec.json.decode(row["units"] or "{}", type=dict[str, int])
    told = {name: row[name] for name in ("source", "state", "carrier", "tracking", "shipped_at")}
    return OrderFulfillment(id=public_id("ful", cell, row["fulfillment_id"]), units=units, **told)


def _story(story: Story) -> OrderStory:
    waits = tuple(
        OrderWait(
            command_id=wait["command"],
            words=mask_people(wait["words"]),
            **{name: wait[name] for name in OrderWait.__struct_fields__ if name not in ("command_id", "words")},
        )
        for wait in story.waits
    )
    return OrderStory(
        order_id=story.order_id,
        number=story.number,
        channel=story.channel,
        steps=tuple(of_step(step) for step in story.steps),
        waits=waits,
    )
