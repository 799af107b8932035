"""`/v1/stock`: levels, their ledger, what channels were told and should be told."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter
from msgspec import Meta

from tidegate.kernel.ids import public_id
from tidegate.kernel.text import mask_people
from tidegate.monitor import stock_view
from tidegate.monitor.explain_sku import explain_sku
from tidegate.monitor.promise import Promise, read_promise
from tidegate.monitor.sku_story import SkuStory
from tidegate.monitor.stock_view import StockView
from tidegate.web.api.desk import Desk
from tidegate.web.api.documents import READ_PROBLEMS, answer, needs, problems
from tidegate.web.api.identifiers import TEXT
from tidegate.web.api.lists import EXAMPLE_CURSOR, Cursor, Limit, read_cursor, write_cursor
from tidegate.web.api.timeline import Step, of_step

LIST = "stock"
ENTRIES_MAX = 200
Sku = Annotated[str, PathParameter(description="A SKU.", min_length=1, max_length=200, pattern=TEXT)]
Entries = Annotated[int, QueryParameter(ge=1, le=ENTRIES_MAX, description="Ledger entries per location at most.")]


class Levels(msgspec.Struct, frozen=True, kw_only=True):
    """Units of an item. available = on_hand - unavailable - committed - reserved; of a kit, what its parts make. May be negative."""

    on_hand: int
    unavailable: int
    committed: int
    reserved: int
    incoming: int
    safety_stock: int
    available: int


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a channel was told."""

    connection: str
    was_told: Annotated[int | None, Meta(description="null: never, or not known any more")]
    told_at: datetime | None
    is_dirty: Annotated[bool, Meta(description="It has to be looked at again")]


class StockItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item in short: the sums over its locations."""

    sku: str
    total: Levels
    channels: tuple[Told, ...]


class StockPage(msgspec.Struct, frozen=True, kw_only=True):
    """Items, by SKU."""

    items: tuple[StockItem, ...]
    next_cursor: Annotated[str | None, Meta(description="For the next page; null on the last one")]


class LocationLevel(msgspec.Struct, frozen=True, kw_only=True):
    """Units of an item at one location."""

    location: str
    on_hand: int
    unavailable: int
    committed: int
    reserved: int
    incoming: int
    safety_stock: int
    available: int
    version: Annotated[int, Meta(description="Number of the newest ledger entry")]


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """How counters moved, and what they were afterwards."""

    at: datetime
    location: str
    version: int
    kind: str
    on_hand_delta: int
    committed_delta: int
    on_hand_after: int
    committed_after: int
    event_id: str | None
    actor: str


class UnseenUnits(msgspec.Struct, frozen=True, kw_only=True):
    """Units of which a channel shows more or fewer than expected, and no order explains it yet."""

    gone: Annotated[
        int, Meta(description="Missing there: they count as sold, in every channel, until that is explained")
    ]
    back: Annotated[int, Meta(description="Shown there although they should be sold")]
    since: datetime
    until: Annotated[datetime, Meta(description="Explained at the earliest, unless their orders come before")]
    words: Annotated[str, Meta(description="The same for people, with what ends it")]


class ChannelNumber(msgspec.Struct, frozen=True, kw_only=True):
    """What a channel was told and should be told."""

    connection: str
    was_told: int | None
    told_at: datetime | None
    should_be_told: Annotated[int | None, Meta(description="null when its connector is not there")]
    is_dirty: bool
    waits: Annotated[str, Meta(description="Why the difference stands; empty when there is none")]
    unseen: Annotated[UnseenUnits | None, Meta(description="null when everything that it shows is explained")]


class ChannelPromise(msgspec.Struct, frozen=True, kw_only=True):
    """Whether one channel can sell units that nobody has."""

    channel: str
    promise: Annotated[
        Literal["impossible", "bounded", "not yet"],
        Meta(
            description="impossible: it cannot; bounded: by `bound` units at most; not yet: it is not known what it shows"
        ),
    ]
    bound: Annotated[int | None, Meta(description="Units; null: not known yet")]
    may_sell: Annotated[int | None, Meta(description="Units that it may at worst still sell; null: not known")]
    share: Annotated[int | None, Meta(description="Units that it is to have; null where units are not shared out")]
    held: Annotated[int, Meta(description="Units that it is not to be told of, as others may sell them meanwhile")]
    velocity: Annotated[float, Meta(description="Units a second that it sells, or is expected to")]
    lag_seconds: Annotated[float, Meta(description="Until it is told a number, at most times")]
    why: str


class StockPromise(msgspec.Struct, frozen=True, kw_only=True):
    """Whether an item can be oversold, and by how many units."""

    words: Annotated[str, Meta(description="The same for people")]
    bound: Annotated[int | None, Meta(description="Units that may at worst be sold too often; null: not known yet")]
    sellable: Annotated[int, Meta(description="Units that all channels together may sell")]
    is_shared: Annotated[bool, Meta(description="Units are shared out among the channels now")]
    allocation: Annotated[str, Meta(description="By the configuration: off, auto or always")]
    buffer: Annotated[str, Meta(description="By the configuration: off, auto or a number of units")]
    velocity: Annotated[float, Meta(description="Units a second over all channels, lately or as expected")]
    lag_seconds: Annotated[float, Meta(description="From a change until channels are told, at most times")]
    channels: tuple[ChannelPromise, ...]


class KitPart(msgspec.Struct, frozen=True, kw_only=True):
    """What a kit is made of."""

    sku: str
    units: Annotated[int, Meta(description="So many are in one kit")]
    available: Annotated[int, Meta(description="Units that nobody was promised and nothing keeps back")]
    kits: Annotated[int, Meta(description="For how many kits it lasts; below zero where it lacks")]
    is_shared: Annotated[bool, Meta(description="Its units may be shared out among channels: no kits are sold of it")]


class IncomingUnits(msgspec.Struct, frozen=True, kw_only=True):
    """Units that are on their way. They are part of nothing that can be sold."""

    reference: Annotated[str, Meta(description="What the source calls it")]
    source: Annotated[str | None, Meta(description="The connection that says so; null: people")]
    location: str
    units: int
    expected_on: Annotated[date | None, Meta(description="null: nobody knows when")]


class StockDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One item."""

    sku: str
    levels: tuple[LocationLevel, ...]
    entries: Annotated[tuple[LedgerEntry, ...], Meta(description="The end of the ledger, newest first")]
    channels: tuple[ChannelNumber, ...]
    promise: StockPromise
    parts: Annotated[tuple[KitPart, ...], Meta(description="Of a kit, which has no levels of its own; else empty")]
    kits: Annotated[int | None, Meta(description="How many can be made of what the parts leave; null: it is no kit")]
    incoming: Annotated[tuple[IncomingUnits, ...], Meta(description="What is on its way, soonest first")]


