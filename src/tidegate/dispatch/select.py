"""Which work a lane does next, pure.

Two bands: urgent (payment, order, fulfillment) and the rest. Urgent work goes first and part of the budget is kept for
it, but of any five calls one belongs to the rest when it waits. Inside a band age counts: 60 s of waiting are worth one
class, so nothing waits for ever.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from datetime import datetime
from typing import Literal, assert_never
from uuid import UUID

import msgspec

from tidegate.commerce.commands import CommandKind, Priority
from tidegate.dispatch.budget_book import Book
from tidegate.dispatch.decide import REFUSED_TOGETHER
from tidegate.dispatch.records import DirtyMark, DoubtfulCommand, FetchRequest, PendingCommand, ShownRead, Window
from tidegate.sdk.connector import CommandSpec, Connector

AGEING_SECONDS_PER_POINT = 6.0
"""Classes are 10 points apart."""
URGENT_MAX = int(Priority.FULFILLMENT)
URGENT_RUN_MAX = 4
"""Urgent calls in a row while other work waits."""
FLOOR_SHARE = 0.2
"""Of the bucket, kept for urgent work that is still to come."""
PART_SHARE = 0.5
"""Numbers go without the rest of their call from this share of its charge on."""
SHARED_SHARE = 0.07
"""Part of the charge of a call that its commands may share before it is worth waiting for more of them."""
GATHER_SECONDS = 0.25
"""How long a command waits at most for others to share a call with."""
VERIFIED_CODES = frozenset(("not_found", "found_partly", "resend_is_safe", "retried_by_operator"))
"""A command that was put back for one of these is sent again on evidence; it costs no retry allowance."""
ALL_KINDS = frozenset(CommandKind)
FETCH_PRIORITY = int(Priority.FULFILLMENT) + 5
SHOWN_PRIORITY = int(Priority.ANALYTICS)
FEED_PRIORITY = int(Priority.INVENTORY) + 5
"""A feed mostly shows what webhooks told already; where a budget is short, numbers go before it."""


class SendCommand(msgspec.Struct, frozen=True):
    """Send an action command, or several of one kind, each of another target, in one call."""

    command: PendingCommand
    others: tuple[PendingCommand, ...] = ()

    @property
    def commands(self) -> tuple[PendingCommand, ...]:
        """All that are sent, the most urgent first."""
        return (self.command, *self.others)


class PushStock(msgspec.Struct, frozen=True):
    """Tell the channel the numbers of these items in one call."""

    marks: tuple[DirtyMark, ...]


class LookAfter(msgspec.Struct, frozen=True):
    """Look whether a command in doubt was carried out, or the members of one call, of one attempt."""

    command: DoubtfulCommand
    others: tuple[DoubtfulCommand, ...] = ()

    @property
    def commands(self) -> tuple[DoubtfulCommand, ...]:
        """All that are looked after."""
        return (self.command, *self.others)


class FetchEntity(msgspec.Struct, frozen=True):
    """Read one entity."""

    request: FetchRequest


class ReadFeed(msgspec.Struct, frozen=True):
    """Read the next page of a feed."""

    name: str


class ReadShown(msgspec.Struct, frozen=True):
    """Read the next page of what the system shows, or compare the next part of what was read."""

    read: ShownRead


Task = SendCommand | PushStock | LookAfter | FetchEntity | ReadFeed | ReadShown


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A task that could be done now."""

    task: Task
    priority: int
    waiting_seconds: float
    charge: float
    operation: str = ""
    """What the platform calls it, where operations have budgets of their own."""
    is_write: bool = False
    is_retry: bool = False
    parts: int = 1
    """Commands in it that have requests of their own."""
    charge_of: Callable[[int], float] | None = None
    """What a call with so many of its commands or numbers is charged; None: it cannot be divided."""

    @property
    def is_urgent(self) -> bool:
        """Whether it belongs to the urgent band."""
        return self.priority <= URGENT_MAX

    def rank(self) -> float:
        """Lower goes first."""
        return self.priority - max(0.0, self.waiting_seconds) / AGEING_SECONDS_PER_POINT


