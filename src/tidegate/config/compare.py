"""What differs between two configurations, path by path, and what it means for what runs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from tidegate.config.effective import FLOWS
from tidegate.config.records import Config, Override

Kind = Literal["writes", "rights", "restart", "note"]
"""writes: something begins or goes on to write that did not. rights: who owns what, or whose the file is. restart: counts
after `tidegate down` and `tidegate up`. note: good to know."""
NEEDS_CONSENT: frozenset[Kind] = frozenset({"writes", "rights"})


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One value that differs. None: it is not there, or not set."""

    path: str
    before: Any
    after: Any


class Meaning(msgspec.Struct, frozen=True, kw_only=True):
    """What changes follow in what runs."""

    kind: Kind
    words: str


def changes(before: Config | None, after: Config) -> list[Change]:
    """Return the values that differ, sorted by path; None is compared as the empty file."""
    old, new = flatten(before if before is not None else Config()), flatten(after)
    return [
        Change(path=path, before=old.get(path), after=new.get(path))
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    ]


def flatten(config: Config) -> dict[str, Any]:
    """Return every value under its path, such as `flows.stock.mode`. Lists of words are one value."""
    tree = msgspec.to_builtins(config, builtin_types=(datetime,))
    tree["connections"] = {
        name: {"use": entry["use"], **entry["options"]} for name, entry in tree["connections"].items()
    }
    return {path: value for path, value in _leaves(tree, "") if value is not None}


def meanings(before: Config | None, after: Config) -> list[Meaning]:
    """Return what putting `after` to work in place of `before` does."""
    old = before if before is not None else Config()
    return [
        *(_tenant(before, after)),
        *_modes(old, after),
        *_owners(old, after),
        *_skus(old, after),
        *_timed(old, after),
        *_connections(old, after),
        *_places(old, after, is_first=before is None),
    ]


def needs_consent(found: list[Meaning]) -> bool:
    """Return whether a person should be asked before."""
    return any(meaning.kind in NEEDS_CONSENT for meaning in found)


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(inner, Mapping) for inner in value):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{path}.{index}")
    else:
        yield path, list(value) if isinstance(value, tuple) else value


def _tenant(before: Config | None, after: Config) -> Iterator[Meaning]:
    if before is not None and before.tenant != after.tenant:
        words = f"the file is of tenant {after.tenant!r} now; {before.tenant!r} goes on under its last version"
        yield Meaning(kind="rights", words=words)


def _modes(old: Config, new: Config) -> Iterator[Meaning]:
    for flow in FLOWS:
        was, now = getattr(old.flows, flow), getattr(new.flows, flow)
        before, after = (found.mode if found is not None else None for found in (was, now))
        if now is None:
            if was is not None:
                yield Meaning(kind="note", words=f"there is no flow {flow} any more; nothing new of it is written")
            continue
        if after == "live" and before != "live":
            yield Meaning(kind="writes", words=f"{flow} become live: {_route(now)} is written to from now on")
        elif after == "propose" and before != "propose":
            words = f"{flow} propose: a person approves each write to {_route(now)} (tidegate approve)"
            yield Meaning(kind="writes" if before != "live" else "note", words=words)
        elif after == "observe" and before in ("live", "propose"):
            words = f"{flow} observe: nothing more is written; what is planned waits until they are live again"
            yield Meaning(kind="note", words=words)
        if after != "observe" and after == before and _targets(now) - _targets(was):
            names = ", ".join(sorted(_targets(now) - _targets(was)))
            yield Meaning(kind="writes", words=f"{flow} are written to {names} too")
    capture = new.flows.shipments.capture if new.flows.shipments is not None else None
    captured = old.flows.shipments.capture if old.flows.shipments is not None else None
    if capture is not None and capture != captured and new.flows.payments is not None:
        words = f"payments are captured at {capture} when goods have left"
        yield Meaning(kind="writes" if new.flows.payments.mode != "observe" else "note", words=words)
    yield from _since(old, new)


def _since(old: Config, new: Config) -> Iterator[Meaning]:
    was, now = old.flows.orders, new.flows.orders
    if now is None:
        return
    if now.since is None:
        yield Meaning(kind="note", words="orders count from the moment on at which this is put to work")
    elif was is not None and was.since is not None and now.since < was.since:
        words = f"orders placed since {now.since:%Y-%m-%d %H:%M} count, before it was {was.since:%Y-%m-%d %H:%M}"
        yield Meaning(kind="writes" if now.mode != "observe" else "note", words=words)


def _owners(old: Config, new: Config) -> Iterator[Meaning]:
    for field, name in (("on_hand", "stock.on_hand"), ("shipment", "shipment"), ("payment", "payment")):
        before, after = getattr(old.owns, field), getattr(new.owns, field)
        if before is not None and before != after:
            yield Meaning(kind="rights", words=f"{after or 'nobody'} owns {name} now, in place of {before}")


