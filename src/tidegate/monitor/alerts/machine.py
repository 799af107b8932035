"""What becomes of one subject of one rule: ok, pending, firing, and over again. Pure; time is handed in.

A cause must last for the rule's hold time before the alert fires, and be gone for its clear time before the alert is over. A
subject that fires again and again within an hour must be well for longer each time: it stays one alert and makes no noise.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

import msgspec

Change = Literal["fired", "resolved"]
FLAP_WINDOW = timedelta(hours=1)
"""Within this time a subject that fires again counts as flapping."""
CLEAR_SECONDS_MAX = 1800.0
"""The longest time that a flapping subject must be well."""
FLAP_CLEAR_SECONDS_MIN = 30.0
"""What the clear time of a flapping subject grows from, where the rule's own is shorter."""


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """How long something must last, in seconds."""

    hold_seconds: float
    clear_seconds: float


class Track(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one subject."""

    since: datetime | None = None
    """Since when it is bad without a break; None while it is well."""
    fired_at: datetime | None = None
    """When it fired; None unless it is firing."""
    well_since: datetime | None = None
    """Firing, and seen well since then; None while it is bad."""
    fires: tuple[datetime, ...] = ()
    """When it fired within the flap window, oldest first."""
    relapses: int = 0
    """How often it came back during this alert before it was taken for over."""

    @property
    def is_firing(self) -> bool:
        """Whether there is an alert."""
        return self.fired_at is not None

    @property
    def is_quiet(self) -> bool:
        """Whether there is nothing to remember."""
        return self.since is None and self.fired_at is None and not self.fires


WELL = Track()
"""A subject of which nothing is known."""


def step(track: Track, is_bad: bool | None, timing: Timing, now: datetime) -> tuple[Track, Change | None]:
    """Return the track after one look, and whether the alert fired or was resolved by it.

    `is_bad` None means that it could not be seen: nothing changes, and time does not count.
    """
    if is_bad is None:
        return track, None
    track = _forget(track, now)
    if track.is_firing:
        return _step_firing(track, timing, now, is_bad=is_bad)
    if not is_bad:
        return msgspec.structs.replace(track, since=None), None
    since = track.since or now
    if now - since < timedelta(seconds=timing.hold_seconds):
        return msgspec.structs.replace(track, since=since), None
    return msgspec.structs.replace(
        track, since=since, fired_at=now, well_since=None, fires=(*track.fires, now), relapses=0
    ), "fired"


def clear_seconds(track: Track, timing: Timing) -> float:
    """Return how long a firing subject must be well: twice as long for each time it fired before within the window."""
    again = len(track.fires) - 1
    if again <= 0:
        return timing.clear_seconds
    doubled = max(timing.clear_seconds, FLAP_CLEAR_SECONDS_MIN) * float(2 ** min(again, 10))
    return max(timing.clear_seconds, min(doubled, CLEAR_SECONDS_MAX))


def resume(*, since: datetime, fired_at: datetime, fires: tuple[datetime, ...], relapses: int) -> Track:
    """Return the track of an alert that another process left firing."""
    return Track(since=since, fired_at=fired_at, fires=fires or (fired_at,), relapses=relapses)


def _step_firing(track: Track, timing: Timing, now: datetime, *, is_bad: bool) -> tuple[Track, Change | None]:
    if is_bad:
        came_back = track.well_since is not None
        return msgspec.structs.replace(track, well_since=None, relapses=track.relapses + came_back), None
    well_since = track.well_since or now
    if now - well_since < timedelta(seconds=clear_seconds(track, timing)):
        return msgspec.structs.replace(track, well_since=well_since), None
    return Track(fires=track.fires), "resolved"


def _forget(track: Track, now: datetime) -> Track:
    """Drop what happened before the flap window."""
    first = now - FLAP_WINDOW
    if not track.fires or track.fires[0] > first:
        return track
    return msgspec.structs.replace(track, fires=tuple(moment for moment in track.fires if moment > first))
