"""Retry maths, pure: how long to wait before the next try."""

from __future__ import annotations

import random
from collections.abc import Sequence

BACKOFF_BASE_SECONDS = 1.0
BACKOFF_CAP_SECONDS = 300.0
SCHEDULE_JITTER = 0.1
"""Part of a step of a schedule that is added at most, so that what failed together does not come back together."""
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


def scheduled_wait(steps: Sequence[float], retry_index: int, *, rng: random.Random = _RNG) -> float | None:
    """Return seconds to wait before a retry by a schedule: its step, and up to a tenth more; None after the last step.

    `steps` are seconds between one try and the next; retry_index starts at 0.
    """
    if retry_index >= len(steps):
        return None
    step = steps[max(0, retry_index)]
    return rng.uniform(step, step * (1.0 + SCHEDULE_JITTER))
