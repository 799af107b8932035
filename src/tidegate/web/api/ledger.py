"""`/v1/stock/{sku}/history` and `/v1/stock/{sku}/adjustments`: the ledger of an item, and what people add to it."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from msgspec import Meta

from tidegate.inventory.adjust import NOTE_MAX, UNITS_MAX, Adjustment, AsideState, Reason
from tidegate.inventory.decide import Refusal
from tidegate.kernel.ids import public_id
from tidegate.monitor import stock_history
from tidegate.monitor.stock_history import EntryView, HistoryFilter
from tidegate.store.connections import Connection as Conn
from tidegate.sync.adjust import (
    NOTHING,
    adjust,
    check_owner,
    choose_place,
    find_items,
    note_action,
    on_hand_at,
    read_places,
    read_standing,
)
from tidegate.web.api.desk import Desk
from tidegate.web.api.documents import READ_PROBLEMS, WRITE_PROBLEMS, answer, body, needs, problems
from tidegate.web.api.identifiers import TEXT, IdempotencyKey
from tidegate.web.api.lists import EXAMPLE_CURSOR, Cursor, Limit, read_cursor, write_cursor
from tidegate.web.api.stock import Sku
from tidegate.web.problems import InvalidPart, ProblemError

LIST = "history"
Location = Annotated[str, Meta(min_length=1, max_length=200, pattern=TEXT)]
Units = Annotated[int, Meta(ge=-UNITS_MAX, le=UNITS_MAX)]


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """The counters of a level."""

    on_hand: int
    unavailable: int
    committed: int
    reserved: int


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the ledger. Entries are never changed and never deleted."""

    at: datetime
    location: str
    version: Annotated[int, Meta(description="Its number in the level: 1, 2, 3, without gaps")]
    kind: str
    reason: Annotated[str | None, Meta(description="What a person gave as the reason, or why units are set aside")]
    note: str | None
    actor: str
    cause_key: Annotated[str, Meta(description="Unique for ever: the same fact posts once")]
    delta: Counts
    before: Counts
    after: Counts
    event_id: str | None
    event_topic: str | None
    connection: Annotated[str | None, Meta(description="Where the event came from")]
    order_id: str | None
    order_number: str | None
    reservation_id: str | None


class HistoryPage(msgspec.Struct, frozen=True, kw_only=True):
    """Entries, newest first."""

    items: tuple[HistoryEntry, ...]
    next_cursor: Annotated[str | None, Meta(description="For the next page; null on the last one")]


