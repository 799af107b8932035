"""What becomes of a command after an attempt or a read-back."""

from __future__ import annotations

import msgspec
import pytest

from tidegate.commerce.commands import CommandKind
from tidegate.commerce.states import CommandState
from tidegate.dispatch.decide import (
    NUMBER_MAX,
    Circumstances,
    Decision,
    ErrorClass,
    LaneEffect,
    classify,
    decide_found,
    decide_look_failed,
    decide_outcome,
    decide_unsent,
    decide_without_readback,
    with_one_wait,
)
from tidegate.dispatch.guard import LeaseLostError
from tidegate.dispatch.settings import DEFAULTS
from tidegate.kernel import errors
from tidegate.sdk.connector import Done, Failed, NotFound, Partly

ACTION = CommandKind.ORDER_CREATE
STOCK = CommandKind.INVENTORY_SET


def about(kind: CommandKind = ACTION, **changes: object) -> Circumstances:
    values: dict[str, object] = {
        "kind": kind, "attempt_number": 1, "seconds_left": 3600.0, "safe_to_resend": False, **changes
    }  # fmt: skip
    return Circumstances(**values)  # type: ignore[arg-type]


def decide(error: errors.TidegateError, circumstances: Circumstances) -> Decision:
    return decide_outcome(Failed(error=error), circumstances, settle_seconds=20.0, settings=DEFAULTS)


def subclasses(kind: type[errors.TidegateError]) -> set[type[errors.TidegateError]]:
    return {kind}.union(*(subclasses(each) for each in kind.__subclasses__()))


@pytest.mark.parametrize("kind", sorted(subclasses(errors.TidegateError), key=str))
@pytest.mark.parametrize("command", [ACTION, STOCK])
def test_every_error_class_has_a_decision(kind: type[errors.TidegateError], command: CommandKind) -> None:
    """STYLE 3: exhaustive; whatever a connector raises, the command ends in a known state."""
    decision = decide(kind(), about(command))

    assert classify(kind()) in ErrorClass
    assert decision.state in CommandState
    assert decision.state is not CommandState.SUCCEEDED


@pytest.mark.parametrize(("status", "late"), [(500, None), (502, 20.0), (503, 20.0), (504, 20.0), (None, 20.0)])
def test_a_number_is_told_once_more_unless_the_other_side_itself_ended_the_request(
    status: int | None, late: float | None
) -> None:
    """Behind a gateway it may still be running; where nobody answered too."""
    error = errors.OutcomeUnknownError(code="server_error", context={} if status is None else {"status": status})

    decision = decide(error, about(STOCK, may_overtake=True, safe_to_resend=True))

    assert (decision.code, decision.remark, decision.late_seconds) == ("overtaken", True, late)


def test_a_spent_key_is_noted_with_the_doubt_and_nothing_else_changes() -> None:
    plain = decide(errors.OutcomeUnknownError(code="server_error"), about())
    spent = decide(errors.OutcomeUnknownError(code="server_error", is_key_spent=True), about())

    assert (spent.state, spent.is_key_spent, plain.is_key_spent) == (CommandState.IN_DOUBT, True, False)
    assert msgspec.structs.replace(spent, is_key_spent=False) == plain


def test_done_succeeds() -> None:
    done = Done(external_id="17")

    decision = decide_outcome(done, about(), settle_seconds=20.0, settings=DEFAULTS)

    assert decision == Decision(state=CommandState.SUCCEEDED, done=done)


@pytest.mark.parametrize(("asked", "wait"), [(3600.0, 3600.0), (0.0, 0.5), (1e9, 86_400.0)])
def test_told_to_wait_snoozes_the_lane_and_keeps_the_attempt(asked: float, wait: float) -> None:
    """LESSONS 10: an hour is honoured; zero does not spin; the absurd is bounded by a day."""
    decision = decide(errors.RateLimitedError(wait_seconds=asked), about())

    assert (decision.state, decision.is_counted, decision.lane) == (CommandState.PENDING, False, LaneEffect.SNOOZE)
    assert (decision.wait_seconds, decision.lane_wait_seconds) == (wait, wait)


