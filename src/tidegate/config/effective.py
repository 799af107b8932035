"""What a configuration says at a moment: timed overrides switched on and off, blackouts held back. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec

from tidegate.config.lanes import lay_over, lay_over_some
from tidegate.config.records import Config, Override, Profile
from tidegate.config.schedule import Window, schedule_of, seconds_of

FLOWS = ("orders", "shipments", "payments", "stock", "events")
PLACES: Mapping[str, tuple[str, ...]] = {
    "stock_mode": ("flows", "stock", "mode"),
    "stock_safety": ("flows", "stock", "safety"),
    "orders_mode": ("flows", "orders", "mode"),
    "shipments_mode": ("flows", "shipments", "mode"),
    "payments_mode": ("flows", "payments", "mode"),
    "events_mode": ("flows", "events", "mode"),
    "polling_enabled": ("polling", "enabled"),
    "polling_interval_min": ("polling", "interval_min"),
    "alerts_budget": ("alerts", "rules", "budget_near_limit", "threshold"),
}
"""Field of a profile -> attributes from the configuration down to the setting that it replaces."""
LANE_PLACES: Mapping[str, str] = {
    "lanes_floor": "floor",
    "lanes_share": "share",
    "lanes_stock_merge": "stock_merge",
    "lanes_bundle": "bundle",
}
"""Field of a profile -> the setting of every lane that it replaces."""


@dataclass(frozen=True, kw_only=True)
class Effective:
    """A configuration at one moment."""

    config: Config
    """What counts now: profiles are laid over it, overrides that do not hold now are gone, and a flow that is held back
    observes."""
    planned: Config
    """The same, but a flow that is held back for a time keeps its own mode: what it writes is planned and waits."""
    profiles: tuple[str, ...] = ()
    """The profiles that are on, in the order of the file."""
    held: Mapping[str, str] = field(default_factory=dict)
    """Flow -> why it writes nothing now: `blackout`, or the name of the profile."""
    next_change: datetime | None = None
    """Nothing of this can change before then. None: it never changes by itself."""

    @property
    def profile(self) -> str | None:
        """The profile that is on; of several, the one whose settings win."""
        return self.profiles[-1] if self.profiles else None


def effective(config: Config, at: datetime) -> Effective:
    """Return what `config` says at `at` (aware)."""
    opening = _Opening(config.timezone, at)
    kept: list[Override] = []
    profiles: list[str] = []
    for override in config.overrides:
        if override.during is not None and not opening.is_open(override.during, lead=override.lead):
            continue
        if override.profile is not None:
            profiles.append(override.profile)
        else:
            kept.append(override)
    now = planned = msgspec.structs.replace(config, overrides=tuple(kept))
    held: dict[str, str] = {}
    for name in profiles:
        profile = config.profiles.get(name, Profile())
        now, planned = _lay_over(now, profile), _lay_over(planned, profile, is_planning=True)
        for flow in FLOWS:
            mode = getattr(profile, f"{flow}_mode")
            if mode == "observe" and _writes(config, flow):
                held[flow] = name
            elif mode is not None:
                held.pop(flow, None)
    for flow in FLOWS:
        if any([opening.is_open(window) for window in _blackout(config, flow)]):  # noqa: C419 - each has its next change
            held[flow] = "blackout"
    for flow in held:
        now = _hold_back(now, flow)
    return Effective(
        config=now, planned=planned, profiles=tuple(profiles), held=held, next_change=min(opening.changes, default=None)
    )


class Timetable:
    """A configuration's `effective`, worked out again only when it may have changed."""

    def __init__(self, config: Config) -> None:
        """Know the configuration; nothing is worked out yet."""
        self.config = config
        self._found: Effective | None = None
        self._found_at: datetime | None = None

    def at(self, moment: datetime) -> Effective:
        """Return what counts at `moment` (aware)."""
        found, since = self._found, self._found_at
        if found is None or since is None or moment < since or _is_over(found.next_change, moment):
            found = self._found = effective(self.config, moment)
            self._found_at = moment
        return found


class _Opening:
    """Asks schedules at one moment and collects when they may change."""

    def __init__(self, timezone: str, at: datetime) -> None:
        self._timezone = timezone
        self._at = at
        self.changes: list[datetime] = []

    def is_open(self, schedule: Any, *, lead: str | None = None) -> bool:
        """Whether it is open, or will be within `lead`."""
        ahead = timedelta(seconds=seconds_of(lead)) if lead is not None else timedelta()
        found = schedule_of(schedule, self._timezone)
        window: Window = found.at(self._at)
        early: Window = found.at(self._at + ahead)
        self.changes += [until for until in (window.until,) if until is not None]
        if ahead:
            self.changes += [
                until - ahead for until in (early.until,) if until is not None and until - ahead > self._at
            ]
        return window.is_open or early.is_open


def _is_over(next_change: datetime | None, moment: datetime) -> bool:
    return next_change is not None and moment >= next_change


def _blackout(config: Config, flow: str) -> Iterator[Any]:
    found = getattr(config.flows, flow)
    return iter(found.blackout if found is not None else ())


def _mode(config: Config, flow: str) -> str | None:
    found = getattr(config.flows, flow)
    return found.mode if found is not None else None


def _writes(config: Config, flow: str) -> bool:
    has_own_mode = flow == "stock" and any(
        override.stock_mode not in (None, "observe") for override in config.overrides
    )
    return _mode(config, flow) is not None and (_mode(config, flow) != "observe" or has_own_mode)


def _lay_over(config: Config, profile: Profile, *, is_planning: bool = False) -> Config:
    """Replace the settings that a profile has. While planning, observing for a time changes no mode."""
    for name, path in PLACES.items():
        value = getattr(profile, name)
        if value is not None and not (is_planning and path[-1] == "mode" and value == "observe"):
            config = _replaced(config, path, value)
    values = {field: value for name, field in LANE_PLACES.items() if (value := getattr(profile, name)) is not None}
    if not values and not profile.lanes:
        return config
    return msgspec.structs.replace(config, lanes=lay_over_some(lay_over(config.lanes, values), profile.lanes))


def _hold_back(config: Config, flow: str) -> Config:
    """Have a flow observe, with every SKU of it."""
    if flow == "stock":
        kept = tuple(msgspec.structs.replace(override, stock_mode=None) for override in config.overrides)
        config = msgspec.structs.replace(config, overrides=kept)
    return _replaced(config, ("flows", flow, "mode"), "observe")


def _replaced(config: Config, path: tuple[str, ...], value: Any) -> Config:
    changed: Config = _replace(config, path, value)
    return changed


def _replace(part: Any, path: tuple[str, ...], value: Any) -> Any:
    """Return `part` with the setting at `path` replaced; unchanged where the flow does not exist."""
    if part is None:
        return None
    name, *below = path
    inner = _replace(getattr(part, name), tuple(below), value) if below else value
    return msgspec.structs.replace(part, **{name: inner})
