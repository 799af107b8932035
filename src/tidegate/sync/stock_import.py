"""Read stock from a file: check it part by part, then post it part by part, each part in a transaction of its own.

Nothing is kept in memory but a part; what is to be posted waits in a file without a name, so that what was shown is what is posted.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from types import TracebackType
from typing import Self, TypeVar
from uuid import UUID

import msgspec

from tidegate.config import Config
from tidegate.inventory.adjust import Adjustment, decide_adjustment
from tidegate.inventory.decide import Refusal
from tidegate.inventory.ledger import LevelKey
from tidegate.kernel.errors import ConfigurationError, ConflictError
from tidegate.store.connections import Connection
from tidegate.sync import adjust_statements as sql
from tidegate.sync.adjust import (
    NOTHING,
    Adjusted,
    Place,
    Standing,
    Then,
    adjust,
    aside_then,
    check_owner,
    choose_place,
    find_items,
    on_hand_after,
    on_hand_at,
    read_places,
    read_standing,
    set_safety,
)
from tidegate.sync.match_file import Fault
from tidegate.sync.stock_file import ASIDE_COLUMNS, Wish, key_of, read_row

PART = 500
"""Rows that are checked, or posted, together."""

T = TypeVar("T")
Row = tuple[int, Mapping[str, str]]
"""(line of the file, cell by column)"""
OnFault = Callable[[Fault, Mapping[str, str]], None]


class Step(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One number that is to become another one."""

    line: int
    sku: str
    location: str
    counter: str
    reason: str
    before: int
    after: int
    item_id: UUID
    location_id: UUID
    key: str
    note: str | None = None

    @property
    def units(self) -> int:
        """By how much it changes."""
        return self.after - self.before


class Totals(msgspec.Struct, kw_only=True):
    """What was found in a file, and what became of it."""

    rows: int = 0
    changes: int = 0
    unchanged: int = 0
    """Numbers that are so already."""
    before: int = 0
    """Numbers that were posted by an earlier run of the same file, or under the same key."""
    rejected: int = 0
    posted: int = 0


class Plan:
    """What is to be posted, in a file without a name."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `__exit__`
        self.first: list[Step] = []
        self.totals = Totals()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Forget everything."""
        self._file.close()

    def add(self, step: Step, *, shown: int) -> None:
        """Keep a step; the first `shown` of them in sight."""
        self._file.write(msgspec.json.encode(step) + b"\n")
        self.totals.changes += 1
        if len(self.first) < shown:
            self.first.append(step)

    def parts(self) -> Iterator[list[Step]]:
        """Yield the steps in order, part by part."""
        self._file.flush()
        self._file.seek(0)
        decoder = msgspec.json.Decoder(Step)
        for lines in _parts_of(self._file, PART):
            yield [decoder.decode(line) for line in lines]


async def check_rows(
    conn: Connection,
    tenant_id: UUID,
    config: Config,
    rows: Iterable[Row],
    plan: Plan,
    *,
    file_key: str,
    location: str | None,
    now: datetime,
    shown: int,
    on_fault: OnFault,
    on_progress: Callable[[Totals], None],
) -> None:
    """Fill a plan from rows; what is wrong with one is told to `on_fault`, and the row is left out. Writes nothing."""
    checker = _Checker(conn, tenant_id, await read_places(conn, tenant_id), file_key, location, _owner_refusal(config))
    for part in _parts_of(rows, PART):
        plan.totals.rows += len(part)
        wishes: list[Wish] = []
        cells_of = dict(part)
        for line, cells in part:
            found = read_row(line, cells, now=now)
            if isinstance(found, Fault):
                plan.totals.rejected += 1
                on_fault(found, cells)
                continue
            wishes += found
        async with conn.transaction(isolation="repeatable_read", readonly=True):
            outcomes = await checker.check(wishes)
        bad: set[int] = set()
        for outcome in outcomes:
            if isinstance(outcome, Fault) and outcome.line not in bad:
                bad.add(outcome.line)
                plan.totals.rejected += 1
                on_fault(outcome, cells_of[outcome.line])
        for outcome in outcomes:
            if isinstance(outcome, Fault) or (isinstance(outcome, Step) and outcome.line in bad):
                continue  # a row counts as a whole
            if isinstance(outcome, Step):
                plan.add(outcome, shown=shown)
            elif outcome == "before":
                plan.totals.before += 1
            else:
                plan.totals.unchanged += 1
        on_progress(plan.totals)


