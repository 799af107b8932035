"""Carry out a batch of requests about reservations in one transaction: lock, read, decide, one statement per table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from asyncpg import Record

from tidegate.commerce.commands import Priority
from tidegate.config.versions import CONFIG_LOCK_CLASS
from tidegate.inventory.decide import Ask, Claim, Decided, Held, Refusal, Reserve, Result, Situation, decide
from tidegate.inventory.ledger import Counters, Entry, LevelKey, available_changes, post
from tidegate.inventory.reserve import Ending, Hold, ReservationState, Shelf, Standing
from tidegate.kernel.crashpoint import reach
from tidegate.kernel.ids import new_id
from tidegate.store.connections import Connection
from tidegate.sync import reservation_statements as sql
from tidegate.sync import statements
from tidegate.sync.records import StateMoved
from tidegate.sync.urgent import Mark, Stock, part_of, quiet_of, urgent_marks
from tidegate.sync.write import COMMAND_CHANNEL, wake_up_call

DUE_MAX = 500
"""Reservations that one transaction lets expire at most, of each item; while there are more, it is repeated."""
SWEEP_LOCK_CLASS = 7483
"""Of the advisory lock of whoever lets a tenant's reservations expire."""
NOTIFY = "SELECT pg_notify($1, $2)"


class ReservationsMoved(StateMoved):
    """Something that was read before the locks is another by now: decide the batch again."""


class StaleBills(ReservationsMoved):
    """The catalogue is a newer one than that by which requests were resolved."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What a request was answered with, as it is kept."""

    status: int
    media_type: str
    body: bytes


class Keep(msgspec.Struct, frozen=True, gc=False):
    """Under which name an answer is kept, and how it is written. The same request again gets the same answer."""

    key_id: UUID
    idempotency_key: str
    digest: bytes
    """Of the request: another request under the same name is told, and not done."""
    write: Callable[[Result], Answer]

    @property
    def name(self) -> tuple[UUID, str]:
        """The name, unique for a tenant."""
        return (self.key_id, self.idempotency_key)


class Request(msgspec.Struct, frozen=True, gc=False):
    """One request of a batch. `refusal` is set where it is refused whatever the stock is: then the answer is kept."""

    ask: Ask | None
    keep: Keep | None = None
    refusal: Refusal | None = None


class Reply(msgspec.Struct, frozen=True, gc=False):
    """What a request is answered. `answer` is there where it is kept."""

    result: Result | None
    answer: Answer | None = None
    is_replayed: bool = False
    is_other_request: bool = False
    """Its name belongs to another request; nothing was done."""


async def perform(
    conn: Connection, tenant_id: UUID, requests: Sequence[Request], *, catalogue_version: int | None = None
) -> list[Reply]:
    """Decide and carry out requests in order, in the caller's transaction; return a reply for each.

    `catalogue_version` is that by which their bills were found, None when there are none. Raises ReservationsMoved: roll
    back and do it again.
    """
    kept = await _find_answers(conn, tenant_id, requests)
    replies: dict[int, Reply] = {}
    first: dict[tuple[UUID, str], int] = {}
    fresh: list[int] = []
    for place, request in enumerate(requests):
        if request.keep is not None and (known := kept.get(request.keep.name)) is not None:
            replies[place] = _replay(request.keep, *known)
        elif request.keep is not None and request.keep.name in first:
            continue  # the same name twice in one batch: it gets what the first one gets
        else:
            fresh.append(place)
            if request.keep is not None:
                first[request.keep.name] = place
    asks = [ask for place in fresh if (ask := requests[place].ask) is not None and requests[place].refusal is None]
    results = iter(await _carry_out(conn, tenant_id, asks, catalogue_version) if asks else ())
    answers: list[tuple[object, ...]] = []
    for place in fresh:
        request = requests[place]
        result = request.refusal if request.refusal is not None else next(results)
        if request.keep is None:
            replies[place] = Reply(result)
            continue
        keep, answer = request.keep, request.keep.write(result)
        replies[place] = Reply(result, answer)
        answers.append((keep.key_id, keep.idempotency_key, keep.digest, answer.status, answer.media_type, answer.body))
    if answers:
        await conn.execute(sql.ADD_ANSWERS, tenant_id, *_columns(answers))
    for place, request in enumerate(requests):
        if place not in replies and request.keep is not None:
            leader = first[request.keep.name]
            other, given = requests[leader].keep, replies[leader].answer
            if other is not None and given is not None:
                replies[place] = _replay(request.keep, other.digest, given)
    return [replies[place] for place in range(len(requests))]