class AdjustStock(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to post: either `by` with a `reason` or `aside`, or `counted`."""

    location: Annotated[Location | None, Meta(description="Name of the location; null: the only one")] = None
    by: Annotated[Units | None, Meta(description="So many units more; negative: fewer")] = None
    counted: Annotated[int, Meta(ge=0, le=UNITS_MAX)] | None = None
    counted_at: Annotated[
        Annotated[datetime, Meta(tz=True)] | None,
        Meta(description="When they were counted; what was booked since then stands. null: now"),
    ] = None
    reason: Annotated[Reason | None, Meta(description="Why on_hand moves")] = None
    aside: Annotated[AsideState | None, Meta(description="The units stay on hand and are not sold")] = None
    note: Annotated[str, Meta(min_length=1, max_length=NOTE_MAX, pattern=TEXT)] | None = None


class StockAdjusted(msgspec.Struct, frozen=True, kw_only=True):
    """What was posted."""

    sku: str
    location: str
    counter: Literal["on_hand", "unavailable"]
    reason: str
    units: Annotated[int, Meta(description="0: the ledger had it already, and nothing was posted")]
    before: int
    after: int
    version: Annotated[int | None, Meta(description="Number of the entry in the level; null when nothing was posted")]


_AT = datetime.fromisoformat("2026-11-27T10:00:02+00:00")
_ENTRY = HistoryEntry(
    at=_AT,
    location="main",
    version=7,
    kind="count",
    reason="counted",
    note="shelf 7",
    actor="api:warehouse",
    cause_key="adjust:5b0c7f",
    delta=Counts(on_hand=-2, unavailable=0, committed=0, reserved=0),
    before=Counts(on_hand=12, unavailable=0, committed=1, reserved=0),
    after=Counts(on_hand=10, unavailable=0, committed=1, reserved=0),
    event_id=None,
    event_topic=None,
    connection=None,
    order_id=None,
    order_number=None,
    reservation_id=None,
)
_WISH = AdjustStock(location="main", counted=10, note="shelf 7")
_DONE = StockAdjusted(
    sku="TS-RED-M", location="main", counter="on_hand", reason="counted", units=-2, before=12, after=10, version=7
)


@get(
    "/{sku:str}/history",
    **needs("stock:read"),
    summary="Show the ledger of an item",
    responses={
        200: answer(HistoryPage, "Entries", HistoryPage(items=(_ENTRY,), next_cursor=EXAMPLE_CURSOR)),
        **problems(*READ_PROBLEMS),
    },
)
async def list_history(
    desk: NamedDependency[Desk],
    sku: Sku,
    limit: Limit = 50,
    cursor: Cursor = None,
    location: Annotated[
        str | None, QueryParameter(description="Only this location.", min_length=1, max_length=200, pattern=TEXT)
    ] = None,
    since: Annotated[datetime | None, QueryParameter(description="Only from then on.")] = None,
    until: Annotated[datetime | None, QueryParameter(description="Only before then.")] = None,
) -> HistoryPage:
    """Entries of one SKU, newest first: what moved each counter, from what to what, why and by whom."""
    chosen = HistoryFilter(location=location, since=_utc(since), until=_utc(until), behind=_read_position(cursor))
    async with desk.reading() as conn:
        found = await stock_history.read_history(conn, desk.tenant_id, sku, chosen, limit=limit + 1)
    more = None
    if len(found) > limit:
        last = found[limit - 1]
        more = write_cursor(LIST, f"{last.at.isoformat()} {last.location_id} {last.version}")
    return HistoryPage(items=tuple(_entry(each, desk.cell) for each in found[:limit]), next_cursor=more)


@post(
    "/{sku:str}/adjustments",
    **needs("stock:write"),
    status_code=200,
    summary="Adjust an item",
    responses={200: answer(StockAdjusted, "It is posted", _DONE), **problems(*WRITE_PROBLEMS)},
)
async def adjust_item(
    desk: NamedDependency[Desk],
    sku: Sku,
    data: Annotated[AdjustStock, body("A count", _WISH)],
    idempotency_key: IdempotencyKey,
) -> Response[Any]:
    """Change the units of one SKU at one location by an entry in the ledger. Nothing is overwritten.

    A count is posted as the difference to what the ledger had at `counted_at`. Where another system counts the goods
    (`owns.stock.on_hand`), on_hand is changed there: 409 `not_owner`; units can be set aside all the same.
    """
    _check(data)
    seed = f"{desk.caller.key_id}:{idempotency_key}".encode()
    key = hashlib.blake2b(seed, digest_size=16).hexdigest()

    async def effect(conn: Conn) -> StockAdjusted:
        return await _adjust(desk, conn, sku, data, key)

    return await desk.once(idempotency_key, effect)


def build_router() -> Router:
    """Return the routes of the ledger."""
    return Router("/stock", route_handlers=[list_history, adjust_item], tags=["stock"])


async def _adjust(desk: Desk, conn: Conn, sku: str, data: AdjustStock, key: str) -> StockAdjusted:
    found = (await find_items(conn, desk.tenant_id, [sku]))[sku]
    if isinstance(found, Refusal):
        raise _problem(found)
    if data.aside is None:
        check_owner(await desk.read_config(conn))
    place = choose_place(await read_places(conn, desk.tenant_id), data.location)
    level = (found, place.location_id)
    before = (await read_standing(conn, desk.tenant_id, [level])).get(level, NOTHING).counters
    units = data.by or 0
    if data.counted is not None:
        at = (*level, data.counted_at or desk.now)
        units = data.counted - (await on_hand_at(conn, desk.tenant_id, [at]))[at]
    reason = data.aside or data.reason or "counted"
    stood = before.unavailable if data.aside is not None else before.on_hand
    done = StockAdjusted(
        sku=sku,
        location=place.name,
        counter="unavailable" if data.aside is not None else "on_hand",
        reason=reason,
        units=units,
        before=stood,
        after=stood,
        version=None,
    )
    if not units:
        return done
    wanted = Adjustment(
        key=key,
        item_id=found,
        location_id=place.location_id,
        units=units,
        reason=reason,
        note=data.note,
        is_aside=data.aside is not None,
    )
    result = (await adjust(conn, desk.tenant_id, [wanted], actor=desk.caller.actor))[0]
    if isinstance(result, Refusal):
        raise _problem(result)
    done = msgspec.structs.replace(
        done, units=result.units, before=result.before, after=result.after, version=result.version
    )
    await note_action(
        conn,
        desk.tenant_id,
        actor=desk.caller.actor,
        action="stock.adjusted",
        subject=sku,
        detail=msgspec.to_builtins(done),
    )
    return done


def _check(data: AdjustStock) -> None:
    """Raise ProblemError where parts contradict each other."""
    wrong = None
    if (data.by is None) == (data.counted is None):
        wrong = ("/by", "say either `by` or `counted`")
    elif data.by == 0:
        wrong = ("/by", "0 changes nothing")
    elif data.aside is not None and (data.reason is not None or data.counted is not None):
        wrong = ("/aside", "goes with `by`, and is the reason itself")
    elif data.counted is not None and data.reason not in (None, "counted"):
        wrong = ("/reason", "`counted` is a count")
    elif data.by is not None and data.reason is None and data.aside is None:
        wrong = ("/reason", "`by` needs a reason, or `aside`")
    elif data.counted_at is not None and data.counted is None:
        wrong = ("/counted_at", "goes with `counted`")
    if wrong is not None:
        pointer, message = wrong
        raise ProblemError(
            422, "value_invalid", "it contradicts itself", errors=(InvalidPart(pointer=pointer, message=message),)
        )


def _problem(refusal: Refusal) -> ProblemError:
    status = 404 if refusal.code == "sku_unknown" else 409
    return ProblemError(status, refusal.code, refusal.words, hint=refusal.hint)


def _read_position(cursor: str | None) -> tuple[datetime, UUID, int] | None:
    after = read_cursor(LIST, cursor)
    if after is None:
        return None
    try:
        at, location_id, version = after.split(" ")
        return datetime.fromisoformat(at), UUID(location_id), min(int(version), 2**62)
    except (ValueError, OverflowError):
        raise ProblemError(404, "cursor_unknown", "no list has this position") from None


def _utc(moment: datetime | None) -> datetime | None:
    """Return a moment of a query; one without an offset is UTC."""
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def _entry(entry: EntryView, cell: str) -> HistoryEntry:
    apart = {"event_id": "evt", "order_id": "ord", "reservation_id": "res"}
    ids: dict[str, Any] = {
        name: public_id(kind, cell, value) if (value := getattr(entry, name)) is not None else None
        for name, kind in apart.items()
    }
    counts: dict[str, Any] = {
        name: Counts(**msgspec.to_builtins(getattr(entry, name), builtin_types=(UUID,)))
        for name in ("delta", "before", "after")
    }
    plain = {
        name: getattr(entry, name)
        for name in HistoryEntry.__struct_fields__
        if name not in apart and name not in counts
    }
    return HistoryEntry(**plain, **ids, **counts)