async def post_plan(
    conn: Connection,
    tenant_id: UUID,
    plan: Plan,
    *,
    actor: str,
    on_fault: Callable[[Fault, Step], None],
    on_progress: Callable[[Totals], None],
) -> None:
    """Post a plan, part by part. Ended in the middle and begun again with the same file, it goes on where it was."""
    for steps in plan.parts():
        async with conn.transaction():
            results = await adjust(
                conn, tenant_id, [_adjustment(s) for s in steps if s.counter != "safety_stock"], actor=actor
            )
            safety = {(s.item_id, s.location_id): s.after for s in steps if s.counter == "safety_stock"}
            changed = await set_safety(conn, tenant_id, safety)
        moved = [step for step in steps if step.counter != "safety_stock"]
        plan.totals.posted += changed
        for step, result in zip(moved, results, strict=True):
            if isinstance(result, Adjusted):
                plan.totals.posted += result.is_new
                plan.totals.before += not result.is_new
            else:
                plan.totals.rejected += 1
                on_fault(Fault(line=step.line, column=step.counter, message=result.words), step)
        on_progress(plan.totals)


class _Checker:
    """Compares wishes with what the ledger holds. Keeps in mind which numbers the file has set already."""

    def __init__(
        self,
        conn: Connection,
        tenant_id: UUID,
        places: Sequence[Place],
        file_key: str,
        location: str | None,
        not_owner: str | None,
    ) -> None:
        self._conn = conn
        self._tenant_id = tenant_id
        self._places = places
        self._file_key = file_key
        self._location = location
        self._not_owner = not_owner
        self._set: set[int] = set()

    async def check(self, wishes: Sequence[Wish]) -> list[Step | Fault | str]:
        """Return for each wish what is to be done, what is wrong with it, or that it is so already or was posted before."""
        items = await find_items(self._conn, self._tenant_id, {wish.sku for wish in wishes})
        levels: list[LevelKey | Fault] = [self._level(wish, items[wish.sku]) for wish in wishes]
        good = [(wish, level) for wish, level in zip(wishes, levels, strict=True) if not isinstance(level, Fault)]
        keys = {level for _, level in good}
        standing = await read_standing(self._conn, self._tenant_id, keys)
        seen = await self._seen(good)
        cause_keys = [f"adjust:{key_of(wish, self._file_key)}" for wish in wishes]
        posted = {row["cause_key"] for row in await self._conn.fetch(sql.POSTED, self._tenant_id, cause_keys)}
        outcomes: list[Step | Fault | str] = []
        for wish, level, cause in zip(wishes, levels, cause_keys, strict=True):
            if isinstance(level, Fault):
                outcomes.append(level)
            elif cause in posted:
                outcomes.append("before")
            else:
                outcomes.append(self._step(wish, level, standing.get(level, NOTHING), seen))
        return outcomes

    def _level(self, wish: Wish, item: UUID | Refusal) -> LevelKey | Fault:
        if isinstance(item, Refusal):
            return Fault(line=wish.line, column="sku", message=item.words)
        try:
            place = choose_place(self._places, wish.location or self._location)
        except ConfigurationError as error:
            return Fault(line=wish.line, column="location", message=str(error))
        if wish.counter != "by":
            name = hash((item, place.location_id, wish.counter))
            if name in self._set:
                return Fault(line=wish.line, column=wish.counter, message="an earlier row of the file says it already")
            self._set.add(name)
        return (item, place.location_id)

    async def _seen(self, good: Sequence[tuple[Wish, LevelKey]]) -> dict[tuple[int, str], int | None]:
        """Return what was counted or set aside as whoever wrote a row had seen it, by line and column.

        None where the row names an entry that is not there.
        """
        counts = [(wish, level) for wish, level in good if wish.counter == "on_hand"]
        at = {(*level, wish.counted_at) for wish, level in counts if wish.counted_at is not None}
        after = {(*level, wish.version) for wish, level in counts if wish.counted_at is None and wish.version}
        by_time = await on_hand_at(self._conn, self._tenant_id, at)
        by_number = await on_hand_after(self._conn, self._tenant_id, after)
        seen: dict[tuple[int, str], int | None] = {}
        for wish, level in counts:
            if wish.counted_at is not None:
                seen[wish.line, wish.counter] = by_time[*level, wish.counted_at]
            elif wish.version is not None:
                seen[wish.line, wish.counter] = by_number.get((*level, wish.version)) if wish.version else 0
        then = {
            (wish.line, wish.counter): Then(
                *level, None if wish.counted_at is not None else wish.version, wish.counted_at
            )
            for wish, level in good
            if wish.counter in ASIDE_COLUMNS and (wish.counted_at is not None or wish.version is not None)
        }
        aside = await aside_then(self._conn, self._tenant_id, set(then.values()))
        return seen | {(line, name): aside.get(at, {}).get(name, 0) for (line, name), at in then.items()}

    def _step(
        self, wish: Wish, level: LevelKey, standing: Standing, seen: Mapping[tuple[int, str], int | None]
    ) -> Step | Fault | str:
        counters = standing.counters
        if wish.counter == "by":
            before, units = counters.on_hand, wish.number
        elif wish.counter == "on_hand":
            before, had = counters.on_hand, seen.get((wish.line, wish.counter), counters.on_hand)
            if had is None:
                return Fault(line=wish.line, column="version", message=f"the ledger has no entry {wish.version} there")
            units = wish.number - had
        else:
            before = standing.safety_stock if wish.counter == "safety_stock" else standing.aside.get(wish.counter, 0)
            if wish.counter in ASIDE_COLUMNS and wish.counted_at is None and (wish.version or 0) > counters.version:
                return Fault(line=wish.line, column="version", message=f"the ledger has no entry {wish.version} there")
            had = seen.get((wish.line, wish.counter), before)
            units = wish.number - (before if had is None else had)
        if not units:
            return "unchanged"
        if wish.counter in ("by", "on_hand") and self._not_owner is not None:
            return Fault(line=wish.line, column=wish.counter, message=self._not_owner)
        place = next(place.name for place in self._places if place.location_id == level[1])
        step = Step(
            line=wish.line, sku=wish.sku, location=place, counter=wish.counter, reason=wish.reason, before=before,
            after=before + units, item_id=level[0], location_id=level[1], key=key_of(wish, self._file_key), note=wish.note,
        )  # fmt: skip
        if wish.counter != "safety_stock":
            decided = decide_adjustment(_adjustment(step), counters, standing.aside)
            if isinstance(decided, Refusal):
                return Fault(line=wish.line, column=wish.counter, message=decided.words)
        return step


def _parts_of(things: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield things in lists of at most `size`."""
    iterator = iter(things)
    while part := list(islice(iterator, size)):
        yield part


def _adjustment(step: Step) -> Adjustment:
    return Adjustment(
        key=step.key, item_id=step.item_id, location_id=step.location_id, units=step.units, reason=step.reason,
        note=step.note, is_aside=step.counter in ASIDE_COLUMNS,
    )  # fmt: skip


def _owner_refusal(config: Config) -> str | None:
    """Return why on_hand is not changed here, None where it is."""
    try:
        check_owner(config)
    except ConflictError as error:
        return str(error)
    return None