async def sweep(conn: Connection, tenant_id: UUID) -> int:
    """Let what is due of a tenant expire, in the caller's transaction; return how many it were, DUE_MAX at most.

    0 also when another process is at it.
    """
    if not await conn.fetchval(sql.SWEEP_LOCK, SWEEP_LOCK_CLASS, tenant_id):
        return 0
    due = [row[0] for row in await conn.fetch(sql.FIND_DUE, tenant_id, DUE_MAX)]
    if not due:
        return 0
    await _hold_config(conn, tenant_id)
    standing = standing_of(await conn.fetch(sql.READ_STANDING, tenant_id, due))
    items = {hold.item_id for each in standing.values() for hold in each.holds}
    await _decide(conn, tenant_id, (), items, due, None)
    return len(due)


async def _carry_out(
    conn: Connection, tenant_id: UUID, asks: Sequence[Ask], catalogue_version: int | None
) -> list[Result]:
    items = {item_id for ask in asks if isinstance(ask, Reserve) for bill in ask.bills for item_id, _ in bill}
    named = {ask.reservation_id for ask in asks if not isinstance(ask, Reserve)}
    if items:
        due = await conn.fetch(sql.FIND_DUE_OF, tenant_id, sorted(items), DUE_MAX, CONFIG_LOCK_CLASS)
        named.update(row[0] for row in due)
    else:
        await _hold_config(conn, tenant_id)
    if named:
        standing = standing_of(await conn.fetch(sql.READ_STANDING, tenant_id, sorted(named)))
        items |= {hold.item_id for each in standing.values() for hold in each.holds}
    decided = await _decide(conn, tenant_id, asks, items, named, catalogue_version)
    return decided.results


async def _hold_config(conn: Connection, tenant_id: UUID) -> None:
    """Let no mode change while marks are looked at: what observes now is told of everything when it goes live."""
    await conn.execute(statements.HOLD_CONFIG, CONFIG_LOCK_CLASS, tenant_id)


async def _decide(
    conn: Connection,
    tenant_id: UUID,
    asks: Sequence[Ask],
    items: Collection[UUID],
    named: Collection[UUID],
    catalogue_version: int | None,
) -> Decided:
    """Lock marks and levels of the items, read what stands, decide, store."""
    ordered = sorted(items)
    found = await conn.fetch(sql.LOCK, tenant_id, ordered)
    locked = {(row[0], row[1]) for row in found if row[1] is not None}
    marks = [
        _Mark(Mark(row[2], row[0], quiet_of(row[5], row[6]), part_of(row[7], row[8])), row[3], row[4])
        for row in found
        if row[2] is not None
    ]
    rows = await conn.fetch(sql.READ_SHELVES, tenant_id, ordered)
    moment = rows[0] if rows else await conn.fetchrow(sql.NOW_AND_CATALOGUE, tenant_id)
    if moment is None or (catalogue_version is not None and moment["catalogue_version"] != catalogue_version):
        raise StaleBills
    levels, shelves = _shelves_of(rows, locked)
    situation = Situation(now=moment["now"], shelves=shelves)
    if named:
        situation.standing = standing_of(await conn.fetch(sql.READ_STANDING, tenant_id, sorted(named)))
        if any(h[:2] not in levels for each in situation.standing.values() for h in each.holds):
            raise ReservationsMoved
    references = sorted({ask.reference for ask in asks if isinstance(ask, Reserve) and ask.reference is not None})
    if references:
        situation.references = {
            row[0]: Held(row[1], _asked_of(row[2]), row[3], row[4])
            for row in await conn.fetch(sql.READ_REFERENCES, tenant_id, references)
        }
    orders = sorted(
        {
            (ask.connection_id, ask.order_reference)
            for ask in asks
            if isinstance(ask, Claim) and ask.connection_id is not None and ask.order_reference is not None
        }
    )
    if orders:
        named_orders = await conn.fetch(sql.FIND_NAMED_ORDERS, tenant_id, *_columns(orders))
        situation.orders = {(row[0], row[1]): row[2] for row in named_orders}
    decided = decide(situation, asks, new_id)
    if decided.postings:
        counted = {(row["item_id"], row["location_id"]) for row in rows if row["active"]}
        available = dict.fromkeys(ordered, 0)
        for item_id, location_id in counted & levels.keys():
            level = levels[item_id, location_id]
            available[item_id] += level.on_hand - level.unavailable - level.committed - level.reserved
        await _store(conn, tenant_id, decided, Stock(levels, available, counted), marks)
    return decided


