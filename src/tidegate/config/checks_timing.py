"""What schedules, profiles, groups and overrides must be. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tidegate.config.document import Document, Mark, Path, Problem
from tidegate.config.effective import FLOWS, PLACES
from tidegate.config.reconcile import DEFAULT, look_problems
from tidegate.config.records import Config, Override, Recurrence
from tidegate.config.schedule import ScheduleError, require_zone, schedule_of
from tidegate.config.shape import suggest
from tidegate.config.skus import GROUP_PREFIX, SKU_PREFIX

PATTERN_CHARS_MAX = 255
OVERRIDES_MAX = 1000
_MATCH_HINT = 'write for example "sku:LAUNCH-*" or "group:NAME"'


def check_schedules(config: Config, document: Document) -> Iterator[Problem]:
    """Time zones exist, cron expressions can be read and happen, spans end after they begin."""
    try:
        require_zone(config.timezone)
    except ScheduleError as error:
        hint = "write for example Europe/Berlin"
        yield Problem(mark=document.mark_of(("timezone",)), message=str(error), hint=hint)
        return
    for flow in FLOWS:
        found = getattr(config.flows, flow)
        for index, window in enumerate(found.blackout if found is not None else ()):
            yield from _check_schedule(window, ("flows", flow, "blackout", index), config, document)
    for index, override in enumerate(config.overrides):
        if override.during is not None:
            yield from _check_schedule(override.during, ("overrides", index, "during"), config, document)


def check_looks(config: Config, document: Document) -> Iterator[Problem]:
    """Looks are those of connections of this file, or `default`; their times can be, and only what is sent can be healed."""
    try:
        require_zone(config.timezone)
    except ScheduleError:
        return  # said already
    for name, look in config.reconcile.items():
        path: Path = ("reconcile", name)
        if name != DEFAULT and name not in config.connections:
            yield Problem(
                mark=document.mark_of_key(path),
                message=f"reconcile names {name!r}, which is no connection of this file",
                hint=suggest(name, [*config.connections, DEFAULT]),
            )
        for message in look_problems(look.every, config.timezone) if look.every is not None else ():
            yield Problem(mark=document.mark_of((*path, "every")), message=message, hint="write for example 15m")
        for index, window in enumerate(look.blackout):
            yield from _check_schedule(window, (*path, "blackout", index), config, document)
        for field, why in _NEVER_HEALED.items():
            if getattr(look.heal, field) not in (None, "report"):
                yield Problem(
                    mark=document.mark_of((*path, "heal", field)),
                    message=f"heal.{field} can only be report: {why}",
                    hint=f"write {field}: report, or leave it away",
                )


_NEVER_HEALED = {
    "price": "nobody sends prices",
    "on_hand": "the count is its owner's, and what moves there is read by its feeds",
}


def check_sku_rules(config: Config, document: Document) -> Iterator[Problem]:
    """Groups have patterns; overrides say what for, and name groups and profiles that exist."""
    for name, patterns in config.groups.items():
        for index, pattern in enumerate(patterns):
            yield from _check_pattern(pattern, document.mark_of(("groups", name, index)))
    for name, profile in config.profiles.items():
        for key, place in PLACES.items():
            if place[0] == "flows" and getattr(profile, key) is not None and getattr(config.flows, place[1]) is None:
                setting = f"{place[1]}.{place[2]}"
                message = f"profile {name!r} sets {setting}, but there is no flow {place[1]!r}"
                yield Problem(mark=document.mark_of(("profiles", name, setting)), message=message)
    if len(config.overrides) > OVERRIDES_MAX:
        yield Problem(mark=document.mark_of(("overrides",)), message=f"more than {OVERRIDES_MAX} overrides")
        return
    for index, override in enumerate(config.overrides):
        yield from _check_override(override, ("overrides", index), config, document)


def _check_schedule(schedule: str | Recurrence, path: Path, config: Config, document: Document) -> Iterator[Problem]:
    try:
        schedule_of(schedule, config.timezone)
    except ScheduleError as error:
        yield Problem(mark=document.mark_of(path), message=str(error))


def _check_override(override: Override, path: Path, config: Config, document: Document) -> Iterator[Problem]:
    def problem(message: str, hint: str | None = None, key: str | None = None) -> Problem:
        return Problem(mark=document.mark_of((*path, key) if key else path), message=message, hint=hint)

    is_for_skus = any(
        value is not None
        for value in (
            override.stock_mode,
            override.stock_safety,
            override.stock_allocation,
            override.stock_significant,
            override.stock_buffer,
            override.stock_peak,
        )
    )
    if override.profile is not None and (override.match is not None or is_for_skus):
        yield problem("an override switches a profile on, or sets something for SKUs, not both", "make two of it")
    elif override.profile is None and not is_for_skus:
        yield problem(
            "this override changes nothing",
            "add stock.safety, stock.mode, stock.allocation, stock.buffer, stock.peak, stock.significant, or a profile with `during`",
        )
    elif override.profile is not None and override.during is None:
        yield problem("a profile is on for a time only", "add for example: during: 2026-11-27/2026-12-01", "profile")
    elif is_for_skus and override.match is None:
        yield problem("this override does not say which SKUs it is for", f"add match; {_MATCH_HINT}")
    if override.lead is not None and override.profile is None:
        yield problem("only a profile can be on ahead of its time", "take `lead` out, or add a profile", "lead")
    if override.profile is not None and override.profile not in config.profiles:
        hint = suggest(override.profile, list(config.profiles)) or "describe it under `profiles`"
        yield problem(f"there is no profile {override.profile!r}", hint, "profile")
    if is_for_skus and config.flows.stock is None:
        yield problem("this override is about stock, but there is no flow 'stock'")
    if override.match is not None:
        yield from _check_match(override.match, document.mark_of((*path, "match")), config)


def _check_match(match: str, mark: Mark, config: Config) -> Iterator[Problem]:
    if match.startswith(GROUP_PREFIX):
        name = match.removeprefix(GROUP_PREFIX)
        if name not in config.groups:
            hint = suggest(name, list(config.groups)) or "describe it under `groups`"
            yield Problem(mark=mark, message=f"there is no group {name!r}", hint=hint)
    elif match.startswith(SKU_PREFIX):
        yield from _check_pattern(match.removeprefix(SKU_PREFIX), mark)
    else:
        yield Problem(mark=mark, message=f"{match!r} says neither sku: nor group:", hint=_MATCH_HINT)


def _check_pattern(pattern: Any, mark: Mark) -> Iterator[Problem]:
    if not pattern or len(pattern) > PATTERN_CHARS_MAX:
        message = f"a pattern of SKUs has 1 to {PATTERN_CHARS_MAX} characters"
        yield Problem(mark=mark, message=message, hint="`*` stands for any text, `?` for one character")
