"""Retry maths, pure: how long to wait before the next try."""

from __future__ import annotations

import random

BACKOFF_BASE_SECONDS = 1.0
BACKOFF_CAP_SECONDS = 300.0
_RNG = random.SystemRandom()


def full_jitter(
    retry_index: int,
    *,
    base_seconds: float = BACKOFF_BASE_SECONDS,
    cap_seconds: float = BACKOFF_CAP_SECONDS,
    rng: random.Random = _RNG,
) -> float:
    """Return seconds to wait: uniform in [0, min(cap, base * 2**retry_index)]; retry_index starts at 0."""
    ceiling = min(cap_seconds, base_seconds * 2.0 ** min(retry_index, 32))
    return rng.uniform(0.0, ceiling)
