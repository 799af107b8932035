"""Carry out adjustments of people in one transaction: lock, read, decide, one statement per table."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from tidegate.config import Config
from tidegate.config.records import SELF
from tidegate.config.versions import CONFIG_LOCK_CLASS
from tidegate.inventory.adjust import Adjustment, Aside, decide_adjustment
from tidegate.inventory.decide import Refusal
from tidegate.inventory.ledger import Counters, Entry, LevelKey, post
from tidegate.kernel.crashpoint import reach
from tidegate.kernel.errors import ConfigurationError, ConflictError
from tidegate.kernel.ids import new_id
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.sync import adjust_statements as sql
from tidegate.sync import statements
from tidegate.sync.load import hurry_numbers, lock_levels, mark_items
from tidegate.sync.write import COMMAND_CHANNEL, wake_up_call

_AUDIT = query("audit_add")
_NOTIFY = "SELECT pg_notify($1, $2)"
_NEVER_COUNTED = Counters(0, 0, 0, 0, 0)


class Adjusted(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What an adjustment posted."""

    version: int
    """Number of its entry in the level."""
    units: int
    before: int
    after: int
    """Of on_hand, or of what is set aside for all reasons together."""
    is_new: bool
    """False: it was posted under the same key before, and this time nothing happened."""


class Place(msgspec.Struct, frozen=True, gc=False):
    """A location."""

    name: str
    location_id: UUID
    is_active: bool


class Standing(msgspec.Struct, frozen=True, gc=False):
    """What a level holds now."""

    counters: Counters
    safety_stock: int
    aside: Mapping[str, int]
    """Units set aside, by reason."""


class Then(NamedTuple):
    """A level as it was: after the entry of a number, or at a moment."""

    item_id: UUID
    location_id: UUID
    version: int | None
    moment: datetime | None


NOTHING = Standing(_NEVER_COUNTED, 0, {})
"""A level that was never counted."""


def check_owner(config: Config) -> None:
    """Raise ConflictError where another system counts the goods: what is typed here would make the two differ for ever."""
    owner = config.owns.on_hand
    if owner in (None, SELF):
        return
    raise ConflictError(
        f"{owner!r} counts the goods (owns.stock.on_hand), so on_hand is not changed here",
        code="not_owner",
        hint=f"adjust it in {owner}: its movement comes here by itself. Units can be set aside here: --aside damaged",
    )


async def read_places(conn: Connection, tenant_id: UUID) -> list[Place]:
    """Return the locations, by name."""
    return [Place(*row) for row in await conn.fetch(sql.LOCATIONS, tenant_id)]


def choose_place(places: Sequence[Place], name: str | None) -> Place:
    """Return the location of a name; without one, the only one that is active. Raises ConfigurationError. Pure."""
    active = [place for place in places if place.is_active]
    if name is None:
        if len(active) == 1:
            return active[0]
        words = "there are several locations" if active else "there is no location yet"
        hint = (
            f"name one with --location: {', '.join(p.name for p in active)}" if active else "run: tidegate connect NAME"
        )
        raise ConfigurationError(words, code="location_needed", hint=hint)
    for place in places:
        if place.name == name:
            return place
    close = difflib.get_close_matches(name, [place.name for place in places], n=3) or [p.name for p in places[:10]]
    hint = f"there are: {', '.join(close)}" if close else "run: tidegate connect NAME"
    raise ConfigurationError(f"there is no location {name!r}", code="location_unknown", hint=hint)


async def find_items(conn: Connection, tenant_id: UUID, skus: Collection[str]) -> dict[str, UUID | Refusal]:
    """Return for each SKU its inventory item, or why it has none."""
    found: dict[str, UUID | Refusal] = {}
    for sku, item_id, is_kit in await conn.fetch(sql.ARTICLES, tenant_id, sorted(skus)):
        if item_id is not None and not is_kit:
            found[sku] = item_id
        elif is_kit:
            found[sku] = Refusal(
                code="is_kit",
                words=f"{sku} is made of other articles and has no stock of its own",
                hint="adjust its parts",
            )
        else:
            found[sku] = Refusal(
                code="sku_unknown", words=f"no item has the SKU {sku!r}", hint="look for it: tidegate stock export"
            )
    return found