class Busy:
    """What the lane's calls in flight touch."""

    def __init__(self) -> None:
        """Start with nothing in flight."""
        self.targets: set[str] = set()
        """Targets of action commands and read-backs."""
        self.pushed_items: set[UUID] = set()
        """Items of stock pushes."""
        self.fulfilled_items: Counter[UUID] = Counter()
        """Items of fulfillments, counted."""
        self.alone: set[UUID] = set()
        """Commands and items that could not be begun together with others: each has a call of its own."""
        self.reads: set[str] = set()
        """Feeds and fetches by name."""
        self.sending: Counter[CommandKind] = Counter()
        """Calls with commands, by kind."""
        self.beginning: dict[UUID, CommandKind] = {}
        """Calls whose T2s is not over, by their first command: the kind of what may still keep it company."""

    def occupy(self, task: Task) -> None:
        """Note what a task touches."""
        match task:
            case SendCommand():
                first = task.command
                self.sending[first.kind] += 1
                if _company(first, self, None) is first.kind:
                    self.beginning[first.command_id] = first.kind
                for command in task.commands:
                    self.targets.add(command.target_key)
                    self.fulfilled_items.update(command.items)
            case PushStock(marks):
                self.pushed_items.update(mark.item_id for mark in marks)
            case LookAfter():
                self.targets.update(doubtful.target_key for doubtful in task.commands)
            case FetchEntity() | ReadFeed() | ReadShown():
                self.reads.add(read_name(task))
            case _:
                assert_never(task)

    def begun(self, task: Task) -> None:
        """Note that the T2s of a task is over, whatever came of it."""
        if isinstance(task, SendCommand):
            self.beginning.pop(task.command.command_id, None)

    def vacate(self, task: Task) -> None:
        """Forget what a task touched."""
        self.begun(task)
        match task:
            case SendCommand():
                self.sending[task.command.kind] -= 1
                for command in task.commands:
                    self.targets.discard(command.target_key)
                    self.fulfilled_items -= Counter(command.items)
                if not task.others:
                    self.alone.discard(task.command.command_id)
            case PushStock(marks):
                self.pushed_items.difference_update(mark.item_id for mark in marks)
                if len(marks) == 1:
                    self.alone.discard(marks[0].item_id)
            case LookAfter():
                self.targets.difference_update(doubtful.target_key for doubtful in task.commands)
            case FetchEntity() | ReadFeed() | ReadShown():
                self.reads.discard(read_name(task))
            case _:
                assert_never(task)


def read_name(task: FetchEntity | ReadFeed | ReadShown) -> str:
    """Return the name of a read among those in flight."""
    if isinstance(task, ReadShown):
        return "shown"
    if isinstance(task, ReadFeed):
        return f"feed:{task.name}"
    return f"fetch:{task.request.topic}:{task.request.external_id}"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What may be done at the moment."""

    book: Book
    """What is left of the budget."""
    now: float
    """Monotonic."""
    writes: bool
    """False while the stop-all-writes switch is on."""
    retries: int
    """Retries that one call may carry; 0 while the retry allowance is used up."""
    urgent_run: int
    """Urgent calls in a row so far while other work waited."""


class Choice(msgspec.Struct, frozen=True):
    """Do this now, or wait. `candidate` None with a wait: ask again then; both None: there is nothing to do."""

    candidate: Candidate | None = None
    wait_seconds: float | None = None
    rule: HoldRule = ""
    """What holds what could be done: '' when nothing does."""


HoldRule = Literal["", "writes_stopped", "retry_budget", "budget", "merging", "snoozed", "breaker", "lease"]
"""What may hold the head of a lane; shown by `tidegate lanes` and `tidegate why`."""


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """What holds a lane, and for how long as far as is known."""

    rule: HoldRule
    seconds: float | None = None


def list_candidates(
    window: Window,
    busy: Busy,
    feeds: Sequence[tuple[str, float]],
    connector: Connector,
    now: datetime,
    *,
    kinds: Container[CommandKind] = ALL_KINDS,
    merge_seconds: float = 0.0,
    places: int = 1,
) -> list[Candidate]:
    """Return what could be done now. `feeds` are the due ones with the seconds since they were due.

    Only commands of `kinds` may be sent. A stock number waits for company for `merge_seconds`. `places` is how many calls
    more there is room for at the same time.

    Only the oldest open command of a target is sent (the window holds no other), and a target in flight blocks itself
    alone. Stock numbers and fulfillments of one item exclude each other where the channel takes what it fulfils off the number.
    """
    found = [
        *_looks(window, busy, connector, now),
        *_sends(window, busy, connector, now, kinds, places),
        *_fetches(window, busy, connector, now),
        *_shown(window, busy, connector, now),
        *(
            Candidate(
                task=ReadFeed(name),
                priority=FEED_PRIORITY,
                waiting_seconds=waiting,
                charge=connector.feeds[name].charge,
                operation=connector.feeds[name].operation,
                is_write=connector.feeds[name].mends,
            )
            for name, waiting in feeds
            if read_name(ReadFeed(name)) not in busy.reads
        ),
    ]
    return (
        [*found, *_pushes(window, busy, connector, now, merge_seconds)] if CommandKind.INVENTORY_SET in kinds else found
    )


def slots_kept(calls_max: int, floor: float) -> int:
    """Return how many of a lane's calls in flight are kept for urgent work; none where there is only one."""
    return min(calls_max - 1, max(1, round(floor * calls_max))) if floor > 0 else 0