def _skus(old: Config, new: Config) -> Iterator[Meaning]:
    before = {(rule.match, rule.stock_mode) for rule in _rules(old)}
    for rule in _rules(new):
        if (rule.match, rule.stock_mode) in before:
            continue
        if rule.stock_mode in ("live", "propose"):
            yield Meaning(kind="writes", words=f"stock of {_whom(rule, new)} is {rule.stock_mode}")
        elif rule.stock_mode == "observe":
            yield Meaning(kind="note", words=f"stock of {_whom(rule, new)} observes: it is not told any more")
    gone = {rule.match for rule in _rules(old) if rule.stock_mode == "observe"} - {rule.match for rule in _rules(new)}
    stock = new.flows.stock
    if gone and stock is not None and stock.mode != "observe":
        words = f"stock of {', '.join(sorted(str(match) for match in gone))} is {stock.mode} like the flow"
        yield Meaning(kind="writes", words=words)
    if _safety(old) != _safety(new):
        yield Meaning(kind="note", words="other units are withheld from channels: the numbers that change are told")
    if _allocation(old) != _allocation(new):
        words = "units are shared out among channels in another way: the numbers that change are told"
        yield Meaning(kind="writes", words=words)
    if _significant(old) != _significant(new):
        yield Meaning(kind="note", words="other changes of stock numbers are told at once: no number changes by that")
    if _buffers(old) != _buffers(new):
        words = "other units are held back while channels hear of sales: the numbers that change are told"
        yield Meaning(kind="note", words=words)


def _rules(config: Config) -> list[Override]:
    return [override for override in config.overrides if override.match is not None]


def _whom(rule: Override, config: Config) -> str:
    match = str(rule.match)
    if match.startswith("group:"):
        return f"{match} ({', '.join(config.groups.get(match.removeprefix('group:'), ()))})"
    return match


def _safety(config: Config) -> tuple[Any, ...]:
    stock = config.flows.stock
    rules = tuple(
        (rule.match, rule.during, rule.stock_safety) for rule in _rules(config) if rule.stock_safety is not None
    )
    return (stock.safety if stock is not None else 0, rules, tuple(config.groups.items()) if rules else ())


def _allocation(config: Config) -> tuple[Any, ...]:
    stock = config.flows.stock
    rules = tuple(
        (rule.match, rule.during, rule.stock_allocation) for rule in _rules(config) if rule.stock_allocation is not None
    )
    of_flow = stock.allocation if stock is not None else None
    return (of_flow, rules, tuple(config.groups.items()) if rules else ())


def _significant(config: Config) -> tuple[Any, ...]:
    stock = config.flows.stock
    rules = tuple(
        (rule.match, rule.during, rule.stock_significant)
        for rule in _rules(config)
        if rule.stock_significant is not None
    )
    return (stock.significant if stock is not None else None, rules, tuple(config.groups.items()) if rules else ())


def _buffers(config: Config) -> tuple[Any, ...]:
    stock = config.flows.stock
    rules = tuple(
        (rule.match, rule.during, rule.stock_buffer, rule.stock_peak)
        for rule in _rules(config)
        if rule.stock_buffer is not None or rule.stock_peak is not None
    )
    of_flow = (stock.buffer, stock.oversell_max) if stock is not None else None
    return (of_flow, rules, tuple(config.groups.items()) if rules else ())


def _timed(old: Config, new: Config) -> Iterator[Meaning]:
    before = [(override.during, override.profile) for override in old.overrides if override.profile]
    for override in new.overrides:
        name = override.profile
        if name is None or name not in new.profiles:
            continue
        profile = new.profiles[name]
        if (override.during, name) in before and old.profiles.get(name) == profile:
            continue
        when = override.during if isinstance(override.during, str) else "its recurrence"
        live = [flow for flow in FLOWS if getattr(profile, f"{flow}_mode") in ("live", "propose")]
        if live:
            words = f"profile {name!r} lets {', '.join(live)} write during {when}"
            yield Meaning(kind="writes", words=words)
        else:
            yield Meaning(kind="note", words=f"profile {name!r} is on during {when}, and off again afterwards")


def _connections(old: Config, new: Config) -> Iterator[Meaning]:
    for name in new.connections:
        if name not in old.connections:
            yield Meaning(kind="note", words=f"connection {name} is new: tidegate connect {name}")
        elif old.connections[name] != new.connections[name]:
            yield Meaning(kind="note", words=f"connection {name} has other settings: tidegate connect {name}")
    for name in old.connections:
        if name not in new.connections:
            yield Meaning(kind="note", words=f"connection {name} takes part in no flow any more")


def _places(old: Config, new: Config, *, is_first: bool) -> Iterator[Meaning]:
    changed = [name for name in ("listen", "processes", "cell") if getattr(old, name) != getattr(new, name)]
    if changed and not is_first:
        words = f"{', '.join(changed)}: counts after tidegate down and tidegate up"
        yield Meaning(kind="restart", words=words)


def _route(flow: Any) -> str:
    return ", ".join(sorted(_targets(flow)))


def _targets(flow: Any) -> set[str]:
    if flow is None:
        return set()
    targets = getattr(flow, "targets", None)
    return (
        set(targets)
        if targets is not None
        else {"the channel of the order" if flow.target == "origin" else flow.target}
    )