def test_told_to_wait_without_a_time_waits_a_little() -> None:
    decision = decide(errors.RateLimitedError(), about())

    assert 0.5 <= decision.lane_wait_seconds <= 4.5


def test_transient_backs_off_and_counts() -> None:
    waits = [decide(errors.TransientError(), about(attempt_number=5)).wait_seconds or 0.0 for _ in range(200)]

    assert 0.0 <= min(waits) < 4.0
    assert 12.0 < max(waits) <= 16.0
    assert decide(errors.TransientError(), about()).is_counted


def test_transient_honours_the_wait_of_the_other_side() -> None:
    assert decide(errors.TransientError(wait_seconds=120.0), about()).wait_seconds == 120.0


def test_transient_past_the_deadline_is_a_dead_letter() -> None:
    decision = decide(errors.TransientError("still down", hint="look there"), about(seconds_left=-1.0))

    assert (decision.state, decision.code, decision.reason) == (
        CommandState.FAILED,
        "deadline",
        "still down - look there",
    )


def test_transient_stock_is_planned_anew() -> None:
    """A new number is a new call."""
    decision = decide(errors.TransientError(), about(STOCK, seconds_left=-1.0))

    assert (decision.state, decision.code, decision.remark) == (CommandState.SUPERSEDED, "replanned", True)
    assert not decision.forget_acked


def test_members_of_a_call_that_failed_as_a_whole_come_again_together() -> None:
    error = errors.TransientError("down", code="unavailable")
    decisions = [decide(error, about(attempt_number=number)) for number in (1, 5, 9)]

    together = with_one_wait([*decisions, decide(errors.RejectedError("no"), about())])

    assert {decision.wait_seconds for decision in together[:3]} == {max(d.wait_seconds or 0.0 for d in decisions)}
    assert (together[3].state, together[3].wait_seconds) == (CommandState.FAILED, None)


def test_lost_lease_is_nobodys_failure() -> None:
    decision = decide(LeaseLostError(), about())

    assert (decision.state, decision.is_counted, decision.lane) == (CommandState.PENDING, False, LaneEffect.NONE)
    assert decide_look_failed(LeaseLostError(), DEFAULTS).lane is LaneEffect.NONE


def test_conflict_is_tried_a_few_times() -> None:
    last = DEFAULTS.conflicts_max
    assert decide(errors.ConflictError(), about(attempt_number=last - 1)).state is CommandState.PENDING
    assert decide(errors.ConflictError(code="moved"), about(attempt_number=last)).state is CommandState.FAILED
    assert decide(errors.ConflictError(), about(STOCK, attempt_number=99)).remark


def test_unknown_outcome_is_in_doubt() -> None:
    decision = decide(errors.OutcomeUnknownError(code="answer_lost"), about())

    assert (decision.state, decision.code, decision.settle_seconds) == (CommandState.IN_DOUBT, "answer_lost", 20.0)
    assert decision.wait_seconds == DEFAULTS.first_look_seconds
    blind = decide(errors.OutcomeUnknownError(), about(can_read_back=False))
    assert blind.wait_seconds == 20.0


def test_rejection_is_final() -> None:
    assert decide(errors.RejectedError(code="no"), about()).state is CommandState.FAILED
    stock = decide(errors.RejectedError(code="no"), about(STOCK))
    assert (stock.state, stock.remark) == (CommandState.FAILED, False)


def test_refused_credential_keeps_the_command_and_stops_the_connection() -> None:
    decision = decide(errors.AuthenticationError(), about(seconds_left=-5.0))

    assert (decision.state, decision.is_counted, decision.lane) == (
        CommandState.PENDING,
        False,
        LaneEffect.WAIT_FOR_AUTH,
    )


