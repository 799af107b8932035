"""Saying what articles are made of: bundles, sets, multi-packs. Orders that hold units of them go over to the parts.

A kit is told to channels as a whole, and is counted nowhere: how many there are follows from its parts (`inventory.kits`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from tidegate.inventory.ledger import Posting, post
from tidegate.kernel.crashpoint import reach
from tidegate.kernel.ids import new_id
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.sync.load import lock_levels
from tidegate.sync.rebinding import lock_catalogue
from tidegate.sync.write import COMMAND_CHANNEL, store_entries

PARTS_MAX = 50
UNITS_MAX = 10_000
KITS_MAX = 10_000
"""Of one file."""
_KNOWN = query("kits_known")
_PARTS = query("kits_parts")
_SKUS = query("kits_skus")
_LINES = query("kits_lines")
_LOCK_ORDERS = query("kits_lock_orders")
_LOCK_MARKS = query("rebind_lock_marks")
_DROP = query("kits_drop_parts")
_ADD = query("kits_add_parts")
_MARK = query("kits_mark")

Parts = Mapping[str, int]
"""SKU of a part -> units of it in one kit."""


class KitChange(msgspec.Struct, frozen=True, kw_only=True):
    """What an article was made of, and what it is made of from now on."""

    sku: str
    before: dict[str, int]
    """Empty: it was no kit."""
    after: dict[str, int]
    """Empty: it is no kit any more, and counted by itself."""


class KitFault(msgspec.Struct, frozen=True, kw_only=True):
    """Why a kit cannot be made so."""

    sku: str
    code: str
    words: str
    hint: str


class KitPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What would change. With faults, nothing is changed."""

    changes: tuple[KitChange, ...] = ()
    faults: tuple[KitFault, ...] = ()
    lines: int = 0
    """Order lines whose units went over to other items."""


async def plan_kits(
    conn: Connection, tenant_id: UUID, wanted: Mapping[str, Parts], *, is_shared: Callable[[str], bool]
) -> KitPlan:
    """Return what making these articles of these parts would change. Reads only.

    No parts: it is to be a kit no more. `is_shared` says of a SKU whether the configuration shares its units out.
    """
    skus = sorted({*wanted, *(part for parts in wanted.values() for part in parts)})
    known = {row["sku"]: row for row in await conn.fetch(_KNOWN, tenant_id, skus)}
    before = await read_parts(conn, tenant_id, sorted(wanted))
    faults, changes = [], []
    for sku, parts in wanted.items():
        old = before.get(sku, {})
        if old == dict(parts):
            continue
        fault = _fault(sku, parts, wanted, known, is_kit=bool(old), is_shared=is_shared)
        if fault is not None:
            faults.append(fault)
        else:
            changes.append(KitChange(sku=sku, before=old, after=dict(parts)))
    return KitPlan(changes=tuple(changes), faults=tuple(faults))


def _fault(
    sku: str,
    parts: Parts,
    wanted: Mapping[str, Parts],
    known: Mapping[str, Any],
    *,
    is_kit: bool,
    is_shared: Callable[[str], bool],
) -> KitFault | None:
    """Return what is in the way of a kit, None when nothing is. Pure."""

    def fault(code: str, words: str, hint: str) -> KitFault:
        return KitFault(sku=sku, code=code, words=words, hint=hint)

    own = known[sku]
    if own["variant_id"] is None or own["own_id"] is None:
        return fault(
            "sku_unknown", f"no article has the SKU {sku!r}", "connect a system that sells it: tidegate connect NAME"
        )
    if own["own_id"] != own["item_id"]:
        return fault("is_pack", f"{sku} is counted as another item", "unbind it first: tidegate matches")
    if own["part_of"] is not None and parts and own["part_of"] not in _dissolved(wanted):
        return fault(
            "kit_in_kit", f"{sku} is a part of {own['part_of']}", "a part is no kit itself: name its parts there"
        )
    if not is_kit and parts and (own["on_hand"] or own["unavailable"] or own["reserved"]):
        words = f"{sku} has units of its own: {own['on_hand']} on hand, {own['unavailable']} set aside, {own['reserved']} reserved"
        return fault("kit_counted", words, f"count it to 0 first: tidegate stock adjust {sku} --to 0")
    if len(parts) > PARTS_MAX:
        return fault("kit_too_large", f"{sku} has {len(parts)} parts", f"a kit has at most {PARTS_MAX}")
    for part, units in sorted(parts.items()):
        found = known[part]
        if found["item_id"] is None:
            return fault(
                "part_unknown", f"no item has the SKU {part!r}, a part of {sku}", "look for it: tidegate stock export"
            )
        if part == sku or bool(wanted.get(part)) or (found["is_kit"] and part not in _dissolved(wanted)):
            return fault("kit_in_kit", f"{part}, a part of {sku}, is a kit itself", "name what it is made of instead")
        if not 1 <= units <= UNITS_MAX:
            return fault("units_invalid", f"{units} x {part} in {sku}", f"write 1 to {UNITS_MAX}")
        if found["shared"] or is_shared(part):
            return fault(
                "part_shared",
                f"units of {part}, a part of {sku}, are shared out among channels, so that a kit could sell them a second time",
                "take it out of flows.stock.allocation first, or leave it out of the kit",
            )
    if parts and own["shared"]:
        return fault(
            "part_shared",
            f"units of {sku} are shared out among channels",
            "take it out of flows.stock.allocation first",
        )
    return None


