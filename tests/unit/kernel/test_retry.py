"""Waiting between tries: within its bounds, spread out, repeatable."""

import random
from statistics import mean

from hypothesis import given
from hypothesis import strategies as st

from tidegate.kernel.retry import BACKOFF_BASE_SECONDS, BACKOFF_CAP_SECONDS, full_jitter


@given(st.integers(0, 10**9), st.floats(0.001, 60), st.floats(0.001, 3600), st.integers())
def test_a_wait_is_never_negative_nor_above_its_ceiling(index: int, base: float, cap: float, seed: int) -> None:
    waited = full_jitter(index, base_seconds=base, cap_seconds=cap, rng=random.Random(seed))

    assert 0 <= waited <= min(cap, base * 2.0 ** min(index, 32))


def test_ceilings_double_up_to_the_cap() -> None:
    class Highest(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return b

    ceilings = [full_jitter(index, rng=Highest()) for index in range(12)]

    assert ceilings[:5] == [BACKOFF_BASE_SECONDS * 2**index for index in range(5)]
    assert ceilings[-1] == BACKOFF_CAP_SECONDS
    assert ceilings == sorted(ceilings)


def test_waits_use_the_whole_range() -> None:
    rng = random.Random(7)
    waits = [full_jitter(3, rng=rng) for _ in range(4000)]

    assert 3.7 < mean(waits) < 4.3
    assert min(waits) < 0.1
    assert max(waits) > 7.9


def test_nobody_shares_a_sequence_by_default() -> None:
    random.seed(1)
    first = [full_jitter(5) for _ in range(4)]
    random.seed(1)

    assert first != [full_jitter(5) for _ in range(4)]
