"""Laws of an alert's life: it fires only for what lasts, ends only for what is gone, and cannot be made to chatter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tidegate.monitor.alerts.machine import CLEAR_SECONDS_MAX, WELL, Timing, Track, clear_seconds, resume, step

START = datetime(2026, 11, 27, tzinfo=UTC)
TIMINGS = st.builds(
    Timing, hold_seconds=st.sampled_from([0.0, 20.0, 60.0]), clear_seconds=st.sampled_from([0.0, 30.0, 120.0])
)
LOOKS = st.lists(st.tuples(st.sampled_from([1, 5, 10, 60, 600]), st.sampled_from([True, False, None])), max_size=200)


def walk(looks: list[tuple[int, bool | None]], timing: Timing) -> list[tuple[datetime, bool | None, Track, str | None]]:
    """Return each look with what became of it."""
    now, track, seen = START, WELL, []
    for seconds, is_bad in looks:
        now += timedelta(seconds=seconds)
        track, change = step(track, is_bad, timing, now)
        seen.append((now, is_bad, track, change))
    return seen


@given(LOOKS, TIMINGS)
def test_firing_and_resolving_take_turns(looks: list[tuple[int, bool | None]], timing: Timing) -> None:
    changes = [change for *_, change in walk(looks, timing) if change]

    assert changes == (["fired", "resolved"] * len(changes))[: len(changes)]


@given(LOOKS, TIMINGS)
def test_it_fires_only_for_what_lasted_without_a_break(looks: list[tuple[int, bool | None]], timing: Timing) -> None:
    since: datetime | None = None
    for now, is_bad, _, change in walk(looks, timing):
        if is_bad is False:
            since = None
        elif is_bad and since is None:
            since = now
        if change == "fired":
            assert is_bad
            assert since is not None
            assert (now - since).total_seconds() >= timing.hold_seconds


@given(LOOKS, TIMINGS)
def test_it_is_over_only_when_it_was_well_for_its_time(looks: list[tuple[int, bool | None]], timing: Timing) -> None:
    well_since: datetime | None = None
    for now, is_bad, _, change in walk(looks, timing):
        if is_bad:
            well_since = None
        elif is_bad is False and well_since is None:
            well_since = now
        if change == "resolved":
            assert well_since is not None
            assert (now - well_since).total_seconds() >= timing.clear_seconds


@given(LOOKS, TIMINGS)
def test_what_cannot_be_seen_changes_nothing(looks: list[tuple[int, bool | None]], timing: Timing) -> None:
    track, now = WELL, START
    for seconds, is_bad in looks:
        now += timedelta(seconds=seconds)
        unseen = step(track, None, timing, now)
        assert unseen == (track, None)
        track, _ = step(track, is_bad, timing, now)


@given(LOOKS, TIMINGS)
def test_it_always_ends_when_it_stays_well(looks: list[tuple[int, bool | None]], timing: Timing) -> None:
    seen = walk(looks, timing)
    track, now = (seen[-1][2], seen[-1][0]) if seen else (WELL, START)

    track, _ = step(track, False, timing, now)
    track, _ = step(track, False, timing, now + timedelta(seconds=max(CLEAR_SECONDS_MAX, timing.clear_seconds)))

    assert not track.is_firing


@given(LOOKS, TIMINGS)
def test_nothing_is_remembered_for_ever(looks: list[tuple[int, bool | None]], timing: Timing) -> None:
    """Memory is bounded: a subject that is well is forgotten after the flap window."""
    seen = walk(looks, timing)
    track, now = (seen[-1][2], seen[-1][0]) if seen else (WELL, START)
    for _ in range(4):
        now += timedelta(hours=1, seconds=1)
        track, _ = step(track, False, timing, now)

    assert track.is_quiet
    assert all(len(track.fires) <= 60 * 60 for *_, track, _ in seen)


def test_a_flapping_subject_makes_few_changes() -> None:
    """Bad for 10 s, well for 40 s, for an hour: one alert, not seventy."""
    timing = Timing(hold_seconds=0, clear_seconds=30)
    looks = [(10, index % 5 == 0) for index in range(360)]

    changes = [change for *_, change in walk(looks, timing) if change]

    assert len(changes) <= 5
    assert changes[0] == "fired"


def test_a_quiet_hour_makes_it_quick_again() -> None:
    timing = Timing(hold_seconds=0, clear_seconds=30)
    old = resume(since=START, fired_at=START, fires=(START,), relapses=0)

    assert clear_seconds(old, timing) == 30
    flapping = resume(since=START, fired_at=START, fires=(START,) * 4, relapses=0)
    assert clear_seconds(flapping, timing) == 30 * 2**3


def test_relapses_are_counted() -> None:
    timing = Timing(hold_seconds=0, clear_seconds=60)
    track = walk([(1, True), (10, False), (10, True), (10, False), (10, True)], timing)[-1][2]

    assert track.relapses == 2
    assert track.is_firing
