"""Serving orders from another location where theirs has not what they hold: decided in T2, posted with the batch that oversold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from tidegate.inventory.backorder import BY_POLICY
from tidegate.inventory.ledger import Entry, Posting, available_changes
from tidegate.inventory.relocate import (
    Need,
    Relocation,
    Standing,
    items_moved,
    relocate,
    short_levels,
    still_short,
)
from tidegate.kernel.crashpoint import reach
from tidegate.orders.records import Order
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.sync.catalogue import Catalogue
from tidegate.sync.policy import Policy
from tidegate.sync.records import State, WiderLocks
from tidegate.sync.urgent import Stock

ORDERS_MAX = 50
"""Per level that is short, newest first: so many are looked at."""
_MOVABLE = query("oversold_movable")
_PLACES = query("oversold_places")
_MOVE = query("oversold_move")
_NOTE = query("oversold_note")
_SHORT_LEVELS = query("oversold_short_levels")


async def plan_relocations(
    conn: Connection,
    tenant_id: UUID,
    policy: Policy,
    catalogue: Catalogue,
    state: State,
    stock: Stock,
    entries: Iterable[Entry],
    *,
    may_widen: bool,
) -> list[Relocation]:
    """Return which orders leave from another location, because theirs has not what they hold. Nothing is changed.

    Looked at are levels that the entries promised more of than there is, and all levels of items that goods came of, or went.
    Raises WiderLocks where orders and levels have to be locked before that can be decided, if `may_widen`; else what is not
    locked stays as it is.
    """
    entries = list(entries)
    if policy.erp is None or policy.orders_mode == "observe":
        return []
    short = short_levels(entries, stock.levels)
    moved = items_moved(entries)
    if moved:
        found = await conn.fetch(_SHORT_LEVELS, tenant_id, sorted(moved))
        short |= still_short({(row[0], row[1]): row[2] for row in found}, moved, stock.levels, stock.counted)
    if not short:
        return []
    columns = [[key[0] for key in sorted(short)], [key[1] for key in sorted(short)]]
    channels, changes = sorted(policy.order_channels), available_changes(entries, stock.counted)
    enough = sorted(item for item, units in stock.available.items() if units + changes.get(item, 0) >= 0)
    found = await conn.fetch(
        _MOVABLE, tenant_id, *columns, channels, ORDERS_MAX, policy.erp, policy.orders_from, enough
    )
    orders = [state.orders.get(row["order_id"]) for row in found]
    standing = [standing_of(order, catalogue) for order in orders if order is not None]
    items = {need.item_id for each in standing for need in each.needs} | {key[0] for key in short}
    touched = sorted({entry.posting.key() for entry in entries})
    rows = await conn.fetch(_PLACES, tenant_id, sorted(items), policy.erp, *_columns(touched))
    safety = {(row[0], row[1]): row[2] for row in rows}
    levels = safety.keys() | {(need.item_id, need.location_id) for each in standing for need in each.needs}
    missing = {row["order_id"] for row in found} - state.orders.keys()
    levels |= short.keys()
    if not safety or not found:
        return []
    if may_widen and (missing or levels - stock.levels.keys()):
        raise WiderLocks(missing, levels)
    locked = [each for each in standing if all((n.item_id, n.location_id) in stock.levels for n in each.needs)]
    sellable = {}
    for key in safety.keys() & stock.levels.keys():
        level = stock.levels[key]
        free = level.on_hand - level.unavailable - level.committed - level.reserved - safety[key]
        if free > 0:
            sellable[key] = free
    return relocate(short, locked, sellable, {place for _, place in sellable})


def standing_of(order: Order, catalogue: Catalogue) -> Standing:
    """Return an order with what its open lines wait for, part by part where they are of kits. Pure."""
    needs = tuple(
        Need(line.line_id, item_id, line.location_id, order.committed_units(line) * per_unit)
        for line in sorted(order.lines.values(), key=lambda each: each.position)
        for item_id, per_unit in catalogue.bill(line.variant_id)
        if order.committed_units(line)
    )
    return Standing(order.order_id, needs)


def move_orders(
    moves: Sequence[Relocation], state: State, catalogue: Catalogue, event_id: UUID | None
) -> list[Posting]:
    """Let orders stand at their new locations; return what is released and committed. Changes the orders. Pure."""
    postings = []
    for move in moves:
        order = state.orders[move.order_id]
        order.version += 1
        for need in standing_of(order, catalogue).needs:
            if need.location_id == move.location_id:
                continue
            for kind, place, units in (
                ("release", need.location_id, -need.units),
                ("commit", move.location_id, need.units),
            ):
                cause = f"relocate:{kind}:{need.line_id}:{order.version}:{need.item_id}"
                postings.append(
                    Posting(
                        need.item_id, place, kind, cause, committed_delta=units, event_id=event_id,
                        order_line_id=need.line_id,
                    )
                )  # fmt: skip
        for line in order.lines.values():
            if order.committed_units(line):
                line.location_id = move.location_id
    return postings


async def store_relocations(conn: Connection, tenant_id: UUID, moves: Sequence[Relocation], state: State) -> None:
    """Write where orders stand now, and why. The orders are locked."""
    if not moves:
        return
    goals = {move.order_id: move.location_id for move in moves}
    lines = [
        (line.line_id, order_id, goal)
        for order_id, goal in sorted(goals.items())
        for line in state.orders[order_id].lines.values()
        if line.location_id == goal
    ]
    orders = [(order_id, state.orders[order_id].version) for order_id in sorted(goals)]
    await conn.execute(_MOVE, tenant_id, *_columns(lines), *_columns(orders))
    notes = [
        (move.order_id, state.orders[move.order_id].version, item_id, "moved", units, place, move.location_id)
        for move in moves
        for (item_id, place), units in move.lacks
    ]
    await conn.execute(_NOTE, tenant_id, *_columns(notes), BY_POLICY)
    reach("relocation.stored")


def _columns(rows: Sequence[tuple[object, ...]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]
