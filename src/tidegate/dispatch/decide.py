"""Decisions, pure: (outcome of one command, circumstances) -> what becomes of the command and of the lane."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from http import HTTPStatus
from typing import assert_never

import msgspec

from tidegate.commerce.commands import CommandKind
from tidegate.commerce.states import CommandState
from tidegate.dispatch.settings import DispatchSettings
from tidegate.kernel.errors import (
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    IntakeError,
    InvariantError,
    OutcomeUnknownError,
    RateLimitedError,
    RejectedError,
    TidegateError,
    TransientError,
)
from tidegate.kernel.retry import full_jitter, scheduled_wait
from tidegate.sdk.connector import (
    NOT_COUNTED,
    SIBLING_REFUSED,
    STOCK_DIFFERS,
    Done,
    FindOutcome,
    ItemOutcome,
    NotFound,
    Partly,
)


class ErrorClass(StrEnum):
    """The error classes by their name in `attempt_answer.outcome`; `success` stands for no error."""

    CONFIGURATION = "configuration"
    AUTHENTICATION = "authentication"
    RATE_LIMITED = "rate_limited"
    TRANSIENT = "transient"
    UNKNOWN = "unknown"
    CONFLICT = "conflict"
    REJECTED = "rejected"
    DEFECT = "defect"
    """InvariantError, or an error that a connector must not raise: our bug."""


NO_LEASE = "not_sent_lease"
"""Code of a request that this node was not allowed to send any more; it says nothing about the other side."""
NOT_SENT_BEHIND = "not_sent_behind"
"""Code of a command that was left out of its call, because those before it failed."""
PROMPT_ATTEMPTS = 2
"""What was sent so often and found to be still needed goes again at once; what ends in doubt each time gets slower."""
REFUSED_TOGETHER = "refused_together"
"""Code of a command whose whole call was refused, with others in it: any of them may be what was refused."""
STOCK_STALE = "stock_stale"
"""Code of a number that was refused because the channel shows another one than was expected."""
OVERTAKEN = "overtaken"
"""Code of a number that may or may not have arrived, and that a newer one goes after at once."""
STALE_SECONDS = 0.1
"""Before a number that was refused as stale is made anew: all of a call together, so that one call tells them."""
_REPLANNED = frozenset({STOCK_STALE, SIBLING_REFUSED, "idempotency_failed"})
RETRIES_ENDED = "retries_ended"
"""Code of a command whose schedule of retries is used up."""
NUMBER_MAX = 2**31 - 1
"""The largest number that is taken from an answer."""
SUCCESS = "success"
PARTIAL = "partial"
"""Outcome of a call whose members fared differently."""

_CLASSES: tuple[tuple[type[TidegateError], ErrorClass], ...] = (
    (ConfigurationError, ErrorClass.CONFIGURATION),
    (AuthenticationError, ErrorClass.AUTHENTICATION),
    (RateLimitedError, ErrorClass.RATE_LIMITED),
    (TransientError, ErrorClass.TRANSIENT),
    (OutcomeUnknownError, ErrorClass.UNKNOWN),
    (ConflictError, ErrorClass.CONFLICT),
    (RejectedError, ErrorClass.REJECTED),
    (IntakeError, ErrorClass.DEFECT),
    (InvariantError, ErrorClass.DEFECT),
)


def classify(error: TidegateError) -> ErrorClass:
    """Return the class of an error; an error of no class is a defect."""
    for kind, name in _CLASSES:
        if isinstance(error, kind):
            return name
    return ErrorClass.DEFECT


class LaneEffect(StrEnum):
    """What a call's outcome means for everything else on its connection."""

    NONE = "none"
    SNOOZE = "snooze"
    """Told to wait: the whole budget sleeps."""
    FAILING = "failing"
    """The other side did not serve the call; the breaker counts it."""
    WAIT_FOR_AUTH = "wait_for_auth"
    """The credential is refused: connection.state becomes `waiting_auth`."""
    PAUSE = "pause"
    """The operator must fix something: connection.state becomes `paused`."""


