"""Token buckets by caller: how often one may ask. Pure; time is given."""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict

import msgspec

_ONE = 1.0 - 1e-6
"""A whole token, as far as sums of fractions go."""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """Whether one more request is allowed, and what is left."""

    allowed: bool
    limit: int
    """How many requests at once a rested caller may make."""
    remaining: int
    reset_seconds: int
    """Until the bucket is full again."""
    retry_after_seconds: int
    """Until the next request is allowed; 0 when one is."""


class Buckets:
    """One bucket per caller. Bounded: beyond `callers_max` the ones that were silent longest are forgotten."""

    def __init__(self, *, per_second: float, burst: int, callers_max: int) -> None:
        """Buckets begin full, hold `burst` tokens and gain `per_second`."""
        self._per_second = per_second
        self._burst = burst
        self._callers_max = callers_max
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str, now: float) -> Grant:
        """Take a token when there is one. `now` is monotonic seconds."""
        tokens = self._tokens(caller, now)
        allowed = tokens >= _ONE
        tokens = max(0.0, tokens - 1.0) if allowed else tokens
        self._buckets[caller] = (tokens, now)
        self._buckets.move_to_end(caller)
        while len(self._buckets) > self._callers_max:
            self._buckets.popitem(last=False)
        return self._grant(tokens, allowed=allowed)

    def look(self, caller: str, now: float) -> Grant:
        """Say what `take` would, and take nothing."""
        tokens = self._tokens(caller, now)
        return self._grant(tokens, allowed=tokens >= _ONE)

    def _tokens(self, caller: str, now: float) -> float:
        tokens, at = self._buckets.get(caller, (float(self._burst), now))
        return min(float(self._burst), tokens + max(0.0, now - at) * self._per_second)

    def _grant(self, tokens: float, *, allowed: bool) -> Grant:
        missing = max(0.0, 1.0 - tokens)
        return Grant(
            allowed=allowed,
            limit=self._burst,
            remaining=int(tokens),
            reset_seconds=math.ceil((self._burst - tokens) / self._per_second),
            retry_after_seconds=0 if allowed else max(1, math.ceil(missing / self._per_second)),
        )


def place_of(peer: str) -> str:
    """Return what an address is counted under: an IPv6 network of 64 bits is one caller."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)
