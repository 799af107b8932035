"""The story of an order is pure: rows in, one timeline out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from tidegate.kernel.ids import first_id_at, public_id
from tidegate.monitor.story import Facts, carried_pushes, tell
from tidegate.monitor.waiting import CommandFacts, LaneFacts, explain_wait

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ORDER_ID = UUID(int=1)
SHOP, ERP, ITEM = UUID(int=10), UUID(int=11), UUID(int=20)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def id_at(seconds: float, number: int = 0) -> UUID:
    return UUID(int=first_id_at(at(seconds)).int + number)


def order_row() -> dict[str, Any]:
    return {
        "order_id": ORDER_ID, "channel": "shop", "external_id": "77", "number": "T77", "version": 2,
        "order_state": "open", "payment_state": "paid", "fulfillment_state": "unfulfilled", "currency": "EUR",
        "total_minor": 1999, "totals_mismatch": False, "placed_at": at(-1),
    }  # fmt: skip


def event_row(**changes: Any) -> dict[str, Any]:
    return {
        "event_id": id_at(0), "connection": "shop", "source": "webhook", "topic": "order.placed", "external_id": "d1",
        "occurred_at": at(-1), "conflict": False, "run": 0, "outcome": "applied", "code": "applied", "reason": None,
        "connector_version": "1", "mapping_version": "1", "code_version": "0.1.0", "config_version": 1, "at": at(0.05),
        "parked_kind": None, "parked_code": None, "parked_reason": None, "parked_until": None, **changes,
    }  # fmt: skip


def command_row(**changes: Any) -> dict[str, Any]:
    return {
        "command_id": id_at(0.04), "connection_id": ERP, "connection": "erp", "kind": "order.create",
        "target_key": "order:1", "version": 1, "state": "succeeded", "code": None, "reason": None, "not_before": None,
        "settles_at": None, "deadline_at": at(1000), "attempt_number": 1, "call_id": UUID(int=30),
        "cause_event_id": id_at(0), "quantity": None, "entity_id": ORDER_ID, "finished_at": at(0.4), **changes,
    }  # fmt: skip


def attempt_row(**changes: Any) -> dict[str, Any]:
    return {
        "call_id": UUID(int=30), "idempotency_key": "cal_c0_x", "members": 1, "created_at": at(0.1),
        "attempt_id": id_at(0.1), "purpose": "send", "attempt_number": 1, "started_at": at(0.1), "outcome": "success",
        "code": "ok", "http_status": 200, "duration_ms": 290, "late": False, "answered_at": at(0.39), **changes,
    }  # fmt: skip


def push_row(seconds: float, connection: UUID = SHOP, **changes: Any) -> dict[str, Any]:
    return command_row(
        command_id=id_at(seconds), connection_id=connection, connection="shop", kind="inventory.set", quantity=8,
        target_key="item:20", entity_id=ITEM, call_id=None, finished_at=at(seconds + 0.2), **changes,
    )  # fmt: skip


def entry_row(seconds: float) -> dict[str, Any]:
    return {
        "item_id": ITEM, "sku": "A", "location": "main", "version": 3, "kind": "commit", "on_hand_delta": 0,
        "committed_delta": 2, "on_hand_after": 10, "committed_after": 2, "event_id": id_at(0), "at": at(seconds),
    }  # fmt: skip


def facts(**changes: Any) -> Facts:
    given: dict[str, Any] = {
        "order": order_row(), "lines": [], "fulfillments": [], "events": [], "entries": [], "commands": [], "pushes": [],
        "attempts": [], "bindings": [], "lanes": {}, "older": {}, **changes,
    }  # fmt: skip
    return Facts(**given)


def test_the_timeline_runs_from_the_delivery_to_the_answer() -> None:
    story = tell(
        facts(events=[event_row()], entries=[entry_row(0.03)], commands=[command_row()], attempts=[attempt_row()]),
        cell="c0",
        now=at(10),
    )

    assert [step.kind for step in story.steps] == [
        "received", "ledger", "planned", "outcome", "sent", "answer", "finished"
    ]  # fmt: skip
    assert [step.at for step in story.steps] == sorted(step.at for step in story.steps)
    received, *_, answer, finished = story.steps
    assert received.words == "webhook order.placed from shop"
    assert received.about == public_id("evt", "c0", id_at(0))
    assert answer.words == "erp answered: success (HTTP 200, 290 ms), ok"
    assert finished.words == "succeeded: create the order in erp"
    assert story.waits == ()


def test_each_run_of_an_event_has_its_outcome_but_it_came_in_once() -> None:
    rows = [
        event_row(outcome="quarantined", code="bad_total", reason="no total"),
        event_row(run=1, at=at(60), connector_version="2"),
    ]

    steps = tell(facts(events=rows), cell="c0", now=at(100)).steps

    assert [(step.kind, step.tone) for step in steps] == [
        ("received", "plain"),
        ("outcome", "bad"),
        ("outcome", "good"),
    ]
    assert steps[1].words == "order.placed: quarantined (bad_total) - no total"
    assert steps[2].words == "order.placed: applied, replay 1"


def test_result_events_are_told_by_their_answers_only() -> None:
    assert tell(facts(events=[event_row(source="result")]), cell="c0", now=at(1)).steps == ()


def test_a_lost_answer_shows_as_doubt_and_its_verification() -> None:
    command = command_row(
        state="in_doubt", code="no_answer", finished_at=None, not_before=at(5), settles_at=at(20), attempt_number=1
    )
    rows = [attempt_row(outcome="unknown", http_status=None, code="timeout"), attempt_row(
        attempt_id=id_at(2), purpose="verify", started_at=at(2), outcome="success", code="not_found", answered_at=at(2.1)
    )]  # fmt: skip

    story = tell(facts(commands=[command], attempts=rows), cell="c0", now=at(3))

    assert [step.kind for step in story.steps] == ["planned", "sent", "answer", "asked", "answer"]
    assert story.steps[2].words == "erp answered: unknown (no HTTP answer, 290 ms), timeout"
    (wait,) = story.waits
    assert (wait["rule"], wait["until"]) == ("verification", at(5))


def test_the_first_push_after_an_entry_carried_it() -> None:
    other_channel = UUID(int=12)
    pushes = [push_row(-5), push_row(1), push_row(2), push_row(3, other_channel)]

    carried = carried_pushes([entry_row(0.5)], pushes)

    assert [push["command_id"] for push in carried] == [id_at(1), id_at(3)]


def test_a_push_in_the_same_millisecond_counts() -> None:
    entry = entry_row(0.0004)

    assert len(carried_pushes([entry], [push_row(0.0)])) == 1


def pending(**changes: Any) -> CommandFacts:
    given: dict[str, Any] = {
        "command_id": UUID(int=1), "state": "pending", "code": None, "reason": None, "not_before": None,
        "settles_at": None, **changes,
    }  # fmt: skip
    return CommandFacts(**given)


def rule_of(command: CommandFacts, **lane: Any) -> tuple[str, datetime | None]:
    wait = explain_wait(command, LaneFacts(**{"state": "active", **lane}), START)
    assert wait is not None
    return wait.rule, wait.until


def test_every_unfinished_command_names_the_rule_that_holds_it() -> None:
    assert rule_of(pending(), writes_stopped=True) == ("writes_stopped", None)
    assert rule_of(pending(), state="waiting_auth") == ("connection", None)
    assert rule_of(pending(older_id=UUID(int=2), older_state="in_doubt")) == ("older_command", None)
    assert rule_of(pending(), snoozed_until=at(30)) == ("snoozed", at(30))
    assert rule_of(pending(not_before=at(5), code="timeout")) == ("parked", at(5))
    assert rule_of(pending(not_before=at(-5))) == ("turn", None)
    assert rule_of(pending(state="sending")) == ("answer", None)
    assert rule_of(pending(state="in_doubt", reason="look there")) == ("operator", None)
    assert explain_wait(pending(state="succeeded"), LaneFacts(state="active"), START) is None
