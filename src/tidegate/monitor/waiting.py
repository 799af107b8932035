"""Why a command is not done yet: which rule holds it, and until when. Pure."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec


class LaneFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What may hold every command of a connection."""

    state: str
    state_reason: str | None = None
    snoozed_until: datetime | None = None
    snooze_reason: str | None = None
    writes_stopped: bool = False
    hold_rule: str = ""
    """What holds the head of the lane, as its owner says it."""
    hold_until: datetime | None = None

    def is_snoozed(self, now: datetime) -> bool:
        """Whether the other side told the connection to wait."""
        return self.snoozed_until is not None and self.snoozed_until > now


class CommandFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the question depends on."""

    command_id: UUID
    state: str
    code: str | None
    reason: str | None
    not_before: datetime | None
    settles_at: datetime | None
    older_id: UUID | None = None
    """The oldest open command of the same target, when it is another one."""
    older_state: str | None = None


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """The rule that holds a command."""

    rule: str
    """stable: approval, writes_stopped, connection, older_command, parked, snoozed, verification, operator, answer, turn; and
    what holds a whole lane: breaker, budget, retry_budget, merging, lease."""
    words: str
    until: datetime | None = None
    """None: not known beforehand."""


def explain_wait(command: CommandFacts, lane: LaneFacts, now: datetime) -> Wait | None:
    """Return what an unfinished command waits for, the strongest rule first; None for a finished one."""
    match command.state:
        case "in_doubt":
            return _explain_doubt(command)
        case "proposed":
            return _explain_proposal(command)
        case "sending":
            return Wait(rule="answer", words="it was sent and its answer is awaited")
        case "pending":
            return _explain_pending(command, lane, now)
    return None


def _explain_proposal(command: CommandFacts) -> Wait:
    words = "a person must approve it: tidegate approve, or tidegate reject"
    return Wait(rule="approval", words=f"{command.reason}; {words}" if command.reason else words)


def _explain_doubt(command: CommandFacts) -> Wait:
    if command.not_before is None:
        words = command.reason or "a person must look whether it was carried out, then retry or cancel it"
        return Wait(rule="operator", words=words)
    settled = command.settles_at
    words = "it was sent without an answer: the other side is asked whether it was carried out"
    if settled is not None and settled > command.not_before:
        words += "; a 'not found' counts once the request cannot be running any more"
    return Wait(rule="verification", words=words, until=command.not_before)


def _explain_pending(command: CommandFacts, lane: LaneFacts, now: datetime) -> Wait:
    stopped = _explain_stop(lane)
    if stopped is not None:
        return stopped
    if command.older_id is not None:
        return Wait(rule="older_command", words=f"an older command of the same target is {command.older_state}")
    if lane.is_snoozed(now):
        return _explain_snooze(lane)
    if command.not_before is not None and command.not_before > now:
        words = "parked after a failed attempt" + (f" ({command.code})" if command.code else "")
        return Wait(rule="parked", words=words, until=command.not_before)
    held = explain_lane(lane, now)
    return held or Wait(rule="turn", words="it waits for its turn and for the connection's budget")


def explain_lane(lane: LaneFacts, now: datetime) -> Wait | None:
    """Return what holds everything in a lane, the strongest rule first; None when nothing is known to."""
    stopped = _explain_stop(lane)
    if stopped is not None:
        return stopped
    if lane.is_snoozed(now):
        return _explain_snooze(lane)
    words = _HOLD_WORDS.get(lane.hold_rule)
    if words is None or (lane.hold_until is not None and lane.hold_until <= now):
        return None
    return Wait(rule=lane.hold_rule, words=words, until=lane.hold_until)


_HOLD_WORDS = {
    "breaker": "the other side counts as down: one call at a time asks whether it is back",
    "snoozed": "the connection rests after an error",
    "budget": "the connection's budget is spent: it waits until there is enough of it again",
    "retry_budget": "what failed waits: most of what was sent again lately failed again",
    "merging": "it waits for company, so that one call serves many",
    "lease": "its process is not sure that the lane is still its own",
}


def _explain_stop(lane: LaneFacts) -> Wait | None:
    if lane.writes_stopped:
        return Wait(rule="writes_stopped", words="all writes are stopped; go on with: tidegate writes resume")
    if lane.state != "active":
        words = f"its connection is {lane.state}" + (f": {lane.state_reason}" if lane.state_reason else "")
        return Wait(rule="connection", words=words)
    return None


def _explain_snooze(lane: LaneFacts) -> Wait:
    words = f"the other side told the whole connection to wait ({lane.snooze_reason or 'rate limit'})"
    return Wait(rule="snoozed", words=words, until=lane.snoozed_until)
