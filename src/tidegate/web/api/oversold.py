"""`/v1/oversold`: what is sold more often than there is, and what people decide about the orders."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from msgspec import Meta

from tidegate.monitor import oversold
from tidegate.store.connections import Connection as Conn
from tidegate.sync.backorders import settle
from tidegate.sync.cancelling import cancel_orders
from tidegate.web.api.desk import Desk
from tidegate.web.api.documents import READ_PROBLEMS, WRITE_PROBLEMS, answer, body, needs, problems
from tidegate.web.api.identifiers import IdempotencyKey, parse_id
from tidegate.web.api.stock import Sku

ORDERS_MAX = 200


class LackingOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order that holds units which nobody has."""

    order_id: str
    number: str
    channel: str
    placed_at: datetime
    units: Annotated[int, Meta(description="Units of the item that it waits for")]
    missing: Annotated[int, Meta(description="How many of these are not there, when older orders are served first")]
    waits: Annotated[bool, Meta(description="It was decided that it waits for goods")]
    called_off: Annotated[bool, Meta(description="Its channel is asked to cancel it")]
    promised_on: Annotated[date | None, Meta(description="By what was on its way when that was decided")]
    expected_on: Annotated[date | None, Meta(description="When what is on its way now covers it and all older ones")]


class LackingPlace(msgspec.Struct, frozen=True, kw_only=True):
    """A location where orders stand that hold more than it has."""

    location: str
    missing: Annotated[int, Meta(description="How many units more")]
    orders: Annotated[tuple[str, ...], Meta(description="Numbers of those that it cannot serve, newest first")]


class LackingItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item of which orders hold more than there is, or than there is where they stand."""

    sku: str
    missing: Annotated[int, Meta(description="How many units more than all locations have")]
    elsewhere: Annotated[int, Meta(description="Units that lack where their orders stand, and are at another location")]
    places: Annotated[tuple[LackingPlace, ...], Meta(description="Where more is promised than there is")]
    undecided: Annotated[int, Meta(description="Of these, units of orders that nobody decided about")]
    since: Annotated[datetime, Meta(description="When a sale took more than there was for the first time")]
    orders: Annotated[tuple[LackingOrder, ...], Meta(description="Those that cannot be served, newest first")]


class LackingItems(msgspec.Struct, frozen=True, kw_only=True):
    """What is oversold."""

    items: tuple[LackingItem, ...]


class Decide(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What becomes of the orders that lack units of an item."""

    decision: Annotated[
        Literal["wait", "cancel", "undo"],
        Meta(
            description="wait: they wait for goods, and are not alarmed; cancel: their channels are asked to cancel them, and what follows follows when they did; undo: they are asked about again, and those that their channel was not asked to cancel yet stand"
        ),
    ]
    orders: (
        Annotated[
            tuple[str, ...],
            Meta(
                min_length=1,
                max_length=ORDERS_MAX,
                description="Only these, by id; none named: all that lack, to cancel those that can be and nobody decided otherwise about",
            ),
        ]
        | None
    ) = None


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided."""

    sku: str
    decision: str
    orders: Annotated[tuple[str, ...], Meta(description="Those that it changed anything for")]


_AT = datetime.fromisoformat("2026-11-27T10:00:02+00:00")
_ORDER_ID = "ord_c0_06c6vd1t9kfsm3k0b4xk9qk2zw"
_ORDER = LackingOrder(
    order_id=_ORDER_ID, number="1004", channel="shop", placed_at=_AT, units=2, missing=1, waits=True, called_off=False,
    promised_on=date(2026, 12, 5), expected_on=date(2026, 12, 5),
)  # fmt: skip
_PLACE = LackingPlace(location="main", missing=1, orders=("1004",))
_ITEM = LackingItem(sku="TS-RED-M", missing=1, undecided=0, since=_AT, orders=(_ORDER,), elsewhere=0, places=(_PLACE,))


@get(
    "/",
    **needs("stock:read"),
    summary="List what is oversold",
    responses={
        200: answer(LackingItems, "Items, the most units first", LackingItems(items=(_ITEM,))),
        **problems(*READ_PROBLEMS),
    },
)
async def list_oversold(desk: NamedDependency[Desk]) -> LackingItems:
    """Items of which orders hold more than there is, in all or where they stand, 100 at most, and which orders cannot be served."""
    async with desk.reading() as conn:
        found = await oversold.read_oversold(conn, desk.tenant_id)
    return LackingItems(items=tuple(_item(each, desk) for each in found))


@post(
    "/{sku:str}/decisions",
    **needs("stock:write"),
    status_code=200,
    summary="Decide about orders that lack units",
    responses={
        200: answer(Settled, "It is decided", Settled(sku="TS-RED-M", decision="wait", orders=(_ORDER_ID,))),
        **problems(*WRITE_PROBLEMS),
    },
)
async def decide(
    desk: NamedDependency[Desk],
    sku: Sku,
    data: Annotated[Decide, body("All of them wait", Decide(decision="wait"))],
    idempotency_key: IdempotencyKey,
) -> Response[Any]:
    """Let orders that lack units of an item wait for goods or wait no longer, or have their channels cancel them."""
    chosen = {parse_id("ord", each) for each in data.orders} if data.orders is not None else None

    async def effect(conn: Conn) -> Settled:
        who = {"by": desk.caller.actor, "cell": desk.cell}
        if data.decision == "cancel":
            config, connectors = await desk.read_config(conn), desk.world.connectors
            done = await cancel_orders(
                conn, desk.tenant_id, sku, config=config, connectors=connectors, orders=chosen, **who
            )
        else:
            done = await settle(conn, desk.tenant_id, sku, data.decision, orders=chosen, **who)
        return Settled(sku=sku, decision=data.decision, orders=tuple(desk.public("ord", order) for order in done))

    return await desk.once(idempotency_key, effect)


def build_router() -> Router:
    """Return the routes of what is oversold."""
    return Router("/oversold", route_handlers=[list_oversold, decide], tags=["stock"])


def _item(item: oversold.OversoldItem, desk: Desk) -> LackingItem:
    plain = ("number", "channel", "placed_at", "units", "missing", "waits", "called_off", "promised_on", "expected_on")
    return LackingItem(
        sku=item.sku,
        missing=item.missing,
        undecided=item.undecided,
        elsewhere=item.elsewhere,
        places=tuple(
            LackingPlace(location=each.location, missing=each.missing, orders=each.orders) for each in item.places
        ),
        since=item.since,
        orders=tuple(
            LackingOrder(order_id=desk.public("ord", each.order_id), **{name: getattr(each, name) for name in plain})
            for each in item.orders
        ),
    )
