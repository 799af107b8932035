"""The retry budget of a lane: in any minute at most a tenth of what it sends for the first time may be sent again in vain.

A few retries a minute are always allowed, so that a lone failed command is not left for ever; and while most
of them are served, they flow: whoever serves them is not overloaded by them. One call takes half of what is left at most, so
that one failed call does not end all retries for a minute. Pure but for its own memory; times are seconds of one monotonic
clock.
"""

from __future__ import annotations

from collections import deque

WINDOW_SECONDS = 60.0


class RetryBudget:
    """What was sent in the last minute: first tries, retries, and those of them that were served."""

    def __init__(self, *, share: float, always: int) -> None:
        """`share`: retries per first send. `always`: retries per minute that need no first send."""
        self._share = share
        self._always = always
        self._firsts: deque[float] = deque()
        self._retries: deque[float] = deque()
        self._served: deque[float] = deque()

    def note_first(self, now: float, count: int = 1) -> None:
        """Note first sends."""
        self._forget(now)
        self._firsts.extend([now] * count)

    def note_retry(self, now: float, count: int = 1) -> None:
        """Note retries. Ask `wait_seconds` first."""
        self._forget(now)
        self._retries.extend([now] * count)

    def pay_back(self, now: float, count: int = 1) -> None:
        """Note that so many of the newest retries were served: they cost the other side nothing that it did not have.

        So retries flow at the lane's pace while they help, and are scarce while they do not.
        """
        for _ in range(min(count, len(self._retries))):
            self._retries.pop()
            self._served.append(now)

    def room(self, now: float) -> int:
        """Return how many retries one call may carry; 0: none is allowed."""
        left = self._allowed(now) - len(self._retries)
        return max(0, -(-left // 2))

    def wait_seconds(self, now: float) -> float:
        """Return how long until a retry is allowed, as far as is known now: sooner, when first sends come. 0: it is."""
        allowed = self._allowed(now)
        surplus = len(self._retries) - allowed
        if surplus < 0:
            return 0.0
        if not self._retries:
            return WINDOW_SECONDS
        return max(0.001, self._retries[min(surplus, len(self._retries) - 1)] + WINDOW_SECONDS - now)

    def _allowed(self, now: float) -> int:
        self._forget(now)
        return max(self._always, int(self._share * len(self._firsts) + 1e-9), len(self._served))

    def _forget(self, now: float) -> None:
        for sent in (self._firsts, self._retries, self._served):
            while sent and sent[0] <= now - WINDOW_SECONDS:
                sent.popleft()
