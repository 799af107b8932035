"""The fault plan of the hostile remote, pure: which request meets which fault.

A plan has rules (in order; the first one that matches and still has uses wins) and a seeded random part. As JSON, for
`PUT /__faults`:

    {"rules": [{"kind": "lose_reply", "method": "POST", "path": "/api/erp/orders", "times": 1}],
     "random": {"lose_reply": 0.1, "reset": 0.1, "status": 0.05}, "seed": 7}
"""

from __future__ import annotations

import random
from fnmatch import fnmatchcase
from typing import Literal

import msgspec

FaultKind = Literal[
    "duplicate",  # the request arrives twice (a retrying proxy): the effect is tried twice, one answer
    "lose_reply",  # the effect happens, the connection is cut before the answer
    "truncated",  # the effect happens, the answer is cut in its middle
    "slow_drip",  # the effect happens, the answer comes byte by byte, `seconds` apart
    "delay",  # `seconds` pass before the effect
    "delay_reply",  # `seconds` pass between the effect and the answer
    "reset",  # the connection is reset, no effect
    "rate_limit",  # 429, `retry_after` as given, no effect
    "status",  # `status` with `code`; the effect happens only with `effect: true`
    "spoil",  # 500, and the same again for ever under the request's idempotency key; the effect only with `effect: true`
    "garbage",  # 200 with an HTML page; the effect happens unless `effect: false`
    "wrong_content_type",  # a good answer labelled text/html
    "lie",  # a good answer without the effect
    "reject_items",  # single items (`items`, none given: all) of a bulk call are refused
    "stale_read",  # a read that finds nothing, as a lagging search index does
]


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One rule: what happens to which requests."""

    kind: FaultKind
    method: str = "*"
    path: str = "/api/*/*"
    """Pattern of the path, `*` for any text; as it is, it leaves log-in, inspection and subscription alone."""
    contains: str = ""
    """Text that the body or the query must contain, for example a reference."""
    skip: int = 0
    """Matching requests that pass before the fault begins."""
    times: int | None = 1
    """How often it strikes; null: for ever."""
    seconds: float = 0.0
    status: int = 500
    code: str = "broken"
    retry_after: str | None = None
    """Value of the Retry-After header, as it is."""
    effect: bool | None = None
    items: tuple[int, ...] = ()

    def matches(self, method: str, path: str, content: str) -> bool:
        """Say whether a request is meant by this rule."""
        return (
            self.method in ("*", method)
            and fnmatchcase(path, self.path)
            and (not self.contains or self.contains in content)
        )


class Faults(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What `PUT /__faults` takes."""

    rules: list[Fault] = []
    random: dict[FaultKind, float] = {}
    """Kind -> probability per request; together at most 1."""
    seed: int = 0
    path: str = "/api/*/*"
    """Requests that the random part may strike."""
    seconds: float = 0.05
    """Length of random delays and drips."""
    duplicate_deliveries: float = 0.0
    """Probability that a webhook is delivered twice."""
    shuffle_deliveries: bool = False
    """Deliver webhooks that wait together in random order."""


class FaultPlan:
    """Chooses faults; equal plans and equal requests give equal faults."""

    def __init__(self, faults: Faults) -> None:
        """Start the plan anew."""
        self.faults = faults
        self._rng = random.Random(faults.seed)  # noqa: S311 - repeatable on purpose
        self._left = [[rule.skip, rule.times] for rule in faults.rules]

    def choose(self, method: str, path: str, content: str) -> Fault | None:
        """Return the fault of this request, None for a good one. Uses up what it returns."""
        for rule, left in zip(self.faults.rules, self._left, strict=True):
            if not rule.matches(method, path, content) or left[1] == 0:
                continue
            if left[0]:
                left[0] = left[0] - 1
                continue
            if left[1] is not None:
                left[1] -= 1
            return rule
        return self._choose_random(method, path)

    def _choose_random(self, method: str, path: str) -> Fault | None:
        if not self.faults.random or not fnmatchcase(path, self.faults.path):
            return None
        dice = self._rng.random()
        for kind, probability in self.faults.random.items():
            if dice < probability:
                return _random_fault(kind, self.faults.seconds, self._rng, reading=method == "GET")
            dice -= probability
        return None


def _random_fault(kind: FaultKind, seconds: float, rng: random.Random, *, reading: bool) -> Fault | None:
    if kind == "stale_read" and not reading:
        return None
    if kind == "rate_limit":
        return Fault(kind=kind, retry_after="1")
    if kind == "status":
        return Fault(kind=kind, status=rng.choice((500, 502, 503)), effect=rng.random() < 0.5)
    if kind == "reject_items":
        return Fault(kind=kind, items=(0,))
    return Fault(kind=kind, seconds=seconds)