class Circumstances(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision depends on besides the outcome."""

    kind: CommandKind
    attempt_number: int
    """1-based, this attempt included. For stock: failures in a row, this one included."""
    seconds_left: float
    """Until the command's deadline; negative when it has passed."""
    writes_begun: int = 0
    """Requests of this attempt that change state and of which a byte may have left."""
    earlier_writes: int = 0
    """Of these, the ones that were carried out before the request that the outcome speaks of."""
    safe_to_resend: bool
    can_read_back: bool = True
    retries: tuple[float, ...] = ()
    """Seconds before each retry, where the connector names them; see `CommandSpec.retries`."""
    may_overtake: bool = False
    """It is an absolute number, and the last one to arrive counts: a newer one may go after it before its fate is known."""
    is_compared: bool = False
    """It is set only where the channel shows what was expected: a lost one that arrives late is refused."""
    tells_apart: bool = True
    """The connector told of each member by itself; False: what it told is the error of the call as a whole."""
    all_or_nothing: bool = False
    """What the call's earlier requests asked for was refused, or there would have been no later one."""
    shares_fate: bool = False
    """The call had other members and was answered as a whole: what it was refused for may be one of the others."""

    @property
    def is_harmless_twice(self) -> bool:
        """Whether it may be sent again at any time. A stock number may not: the lost one may still arrive after it."""
        return self.safe_to_resend and self.kind is not CommandKind.INVENTORY_SET


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one command."""

    state: CommandState
    code: str | None = None
    reason: str | None = None
    wait_seconds: float | None = None
    """pending: parked for so long. in_doubt: until the next look, None when only a person can decide."""
    settle_seconds: float | None = None
    """in_doubt: until a negative read-back may be believed, None when that is known already."""
    is_negative: bool = False
    """A believable read-back found nothing."""
    is_key_spent: bool = False
    """The call's idempotency key brings the same answer for ever: once it is known that nothing was done, another is used."""
    is_counted: bool = True
    """False: the attempt does not count."""
    done: Done | None = None
    remark: bool = False
    """Stock: mark the item dirty again; a new number will be a new call."""
    is_apart: bool = False
    """The next try goes without company: its call was refused as a whole."""
    forget_acked: bool = False
    """Stock: it is not known what the channel shows."""
    shown: int | None = None
    """Stock: what the channel was seen to show instead, or right before a lower number was set, in units of its article;
    None where it was as expected, or nobody looked."""
    is_unsure: bool = False
    """Stock: the channel may have the number, whatever was answered."""
    is_unbounded: bool = False
    """Stock: no number bounds what the channel sells."""
    late_seconds: float | None = None
    """Stock: for how long the number may still arrive; afterwards the channel is told once more, whatever it shows."""
    lane: LaneEffect = LaneEffect.NONE
    lane_wait_seconds: float = 0.0


def decide_outcome(
    outcome: ItemOutcome, about: Circumstances, *, settle_seconds: float, settings: DispatchSettings
) -> Decision:
    """Return what becomes of a command after an attempt. `settle_seconds`: see `CommandSpec.readback_settle`."""
    if isinstance(outcome, Done):
        return Decision(state=CommandState.SUCCEEDED, done=outcome, shown=outcome.shown)
    error = outcome.error
    name = _class_after_writes(classify(error), about)
    if about.shares_fate and _may_be_of_another(name, about):
        return _apart(about, reason_of(error))
    decision = _decide_failed(error, name, about, settle_seconds, settings)
    return _of_number(decision, error, about) if about.kind is CommandKind.INVENTORY_SET else decision


def _of_number(decision: Decision, error: TidegateError, about: Circumstances) -> Decision:
    """Say of a number that failed what the channel may show all the same.

    A call of several requests that ended in the middle set what came before. A number that is compared is never set unseen:
    what the channel shows is learnt by the next one.
    """
    if error.code == NOT_COUNTED:
        return msgspec.structs.replace(decision, is_unbounded=True, forget_acked=True)
    if error.code == STOCK_DIFFERS:
        return msgspec.structs.replace(decision, is_unsure=True, forget_acked=True, shown=_shown_in(error))
    if about.earlier_writes and not about.tells_apart and not about.all_or_nothing:
        return msgspec.structs.replace(
            decision, is_unsure=True, forget_acked=decision.forget_acked or not about.is_compared
        )
    return decision


def _shown_in(error: TidegateError) -> int | None:
    shown = error.context.get("shown")
    return max(-NUMBER_MAX, min(NUMBER_MAX, shown)) if isinstance(shown, int) else None


def _decide_failed(
    error: TidegateError, name: ErrorClass, about: Circumstances, settle_seconds: float, settings: DispatchSettings
) -> Decision:
    reason = reason_of(error)
    match name:
        case ErrorClass.RATE_LIMITED:
            wait = _snooze_seconds(error, settings)
            return _again(about, error, wait=wait, is_counted=False, lane=LaneEffect.SNOOZE)
        case ErrorClass.TRANSIENT if error.code == NO_LEASE:
            return _again(about, error, wait=1.0, is_counted=False)
        case ErrorClass.TRANSIENT if getattr(error, "is_further", False):
            return _again(about, error, wait=max(full_jitter(0), named_wait(error, settings)), is_counted=False)
        case ErrorClass.TRANSIENT if error.code == NOT_SENT_BEHIND:
            wait = max(full_jitter(about.attempt_number - 1), named_wait(error, settings))
            return _again(about, error, wait=wait, is_counted=False, lane=LaneEffect.FAILING)
        case ErrorClass.TRANSIENT:
            return _later(about, error, settings, lane=LaneEffect.FAILING)
        case ErrorClass.CONFLICT:
            return _conflict(about, error, settings)
        case ErrorClass.UNKNOWN:
            doubt = _doubt(error, error.code, about, settle_seconds, settings)
            return msgspec.structs.replace(doubt, is_key_spent=getattr(error, "is_key_spent", False))
        case ErrorClass.REJECTED:
            return Decision(state=CommandState.FAILED, code=error.code, reason=reason)
        case ErrorClass.AUTHENTICATION | ErrorClass.CONFIGURATION:
            is_auth = name is ErrorClass.AUTHENTICATION
            lane = LaneEffect.WAIT_FOR_AUTH if is_auth else LaneEffect.PAUSE
            return _again(about, error, wait=0.0, is_counted=False, lane=lane)
        case ErrorClass.DEFECT:
            if about.writes_begun:
                return _doubt(error, "connector_defect", about, settle_seconds, settings)
            return Decision(state=CommandState.FAILED, code="connector_defect", reason=reason)
        case _:
            assert_never(name)


def with_one_wait(decisions: Sequence[Decision]) -> list[Decision]:
    """Return the decisions about the members of a call that failed as a whole: those that come again come together.

    So the same request can be sent again under its key, and it is one call, not one for each member.
    """
    waits = [decision.wait_seconds for decision in decisions if decision.wait_seconds is not None]
    longest = max(waits, default=None)
    return [
        decision if decision.wait_seconds is None else msgspec.structs.replace(decision, wait_seconds=longest)
        for decision in decisions
    ]


def decide_unsent(about: Circumstances) -> Decision:
    """Return what becomes of a command whose T2s is not known to have been committed: certainly nothing was sent."""
    return _again(about, TransientError(code="not_sent"), wait=0.0, is_counted=False)


def decide_found(
    found: FindOutcome, about: Circumstances, *, negatives: int, settles_in_seconds: float, settings: DispatchSettings
) -> Decision:
    """Return what becomes of a command in doubt after a read-back.

    `negatives` counts believable read-backs that found nothing, this one not included; two are needed. A 'not found' is
    believable when `settles_in_seconds` is 0. What is harmless twice needs no such patience.
    """
    doubt_seconds = max(settles_in_seconds, settings.doubt_settle_seconds)
    match found:
        case Done() if about.is_compared:
            return Decision(state=CommandState.SUCCEEDED, code="found", done=found, late_seconds=doubt_seconds)
        case Done():
            return Decision(state=CommandState.SUCCEEDED, code="found", done=found)
        case Partly():
            return _resend(about, code="found_partly", reason=found.detail or None)
        case NotFound() if about.is_harmless_twice:
            return _resend(about, code="not_found", reason=None)
        case NotFound() if found.shown is not None and (
            about.is_compared or (negatives >= 1 and settles_in_seconds <= 0)
        ):
            again = _resend(about, code="not_found", reason=None)
            late_seconds = doubt_seconds if about.is_compared else None
            return msgspec.structs.replace(again, shown=found.shown, late_seconds=late_seconds)
        case NotFound():
            if settles_in_seconds > 0:
                return Decision(state=CommandState.IN_DOUBT, code="not_found_yet", wait_seconds=settles_in_seconds)
            if negatives >= 1:
                return _resend(about, code="not_found", reason=None)
            return Decision(
                state=CommandState.IN_DOUBT,
                code="not_found_once",
                wait_seconds=settings.second_look_seconds,
                is_negative=True,
            )
        case _:
            assert_never(found)


def decide_told(done: Done) -> Decision:
    """Return what becomes of a command in doubt that is done by the platform's last word: nothing of it comes later."""
    return Decision(state=CommandState.SUCCEEDED, code="found", done=done, shown=done.shown)


def decide_look_failed(error: TidegateError, settings: DispatchSettings) -> Decision:
    """Return what becomes of a command in doubt when the read-back itself failed: it stays, and is looked at later."""
    name = classify(error)
    waits = {ErrorClass.RATE_LIMITED: LaneEffect.SNOOZE, ErrorClass.AUTHENTICATION: LaneEffect.WAIT_FOR_AUTH}
    waits |= {ErrorClass.CONFIGURATION: LaneEffect.PAUSE, ErrorClass.TRANSIENT: LaneEffect.FAILING}
    lane = waits.get(name, LaneEffect.NONE)
    if error.code == NO_LEASE:
        lane = LaneEffect.NONE
    is_snooze = lane is LaneEffect.SNOOZE
    wait = _snooze_seconds(error, settings) if is_snooze else max(named_wait(error, settings), 0.5 + full_jitter(1))
    return Decision(
        state=CommandState.IN_DOUBT,
        code=error.code,
        reason=reason_of(error),
        wait_seconds=wait,
        lane=lane,
        lane_wait_seconds=wait if is_snooze else 0.0,
    )


def decide_without_readback(about: Circumstances, *, settles_in_seconds: float) -> Decision:
    """Return what becomes of a command in doubt that cannot be read back."""
    if about.may_overtake:
        again = _resend(about, code=OVERTAKEN, reason=None)
        return msgspec.structs.replace(again, late_seconds=settles_in_seconds or None)
    if settles_in_seconds > 0 and not about.is_harmless_twice:
        return Decision(state=CommandState.IN_DOUBT, code="settling", wait_seconds=settles_in_seconds)
    if about.safe_to_resend:
        return _resend(about, code="resend_is_safe", reason=None)
    reason = "nobody can look whether it was carried out - look there, then `commands retry` or `commands cancel` it"
    return Decision(state=CommandState.IN_DOUBT, code="needs_operator", reason=reason)


def named_wait(error: TidegateError, settings: DispatchSettings) -> float:
    """Return the seconds that the other side asked to wait, at most a day; 0 where it named none."""
    asked: float | None = getattr(error, "wait_seconds", None)
    return min(asked or 0.0, settings.absurd_wait_seconds)


def reason_of(error: TidegateError) -> str:
    """Return the sentence that people see, with the hint behind it, at most 500 characters."""
    text = str(error)
    return (f"{text} - {error.hint}" if error.hint else text)[:500]


def _class_after_writes(name: ErrorClass, about: Circumstances) -> ErrorClass:
    """An error of a later request says nothing about an earlier write: what was asked may be half done."""
    believable = (ErrorClass.UNKNOWN, ErrorClass.REJECTED, ErrorClass.DEFECT)
    if about.earlier_writes and not about.safe_to_resend and name not in believable:
        return ErrorClass.UNKNOWN
    return name


def _again(
    about: Circumstances, error: TidegateError, *, wait: float, is_counted: bool, lane: LaneEffect = LaneEffect.NONE
) -> Decision:
    """Action commands go back to pending with their frozen call; of stock a new number is planned."""
    reason = reason_of(error)
    lane_wait = wait if lane is LaneEffect.SNOOZE else 0.0
    if about.kind is CommandKind.INVENTORY_SET:
        return Decision(
            state=CommandState.SUPERSEDED,
            code="replanned",
            reason=reason,
            wait_seconds=wait,
            is_counted=is_counted,
            remark=True,
            lane=lane,
            lane_wait_seconds=lane_wait,
        )
    if is_counted and not about.retries and about.seconds_left <= wait:
        return Decision(state=CommandState.FAILED, code="deadline", reason=reason, lane=lane)
    return Decision(
        state=CommandState.PENDING,
        code=error.code,
        reason=reason,
        wait_seconds=wait,
        is_counted=is_counted,
        lane=lane,
        lane_wait_seconds=lane_wait,
    )


def _later(
    about: Circumstances, error: TidegateError, settings: DispatchSettings, *, lane: LaneEffect = LaneEffect.NONE
) -> Decision:
    """Try again by the schedule that the connector names, else after a growing pause; not before the other side said."""
    if about.retries:
        scheduled = scheduled_wait(about.retries, about.attempt_number - 1)
        if scheduled is None:
            return _given_up(about, error, lane)
    else:
        scheduled = full_jitter(about.attempt_number - 1)
    return _again(about, error, wait=max(scheduled, named_wait(error, settings)), is_counted=True, lane=lane)


def _given_up(about: Circumstances, error: TidegateError, lane: LaneEffect) -> Decision:
    reason = f"{about.attempt_number} tries over {_length(sum(about.retries))} were not served; the last: {error}"
    return Decision(state=CommandState.FAILED, code=RETRIES_ENDED, reason=reason[:500], lane=lane)


def _length(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{round(seconds / length, 1):g} {unit}"
    return f"{round(seconds, 1):g} s"


def _may_be_of_another(name: ErrorClass, about: Circumstances) -> bool:
    """Whether a whole call came to nothing for its content, which may be that of another member."""
    if name is ErrorClass.DEFECT:
        return not about.writes_begun
    return name in (ErrorClass.REJECTED, ErrorClass.CONFLICT) and not about.earlier_writes


def _apart(about: Circumstances, reason: str) -> Decision:
    """Put a member of a refused call back: alone it shows whether it was the one."""
    is_stock = about.kind is CommandKind.INVENTORY_SET
    return Decision(
        state=CommandState.SUPERSEDED if is_stock else CommandState.PENDING,
        code=REFUSED_TOGETHER,
        reason=reason,
        wait_seconds=0.0,
        is_counted=False,
        remark=is_stock,
        is_apart=True,
    )


def _conflict(about: Circumstances, error: TidegateError, settings: DispatchSettings) -> Decision:
    if about.kind is CommandKind.INVENTORY_SET and error.code in _REPLANNED:
        return _replan(error, wait=STALE_SECONDS if error.code == STOCK_STALE else 0.0)
    ends = about.kind is not CommandKind.INVENTORY_SET and not about.retries
    if ends and about.attempt_number >= settings.conflicts_max:
        return Decision(state=CommandState.FAILED, code=error.code, reason=reason_of(error))
    return _later(about, error, settings)


def _replan(error: TidegateError, *, wait: float) -> Decision:
    """The channel shows another number than expected, or refused the call because of a sibling: nothing was set.

    The old plan is never sent again. What the channel shows is learnt, and the next number is made of that.
    """
    return Decision(
        state=CommandState.SUPERSEDED,
        code=error.code,
        reason=reason_of(error),
        wait_seconds=wait,
        is_counted=False,
        remark=True,
        shown=_shown_in(error),
    )


def _resend(about: Circumstances, *, code: str, reason: str | None) -> Decision:
    if about.kind is CommandKind.INVENTORY_SET:
        return Decision(
            state=CommandState.SUPERSEDED,
            code="replanned",
            reason=reason,
            remark=True,
            forget_acked=True,
            is_counted=False,
        )
    wait = full_jitter(about.attempt_number - 1) if about.attempt_number > PROMPT_ATTEMPTS else 0.0
    return Decision(state=CommandState.PENDING, code=code, reason=reason, wait_seconds=wait)


def _doubt(
    error: TidegateError, code: str, about: Circumstances, settle_seconds: float, settings: DispatchSettings
) -> Decision:
    """It may have happened: look, or send again what is harmless twice, but not before the other side said.

    What is sent again without a look follows the schedule of retries, where there is one. A number that may be overtaken
    is: the next one goes as soon as it is made.
    """
    if about.may_overtake:
        return Decision(
            state=CommandState.SUPERSEDED,
            code=OVERTAKEN,
            reason=reason_of(error),
            wait_seconds=max(full_jitter(about.attempt_number - 1), named_wait(error, settings)),
            remark=True,
            forget_acked=True,
            late_seconds=None if _is_over(error) else settle_seconds,
            lane=LaneEffect.FAILING,
        )
    is_scheduled = bool(about.retries) and not about.can_read_back
    scheduled = scheduled_wait(about.retries, about.attempt_number - 1) if is_scheduled else 0.0
    if scheduled is None:
        return _given_up(about, error, LaneEffect.FAILING)
    can_act = about.can_read_back or about.is_harmless_twice
    first_look = settings.first_look_seconds if can_act else settle_seconds
    return Decision(
        state=CommandState.IN_DOUBT,
        code=code,
        reason=reason_of(error),
        wait_seconds=max(min(first_look, settle_seconds), scheduled, named_wait(error, settings)),
        settle_seconds=settle_seconds,
        lane=LaneEffect.FAILING,
    )


def _is_over(error: TidegateError) -> bool:
    """Whether the other side itself ended the request: it may have worked, but nothing of it arrives later any more.

    A gateway that gives up (502 to 504) leaves it running behind itself.
    """
    return error.context.get("status") == HTTPStatus.INTERNAL_SERVER_ERROR


def _snooze_seconds(error: TidegateError, settings: DispatchSettings) -> float:
    asked: float | None = getattr(error, "wait_seconds", None)
    if asked is None:
        return settings.snooze_seconds_min + full_jitter(2)
    return min(max(asked, settings.snooze_seconds_min), settings.absurd_wait_seconds)