class SkuHold(msgspec.Struct, frozen=True, kw_only=True):
    """An order that holds units of the item."""

    order_id: str
    number: str
    channel: str
    units: int


class SkuReserved(msgspec.Struct, frozen=True, kw_only=True):
    """A reservation that holds units of the item, or a claim that stands committed until its order comes."""

    reservation_id: str
    reference: str | None
    state: str
    location: str
    units: int
    expires_at: datetime


class SkuWhy(msgspec.Struct, frozen=True, kw_only=True):
    """Why a SKU's numbers are as they are."""

    sku: str
    mode: Annotated[str, Meta(description="Of the stock flow for this SKU; none without a stock flow")]
    owner: Annotated[str | None, Meta(description="The connection that counts it")]
    steps: Annotated[tuple[Step, ...], Meta(description="By time")]
    orders: tuple[SkuHold, ...]
    reservations: tuple[SkuReserved, ...]
    is_cut: Annotated[bool, Meta(description="There are older steps than those given")]


_LEVELS = Levels(on_hand=10, unavailable=0, committed=1, reserved=0, incoming=0, safety_stock=0, available=9)
_ITEM = StockItem(
    sku="TS-RED-M",
    total=_LEVELS,
    channels=(
        Told(
            connection="shop",
            was_told=9,
            told_at=datetime.fromisoformat("2026-11-27T10:00:02+00:00"),
            is_dirty=False,
        ),
    ),
)
_DETAIL = StockDetail(
    sku="TS-RED-M",
    levels=(LocationLevel(location="main", version=7, **msgspec.structs.asdict(_LEVELS)),),
    entries=(),
    channels=(
        ChannelNumber(
            connection="shop",
            was_told=9,
            told_at=datetime.fromisoformat("2026-11-27T10:00:02+00:00"),
            should_be_told=9,
            is_dirty=False,
            waits="",
            unseen=None,
        ),
    ),
    promise=StockPromise(
        words="one channel sells it, and is told all 9 units",
        bound=0,
        sellable=9,
        is_shared=False,
        allocation="off",
        buffer="off",
        velocity=0.0,
        lag_seconds=1.2,
        channels=(
            ChannelPromise(
                channel="shop",
                promise="bounded",
                bound=0,
                may_sell=9,
                share=None,
                held=0,
                velocity=0.0,
                lag_seconds=1.2,
                why="nobody else sells it",
            ),
        ),
    ),
    parts=(),
    kits=None,
    incoming=(),
)
_WHY = SkuWhy(sku="TS-RED-M", mode="live", owner="erp", steps=(), orders=(), reservations=(), is_cut=False)


@get(
    "/",
    **needs("stock:read"),
    summary="List stock",
    responses={
        200: answer(StockPage, "Items by SKU", StockPage(items=(_ITEM,), next_cursor=EXAMPLE_CURSOR)),
        **problems(*READ_PROBLEMS),
    },
)
async def list_stock(
    desk: NamedDependency[Desk],
    limit: Limit = 50,
    cursor: Cursor = None,
    prefix: Annotated[
        str | None,
        QueryParameter(description="Only SKUs that begin so.", min_length=1, max_length=200, pattern=TEXT),
    ] = None,
) -> StockPage:
    """Items by SKU, each with the sums over its locations and what channels were told."""
    after = read_cursor(LIST, cursor) or ""
    async with desk.reading() as conn:
        found = await stock_view.list_stock(conn, desk.tenant_id, after=after, prefix=prefix, limit=limit + 1)
    items = tuple(_item(row, told) for row, told in found[:limit])
    return StockPage(items=items, next_cursor=write_cursor(LIST, items[-1].sku) if len(found) > limit else None)


