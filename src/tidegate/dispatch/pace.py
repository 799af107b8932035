"""How fast a lane may go at the moment: its tokens, its retries, its breaker and its pauses in one place. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.dispatch import budget
from tidegate.dispatch.budget import CLOSED, Breaker
from tidegate.dispatch.budget_book import Book, Watch
from tidegate.dispatch.decide import Decision, LaneEffect
from tidegate.dispatch.host import Host
from tidegate.dispatch.retries import RetryBudget
from tidegate.dispatch.select import Candidate, Limits, next_urgent_run
from tidegate.dispatch.settings import DispatchSettings
from tidegate.kernel.retry import full_jitter
from tidegate.sdk.connector import Connector


class Pace:
    """The pace of one lane. Times are seconds of its monotonic clock."""

    def __init__(
        self, connector: Connector, settings: DispatchSettings, book: Book, now: float, *, host: Host | None = None
    ) -> None:
        """Go by the budget in `book`. `host` is shared with the other lanes there."""
        self._host = host or Host()
        self._book = book
        self._calls_max = connector.concurrency_max
        self._settings = settings
        self._retries = RetryBudget(share=settings.retry_share, always=settings.retries_always)
        self._breaker = CLOSED
        self._paused_until = now
        self._urgent_run = 0

    def resume(self, *, snoozed_seconds: float, now: float, is_down: bool = False) -> None:
        """Go on with a stored snooze; a side that counted as down is probed first, one call at a time."""
        self._paused_until = now + snoozed_seconds
        if is_down:
            self._breaker = Breaker(failures=self._settings.breaker_failures, open_until=now)

    def pause_left(self, now: float) -> float:
        """Return the seconds until anything may be sent or read; 0 or less when it may."""
        return max(self._paused_until, self.open_until) - now

    @property
    def open_until(self) -> float:
        """Until when the breaker of the lane or of its host is open; in the past when neither is."""
        return max(self._breaker.open_until, self._host.breaker.open_until)

    def calls_max(self) -> int:
        """Return how many calls may be in flight: one at a time probes a side that counts as down."""
        if not self._host.may_call(self, limit=self._settings.breaker_failures):
            return 0
        return 1 if self.is_down else self._calls_max

    def limits(self, now: float, *, writes: bool) -> Limits:
        """Return what the choice of the next task depends on."""
        return Limits(
            book=self._book,
            now=now,
            writes=writes,
            retries=self._retries.room(now),
            urgent_run=self._urgent_run,
        )

    def retry_wait(self, now: float) -> float | None:
        """Return the seconds until a retry is allowed, None when one is."""
        return self._retries.wait_seconds(now) or None

    def start(self, candidate: Candidate, candidates: Sequence[Candidate], now: float) -> Watch | None:
        """Take what a task costs; return what follows its calls, None when it makes none."""
        watch = None
        if candidate.charge > 0:
            watch = self._book.watch(self._book.take(candidate.charge, candidate.operation, now))
        self._urgent_run = next_urgent_run(self._urgent_run, candidate, candidates)
        self._host.begin(self, limit=self._settings.breaker_failures)
        if candidate.is_retry:
            self._retries.note_retry(now, candidate.parts)
        elif candidate.is_write:
            self._retries.note_first(now, candidate.parts)
        return watch

    def rest(self) -> None:
        """Note that no call is in flight: another lane may probe a host that counts as down."""
        self._host.end(self)

    @property
    def is_down(self) -> bool:
        """Whether the other side counts as down, for this lane or for all lanes of its host."""
        return self.is_lane_down or self.is_host_down

    @property
    def is_lane_down(self) -> bool:
        """Whether the other side counts as down for this lane's own calls."""
        return self._breaker.is_tripped(self._settings.breaker_failures)

    @property
    def is_host_down(self) -> bool:
        """Whether the host counts as down, by the calls of all lanes there."""
        return self._host.breaker.is_tripped(self._settings.breaker_failures)

    @property
    def host_name(self) -> str:
        """Name and port of the host."""
        return self._host.name

    def note(self, decisions: Sequence[Decision], operation: str, now: float, *, retries: int = 0) -> None:
        """Note what a call of `operation` came to. Of its `retries`, those that the other side served are paid back."""
        snooze = max((d.lane_wait_seconds for d in decisions if d.lane is LaneEffect.SNOOZE), default=0.0)
        if snooze:
            self.snooze(snooze, operation, now)
        if decisions and all(decision.lane is LaneEffect.FAILING for decision in decisions):
            self._breaker = self._after_failure(self._breaker, now)
            self._host.breaker = self._after_failure(self._host.breaker, now)
        elif any(decision.lane is LaneEffect.NONE for decision in decisions):
            self._breaker = self._host.breaker = CLOSED
            served = sum(decision.lane is LaneEffect.NONE for decision in decisions)
            self._retries.pay_back(now, min(retries, served))

    def _after_failure(self, breaker: Breaker, now: float) -> Breaker:
        limit = self._settings.breaker_failures
        seconds = 0.5 + full_jitter(
            max(0, breaker.failures + 1 - limit), cap_seconds=self._settings.breaker_seconds_max
        )
        return budget.note_failure(breaker, now, limit=limit, open_seconds=seconds)

    def snooze(self, seconds: float, operation: str, now: float) -> None:
        """The other side asked for peace: nothing is left, and nothing is sent for so long.

        Where the operation has a budget of its own, that one alone rests.
        """
        self._book.drain(seconds, operation, now)
        if not self._book.rule.is_own(operation):
            self.pause(seconds, now)

    def pause(self, seconds: float, now: float) -> None:
        """Send and read nothing for so long."""
        self._paused_until = max(self._paused_until, now + seconds)
