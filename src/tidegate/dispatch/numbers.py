"""The counters that an item's number for a channel is made of: for a plain item its own, for a kit those that its parts leave.

Everything that tells, shows or compares a number reads it here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from tidegate.commerce.stock import StockNumber
from tidegate.dispatch.safety import NO_RULES, SafetyRules
from tidegate.dispatch.statements import NUMBERS
from tidegate.inventory.kits import PartStock, kits_of
from tidegate.store.connections import Connection


async def read_numbers(
    conn: Connection,
    tenant_id: UUID,
    connection_id: UUID,
    items: Sequence[UUID],
    rules: SafetyRules = NO_RULES,
    *,
    stock_number: StockNumber,
) -> list[Any]:
    """Return rows of `NUMBERS`, sorted by item; of kits, with what can be made of their parts as `on_hand`. Reads only.

    `rules` say what is kept back of the parts, and which of them are shared out among the channels. Where the channel shows
    what is available (`stock_number`), its own open orders are not read, and count as none.
    """
    rows = await conn.fetch(NUMBERS, tenant_id, connection_id, list(items), stock_number == "on_hand")
    wanted = sorted({part for row in rows for part in row["parts"] or ()})
    if not wanted:
        return rows
    parts = {row["item_id"]: row for row in await conn.fetch(NUMBERS, tenant_id, connection_id, wanted, False)}
    return [row if row["parts"] is None else _kit(row, parts, rules) for row in rows]


def _kit(row: Any, parts: Mapping[UUID, Any], rules: SafetyRules) -> dict[str, Any]:
    found = [(parts[part_id], units) for part_id, units in zip(row["parts"], row["units"], strict=True)]
    made_of = [part_stock(part, units, rules) for part, units in found]
    return {
        **row,
        "on_hand": kits_of(made_of),
        "unavailable": 0,
        "committed": 0,
        "reserved": 0,
        "safety_stock": 0,
        "unseen": 0,
        "entries": sum(int(part["entries"]) for part, _ in found),
        "pace": max(float(part["pace"]) / units for part, units in found),
        "is_counted": all(part.is_counted for part in made_of),
    }


async def read_parts(
    conn: Connection, tenant_id: UUID, item_id: UUID, rules: SafetyRules = NO_RULES
) -> list[tuple[str, PartStock]]:
    """Return the parts of a kit by SKU, each with what there is of it; none for a plain item. Reads only."""
    nobody = UUID(int=0)  # what a channel carries itself is not asked for
    (row,) = await conn.fetch(NUMBERS, tenant_id, nobody, [item_id], False)
    if row["parts"] is None:
        return []
    units = dict(zip(row["parts"], row["units"], strict=True))
    parts = await conn.fetch(NUMBERS, tenant_id, nobody, list(units), False)
    found = [(part["sku"], part_stock(part, units[part["item_id"]], rules)) for part in parts]
    return sorted(found, key=lambda each: each[0])


def part_stock(part: Any, units: int, rules: SafetyRules) -> PartStock:
    """Return what a row of `NUMBERS` says of an item that is a part, `units` of it in each kit. Pure."""
    available = part["on_hand"] - part["unavailable"] - part["committed"] - part["reserved"]
    return PartStock(
        units=units,
        available=int(available),
        withheld=max(int(part["safety_stock"]), rules.of(part["sku"])) + int(part["unseen"]),
        is_counted=part["is_counted"],
        is_shared=rules.shares(part["sku"]) != "off",
    )