def _dissolved(wanted: Mapping[str, Parts]) -> set[str]:
    return {sku for sku, parts in wanted.items() if not parts}


async def set_kits(
    conn: Connection, tenant_id: UUID, wanted: Mapping[str, Parts], *, is_shared: Callable[[str], bool]
) -> KitPlan:
    """Make articles of parts, in the caller's transaction; return what changed. All of them, or with a fault none.

    Orders that hold units of a changed kit hold units of its new parts afterwards, and every channel is told anew. Safe to
    repeat. Nobody applies an event of the tenant until the transaction ends.
    """
    plan = await plan_kits(conn, tenant_id, wanted, is_shared=is_shared)
    if plan.faults or not plan.changes:
        return plan
    await lock_catalogue(conn, tenant_id)
    plan = await plan_kits(conn, tenant_id, wanted, is_shared=is_shared)
    if plan.faults or not plan.changes:
        return plan
    skus = sorted({one for change in plan.changes for one in (change.sku, *change.before, *change.after)})
    known = {row["sku"]: row for row in await conn.fetch(_KNOWN, tenant_id, skus)}
    items = {sku: row["item_id"] for sku, row in known.items()}
    await conn.fetch(_LOCK_MARKS, tenant_id, sorted(items.values()))
    variants = {known[change.sku]["variant_id"]: change for change in plan.changes}
    await conn.fetch(_LOCK_ORDERS, tenant_id, list(variants))
    lines = await conn.fetch(_LINES, tenant_id, list(variants))
    postings = _postings(lines, variants, items)
    levels = (await lock_levels(conn, tenant_id, {posting.key() for posting in postings})).levels
    await store_entries(conn, tenant_id, post(levels, postings))
    rows = [
        (items[change.sku], items[part], units)
        for change in plan.changes
        for part, units in sorted(change.after.items())
    ]
    await conn.execute(_DROP, tenant_id, [items[change.sku] for change in plan.changes])
    reach("kits.parts_dropped")
    if rows:
        await conn.execute(_ADD, tenant_id, *(list(column) for column in zip(*rows, strict=True)))
    await conn.execute(_MARK, tenant_id, sorted(items.values()))
    await conn.execute("SELECT pg_notify($1, '')", COMMAND_CHANNEL)
    reach("kits.before_commit")
    return msgspec.structs.replace(plan, lines=len(lines))


def _postings(lines: Sequence[Any], variants: Mapping[UUID, KitChange], items: Mapping[str, UUID]) -> list[Posting]:
    """Return what releases the units of lines on what their article was made of, and commits them on what it is made of. Pure."""
    cause = f"kit:{new_id()}"
    return [
        Posting(
            item_id=items[sku],
            location_id=line["location_id"],
            kind=kind,
            cause_key=f"{cause}:{kind}:{line['line_id']}:{items[sku]}",
            committed_delta=sign * line["units"] * per_unit,
            order_line_id=line["line_id"],
        )
        for line in lines
        for change in (variants[line["variant_id"]],)
        for kind, sign, parts in (("release", -1, change.before), ("commit", 1, change.after))
        for sku, per_unit in sorted((parts or {change.sku: 1}).items())
    ]


async def read_parts(conn: Connection, tenant_id: UUID, skus: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return what those of the SKUs that are kits are made of. Reads only."""
    found: dict[str, dict[str, int]] = {}
    for row in await conn.fetch(_PARTS, tenant_id, list(skus)):
        found.setdefault(row["sku"], {})[row["part"]] = row["units"]
    return found


async def list_kits(
    conn: Connection,
    tenant_id: UUID,
    *,
    after: str = "",
    part: str | None = None,
    prefix: str | None = None,
    limit: int = 100,
) -> dict[str, dict[str, int]]:
    """Return kits by SKU with what they are made of: those behind `after`, with `part` among their parts if it is given."""
    skus = [row["sku"] for row in await conn.fetch(_SKUS, tenant_id, after, part, limit, prefix)]
    return await read_parts(conn, tenant_id, skus)
