"""What follows when an article of a connection turns out to be another one of ours: lines, stock, marks, and what waited.

Everything in the caller's transaction, with locks in the one order: marks, orders, stock, commands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

import msgspec

from tidegate.commerce.states import OrderState
from tidegate.config.versions import lock_config
from tidegate.inventory.ledger import Counters, LevelKey, Posting, post
from tidegate.kernel.errors import ConflictError
from tidegate.kernel.ids import new_id
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.sync import statements
from tidegate.sync.catalogue import sku_of
from tidegate.sync.going_live import refresh_modes
from tidegate.sync.load import lock_levels
from tidegate.sync.write import COMMAND_CHANNEL, store_entries

_CHANGED = query("catalogue_changed")
_LINES = query("rebind_lines")
_LOCK_MARKS = query("rebind_lock_marks")
_LOCK_ORDERS = query("rebind_lock_orders")
_READ_LINES = query("rebind_read_lines")
_MOVE_LINES = query("rebind_move_lines")
_COUNTED = query("rebind_counted")
_UNBOUND_VARIANTS = query("rebind_unbound_variants")
_DROP_MARKS = query("rebind_drop_marks")
_FORGET_LOTS = query("rebind_forget_lots")
_ADD_CHANNEL_STOCK = query("channel_stock_add")
_MARK = query("rebind_mark")
_RETRY = query("rebind_retry")
_SUPERSEDE = query("rebind_supersede")
_UNCOMMITTED = (OrderState.CANCELLED, OrderState.DRAFT)


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """An article stood for `old` until now, and stands for `new` from now on (None: for nothing)."""

    old: UUID
    new: UUID | None


class Followed(msgspec.Struct, frozen=True, kw_only=True):
    """What followed."""

    lines: int = 0
    """Order lines that stand for another article of ours now."""
    commands: int = 0
    """Commands that waited for the binding and go out again."""


async def lock_catalogue(conn: Connection, tenant_id: UUID) -> None:
    """Wait for batches that are being applied, and make those that follow look bindings up anew.

    Call it before bindings are changed: until the transaction ends nobody applies an event of the tenant.
    """
    await conn.execute(_CHANGED, tenant_id)  # the tenant's row first, as everybody who takes both
    await lock_config(conn, tenant_id)


async def moves_of(
    conn: Connection, tenant_id: UUID, connection_id: UUID, changes: Iterable[tuple[str, str, UUID | None, UUID | None]]
) -> list[Move]:
    """Return what articles stood for before: (external id, SKU there, binding before, binding now) -> moves.

    An article that was not bound stood for the variant that was made from its SKU when an event named it, if there is one.
    Call it after the bindings were changed.
    """
    changes = tuple(changes)
    names = {
        external_id: sku_of(connection_id, external_id, sku) for external_id, sku, old, _ in changes if old is None
    }
    rows = await conn.fetch(_UNBOUND_VARIANTS, tenant_id, list(names.values()))
    made = {row["sku"]: row["variant_id"] for row in rows}
    moves = []
    for external_id, _, old, new in changes:
        before = old if old is not None else made.get(names[external_id])
        if before is not None and before != new and (old is not None or new is not None):
            moves.append(Move(old=before, new=new))
    return moves


async def follow_bindings(
    conn: Connection,
    tenant_id: UUID,
    connection_id: UUID,
    *,
    moves: Sequence[Move],
    bound: Iterable[UUID],
    is_channel: bool,
    counts: bool,
) -> Followed:
    """Do what follows from changed bindings of a connection; `bound` are variants that were bound now.

    Lines of its orders go over with what they hold committed; when it `counts` the goods, so do the units that it counted.
    Numbers are told anew where they are told, and commands that waited for a binding are built again. Raises ConflictError
    while a number of such an item is on its way.
    """
    bills = await _bills(conn, tenant_id, {*bound, *(one for move in moves for one in (move.old, move.new) if one)})
    items = sorted({item_id for bill in bills.values() for item_id, _ in bill})
    marks = await conn.fetch(_LOCK_MARKS, tenant_id, items)
    old_items = {item_id for move in moves for item_id, _ in bills[move.old]}
    if any(m["connection_id"] == connection_id and m["item_id"] in old_items and m["blocked_by"] for m in marks):
        raise ConflictError(
            "a number of one of these articles is being sent",
            code="number_on_its_way",
            hint="wait until `tidegate status` shows nothing in doubt, then repeat the command; nothing was changed",
        )
    lines = await _take_lines(conn, tenant_id, connection_id, moves) if is_channel else []
    postings = _line_postings(lines, bills)
    if counts:
        postings += await _count_postings(conn, tenant_id, moves, bills)
    await _post(conn, tenant_id, postings)
    if is_channel:
        await conn.execute(_DROP_MARKS, tenant_id, connection_id, items)
        await conn.execute(_FORGET_LOTS, tenant_id, connection_id, items)
        await conn.execute(_ADD_CHANNEL_STOCK, tenant_id, connection_id)
        await refresh_modes(conn, tenant_id)
        await conn.execute(_SUPERSEDE, tenant_id, connection_id, items)
    await conn.execute(_MARK, tenant_id, items, connection_id)
    orders = sorted({line.order_id for line in lines})
    retried = await conn.fetch(_RETRY, tenant_id, connection_id, orders)
    await conn.execute("SELECT pg_notify($1, '')", COMMAND_CHANNEL)
    return Followed(lines=len(lines), commands=len(retried))


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    order_id: UUID
    line_id: UUID
    location_id: UUID
    committed: int
    old: UUID
    new: UUID


async def _take_lines(conn: Connection, tenant_id: UUID, connection_id: UUID, moves: Sequence[Move]) -> list[_Line]:
    """Lock the orders that hold lines of moved articles, put the lines under their new variants, and return them."""
    there = [move for move in moves if move.new is not None]
    named = await conn.fetch(_LINES, tenant_id, connection_id, [move.old for move in there])
    if not named:
        return []
    goes_to = {row["line_id"]: there[row["place"] - 1] for row in named}
    orders = sorted({row["order_id"] for row in named})
    states = {row["order_id"]: row["order_state"] for row in await conn.fetch(_LOCK_ORDERS, tenant_id, orders)}
    rows = await conn.fetch(_READ_LINES, tenant_id, orders, list(goes_to))
    lines = [
        _Line(
            order_id=row["order_id"],
            line_id=row["line_id"],
            location_id=row["location_id"],
            committed=0 if states[row["order_id"]] in _UNCOMMITTED else max(0, row["current"] - row["shipped"]),
            old=row["variant_id"],
            new=new,
        )
        for row in rows
        if (new := goes_to[row["line_id"]].new) is not None and row["variant_id"] == goes_to[row["line_id"]].old
    ]
    columns = ([line.order_id for line in lines], [line.line_id for line in lines], [line.new for line in lines])
    await conn.execute(_MOVE_LINES, tenant_id, *columns)
    return lines


def _line_postings(lines: Sequence[_Line], bills: dict[UUID, list[tuple[UUID, int]]]) -> list[Posting]:
    """Return what releases the units of lines on their old items and commits them on their new ones."""
    cause = f"rebind:{new_id()}"
    return [
        Posting(
            item_id=item_id,
            location_id=line.location_id,
            kind=kind,
            cause_key=f"{cause}:{kind}:{line.line_id}:{item_id}",
            committed_delta=sign * line.committed * per_unit,
            order_line_id=line.line_id,
        )
        for line in lines
        if line.committed
        for kind, sign, variant_id in (("release", -1, line.old), ("commit", 1, line.new))
        for item_id, per_unit in bills[variant_id]
    ]


async def _count_postings(
    conn: Connection, tenant_id: UUID, moves: Sequence[Move], bills: dict[UUID, list[tuple[UUID, int]]]
) -> list[Posting]:
    """Return what carries counted units over: all moves at once, so that two articles can change places."""
    plain = [(bills[move.old], bills[move.new]) for move in moves if move.new is not None]
    pairs = [(old[0][0], new[0][0]) for old, new in plain if len(old) == 1 and len(new) == 1]
    counted = await conn.fetch(_COUNTED, tenant_id, [old for old, _ in pairs])
    places: dict[UUID, list[UUID]] = {}
    for row in counted:
        places.setdefault(row["item_id"], []).append(row["location_id"])
    keys = {(item, place) for old, new in pairs for place in places.get(old, ()) for item in (old, new)}
    levels = (await lock_levels(conn, tenant_id, keys)).levels
    cause = f"rebind:{new_id()}"
    postings = []
    for old, new in pairs:
        for place in places.get(old, ()):
            units = levels[old, place].on_hand
            for item_id, delta in ((old, -units), (new, units)):
                if units:
                    postings.append(
                        Posting(
                            item_id=item_id,
                            location_id=place,
                            kind="sync_correction",
                            cause_key=f"{cause}:{old}:{new}:{place}:{item_id}",
                            on_hand_delta=delta,
                        )
                    )
    return postings


async def _post(conn: Connection, tenant_id: UUID, postings: Sequence[Posting]) -> None:
    keys: set[LevelKey] = {posting.key() for posting in postings}
    levels: dict[LevelKey, Counters] = (await lock_levels(conn, tenant_id, keys)).levels
    await store_entries(conn, tenant_id, post(levels, postings))


async def _bills(conn: Connection, tenant_id: UUID, variants: Iterable[UUID]) -> dict[UUID, list[tuple[UUID, int]]]:
    bills: dict[UUID, list[tuple[UUID, int]]] = {variant_id: [] for variant_id in variants}
    for row in await conn.fetch(statements.FIND_BILLS, tenant_id, list(bills)):
        bills[row["variant_id"]].append((row["part_id"], row["units"]))
    return bills
