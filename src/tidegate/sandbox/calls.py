"""The calls that a platform got, counted by operation and answer, with the last ones kept as they were."""

from __future__ import annotations

from collections import deque

import msgspec

CALLS_KEPT = 20_000
OPERATIONS_MAX = 500
OTHER = "(other)"


class Call(msgspec.Struct, kw_only=True):
    """One call. `at` is seconds since 1970; `key` its idempotency key; `status` 0 where no answer left."""

    number: int
    at: float
    method: str
    path: str
    operation: str = ""
    key: str = ""
    cost: float = 0.0
    items: int = 0
    is_throttled: bool = False
    fault: str = ""
    status: int = 0
    seconds: float = 0.0


class CallsReport(msgspec.Struct):
    """Counts since the start, and the last calls."""

    total: int
    throttled: int
    by_operation: dict[str, dict[str, int]]
    faults: dict[str, int]
    last: list[Call]


class Calls:
    """The calls of one platform."""

    def __init__(self) -> None:
        self.total = 0
        self.throttled = 0
        self._by_operation: dict[str, dict[str, int]] = {}
        self._last: deque[Call] = deque(maxlen=CALLS_KEPT)

    def begin(self, *, at: float, method: str, path: str) -> Call:
        """Note that a call arrived, and number it."""
        self.total += 1
        call = Call(number=self.total, at=at, method=method, path=path)
        self._last.append(call)
        return call

    def end(self, call: Call, *, status: int, seconds: float) -> None:
        """Note how it ended."""
        call.status, call.seconds = status, seconds
        self.throttled += call.is_throttled
        operation = call.operation or call.method
        if operation not in self._by_operation and len(self._by_operation) >= OPERATIONS_MAX:
            operation = OTHER
        counts = self._by_operation.setdefault(operation, {})
        outcome = "throttled" if call.is_throttled else str(status)
        counts[outcome] = counts.get(outcome, 0) + 1

    def report(self, *, last: int, faults: dict[str, int]) -> CallsReport:
        """Return the counts and the last so many calls."""
        calls = list(self._last)[-last:] if last else []
        return CallsReport(self.total, self.throttled, self._by_operation, faults, calls)
