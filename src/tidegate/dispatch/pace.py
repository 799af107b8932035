"""How fast a lane may go at the moment: its tokens, its retries, its breaker and its pauses in one place. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.dispatch import budget
from tidegate.dispatch.budget import CLOSED, RETRY_CREDIT_MAX, RetryAllowance, Tokens
from tidegate.dispatch.decide import Decision, LaneEffect
from tidegate.dispatch.select import Candidate, Limits, next_urgent_run
from tidegate.dispatch.settings import DispatchSettings
from tidegate.kernel.retry import full_jitter
from tidegate.sdk.connector import Connector


class Pace:
    """The pace of one lane. Times are seconds of its monotonic clock."""

    def __init__(self, connector: Connector, settings: DispatchSettings, now: float) -> None:
        """Start with an empty bucket; `resume` fills in what is known."""
        self._bucket = budget.bucket_of(connector.budget)
        self._calls_max = connector.concurrency_max
        self._settings = settings
        self._tokens = Tokens(0.0, now)
        self._retries = RetryAllowance(RETRY_CREDIT_MAX, now)
        self._breaker = CLOSED
        self._paused_until = now
        self._urgent_run = 0

    def resume(self, stored: float | None, *, age_seconds: float, snoozed_seconds: float, now: float) -> None:
        """Go on from the stored budget."""
        self._tokens = budget.resume(self._bucket, stored, age_seconds, now)
        self._paused_until = now + snoozed_seconds

    def pause_left(self, now: float) -> float:
        """Return the seconds until anything may be sent or read; 0 or less when it may."""
        return max(self._paused_until, self._breaker.open_until) - now

    def calls_max(self) -> int:
        """Return how many calls may be in flight: one at a time probes a side that counts as down."""
        return 1 if self.is_down else self._calls_max

    def limits(self, now: float, *, writes: bool) -> Limits:
        """Return what the choice of the next task depends on."""
        trickle = self._settings.retry_trickle_per_second
        self._retries = budget.earn_by_time(self._retries, now, trickle_per_second=trickle)
        return Limits(
            tokens=self._tokens,
            bucket=self._bucket,
            now=now,
            writes=writes,
            retries=budget.may_retry(self._retries),
            urgent_run=self._urgent_run,
        )

    def retry_wait(self) -> float | None:
        """Return the seconds until a retry is paid for, None when one is."""
        trickle = self._settings.retry_trickle_per_second
        if budget.may_retry(self._retries) or trickle <= 0:
            return None
        return (1.0 - self._retries.credit) / trickle

    def start(self, candidate: Candidate, candidates: Sequence[Candidate], now: float) -> None:
        """Take what a task costs."""
        self._tokens = budget.take(self._tokens, self._bucket, candidate.charge, now)
        self._urgent_run = next_urgent_run(self._urgent_run, candidate, candidates)
        if candidate.is_retry:
            self._retries = budget.spend_retry(self._retries)
        elif candidate.is_write:
            self._retries = budget.earn_by_send(self._retries, share=self._settings.retry_share)

    def refund(self, charge: float) -> None:
        """Give back the cost of a task that came to no call."""
        self._tokens = budget.refund(self._tokens, self._bucket, charge)

    @property
    def is_down(self) -> bool:
        """Whether the other side counts as down."""
        return self._breaker.is_tripped(self._settings.breaker_failures)

    def note(self, decisions: Sequence[Decision], now: float, *, was_retry: bool = False) -> None:
        """Note what a call came to. A retry that the other side served is paid back."""
        snooze = max((d.lane_wait_seconds for d in decisions if d.lane is LaneEffect.SNOOZE), default=0.0)
        if snooze:
            self.snooze(snooze, now)
        if decisions and all(decision.lane is LaneEffect.FAILING for decision in decisions):
            limit = self._settings.breaker_failures
            index = max(0, self._breaker.failures + 1 - limit)
            seconds = 0.5 + full_jitter(index, cap_seconds=self._settings.breaker_seconds_max)
            self._breaker = budget.note_failure(self._breaker, now, limit=limit, open_seconds=seconds)
        elif any(decision.lane is LaneEffect.NONE for decision in decisions):
            self._breaker = CLOSED
            if was_retry:
                self._retries = budget.pay_back(self._retries)

    def snooze(self, seconds: float, now: float) -> None:
        """The other side asked for peace: nothing is left in the bucket, and nothing is sent for so long."""
        self._tokens = budget.drain(self._tokens, now)
        self.pause(seconds, now)

    def pause(self, seconds: float, now: float) -> None:
        """Send and read nothing for so long."""
        self._paused_until = max(self._paused_until, now + seconds)
