"""When connections are looked at by themselves, and what becomes of the differences found. Pure; every moment is aware."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from tidegate.config.records import DEFAULT_LOOK, Config, Duration, Heal, Healing, Look, Recurrence, Relinking
from tidegate.config.schedule import ScheduleError, next_after, schedule_of, seconds_of

DEFAULT = "default"
"""The entry of `reconcile` that stands for every connection without a value of its own."""
EVERY_SECONDS_MIN = 300
EVERY_SECONDS_MAX = 3600
SLOWER_SECONDS_MAX = 86_400
"""Where reading takes long, looks are rarer than `every` allows."""
READING_SHARE_MAX = 0.1
"""Reading may take this part of the time at most: the rest of the budget is for what is urgent."""
HANDFUL = 10
"""So many differences are always healed without asking, however small the catalogue."""
TOGETHER_SHARE = 0.2
"""Connections that come due within this part of their interval are looked at together: one run compares them all."""
_SOONER, _LATER = 0.5, 1.5
MANY = 0.01
"""Share of articles that differ from which on looks come sooner."""


class LookRules(msgspec.Struct, frozen=True, kw_only=True):
    """What counts for one connection."""

    enabled: bool = True
    every_seconds: int = 900
    cron: str | None = None
    """In place of `every_seconds`."""
    adapt: bool = True
    jitter_seconds: int = 30
    blackout: tuple[Recurrence, ...] = ()
    heal: Mapping[str, Healing] = {}
    """Field group (stock, price, on_hand) -> policy."""
    heal_most: int = 1000
    heal_share: float = 0.1
    tolerance: int = 0
    relink: Relinking = "auto"
    timezone: str = "UTC"

    @property
    def text(self) -> str:
        """What decides when looks are due: while it stays the same, so does the schedule."""
        shape = (self.every_seconds, self.cron, self.adapt, self.jitter_seconds, self.timezone)
        return msgspec.json.encode(shape).decode()

    @property
    def bounds(self) -> tuple[int, int]:
        """Shortest and longest interval that looks adapt to by themselves, in seconds."""
        if not self.adapt or self.cron is not None:
            return self.every_seconds, self.every_seconds
        return max(EVERY_SECONDS_MIN, self.every_seconds // 3), min(EVERY_SECONDS_MAX, self.every_seconds * 2)

    def heal_limit(self, compared: int) -> int:
        """Return how many differences one run may heal without asking, of so many articles compared."""
        return max(HANDFUL, min(self.heal_most, int(compared * self.heal_share)))


class LookFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What a finished look of one connection came to."""

    articles: int
    differences: int
    """That were not being changed at the moment."""
    reading_seconds: float
    """From the first page that was asked for until the last one was stored, waiting for the budget included."""


def look_rules(config: Config, name: str) -> LookRules:
    """Return the rules of connection `name`: its own values, then those of `default`, then the built-in ones."""
    return rules_of(config.reconcile, name, timezone=config.timezone)


def rules_of(reconcile: Mapping[str, Look], name: str, *, timezone: str = "UTC") -> LookRules:
    """Return the rules of connection `name` from what stands under `reconcile`, as `look_rules` does."""
    own, general = reconcile.get(name, Look()), reconcile.get(DEFAULT, Look())
    chosen = {field: _first(own, general, field) for field in Look.__struct_fields__ if field != "heal"}
    heal = {field: _first(own.heal, general.heal, field) for field in Heal.__struct_fields__}
    every = str(chosen["every"])
    is_cron = " " in every.strip()
    return LookRules(
        enabled=bool(chosen["enabled"]),
        every_seconds=EVERY_SECONDS_MAX if is_cron else seconds_of(every),
        cron=every if is_cron else None,
        adapt=bool(chosen["adapt"]),
        jitter_seconds=seconds_of(str(chosen["jitter"])),
        blackout=chosen["blackout"],  # type: ignore[arg-type]
        heal=heal,  # type: ignore[arg-type]
        heal_most=int(chosen["heal_most"]),  # type: ignore[call-overload]
        heal_share=float(chosen["heal_share"]),  # type: ignore[arg-type]
        tolerance=int(chosen["tolerance"]),  # type: ignore[call-overload]
        relink=chosen["relink"],  # type: ignore[arg-type]
        timezone=timezone,
    )


def _first(own: msgspec.Struct, general: msgspec.Struct, field: str) -> object:
    for part in (own, general, DEFAULT_LOOK if isinstance(own, Look) else DEFAULT_LOOK.heal):
        value = getattr(part, field)
        if value is not None and value != ():
            return value
    return getattr(own, field)


def next_look(rules: LookRules, now: datetime, interval_seconds: float, seed: UUID) -> datetime:
    """Return when the next look is due: after the interval, or at the next time that the cron expression names.

    The jitter is that of the tenant (`seed`) and the moment: connections of one tenant stay together, tenants do not.
    """
    if rules.cron is not None:
        base = next_after(rules.cron, rules.timezone, now)
        if base is None:
            base = now + timedelta(seconds=SLOWER_SECONDS_MAX)
    else:
        base = now + timedelta(seconds=interval_seconds)
    ticks = int(base.timestamp()) // 60
    jitter = random.Random(f"{seed}:{ticks}").uniform(0, rules.jitter_seconds)  # noqa: S311 - it spreads load, no secret
    return base + timedelta(seconds=jitter)


def blackout_end(rules: LookRules, now: datetime) -> datetime | None:
    """Return when the blackout that holds looks back now is over; None when there is none."""
    ends = [
        window.until
        for each in rules.blackout
        if (window := schedule_of(each, rules.timezone).at(now)).is_open and window.until is not None
    ]
    return max(ends, default=None)


def adapted_interval(rules: LookRules, interval_seconds: float, figures: LookFigures) -> float:
    """Return the interval until the next look, in seconds: shorter after much drift, longer after none.

    Reading never takes more than a tenth of the time, whatever `every` says, because it uses a budget that others wait for.
    """
    least, most = rules.bounds
    chosen = float(min(max(interval_seconds, least), most))
    if rules.adapt and rules.cron is None:
        if figures.differences > figures.articles * MANY:
            chosen = max(least, chosen * _SOONER)
        elif not figures.differences:
            chosen = min(most, chosen * _LATER)
        else:
            chosen = float(rules.every_seconds)
    return min(SLOWER_SECONDS_MAX, max(chosen, figures.reading_seconds / READING_SHARE_MAX))


def look_problems(every: str, timezone: str) -> Iterator[str]:
    """Yield what is wrong with an `every`."""
    if " " in every.strip():
        try:
            schedule_of(Recurrence(cron=every, for_="1m"), timezone)
        except ScheduleError as error:
            yield str(error)
        return
    try:
        seconds = seconds_of(msgspec.convert(every, Duration))
    except msgspec.ValidationError:
        yield f"{every!r} is neither a length of time (15m) nor a cron expression (*/20 6-22 * * *)"
        return
    if not EVERY_SECONDS_MIN <= seconds <= EVERY_SECONDS_MAX:
        yield f"looks are 5 to 60 minutes apart, and {every!r} is not; a cron expression may name other times"
