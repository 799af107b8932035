"""What work waited for, second by second: the platform's limit, its calls at once, a failed attempt, or our own processes. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from tidegate.rehearsal.records import Held

LIMIT = "limit"
CALLS_AT_ONCE = "calls_at_once"
AWAY = "away"
ASKED_TO_WAIT = "asked_to_wait"
RETRIES = "retries"
DOUBT = "doubt"
OURS = "ours"
WORDS = {
    LIMIT: "the limit of the platform",
    CALLS_AT_ONCE: "answers: all calls that it takes at once were under way",
    AWAY: "the platform, which counted as down",
    ASKED_TO_WAIT: "the platform, which had asked for a pause",
    RETRIES: "the next try after a failed one",
    DOUBT: "word whether an unanswered write had happened",
    OURS: "our own processes",
}
"""Reason -> what it says behind `waited for`."""
NEARLY = 0.9
"""From this share of the calls that may be under way at once, a lane counts as full: a single look misses some."""
_OF_HOLD = {"breaker": AWAY, "snoozed": ASKED_TO_WAIT, "budget": LIMIT, "retry_budget": RETRIES}


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """One look at one connection."""

    connection: str
    waiting: int = 0
    """Commands and numbers that have waited for long enough to be missed, and could be sent."""
    parked: int = 0
    """Commands that wait after a failed attempt."""
    in_doubt: int = 0
    in_flight: int = 0
    """Calls."""
    held_by: str = ""
    """The rule that holds the lane, as its owner says it."""


class Slots(msgspec.Struct, frozen=True, kw_only=True):
    """How many calls a connection may have under way."""

    calls_max: int
    is_the_limit: bool = False
    """Its platform limits calls at once, and nothing else: a spent budget means that all of them are under way."""


def reason_of(look: Waiting, slots: Slots | None) -> str | None:
    """Return what a connection's work waits for at this moment; None when nothing waits."""
    if look.waiting:
        held = _OF_HOLD.get(look.held_by)
        is_full = slots is not None and look.in_flight >= NEARLY * slots.calls_max
        if held == LIMIT and slots is not None and slots.is_the_limit:
            return CALLS_AT_ONCE
        if held is not None:
            return held
        return CALLS_AT_ONCE if is_full else OURS
    if look.in_doubt:
        return DOUBT
    return RETRIES if look.parked else None


def tally(reasons: Iterable[tuple[str, str]]) -> tuple[Held, ...]:
    """Return the seconds of each connection and reason, the longest first. `reasons` has one entry per second of it."""
    seconds: Counter[tuple[str, str]] = Counter(reasons)
    return tuple(
        Held(connection=name, reason=reason, seconds=count)
        for (name, reason), count in sorted(seconds.items(), key=lambda one: (-one[1], one[0]))
    )


def longest_of(held: Iterable[Held], reasons: Mapping[str, object] = WORDS) -> list[Held]:
    """Return for each connection what it waited for longest, the worst connection first."""
    by_connection: dict[str, list[Held]] = defaultdict(list)
    for one in held:
        if one.reason in reasons:
            by_connection[one.connection].append(one)
    worst = [max(some, key=lambda one: one.seconds) for some in by_connection.values()]
    return sorted(worst, key=lambda one: -sum(each.seconds for each in by_connection[one.connection]))