def test_configuration_pauses_the_connection() -> None:
    assert decide(errors.ConfigurationError(), about()).lane is LaneEffect.PAUSE


def test_defect_is_final_before_a_write_and_in_doubt_after() -> None:
    assert decide(errors.InvariantError(), about()).state is CommandState.FAILED
    assert decide(errors.InvariantError(), about(writes_begun=1)).state is CommandState.IN_DOUBT


@pytest.mark.parametrize(
    "error", [errors.TransientError(), errors.RateLimitedError(), errors.ConflictError(), errors.AuthenticationError()]
)
def test_error_after_an_earlier_write_is_in_doubt(error: errors.TidegateError) -> None:
    """The second request says nothing about the first: what was asked may be half done."""
    half = about(writes_begun=1, earlier_writes=1)

    assert decide(error, half).state is CommandState.IN_DOUBT
    assert decide(error, about(writes_begun=1, earlier_writes=1, safe_to_resend=True)).state is CommandState.PENDING
    assert decide(error, about(writes_begun=1)).state is CommandState.PENDING


def test_unsent_goes_back_uncounted() -> None:
    decision = decide_unsent(about(attempt_number=3))

    assert (decision.state, decision.is_counted, decision.wait_seconds) == (CommandState.PENDING, False, 0.0)


def found(outcome: Done | NotFound | Partly, *, negatives: int = 0, settles_in: float = 0.0) -> Decision:
    return decide_found(outcome, about(), negatives=negatives, settles_in_seconds=settles_in, settings=DEFAULTS)


def test_effect_found_is_success_at_any_time() -> None:
    assert found(Done(external_id="1"), settles_in=30.0).state is CommandState.SUCCEEDED


def test_two_believable_negatives_allow_the_resend() -> None:
    early, first, second = found(NotFound(), settles_in=7.0), found(NotFound()), found(NotFound(), negatives=1)

    assert (early.state, early.is_negative, early.wait_seconds) == (CommandState.IN_DOUBT, False, 7.0)
    assert (first.state, first.is_negative, first.wait_seconds) == (
        CommandState.IN_DOUBT,
        True,
        DEFAULTS.second_look_seconds,
    )
    assert (second.state, second.code) == (CommandState.PENDING, "not_found")
    assert found(NotFound(), negatives=1, settles_in=7.0).state is CommandState.IN_DOUBT


def test_what_is_harmless_twice_is_resent_at_once() -> None:
    safe = {"negatives": 0, "settles_in_seconds": 30.0, "settings": DEFAULTS}

    assert decide_found(NotFound(), about(safe_to_resend=True), **safe).state is CommandState.PENDING  # type: ignore[arg-type]
    assert decide_found(NotFound(), about(STOCK, safe_to_resend=True), **safe).state is CommandState.IN_DOUBT  # type: ignore[arg-type]


def test_half_made_is_finished_by_the_same_call() -> None:
    decision = found(Partly(detail="draft"))

    assert (decision.state, decision.code, decision.reason) == (CommandState.PENDING, "found_partly", "draft")


def test_what_ends_in_doubt_each_time_gets_slower() -> None:
    """Looked at, and found to be needed still: at once, but not every second for days."""

    def longest(attempts: int) -> float:
        seen = [
            decide_found(
                Partly(detail="draft"),
                about(attempt_number=attempts),
                negatives=0,
                settles_in_seconds=0.0,
                settings=DEFAULTS,
            ).wait_seconds
            for _ in range(200)
        ]
        return max(wait or 0.0 for wait in seen)

    assert longest(2) == 0.0
    assert 2.0 < longest(3) <= 4.0
    assert 100.0 < longest(12) <= 300.0