async def read_standing(conn: Connection, tenant_id: UUID, keys: Collection[LevelKey]) -> dict[LevelKey, Standing]:
    """Return what levels hold; those that were never counted are not among them."""
    columns = _columns(sorted(keys)) if keys else [[], []]
    aside: dict[LevelKey, dict[str, int]] = {}
    for item_id, location_id, reason, units in await conn.fetch(sql.ASIDE, tenant_id, *columns):
        aside.setdefault((item_id, location_id), {})[reason] = units
    return {
        (row[0], row[1]): Standing(Counters(*row[2:7]), row[7], aside.get((row[0], row[1]), {}))
        for row in await conn.fetch(sql.LEVELS, tenant_id, *columns)
    }


async def aside_then(conn: Connection, tenant_id: UUID, wanted: Collection[Then]) -> dict[Then, dict[str, int]]:
    """Return the units that were set aside at levels, by reason, after entries or at moments; none: not among them."""
    found: dict[Then, dict[str, int]] = {}
    if wanted:
        for *then, reason, units in await conn.fetch(sql.ASIDE_THEN, tenant_id, *_columns(list(wanted))):
            found.setdefault(Then(*then), {})[reason] = units
    return found


async def on_hand_at(
    conn: Connection, tenant_id: UUID, wanted: Collection[tuple[UUID, UUID, datetime]]
) -> dict[tuple[UUID, UUID, datetime], int]:
    """Return on_hand of levels as the ledger had it at moments."""
    if not wanted:
        return {}
    rows = await conn.fetch(sql.ON_HAND_AT, tenant_id, *_columns(sorted(wanted)))
    return {(row[0], row[1], row[2]): row[4] for row in rows}


async def on_hand_after(
    conn: Connection, tenant_id: UUID, wanted: Collection[tuple[UUID, UUID, int]]
) -> dict[tuple[UUID, UUID, int], int]:
    """Return on_hand of levels after the entries of these numbers; entries that do not exist are not among them."""
    if not wanted:
        return {}
    rows = await conn.fetch(sql.ON_HAND_AFTER, tenant_id, *_columns(sorted(wanted)))
    return {(row[0], row[1], row[2]): row[3] for row in rows}


async def adjust(
    conn: Connection, tenant_id: UUID, wanted: Sequence[Adjustment], *, actor: str
) -> list[Adjusted | Refusal]:
    """Post adjustments in order, in the caller's transaction; return for each what it posted or why it did not.

    Each counts as if it had come alone. What was posted under its key before is not posted again.
    """
    if not wanted:
        return []
    await conn.execute(statements.HOLD_CONFIG, CONFIG_LOCK_CLASS, tenant_id)
    channels = [row[0] for row in await conn.fetch(sql.CONNECTIONS, tenant_id)]
    items = sorted({each.item_id for each in wanted})
    marks = await mark_items(conn, tenant_id, channels, items)
    stock = await lock_levels(conn, tenant_id, {(each.item_id, each.location_id) for each in wanted})
    levels = stock.levels
    # After the locks: whoever posts under the same key has ended.
    posted: dict[str, Any] = {
        row["cause_key"]: row for row in await conn.fetch(sql.POSTED, tenant_id, [e.cause_key for e in wanted])
    }
    asides = {
        key: dict(standing.aside) for key, standing in (await read_standing(conn, tenant_id, list(levels))).items()
    }
    results: list[Adjusted | Refusal] = []
    rows: list[tuple[object, ...]] = []
    entries: list[Entry] = []
    for each in wanted:
        key = (each.item_id, each.location_id)
        known = posted.get(each.cause_key)
        if known is not None:
            results.append(_repeated(each, known))
            continue
        decided = decide_adjustment(each, levels[key], asides.get(key, {}))
        if isinstance(decided, Refusal):
            results.append(decided)
            continue
        entry = post(levels, [decided.posting])[0]
        if each.is_aside:
            asides.setdefault(key, {})[each.reason] = asides.get(key, {}).get(each.reason, 0) + each.units
        entries.append(entry)
        rows.append(_row(entry, decided, actor))
        result = _result(each, entry)
        posted[each.cause_key] = {
            "item_id": each.item_id, "location_id": each.location_id, "version": result.version, "reason": each.reason,
            "on_hand_delta": 0 if each.is_aside else each.units, "unavailable_delta": each.units if each.is_aside else 0,
            "on_hand_after": entry.on_hand_after, "unavailable_after": entry.unavailable_after,
        }  # fmt: skip
        results.append(result)
    reach("adjust.decided")
    if rows:
        await conn.execute(sql.ADD_ENTRIES, tenant_id, msgspec.json.encode(rows).decode())
        await hurry_numbers(conn, tenant_id, marks, stock, entries)
        await _wake(conn, channels)
    reach("adjust.before_commit")
    return results