def choose(
    candidates: Sequence[Candidate], limits: Limits, *, floor: float = FLOOR_SHARE, only_urgent: bool = False
) -> Choice:
    """Return the most urgent candidate that is allowed and paid for, or how long to wait for its budget.

    A cheaper one does not overtake it, unless it waits for the budget of its own operation: that is no concern of others.
    No wait at all means: until a call in flight ends.

    `floor` is the part of the budget that is kept for urgent work that is still to come. `only_urgent`: what else could be
    done has as many calls in flight as it may.
    """
    if only_urgent:
        candidates = [candidate for candidate in candidates if candidate.is_urgent]
    able = [
        _at_most(c, limits.retries) if c.is_retry else c
        for c in candidates
        if (limits.writes or not c.is_write) and (limits.retries or not c.is_retry)
    ]
    if not able:
        return Choice(rule="" if not candidates else "retry_budget" if limits.writes else "writes_stopped")
    waits: list[float] = []
    while able:
        best, floor_share = _best(able, limits, floor)
        if best.charge <= 0:
            return Choice(best)
        wait = limits.book.wait(best.charge, best.operation, limits.now, floor_share=floor_share)
        if wait <= 0:
            return Choice(best)
        if (part := _part(best, limits, floor_share)) is not None:
            return Choice(part)
        waits.append(wait)
        if limits.book.wait_shared(best.charge, limits.now, floor_share=floor_share) > 0:
            break
        able = [c for c in able if c.operation != best.operation]
    wait = min(waits, default=math.inf)
    return Choice(None, wait if math.isfinite(wait) else None, "budget")


def _at_most(whole: Candidate, retries: int) -> Candidate:
    """Return a call with as many of its commands as may be tried again, where each of them counts."""
    if whole.parts <= retries or not isinstance(whole.task, SendCommand) or whole.charge_of is None:
        return whole
    task = SendCommand(whole.task.command, whole.task.others[: retries - 1])
    return msgspec.structs.replace(whole, task=task, parts=retries, charge=whole.charge_of(retries))


def _part(whole: Candidate, limits: Limits, floor_share: float) -> Candidate | None:
    """Return a call with as many of the oldest numbers as can be paid for, where they are worth a call of their own.

    A call is charged for the worst, and mostly gives some back: numbers that waited for the whole charge would wait for
    what is not spent.
    """
    if not isinstance(whole.task, PushStock) or whole.charge_of is None:
        return None
    marks = whole.task.marks
    sizes = range(1, len(marks))
    number = bisect_left(sizes, True, key=lambda n: _wait_of(whole, n, limits, floor_share) > 0)
    charge = whole.charge_of(number) if number else 0.0
    if charge < PART_SHARE * whole.charge:
        return None
    return msgspec.structs.replace(whole, task=PushStock(marks[:number]), charge=charge)


def _wait_of(whole: Candidate, number: int, limits: Limits, floor_share: float) -> float:
    charge = whole.charge_of(number) if whole.charge_of is not None else whole.charge
    return limits.book.wait(charge, whole.operation, limits.now, floor_share=floor_share)


def _best(able: Sequence[Candidate], limits: Limits, floor: float) -> tuple[Candidate, float]:
    """Return who goes first, and the share of the budget that must stay behind it."""
    urgent = [c for c in able if c.is_urgent]
    rest = [c for c in able if not c.is_urgent]
    is_turn_of_rest = bool(rest) and (not urgent or limits.urgent_run >= URGENT_RUN_MAX)
    best = min(rest if is_turn_of_rest else urgent, key=Candidate.rank)
    return best, 0.0 if best.is_urgent or urgent else floor


def next_urgent_run(run: int, chosen: Candidate, candidates: Sequence[Candidate]) -> int:
    """Return the length of the run of urgent calls after `chosen` was taken out of `candidates`."""
    if not chosen.is_urgent:
        return 0
    return run + 1 if any(not c.is_urgent for c in candidates) else 0