async def _store(conn: Connection, tenant_id: UUID, decided: Decided, stock: Stock, marks: Sequence[_Mark]) -> None:
    entries = post(stock.levels, decided.postings)
    reach("reserve.decided")
    await end_reservations(conn, tenant_id, list(decided.ended.values()))
    rows = _entry_rows(entries, decided)
    if decided.made:
        made = [
            (made.reservation_id, made.ask.reference, _write_asked(made.ask.lines), made.ask.location_id, made.due_at,
             made.ask.actor)
            for made in decided.made
        ]  # fmt: skip
        held = [(made.reservation_id, *hold, made.due_at) for made in decided.made for hold in made.holds]
        await conn.execute(sql.ADD_GRANTED, tenant_id, _json(rows), _json(made), _json(held))
    else:
        await conn.execute(sql.ADD_ENTRIES, tenant_id, _json(rows))
    await _tell(conn, tenant_id, entries, stock, marks)
    reach("reserve.before_commit")


class _Mark(NamedTuple):
    """What a channel is told of an item, locked."""

    mark: Mark
    is_marked: bool
    priority: int


async def _tell(
    conn: Connection, tenant_id: UUID, entries: Sequence[Entry], stock: Stock, marks: Sequence[_Mark]
) -> None:
    """Have the channels told of items whose number changed; whoever tells them is woken unless it knows already."""
    moved = {entry.posting.item_id for entry in entries if entry.committed_delta + entry.reserved_delta}
    priority = int(Priority.INVENTORY_CRITICAL)
    new = [each.mark for each in marks if each.mark.changed in moved and not each.is_marked]
    if new:
        channels, items = {mark.connection_id for mark in new}, {mark.changed for mark in new}
        await conn.execute(statements.MARK_DIRTY, tenant_id, sorted(channels), sorted(items), priority)
    waiting = [each.mark for each in marks if each.priority > priority]
    late = urgent_marks(waiting, stock.available, available_changes(entries, stock.counted))
    if late:
        await conn.execute(statements.HURRY_MARKS, tenant_id, *_columns(late), priority)
    if new or late:
        told = {mark.connection_id for mark in new} | {connection_id for connection_id, _ in late}
        await conn.execute(NOTIFY, COMMAND_CHANNEL, wake_up_call((), (), told))


async def end_reservations(conn: Connection, tenant_id: UUID, endings: Sequence[Ending]) -> None:
    """Store how reservations ended; the levels of all that they hold are locked. Raises ReservationsMoved."""
    if not endings:
        return
    rows = [
        (
            e.reservation_id,
            str(e.state),
            e.awaits_order,
            e.order_id,
            e.connection_id,
            e.order_reference,
            e.due_at,
            e.actor,
        )
        for e in endings
    ]
    done = await conn.execute(sql.END_RESERVATIONS, tenant_id, *_columns(rows))
    if done != f"UPDATE {len(rows)}":
        raise ReservationsMoved
    over = [ending.reservation_id for ending in endings if not ending.awaits_order]
    if over:
        await conn.execute(sql.DROP_HOLDS, tenant_id, over)
    waiting = [(ending.reservation_id, ending.due_at) for ending in endings if ending.awaits_order]
    if waiting:
        await conn.execute(sql.KEEP_HOLDS, tenant_id, *_columns(waiting))


