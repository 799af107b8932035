"""Which work a lane does next."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from tidegate.commerce.commands import CommandKind, Priority
from tidegate.dispatch.budget_book import Book
from tidegate.dispatch.budget_buckets import Bucket
from tidegate.dispatch.decide import REFUSED_TOGETHER
from tidegate.dispatch.records import DirtyMark, DoubtfulCommand, FetchRequest, PendingCommand, Window
from tidegate.dispatch.select import (
    GATHER_SECONDS,
    Busy,
    Candidate,
    Choice,
    Limits,
    LookAfter,
    PushStock,
    ReadFeed,
    SendCommand,
    choose,
    gather_wait,
    list_candidates,
    merge_wait,
    next_urgent_run,
    slots_kept,
)
from tidegate.dispatch.window import without
from tidegate.kernel.ids import new_id
from tidegate.sdk.budgets import Budget, TokenBucket
from tidegate.sdk.testing.hostile_connector import BULK_MAX, build_connector

NOW = datetime(2026, 11, 27, tzinfo=UTC)
CONNECTOR = build_connector()
BUCKET = TokenBucket(capacity=10, per_second=1)


def pending(kind: CommandKind = CommandKind.ORDER_CREATE, *, age: float = 0.0, **changes: object) -> PendingCommand:
    values: dict[str, object] = {
        "command_id": new_id(), "kind": kind, "target_key": f"order:{new_id()}", "entity_id": new_id(), "version": 1,
        "priority": int(Priority.ORDER), "attempt_number": 0, "call_id": None, "planned_at": NOW - timedelta(seconds=age),
        "deadline_at": NOW + timedelta(days=1), **changes,
    }  # fmt: skip
    return PendingCommand(**values)  # type: ignore[arg-type]


def mark(item: UUID | None = None, *, age: float = 0.0, tries: int = 0, priority: int = 50) -> DirtyMark:
    return DirtyMark(item_id=item or new_id(), priority=priority, dirty_at=NOW - timedelta(seconds=age), tries=tries)


def doubtful(target: str) -> DoubtfulCommand:
    return DoubtfulCommand(
        command_id=new_id(), kind=CommandKind.ORDER_CREATE, target_key=target, entity_id=new_id(), version=1, priority=20,
        attempt_number=1, call_id=new_id(), attempt_id=new_id(), quantity=None, negatives=0, settles_in_seconds=0.0,
        due_at=NOW, deadline_at=NOW,
    )  # fmt: skip


def listed(window: Window, busy: Busy | None = None, feeds: tuple[tuple[str, float], ...] = ()) -> list[Candidate]:
    return list_candidates(window, busy or Busy(), feeds, CONNECTOR, NOW)


class StoppedClock:
    """Time stands still."""

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0


def book(tokens: float, budget: Budget = BUCKET) -> Book:
    """A book whose bucket holds `tokens`."""
    found = Book(replace(CONNECTOR, budget=budget), StoppedClock())
    shared = found.meter.shared
    filled = tuple(structs.replace(part, tokens=tokens) if isinstance(part, Bucket) else part for part in shared)
    found.meter = structs.replace(found.meter, shared=filled)
    return found


def limits(**changes: object) -> Limits:
    values: dict[str, object] = {
        "book": book(10.0), "now": 0.0, "writes": True, "retries": 12, "urgent_run": 0,
        **changes,
    }  # fmt: skip
    return Limits(**values)  # type: ignore[arg-type]


def chosen(candidates: list[Candidate], **changes: object) -> object:
    candidate = choose(candidates, limits(**changes)).candidate
    return candidate.task if candidate is not None else None


def test_a_feed_that_also_mends_waits_while_writes_are_stopped_and_others_go_on() -> None:
    mending = {"orders": replace(CONNECTOR.feeds["orders"], mends=True), "moves": CONNECTOR.feeds["moves"]}
    connector = replace(CONNECTOR, feeds=mending)

    found = list_candidates(Window(), Busy(), (("orders", 9.0), ("moves", 1.0)), connector, NOW)

    assert chosen(found) == ReadFeed("orders")
    assert chosen(found, writes=False) == ReadFeed("moves")


def test_urgent_goes_first() -> None:
    order = pending()
    window = Window(commands=(order,), marks=(mark(),))

    assert chosen(listed(window)) == SendCommand(order)


def test_what_comes_while_a_call_of_its_kind_is_begun_gathers_for_the_next_one() -> None:
    """A call is whatever came while the last one was being begun; T2s over, it goes. A full one does not wait."""
    create = CommandKind.ORDER_CREATE
    spec = replace(CONNECTOR.commands[create], bulk_max=3)
    connector = replace(CONNECTOR, commands={**CONNECTOR.commands, create: spec})
    busy, first, later = Busy(), pending(), [pending() for _ in range(4)]
    other = pending(CommandKind.FULFILLMENT_CREATE, priority=int(Priority.FULFILLMENT))
    busy.occupy(SendCommand(first))

    def sent(*commands: PendingCommand) -> list[object]:
        return [each.task for each in list_candidates(Window(commands=commands), busy, (), connector, NOW)]

    assert sent(*later[:2], other) == [SendCommand(other)]
    assert sent(*later) == [SendCommand(later[0], tuple(later[1:3]))]
    again = pending(call_id=new_id(), attempt_number=1)
    assert sent(later[0], again) == [SendCommand(again)], "a frozen call has its company already"

    busy.begun(SendCommand(first))
    assert sent(*later[:2]) == [SendCommand(later[0], (later[1],))]
    busy.vacate(SendCommand(first))
    assert not busy.beginning


def test_a_kind_that_goes_one_by_one_does_not_wait_for_another_one_to_be_begun() -> None:
    busy, order = Busy(), pending()
    busy.occupy(SendCommand(pending()))

    assert [each.task for each in listed(Window(commands=(order,)), busy)] == [SendCommand(order)]


def test_age_is_worth_a_class_a_minute() -> None:
    old = pending(CommandKind.FULFILLMENT_CREATE, age=70.0, priority=int(Priority.FULFILLMENT))
    new = pending()

    assert chosen(listed(Window(commands=(new, old)))) == SendCommand(old)


def test_the_rest_gets_every_fifth_call() -> None:
    """However much urgent work there is, and however empty the bucket."""
    orders, marks = [pending() for _ in range(20)], [mark() for _ in range(4)]
    run, taken = 0, []
    window = Window(commands=tuple(orders), marks=tuple(marks))
    for _ in range(10):
        candidates = listed(window)
        choice = choose(candidates, limits(urgent_run=run, book=book(1.0)))
        assert choice.candidate is not None
        run = next_urgent_run(run, choice.candidate, candidates)
        taken.append(type(choice.candidate.task).__name__)
        task = choice.candidate.task
        window = without(window, task) if isinstance(task, SendCommand) else window

    assert taken == [*["SendCommand"] * 4, "PushStock"] * 2


def test_part_of_the_budget_is_kept_for_urgent_work() -> None:
    rest, urgent = listed(Window(marks=(mark(),))), listed(Window(commands=(pending(),)))

    assert choose(rest, limits(book=book(2.5))).wait_seconds == 0.5
    assert choose(urgent, limits(book=book(1.0))).candidate is not None


def test_numbers_go_in_part_where_half_of_their_charge_can_be_paid() -> None:
    """A call is charged for the worst: what waited for all of it would wait for points that are not spent."""
    marks = tuple(mark(age=9.0 - index) for index in range(4))
    stock = replace(CONNECTOR.commands[CommandKind.INVENTORY_SET], charge=1.0, charge_each=0.0, reserve_each=1.0)
    connector = replace(CONNECTOR, commands={**CONNECTOR.commands, CommandKind.INVENTORY_SET: stock})
    (whole,) = list_candidates(Window(marks=marks), Busy(), (), connector, NOW)

    assert whole.charge == 5.0
    half = choose([whole], limits(book=book(2.0 + 3.25))).candidate
    assert half is not None
    assert isinstance(half.task, PushStock)
    assert (half.task.marks, half.charge) == (marks[:2], 3.0)
    assert choose([whole], limits(book=book(2.0 + 2.0))).wait_seconds == 3.0
    assert choose([whole], limits(book=book(2.0 + 5.0))).candidate is whole


def test_nothing_is_taken_from_an_empty_bucket() -> None:
    choice = choose(listed(Window(commands=(pending(),))), limits(book=book(0.25)))

    assert choice == Choice(None, 0.75, "budget")


def test_a_target_in_flight_blocks_itself_alone() -> None:
    head, other = pending(), pending()
    busy = Busy()
    busy.occupy(SendCommand(head))

    found = listed(Window(commands=(head, other), doubtful=(doubtful(head.target_key),)), busy)

    assert [each.task for each in found] == [SendCommand(other)]


def test_fulfillment_and_stock_of_one_item_exclude_each_other() -> None:
    item, free = new_id(), new_id()
    fulfillment = pending(CommandKind.FULFILLMENT_CREATE, items=(item,), priority=30)
    window = Window(commands=(fulfillment,), marks=(mark(item), mark(free)))
    busy = Busy()

    busy.occupy(SendCommand(fulfillment))
    assert [m.item_id for each in listed(window, busy) for m in getattr(each.task, "marks", ())] == [free]
    busy.vacate(SendCommand(fulfillment))
    busy.occupy(PushStock((mark(item),)))
    assert SendCommand(fulfillment) not in [each.task for each in listed(window, busy)]
    busy.vacate(PushStock((mark(item),)))
    assert SendCommand(fulfillment) in [each.task for each in listed(window, busy)]

    held = msgspec.structs.replace(window, held_items=frozenset({item}), blocked_items=frozenset())
    assert [m.item_id for each in listed(held) for m in getattr(each.task, "marks", ())] == [free]
    blocked = msgspec.structs.replace(window, blocked_items=frozenset({item}))
    assert SendCommand(fulfillment) not in [each.task for each in listed(blocked)]


def test_two_fulfillments_of_one_item_go_side_by_side() -> None:
    item = new_id()
    first, second = (pending(CommandKind.FULFILLMENT_CREATE, items=(item,), priority=30) for _ in range(2))
    busy = Busy()
    busy.occupy(SendCommand(first))

    assert [each.task for each in listed(Window(commands=(first, second)), busy)] == [SendCommand(second)]
    busy.occupy(SendCommand(second))
    busy.vacate(SendCommand(first))
    assert listed(Window(marks=(mark(item),)), busy) == []


def test_a_push_takes_up_to_the_bulk_limit_and_failed_marks_apart() -> None:
    """A number that failed spoils no fresh ones, and gets its turn by age, however many fresh ones come after it."""
    fresh, failed = [mark() for _ in range(BULK_MAX + 3)], [mark(tries=2)]

    push, retry = listed(Window(marks=(*failed, *fresh)))

    assert isinstance(push.task, PushStock)
    assert isinstance(retry.task, PushStock)
    assert (len(push.task.marks), push.is_retry) == (BULK_MAX, False)
    assert (retry.task.marks, retry.is_retry) == (tuple(failed), True)


def test_stopped_writes_leave_reads_going() -> None:
    request = FetchRequest(topic="order", external_id="1", requested_by=new_id(), due_at=NOW, tries=0)
    doubt = doubtful("order:x")
    window = Window(commands=(pending(),), marks=(mark(),), fetches=(request,), doubtful=(doubt,))
    candidates = listed(window, feeds=(("orders", 0.0),))

    assert chosen(candidates, writes=False) == LookAfter(doubt)
    reads = [each for each in candidates if not each.is_write]
    assert len(reads) == 3


def test_retries_wait_when_their_allowance_is_used_up() -> None:
    again, resend, fresh = pending(attempt_number=1), pending(attempt_number=1, code="not_found"), pending(age=-60.0)
    candidates = listed(Window(commands=(again, fresh)))

    assert chosen(candidates, retries=0) == SendCommand(fresh)
    assert chosen(listed(Window(commands=(again,))), retries=0) is None
    assert chosen(listed(Window(commands=(resend,))), retries=0) == SendCommand(resend)


def test_a_call_carries_as_many_retries_as_are_allowed() -> None:
    """Where each command counts; what a look showed to be needed goes apart from them, and waits for no allowance."""
    create = replace(CONNECTOR.commands[CommandKind.ORDER_CREATE], bulk_max=10, charge_each=1.0, safe_to_resend=True)
    connector = replace(CONNECTOR, commands={**CONNECTOR.commands, CommandKind.ORDER_CREATE: create})
    again = tuple(pending(call_id=new_id(), attempt_number=2, code="half_made") for _ in range(6))
    needed = tuple(pending(call_id=new_id(), attempt_number=2, code="found_partly", age=-5.0) for _ in range(3))
    found = list_candidates(Window(commands=(*again, *needed)), Busy(), (), connector, NOW)

    assert [(len(one.task.commands), one.is_retry) for one in found if isinstance(one.task, SendCommand)] == [
        (6, True), (3, False)
    ]  # fmt: skip
    assert chosen(found, retries=0) == SendCommand(needed[0], needed[1:])
    cut = choose(found, limits(retries=4)).candidate
    assert cut is not None
    assert (cut.task, cut.parts) == (SendCommand(again[0], again[1:4]), 4)
    assert cut.charge == create.charge + 3 * create.charge_each
    assert chosen(found, retries=6) == SendCommand(again[0], again[1:])


def test_a_feed_in_flight_is_not_read_twice() -> None:
    busy = Busy()
    busy.occupy(ReadFeed("orders"))

    found = listed(Window(), busy, (("orders", 1.0), ("moves", 1.0)))

    assert [each.task for each in found] == [ReadFeed("moves")]


# --- merging ---------------------------------------------------------------------------------------------------------
def sends(window: Window, bulk_max: int) -> list[tuple[PendingCommand, ...]]:
    create = replace(CONNECTOR.commands[CommandKind.ORDER_CREATE], bulk_max=bulk_max)
    connector = replace(CONNECTOR, commands={**CONNECTOR.commands, CommandKind.ORDER_CREATE: create})
    found = list_candidates(window, Busy(), (), connector, NOW)
    return [each.task.commands for each in found if isinstance(each.task, SendCommand)]


def test_what_is_merged_is_of_one_kind_and_one_history() -> None:
    """Fresh ones together; those of one frozen call together; what was refused together goes alone."""
    call = new_id()
    fresh = [pending() for _ in range(5)]
    again = [pending(call_id=call, attempt_number=1) for _ in range(2)]
    apart = [pending(call_id=call, code=REFUSED_TOGETHER) for _ in range(2)]
    cancel = pending(CommandKind.ORDER_CANCEL)
    merged = sends(Window(commands=(*fresh, *again, *apart, cancel)), 3)
    assert merged == [tuple(fresh[:3]), tuple(fresh[3:]), tuple(again), (apart[0],), (apart[1],), (cancel,)]


def each_alone(commands: list[PendingCommand], places: int, bulk_max: int = 10) -> list[int]:
    """Sizes of the calls with commands that have requests of their own."""
    create = replace(CONNECTOR.commands[CommandKind.ORDER_CREATE], bulk_max=bulk_max, charge_each=3.0)
    connector = replace(CONNECTOR, commands={**CONNECTOR.commands, CommandKind.ORDER_CREATE: create})
    found = list_candidates(Window(commands=tuple(commands)), Busy(), (), connector, NOW, places=places)
    for each in found:
        assert isinstance(each.task, SendCommand)
        assert each.charge == create.charge + 3.0 * len(each.task.others)
        assert each.parts == len(each.task.commands)
    return [len(each.task.commands) for each in found if isinstance(each.task, SendCommand)]


def test_requests_of_their_own_go_at_the_same_time_while_there_is_room() -> None:
    """Company only saves transactions there: a call is filled when all places are taken, and nobody waits for company."""
    orders = [pending() for _ in range(24)]
    assert each_alone(orders[:3], places=8) == [1, 1, 1]
    assert each_alone(orders[:12], places=8) == [2] * 6
    assert each_alone(orders[:12], places=1) == [10, 2]
    assert each_alone(orders, places=2) == [10, 10, 4]
    assert each_alone(orders[:1], places=0) == [1]


def test_requests_of_their_own_gather_while_a_call_is_in_flight_until_they_share_little() -> None:
    """Never for long, never for the first, and not where there is nothing to share."""

    def sizes(fresh: int, *, charge: float = 4.0, age: float = 0.0, in_flight: int = 1) -> list[int]:
        create = replace(CONNECTOR.commands[CommandKind.ORDER_CREATE], bulk_max=16, charge=charge, charge_each=3.0)
        connector = replace(CONNECTOR, commands={**CONNECTOR.commands, CommandKind.ORDER_CREATE: create})
        busy, commands = Busy(), tuple(pending(age=age) for _ in range(fresh))
        sent = [SendCommand(pending(age=9.0)) for _ in range(in_flight)]
        for task in sent:
            busy.occupy(task)
            busy.begun(task)
        window = Window(commands=commands)
        found = list_candidates(window, busy, (), connector, NOW, places=8 - in_flight)
        wait = gather_wait(window, busy, connector, NOW)
        is_held = sum(len(each.task.commands) for each in found if isinstance(each.task, SendCommand)) < fresh
        assert not is_held or (wait is not None and 0 < wait <= GATHER_SECONDS)
        for task in sent:
            busy.vacate(task)
        assert list_candidates(window, busy, (), connector, NOW, places=8)
        assert gather_wait(window, busy, connector, NOW) is None
        return [len(each.task.commands) for each in found if isinstance(each.task, SendCommand)]

    assert sizes(3) == []
    assert sizes(3, age=GATHER_SECONDS) == [3]
    assert sizes(5) == [5]
    assert sizes(12) == [5, 5]
    assert sizes(60) == [9] * 6 + [6]
    assert sizes(3, in_flight=0) == [1, 1, 1]
    assert sizes(3, charge=3.0) == [1, 1, 1]


def test_frozen_calls_of_several_are_one_again_where_sending_again_is_safe() -> None:
    """What failed in other calls goes together, and apart from what goes for the first time."""
    again = [pending(call_id=new_id(), attempt_number=1) for _ in range(3)]
    apart = pending(call_id=new_id(), attempt_number=1, code=REFUSED_TOGETHER)
    fresh = [pending(), pending()]
    create = CONNECTOR.commands[CommandKind.ORDER_CREATE]
    for is_safe, wanted in ((True, [3, 1, 2]), (False, [1, 1, 1, 1, 2])):
        spec = replace(create, bulk_max=10, charge_each=1.0, safe_to_resend=is_safe)
        connector = replace(CONNECTOR, commands={**CONNECTOR.commands, CommandKind.ORDER_CREATE: spec})
        found = list_candidates(Window(commands=(*again, apart, *fresh)), Busy(), (), connector, NOW)
        assert [len(each.task.commands) for each in found if isinstance(each.task, SendCommand)] == wanted
        assert [each.is_retry for each in found] == [True] * (len(wanted) - 1) + [False]


@given(
    st.lists(st.tuples(st.sampled_from([None, UUID(int=1), UUID(int=2)]), st.booleans()), max_size=40),
    st.integers(1, 7),
)
def test_merging_loses_nothing_and_keeps_to_the_cap(commands: list[tuple[UUID | None, bool]], bulk_max: int) -> None:
    """Each command is in exactly one call, in the order of the window inside of it, and no call is above the cap."""
    waiting = tuple(
        pending(call_id=call, code=REFUSED_TOGETHER if apart and call else None) for call, apart in commands
    )
    merged = sends(Window(commands=waiting), bulk_max)
    assert sorted(c.command_id for call in merged for c in call) == sorted(c.command_id for c in waiting)
    for call in merged:
        assert len(call) <= bulk_max
        assert list(call) == [command for command in waiting if command in call]
        assert len({command.call_id for command in call}) == 1


# --- waiting for company -----------------------------------------------------------------------------------------------
def pushes(marks: list[DirtyMark], merge_seconds: float) -> list[object]:
    found = list_candidates(Window(marks=tuple(marks)), Busy(), (), CONNECTOR, NOW, merge_seconds=merge_seconds)
    return [each.task for each in found]


def test_a_number_waits_for_company_and_not_for_ever() -> None:
    """Young numbers wait; when the oldest has waited long enough, all of them go together."""
    young, old = mark(age=0.5), mark(age=2.0)
    assert pushes([young], 2.0) == []
    assert merge_wait(Window(marks=(young,)), NOW, 2.0) == 1.5
    assert pushes([old, young], 2.0) == [PushStock((old, young))]


def test_what_is_critical_goes_at_once_and_takes_the_others_along() -> None:
    critical, young = mark(priority=int(Priority.INVENTORY_CRITICAL)), mark(age=0.1)
    assert pushes([critical, young], 60.0) == [PushStock((critical, young))]


def test_a_full_call_waits_for_nobody() -> None:
    marks = [mark() for _ in range(BULK_MAX)]
    assert pushes(marks, 60.0) == [PushStock(tuple(marks))]


def test_some_calls_in_flight_are_kept_for_what_is_urgent() -> None:
    """Of eight calls two are kept; a lane of one call keeps none, or nothing else would ever go."""
    assert [slots_kept(n, 0.2) for n in (1, 2, 4, 8)] == [0, 1, 1, 2]
    assert slots_kept(8, 0.0) == 0
    order = pending()
    candidates = listed(Window(commands=(order,), marks=(mark(age=10),)))
    assert choose(candidates, limits(), only_urgent=True).candidate is not None
    assert choose(listed(Window(marks=(mark(age=10),))), limits(), only_urgent=True) == Choice()


@given(st.lists(st.sampled_from([10, 20, 30, 40, 50, 60, 80]), min_size=1, max_size=30), st.integers(0, 8))
def test_nobody_starves(priorities: list[int], rank: int) -> None:
    """However much urgent work keeps coming, each thing that waits is chosen after a bounded number of calls."""
    rest = [p for p in priorities if p > 30]
    waiting = [
        Candidate(task=ReadFeed(str(index)), priority=priority, waiting_seconds=float(index), charge=1.0)
        for index, priority in enumerate(rest)
    ]
    run, calls = 0, 0
    while waiting:
        calls += 1
        assert calls <= 5 * len(rest) + 5, "one call of five belongs to the rest"
        urgent = Candidate(task=ReadFeed(f"new-{calls}"), priority=10 + rank, waiting_seconds=0.0, charge=1.0)
        found = choose([urgent, *waiting], limits(urgent_run=run)).candidate
        assert found is not None
        run = next_urgent_run(run, found, [urgent, *waiting])
        if found in waiting:
            waiting.remove(found)
        waiting = [msgspec.structs.replace(each, waiting_seconds=each.waiting_seconds + 1.0) for each in waiting]