def _sends(
    window: Window, busy: Busy, connector: Connector, now: datetime, kinds: Container[CommandKind], places: int
) -> list[Candidate]:
    """Return calls with the commands that may go. What is merged is of one kind, and no target is in two of them.

    While a call is being begun, others of its kind gather for the next one, unless they fill it: it is whatever came while
    the last one was being begun. Those that have requests of their own gather while one is in flight, until what they share
    is little of their call, and for a moment at most. So there are few calls where much comes, and no wait where little does.
    """
    closed = window.blocked_items | busy.pushed_items
    able = [
        command
        for command in window.commands
        if command.kind in kinds and command.target_key not in busy.targets and closed.isdisjoint(command.items)
    ]
    groups: dict[object, list[PendingCommand]] = {}
    for command in able:
        groups.setdefault(_company(command, busy, connector.commands.get(command.kind)), []).append(command)
    beginning = set(busy.beginning.values())
    return [
        Candidate(
            task=SendCommand(chosen[0], tuple(chosen[1:])),
            priority=chosen[0].priority,
            waiting_seconds=(now - min(command.planned_at for command in chosen)).total_seconds(),
            charge=spec.charge_of(len(chosen)) if spec is not None else 0.0,
            operation=spec.operation if spec is not None else "",
            is_write=True,
            is_retry=any(_is_retry(command) for command in chosen),
            parts=len(chosen) if spec is not None and spec.charge_each else 1,
            charge_of=spec.charge_of if spec is not None and spec.charge_each else None,
        )
        for company, group in groups.items()
        for spec in (connector.commands.get(group[0].kind),)
        for company_min in (_company_min(spec) if busy.sending[group[0].kind] else 1,)
        for size in (_size(len(group), spec, places, company_min),)
        for chosen in _cut(group, size)
        if company not in beginning or len(chosen) >= size or (spec is not None and spec.charge_each)
        if len(chosen) >= company_min or _has_gathered(chosen, now)
    ]


def _company(command: PendingCommand, busy: Busy, spec: CommandSpec | None) -> object:
    """Return with what a command may share a call: fresh ones of its kind, and later those of the same frozen call.

    Where each command has requests of its own and may be sent again at any time, the frozen calls of several may be one; but
    what a look showed to be needed does not wait for an allowance of retries.
    What a whole call was refused for may be any of its members: each of them goes alone.
    """
    if command.code == REFUSED_TOGETHER or command.command_id in busy.alone:
        return command.command_id
    if command.call_id is None:
        return command.kind
    if spec is not None and spec.charge_each and spec.safe_to_resend:
        return command.kind, "again", _is_retry(command)
    return command.call_id


def _is_retry(command: PendingCommand) -> bool:
    """Whether it is tried again in the hope that it is served now; what a look showed to be needed is no such hope."""
    return command.attempt_number > 0 and command.code not in VERIFIED_CODES


def _size(waiting: int, spec: CommandSpec | None, places: int, company_min: int) -> int:
    """Return how many commands a call carries: all that it can, or an equal part where each costs its own time."""
    if spec is None:
        return 1
    if not spec.charge_each:
        return spec.bulk_max
    return min(spec.bulk_max, max(company_min, math.ceil(waiting / max(1, places))))


def _company_min(spec: CommandSpec | None) -> int:
    """Return how many commands a call needs so that what they share is little of it; 1 where that is nothing."""
    if spec is None or not spec.charge_each:
        return 1
    shared = spec.charge - spec.charge_each
    return min(spec.bulk_max, max(1, math.ceil(shared / (SHARED_SHARE * spec.charge_each))))


def _has_gathered(chosen: Sequence[PendingCommand], now: datetime) -> bool:
    """Whether one of them has waited long enough for company."""
    return (now - min(command.planned_at for command in chosen)).total_seconds() >= GATHER_SECONDS


def gather_wait(window: Window, busy: Busy, connector: Connector, now: datetime) -> float | None:
    """Return how long until the next command has waited long enough for company; None when none waits for it."""
    kinds = {kind for kind, calls in busy.sending.items() if calls and _company_min(connector.commands.get(kind)) > 1}
    waited = [(now - command.planned_at).total_seconds() for command in window.commands if command.kind in kinds]
    return min((GATHER_SECONDS - seconds for seconds in waited if seconds < GATHER_SECONDS), default=None)


