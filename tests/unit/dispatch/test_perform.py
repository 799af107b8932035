"""Calling a connector: whatever it does becomes outcomes and evidence of bounded size."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from tidegate.commerce.commands import CancelOrder, CommandKind, Payload
from tidegate.dispatch.guard import GuardedApi, LeaseLostError
from tidegate.dispatch.perform import build_evidence, execute, find
from tidegate.dispatch.records import Subject
from tidegate.kernel.errors import (
    OutcomeUnknownError,
    RateLimitedError,
    RejectedError,
    TidegateError,
    TransientError,
)
from tidegate.kernel.ids import new_id
from tidegate.sdk.connector import CommandSpec, Done, Failed, FindOutcome, ItemOutcome, NotFound, Partly
from tidegate.sdk.http import Api, Response

PAYLOADS = [CancelOrder(reference="ord_c0_1", order_external_id="1"), CancelOrder(reference="2", order_external_id="2")]


class Remote:
    """An Api whose answers are given: a status, or an error to raise."""

    settings: Mapping[str, Any] = {}

    def __init__(self, *answers: int | TidegateError) -> None:
        self.answers = list(answers)

    async def request(self, method: str, path: str, **_: Any) -> Response:
        answer = self.answers.pop(0)
        if isinstance(answer, TidegateError):
            raise answer
        return Response(status=answer, headers={}, body=b'{"note": "' + b"x" * 9000 + b'"}')


def guard(*answers: int | TidegateError, lease: bool = True) -> GuardedApi:
    return GuardedApi(Remote(*answers), has_lease=lambda: lease, excerpt_bytes_max=4096)


def run(outcome: Sequence[ItemOutcome] | BaseException | float) -> Sequence[ItemOutcome]:
    async def act(_api: Api, _payloads: Sequence[Payload], _key: str) -> Sequence[ItemOutcome]:
        if isinstance(outcome, BaseException):
            raise outcome
        if isinstance(outcome, float):
            await asyncio.sleep(outcome)
            return []
        return outcome

    return asyncio.run(execute(CommandSpec(execute=act), guard(), PAYLOADS, "key", seconds_max=0.05))


def codes(outcomes: Sequence[ItemOutcome]) -> list[str]:
    return [outcome.error.code if isinstance(outcome, Failed) else "done" for outcome in outcomes]


def test_each_payload_gets_an_outcome_whatever_happens() -> None:
    assert codes(run([Done(), Failed(error=RejectedError(code="no"))])) == ["done", "no"]
    assert codes(run(TransientError(code="away"))) == ["away", "away"]
    assert codes(run([Done()])) == ["invariant"] * 2
    assert codes(run(KeyError("private"))) == ["connector_defect"] * 2
    assert codes(run(TimeoutError())) == ["call_timeout"] * 2
    assert codes(run(30.0)) == ["call_timeout"] * 2
    assert "private" not in str(run(KeyError("private")))


def test_read_back_is_contained_as_well() -> None:
    async def look(_api: Api, payload: Payload) -> FindOutcome:
        raise ValueError(payload)

    async def act(_api: Api, _payloads: Sequence[Payload], _key: str) -> Sequence[ItemOutcome]:
        return []

    spec = CommandSpec(execute=act, find=look)
    (seen,) = asyncio.run(find(spec, guard(), PAYLOADS[:1], seconds_max=1.0))

    assert isinstance(seen, Failed)
    assert seen.error.code == "connector_defect"


@pytest.mark.parametrize(
    ("answers", "begun", "earlier", "status"),
    [
        ((200,), 1, 0, 200),
        ((200, 200), 2, 1, 200),
        ((423,), 1, 0, 423),
        ((200, TransientError(code="not_sent_connect")), 1, 1, None),
        ((TransientError(code="not_sent_dns"),), 0, 0, None),
        ((OutcomeUnknownError(code="answer_lost", context={"status": 502}),), 1, 0, 502),
        ((200, RateLimitedError(context={"status": 429})), 2, 1, 429),
    ],
)
def test_guard_counts_what_may_have_had_an_effect(
    answers: tuple[int | TidegateError, ...], begun: int, earlier: int, status: int | None
) -> None:
    api = guard(*answers)

    async def act() -> None:
        for answer in answers:
            if isinstance(answer, TidegateError):
                with pytest.raises(TidegateError):
                    await api.request("POST", "/x")
            else:
                await api.request("POST", "/x")

    asyncio.run(act())
    assert (api.writes_begun, api.earlier_writes, api.http_status) == (begun, earlier, status)


def test_reads_count_as_nothing_but_show_what_came_before() -> None:
    api = guard(200, 200)

    async def act() -> None:
        await api.request("POST", "/x")
        await api.request("GET", "/x", changes_state=False)

    asyncio.run(act())
    assert (api.writes_begun, api.earlier_writes) == (1, 1)


def test_nothing_is_sent_without_a_lease() -> None:
    api = guard(200, lease=False)

    with pytest.raises(LeaseLostError) as caught:
        asyncio.run(api.request("POST", "/x"))

    assert (caught.value.code, api.writes_begun) == ("not_sent_lease", 0)


def subject() -> Subject:
    return Subject(
        command_id=new_id(), kind=CommandKind.ORDER_CANCEL, entity_id=new_id(), version=1, attempt_number=1,
        deadline_at=datetime(2026, 11, 27, tzinfo=UTC),
    )  # fmt: skip


@pytest.mark.parametrize("count", [1, 3, 50, 500])
def test_evidence_is_json_of_at_most_four_kilobytes(count: int) -> None:
    api = guard(200)
    asyncio.run(api.request("PUT", "/x"))
    outcomes: list[ItemOutcome] = [Failed(error=RejectedError("ü" * 900, code="no")) for _ in range(count - 1)]
    outcomes.append(Done(external_id="17"))

    evidence = build_evidence([subject() for _ in range(count)], outcomes, api, duration_ms=3, bytes_max=4096)

    assert len(evidence.excerpt) <= 4096
    shown = msgspec.json.decode(evidence.excerpt)
    assert shown["members"]
    assert evidence.outcome == ("success" if count == 1 else "partial")
    assert evidence.code == ("ok" if count == 1 else "no")
    assert evidence.http_status == 200


@pytest.mark.parametrize(
    ("seen", "name"), [(NotFound(), "not_found"), (Partly(), "partly"), (Done(), "success")], ids=str
)
def test_what_a_read_back_saw_is_named(seen: FindOutcome, name: str) -> None:
    assert build_evidence([subject()], [seen], guard(), duration_ms=0, bytes_max=4096).outcome == name