def test_who_got_further_or_was_left_out_of_a_call_did_not_fail() -> None:
    """The next pause is as long as if this had not been; only who was left out waits, and tells that the side fails."""
    further = decide(errors.TransientError(code="half_made", is_further=True), about(attempt_number=9))
    assert (further.state, further.is_counted, further.lane) == (CommandState.PENDING, False, LaneEffect.NONE)
    assert further.wait_seconds is not None
    assert further.wait_seconds <= 1.0
    asked = decide(errors.TransientError(code="half_made", is_further=True, wait_seconds=7.0), about())
    assert asked.wait_seconds == 7.0
    behind = decide(errors.TransientError(code="not_sent_behind"), about(seconds_left=-1.0))
    assert (behind.state, behind.is_counted, behind.lane) == (CommandState.PENDING, False, LaneEffect.FAILING)
    failed = decide(errors.TransientError(code="half_made"), about(attempt_number=2))
    assert (failed.is_counted, failed.lane) == (True, LaneEffect.FAILING)


def test_stock_in_doubt_is_told_anew_and_nothing_is_believed() -> None:
    decision = decide_found(NotFound(), about(STOCK), negatives=1, settles_in_seconds=0.0, settings=DEFAULTS)

    assert (decision.state, decision.remark, decision.forget_acked) == (CommandState.SUPERSEDED, True, True)


def test_failed_look_stays_in_doubt() -> None:
    limited = decide_look_failed(errors.RateLimitedError(wait_seconds=9.0), DEFAULTS)

    assert (limited.state, limited.lane, limited.lane_wait_seconds) == (CommandState.IN_DOUBT, LaneEffect.SNOOZE, 9.0)
    assert decide_look_failed(errors.RejectedError(), DEFAULTS).lane is LaneEffect.NONE


def test_without_readback_only_the_safe_is_resent() -> None:
    blind = decide_without_readback(about(), settles_in_seconds=0.0)

    assert decide_without_readback(about(), settles_in_seconds=5.0).wait_seconds == 5.0
    assert decide_without_readback(about(safe_to_resend=True), settles_in_seconds=9.0).state is CommandState.PENDING
    stock = about(STOCK, safe_to_resend=True)
    assert decide_without_readback(stock, settles_in_seconds=9.0).wait_seconds == 9.0
    assert decide_without_readback(stock, settles_in_seconds=0.0).remark
    assert (blind.state, blind.code, blind.wait_seconds) == (CommandState.IN_DOUBT, "needs_operator", None)


# --- waits that somebody names ---------------------------------------------------------------------------------------
STEPS = (5.0, 300.0, 1800.0)


@pytest.mark.parametrize(("number", "step"), list(enumerate(STEPS, start=1)))
@pytest.mark.parametrize("error", [errors.TransientError(), errors.OutcomeUnknownError(), errors.ConflictError()])
def test_a_schedule_says_when_the_next_try_is(error: errors.TidegateError, number: int, step: float) -> None:
    """Standard Webhooks: each retry has its own wait, jittered, whatever the deadline says."""
    circumstances = about(
        attempt_number=number, seconds_left=-1.0, safe_to_resend=True, can_read_back=False, retries=STEPS
    )

    waits = [decide(error, circumstances).wait_seconds or 0.0 for _ in range(200)]

    assert step <= min(waits) <= max(waits) <= step * 1.1
    assert max(waits) - min(waits) > step * 0.02, "what failed together does not come back together"
    is_doubt = isinstance(error, errors.OutcomeUnknownError)
    state = CommandState.IN_DOUBT if is_doubt else CommandState.PENDING
    assert decide(error, circumstances).state is state


@pytest.mark.parametrize("error", [errors.TransientError("down"), errors.OutcomeUnknownError("down")])
def test_the_end_of_a_schedule_is_a_dead_letter(error: errors.TidegateError) -> None:
    circumstances = about(attempt_number=4, safe_to_resend=True, can_read_back=False, retries=STEPS)

    decision = decide(error, circumstances)

    assert (decision.state, decision.code) == (CommandState.FAILED, "retries_ended")
    assert decision.reason == "4 tries over 35.1 min were not served; the last: down"