def _cut(group: list[PendingCommand], size: int) -> Iterator[list[PendingCommand]]:
    for start in range(0, len(group), max(1, size)):
        yield group[start : start + max(1, size)]


def merge_wait(window: Window, now: datetime, merge_seconds: float) -> float | None:
    """Return how long until the oldest number has waited long enough for company; None when none waits for it."""
    waiting = [mark for mark in window.marks if not mark.tries and not mark.alone]
    if not waiting or merge_seconds <= 0:
        return None
    return max(0.005, merge_seconds - (now - min(mark.dirty_at for mark in waiting)).total_seconds())


def _is_ripe(fresh: Sequence[DirtyMark], now: datetime, merge_seconds: float, bulk_max: int) -> bool:
    """Whether numbers go now: one of them is critical or has waited long enough, or they fill a call."""
    if len(fresh) >= bulk_max:
        return True
    return any(
        mark.priority <= Priority.INVENTORY_CRITICAL or (now - mark.dirty_at).total_seconds() >= merge_seconds
        for mark in fresh
    )


def _pushes(window: Window, busy: Busy, connector: Connector, now: datetime, merge_seconds: float) -> list[Candidate]:
    """Return a call with fresh numbers, one with those that failed before, and one for each that goes alone.

    A bad number spoils no fresh ones.
    """
    spec = connector.commands.get(CommandKind.INVENTORY_SET)
    if spec is None:
        return []
    closed = window.held_items | window.blocked_items | busy.pushed_items | busy.fulfilled_items.keys()
    marks = [mark for mark in window.marks if mark.item_id not in closed]
    alone = [mark for mark in marks if mark.alone or mark.item_id in busy.alone]
    together = [mark for mark in marks if not (mark.alone or mark.item_id in busy.alone)]
    fresh = [mark for mark in together if not mark.tries]
    failed = [mark for mark in together if mark.tries]
    return [
        Candidate(
            task=PushStock(tuple(chosen[: spec.bulk_max])),
            priority=chosen[0].priority,
            waiting_seconds=(now - chosen[0].dirty_at).total_seconds(),
            charge=spec.charge_of(min(len(chosen), spec.bulk_max)),
            operation=spec.operation,
            is_write=True,
            is_retry=chosen[0].tries > 0,
            charge_of=spec.charge_of,
        )
        for chosen in (
            fresh if _is_ripe(fresh, now, merge_seconds, spec.bulk_max) else [],
            failed,
            *([mark] for mark in alone),
        )
        if chosen
    ]


def _looks(window: Window, busy: Busy, connector: Connector, now: datetime) -> list[Candidate]:
    """Return looks at what is in doubt: at the members of one call together where the connector can."""
    groups: dict[UUID, list[DoubtfulCommand]] = {}
    for command in window.doubtful:
        spec = connector.commands.get(command.kind)
        if command.target_key not in busy.targets:
            is_many = spec is not None and spec.find_many is not None
            groups.setdefault(command.attempt_id if is_many else command.command_id, []).append(command)
    return [
        Candidate(
            task=LookAfter(group[0], tuple(group[1:])),
            priority=group[0].priority - 1,
            waiting_seconds=(now - min(command.due_at for command in group)).total_seconds(),
            charge=spec.charge_of(len(group)) if spec is not None and spec.find is not None else 0.0,
            operation=spec.operation if spec is not None else "",
        )
        for group in groups.values()
        for spec in (connector.commands.get(group[0].kind),)
    ]


def _fetches(window: Window, busy: Busy, connector: Connector, now: datetime) -> list[Candidate]:
    return [
        Candidate(
            task=FetchEntity(request),
            priority=FETCH_PRIORITY,
            waiting_seconds=(now - request.due_at).total_seconds(),
            charge=connector.fetch_charge.get(request.topic, 1.0),
        )
        for request in window.fetches
        if read_name(FetchEntity(request)) not in busy.reads
    ]


def _shown(window: Window, busy: Busy, connector: Connector, now: datetime) -> list[Candidate]:
    """Return the next step of a run; it costs a page while it reads, and nothing while it compares."""
    shown = connector.shown
    return [
        Candidate(
            task=ReadShown(read),
            priority=SHOWN_PRIORITY,
            waiting_seconds=(now - read.due_at).total_seconds(),
            charge=shown.charge if shown is not None and read.state in ("waiting", "reading") else 0.0,
            operation=shown.operation if shown is not None else "",
        )
        for read in window.reads
        if read_name(ReadShown(read)) not in busy.reads
    ]