async def set_safety(conn: Connection, tenant_id: UUID, wanted: Mapping[LevelKey, int]) -> int:
    """Keep so many units of levels back from channels, in the caller's transaction; return how many levels changed."""
    if not wanted:
        return 0
    await conn.execute(statements.HOLD_CONFIG, CONFIG_LOCK_CLASS, tenant_id)
    channels = [row[0] for row in await conn.fetch(sql.CONNECTIONS, tenant_id)]
    await mark_items(conn, tenant_id, channels, {item_id for item_id, _ in wanted})
    await lock_levels(conn, tenant_id, set(wanted))
    rows = [(*key, units) for key, units in sorted(wanted.items())]
    done = await conn.execute(sql.SET_SAFETY, tenant_id, *_columns(rows))
    await _wake(conn, channels)
    return int(done.split()[-1])


async def note_action(
    conn: Connection, tenant_id: UUID, *, actor: str, action: str, subject: str, detail: Mapping[str, Any]
) -> None:
    """Write down who did what to stock."""
    await conn.execute(_AUDIT, tenant_id, new_id(), actor, action, subject, msgspec.json.encode(detail).decode())


async def _wake(conn: Connection, channels: Sequence[UUID]) -> None:
    if channels:
        await conn.execute(_NOTIFY, COMMAND_CHANNEL, wake_up_call((), (), channels))


def _repeated(wanted: Adjustment, known: Any) -> Adjusted | Refusal:
    """Return what the key posted before, or that it belongs to something else.

    Of a count the units may differ: they were a difference to what was there then.
    """
    same = (known["item_id"], known["location_id"], known["reason"]) == (
        wanted.item_id, wanted.location_id, wanted.reason,
    )  # fmt: skip
    name = "unavailable" if wanted.is_aside else "on_hand"
    units, after = known[f"{name}_delta"], known[f"{name}_after"]
    if not same or not units or (wanted.reason != "counted" and units != wanted.units):
        return Refusal(
            code="key_in_use",
            words=f"something else was posted under the key {wanted.key!r}",
            hint="a new adjustment needs a new key; to repeat one, say the same again",
        )
    return Adjusted(version=known["version"], units=units, before=after - units, after=after, is_new=False)


def _result(wanted: Adjustment, entry: Entry) -> Adjusted:
    after = entry.unavailable_after if wanted.is_aside else entry.on_hand_after
    return Adjusted(version=entry.version, units=wanted.units, before=after - wanted.units, after=after, is_new=True)


def _row(entry: Entry, decided: Aside, actor: str) -> tuple[object, ...]:
    p = entry.posting
    return (
        p.item_id, p.location_id, entry.version, p.kind, p.on_hand_delta, entry.unavailable_delta, entry.on_hand_after,
        entry.unavailable_after, entry.committed_after, entry.reserved_after, p.cause_key, actor, decided.reason,
        decided.note,
    )  # fmt: skip


def _columns(rows: Iterable[tuple[Any, ...]]) -> list[list[object]]:
    """Turn rows into one list per column, as unnest wants them."""
    return [list(column) for column in zip(*rows, strict=True)]