def test_what_can_be_looked_up_is_looked_up_at_once_whatever_its_schedule_says() -> None:
    circumstances = about(attempt_number=9, retries=STEPS)

    assert decide(errors.OutcomeUnknownError(), circumstances).wait_seconds == DEFAULTS.first_look_seconds


@pytest.mark.parametrize("changes", [{}, {"can_read_back": False}, {"can_read_back": False, "safe_to_resend": True}])
@pytest.mark.parametrize("kind", [ACTION, STOCK])
@pytest.mark.parametrize(("asked", "least"), [(90.0, 90.0), (1e9, 86_400.0), (None, 0.0)])
def test_a_failed_write_is_not_looked_after_before_the_other_side_said(
    kind: CommandKind, changes: dict[str, object], asked: float | None, least: float
) -> None:
    """Retry-After on a 5xx to a write: a floor of the next look or try, at most a day."""
    error = errors.OutcomeUnknownError(wait_seconds=asked)

    decision = decide(error, about(kind, **changes))

    assert decision.state is CommandState.IN_DOUBT
    assert decision.wait_seconds == max(
        least, decide(errors.OutcomeUnknownError(), about(kind, **changes)).wait_seconds or 0
    )


@pytest.mark.parametrize("retries", [(), STEPS])
def test_a_named_wait_is_a_floor_and_no_ceiling(retries: tuple[float, ...]) -> None:
    refused = errors.TransientError(wait_seconds=120.0)

    waits = [decide(refused, about(attempt_number=2, retries=retries)).wait_seconds or 0.0 for _ in range(50)]

    assert min(waits) >= (300.0 if retries else 120.0)
    assert decide(errors.TransientError(wait_seconds=1e12), about(seconds_left=1e9)).wait_seconds == 86_400.0


def test_a_failed_look_waits_as_long_as_it_was_told() -> None:
    assert decide_look_failed(errors.TransientError(wait_seconds=77.0), DEFAULTS).wait_seconds == 77.0
    assert (decide_look_failed(errors.TransientError(wait_seconds=0.1), DEFAULTS).wait_seconds or 0) >= 0.5


@pytest.mark.parametrize("compared", [False, True])
@pytest.mark.parametrize(
    "error",
    [
        errors.RateLimitedError(code="rate_limited"),
        errors.TransientError(code="busy"),
        errors.RejectedError(code="gone"),
    ],
)
def test_a_number_of_a_call_that_ended_half_way_may_have_arrived(error: errors.TidegateError, compared: bool) -> None:
    """Unless the connector told of each member by itself, what came before was refused, or nothing came before."""
    half = about(STOCK, earlier_writes=1, tells_apart=False, is_compared=compared)

    assert decide(error, half).is_unsure
    assert compared or decide(error, half).forget_acked
    assert not decide(error, about(STOCK, earlier_writes=1, tells_apart=True)).is_unsure
    assert not decide(error, about(STOCK, tells_apart=False)).is_unsure
    refused_before = about(STOCK, earlier_writes=1, tells_apart=False, is_compared=compared, all_or_nothing=True)
    assert not decide(error, refused_before).is_unsure


def test_a_number_that_was_set_and_is_not_shown_is_not_known_to_be_there() -> None:
    context = {"shown": 10**12, "sent": 4}
    found = decide(errors.ConflictError(code="stock_differs", context=context), about(STOCK))

    assert (found.state, found.remark, found.forget_acked, found.is_unsure) == (
        CommandState.SUPERSEDED,
        True,
        True,
        True,
    )
    assert found.shown == NUMBER_MAX
    assert found.wait_seconds is not None


def test_what_is_sold_without_being_counted_is_bounded_by_no_number() -> None:
    found = decide(errors.RejectedError(code="stock_not_managed"), about(STOCK))

    assert (found.state, found.is_unbounded, found.forget_acked) == (CommandState.FAILED, True, True)