def _entry_rows(entries: Iterable[Entry], decided: Decided) -> list[tuple[object, ...]]:
    actors: dict[UUID | None, str] = {made.reservation_id: made.ask.actor for made in decided.made}
    actors.update((ending.reservation_id, ending.actor) for ending in decided.ended.values())
    return [
        (p.item_id, p.location_id, e.version, p.kind, e.committed_delta, e.reserved_delta, e.on_hand_after,
         e.unavailable_after, e.committed_after, e.reserved_after, p.cause_key, p.reservation_id,
         actors[p.reservation_id])
        for e in entries for p in (e.posting,)
    ]  # fmt: skip


def _shelves_of(
    rows: Iterable[Record], locked: Collection[LevelKey]
) -> tuple[dict[LevelKey, Counters], dict[UUID, Shelf]]:
    """Return counters of the locked levels, and what can be promised of each item at places that are active. Pure."""
    levels: dict[LevelKey, Counters] = {}
    shelves: dict[UUID, Shelf] = {}
    for row in rows:
        item_id, location_id, on_hand, unavailable, committed, reserved, version, safety, is_active, unseen = row[2:]
        if (item_id, location_id) not in locked:
            continue
        levels[item_id, location_id] = Counters(on_hand, unavailable, committed, reserved, version)
        shelf = shelves.get(item_id)
        if shelf is None:
            shelf = shelves[item_id] = Shelf({}, -unseen)
        if is_active:
            free = on_hand - unavailable - committed - reserved - safety
            shelf.free[location_id] = free
            shelf.cap += free
    return levels, shelves


def standing_of(rows: Iterable[Record]) -> dict[UUID, Standing]:
    """Return reservations from rows of `STANDING_COLUMNS`, those of one reservation next to each other. Pure."""
    found: dict[UUID, Standing] = {}
    holds: dict[UUID, list[Hold]] = {}
    for row in rows:
        if row["item_id"] is not None:
            hold = Hold(row["item_id"], row["location_id"], row["units"])
            holds.setdefault(row["reservation_id"], []).append(hold)
        found[row["reservation_id"]] = Standing(
            reservation_id=row["reservation_id"],
            state=ReservationState(row["state"]),
            awaits_order=row["awaits_order"],
            due_at=row["due_at"],
            holds=tuple(holds.get(row["reservation_id"], ())),
            reference=row["reference"],
            connection_id=row["connection_id"],
            order_reference=row["order_reference"],
            order_id=row["order_id"],
        )
    return found


def _replay(keep: Keep, digest: bytes, answer: Answer) -> Reply:
    if keep.digest != digest:
        return Reply(None, is_other_request=True)
    return Reply(None, answer, is_replayed=True)


async def _find_answers(
    conn: Connection, tenant_id: UUID, requests: Iterable[Request]
) -> dict[tuple[UUID, str], tuple[bytes, Answer]]:
    names = sorted({request.keep.name for request in requests if request.keep is not None})
    if not names:
        return {}
    rows = await conn.fetch(sql.FIND_ANSWERS, tenant_id, *_columns(names))
    return {(row[0], row[1]): (row[2], Answer(row[3], row[4], row[5])) for row in rows}


def _write_asked(lines: Sequence[tuple[str, int]]) -> str:
    return msgspec.json.encode(lines).decode()


def _asked_of(text: str) -> tuple[tuple[str, int], ...]:
    return msgspec.json.decode(text, type=tuple[tuple[str, int], ...])


def _json(rows: Collection[tuple[object, ...]]) -> str:
    """Return rows as the statements that add many take them."""
    return msgspec.json.encode(rows).decode()


def _columns(rows: Collection[tuple[Any, ...]]) -> list[list[object]]:
    """Turn rows into one list per column, as unnest wants them."""
    return [list(column) for column in zip(*rows, strict=True)]