@get(
    "/{sku:str}",
    **needs("stock:read"),
    summary="Show an item",
    responses={200: answer(StockDetail, "One item", _DETAIL), **problems(*READ_PROBLEMS)},
)
async def show_stock(desk: NamedDependency[Desk], sku: Sku, entries: Entries = 20) -> StockDetail:
    """One SKU: its level at each location, the end of its ledger, and what each channel was and should be told.

    `promise` says whether it can be oversold, and by how many units.
    """
    async with desk.reading() as conn:
        config, connectors = await desk.read_config(conn), desk.world.connectors
        view = await stock_view.read_stock(conn, desk.tenant_id, sku, connectors, config, entries=entries)
        promise = await read_promise(conn, desk.tenant_id, sku, config, connectors)
    return _detail(view, promise, desk.cell)


@get(
    "/{sku:str}/why",
    **needs("stock:read"),
    summary="Explain an item",
    responses={200: answer(SkuWhy, "What happened, by time", _WHY), **problems(*READ_PROBLEMS)},
)
async def tell_sku(desk: NamedDependency[Desk], sku: Sku, entries: Entries = 20) -> SkuWhy:
    """Why a SKU's numbers are as they are: ledger entries and numbers told, and the orders that hold units of it."""
    async with desk.reading() as conn:
        config = await desk.read_config(conn)
        story = await explain_sku(conn, desk.tenant_id, sku, desk.world.connectors, config, limit=entries)
    return _why(story)


def build_router() -> Router:
    """Return the routes of stock."""
    return Router("/stock", route_handlers=[list_stock, show_stock, tell_sku], tags=["stock"])


def _item(row: Any, told: list[Any]) -> StockItem:
    return StockItem(
        sku=row["sku"],
        total=Levels(**{name: row[name] for name in Levels.__struct_fields__}),
        channels=tuple(
            Told(
                connection=each["connection"],
                was_told=each["acked_quantity"],
                told_at=each["acked_at"],
                is_dirty=each["dirty"],
            )
            for each in told
        ),
    )


_TOLD_APART = {"waits", "unseen"}


def _detail(view: StockView, promise: Promise, cell: str) -> StockDetail:
    return StockDetail(
        sku=view.sku,
        levels=tuple(
            LocationLevel(**{name: row[name] for name in LocationLevel.__struct_fields__}) for row in view.levels
        ),
        entries=tuple(_entry(row, cell) for row in view.entries),
        channels=tuple(
            ChannelNumber(
                waits=mask_people(each.waits),
                unseen=None
                if each.unseen is None
                else UnseenUnits(**{name: getattr(each.unseen, name) for name in UnseenUnits.__struct_fields__}),
                **{name: getattr(each, name) for name in ChannelNumber.__struct_fields__ if name not in _TOLD_APART},
            )
            for each in view.channels
        ),
        promise=StockPromise(
            allocation=promise.mode,
            channels=tuple(
                ChannelPromise(**{name: getattr(each, name) for name in ChannelPromise.__struct_fields__})
                for each in promise.channels
            ),
            **{name: getattr(promise, name) for name in StockPromise.__struct_fields__ if name not in _PROMISED_APART},
        ),
        parts=tuple(
            KitPart(**{name: getattr(each, name) for name in KitPart.__struct_fields__}) for each in view.parts
        ),
        kits=view.kits,
        incoming=tuple(
            IncomingUnits(**{name: getattr(each, name) for name in IncomingUnits.__struct_fields__})
            for each in view.incoming
        ),
    )


_PROMISED_APART = {"allocation", "channels"}


def _entry(row: Any, cell: str) -> LedgerEntry:
    event = row["event_id"]
    return LedgerEntry(
        event_id=public_id("evt", cell, event) if event is not None else None,
        **{name: row[name] for name in LedgerEntry.__struct_fields__ if name != "event_id"},
    )


def _why(story: SkuStory) -> SkuWhy:
    return SkuWhy(
        sku=story.sku,
        mode=story.mode,
        owner=story.owner,
        steps=tuple(of_step(step) for step in story.steps),
        orders=tuple(
            SkuHold(**{name: getattr(order, name) for name in SkuHold.__struct_fields__}) for order in story.orders
        ),
        reservations=tuple(
            SkuReserved(
                expires_at=held.due_at,
                **{name: getattr(held, name) for name in SkuReserved.__struct_fields__ if name != "expires_at"},
            )
            for held in story.reservations
        ),
        is_cut=story.is_cut,
    )
