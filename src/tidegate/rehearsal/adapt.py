"""From a user's configuration to the one that a rehearsal runs: the same flows, towards simulated platforms. Pure.

Only what would leave the rehearsal is changed: addresses, modes (a rehearsal writes), windows in which nothing is written, and
what names a connection that cannot be simulated. Each change is told as a note.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date
from typing import Any

import msgspec
import yaml

from tidegate.kernel.errors import ConfigurationError

_FLOW_ENDS = ("from", "to")
_NAMES_NO_CONNECTION = {"origin", "tidegate"}
_DROPPED = ("public_url", "listen", "alerts", "preset", "since")


class Cast(msgspec.Struct, frozen=True, kw_only=True):
    """Which connections play, and which cannot."""

    channels: tuple[str, ...]
    """Those that orders come from, in the order of the file."""
    others: tuple[str, ...]
    """Further ones that are simulated: payment providers, warehouses."""
    erp: str
    connectors: Mapping[str, str]
    """Connection -> its connector, of those that play."""
    left_out: Mapping[str, str]
    """Connection -> its connector, of those that cannot be simulated."""


class _Dumper(yaml.SafeDumper):
    """Writes what stands twice twice: the file knows no aliases."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - yaml's signature
        return True


def choose_cast(root: Mapping[str, Any], simulated: Collection[str]) -> Cast:
    """Return who plays. `root` is the document with what its preset fills in.

    Raises ConfigurationError when there are not both a channel that orders come from and an ERP that they go to.
    """
    connections = {name: str(entry.get("use")) for name, entry in (root.get("connections") or {}).items()}
    playing = {name: use for name, use in connections.items() if use in simulated}
    left_out = {name: use for name, use in connections.items() if use not in simulated}
    orders = (root.get("flows") or {}).get("orders") or {}
    channels = tuple(name for name in _names(orders.get("from")) if name in playing)
    erp = str(orders.get("to", ""))
    if not channels or erp not in playing:
        missing = ", ".join(f"{name} ({use})" for name, use in left_out.items())
        raise ConfigurationError(
            "there is nothing to rehearse: it takes an orders flow from a channel to an ERP that can be simulated"
            + (f"; these cannot: {missing}" if missing else ""),
            code="nothing_to_rehearse",
            hint=f"simulated are: {', '.join(sorted(simulated))}. Or try the built-in shops: tidegate rehearse --example",
        )
    others = tuple(name for name in playing if name not in channels and name != erp)
    return Cast(channels=channels, others=others, erp=erp, connectors=playing, left_out=left_out)


def provider_of(root: Mapping[str, Any], cast: Cast) -> str | None:
    """Return the connection that captures when goods leave, None where none does or it does not play."""
    capture = ((root.get("flows") or {}).get("shipments") or {}).get("capture")
    return str(capture) if capture in cast.others else None


def adapt(
    root: Mapping[str, Any],
    cast: Cast,
    *,
    settings: Mapping[str, Mapping[str, Any]],
    listen: Mapping[str, Any],
    since: date,
    profile: str | None = None,
    processes: Mapping[str, int] | None = None,
) -> tuple[str, tuple[str, ...]]:
    """Return the text of the configuration that plays, and what was changed, in words.

    `settings` are those of each connection that point it at its simulated platform; `profile` is one of the file's own
    profiles, which is on for the whole play.
    """
    notes = [f"{name} ({use}) cannot be simulated and is left out" for name, use in cast.left_out.items()]
    changed = {key: value for key, value in root.items() if key not in _DROPPED}
    changed["listen"] = dict(listen)
    changed["network"] = {"allow": ["127.0.0.0/8"]}
    changed["connections"] = {name: {**_kept(root["connections"][name]), **settings[name]} for name in cast.connectors}
    changed["owns"] = {
        field: owner
        for field, owner in (root.get("owns") or {}).items()
        if owner in cast.connectors or owner in _NAMES_NO_CONNECTION
    }
    changed["flows"] = _flows(root.get("flows") or {}, cast, since, notes)
    changed["overrides"] = _overrides(root.get("overrides") or (), profile, since)
    if profile is not None and profile not in (root.get("profiles") or {}):
        raise ConfigurationError(
            f"tidegate.yaml has no profile {profile!r}", code="profile_unknown", hint="it has: " + _listed(root)
        )
    if processes:
        changed["processes"] = {**(root.get("processes") or {}), **processes}
    return yaml.dump(_plain(changed), Dumper=_Dumper, sort_keys=False, allow_unicode=True), tuple(notes)


def _listed(root: Mapping[str, Any]) -> str:
    return ", ".join(root.get("profiles") or ()) or "none"


def _kept(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a connection's settings without its address."""
    return {name: value for name, value in entry.items() if name not in {"url", "base_url", "store"}}


def _flows(flows: Mapping[str, Any], cast: Cast, since: date, notes: list[str]) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    waiting: list[str] = []
    for name, flow in flows.items():
        if not isinstance(flow, Mapping):
            continue
        ends = {end: _end(flow[end], cast) for end in _FLOW_ENDS if end in flow}
        if any(end in (None, []) for end in ends.values()):
            notes.append(f"the flow {name} has nobody left to go from or to, and is left out")
            continue
        kept = {key: value for key, value in flow.items() if key not in {"blackout", "since"}}
        if "capture" in kept and kept["capture"] not in cast.connectors:
            del kept["capture"]
        if kept.get("mode", "observe") != "live":
            waiting.append(name)
        changed[name] = {**kept, **ends, "mode": "live", **({"since": since} if name == "orders" else {})}
        if flow.get("blackout"):
            notes.append(f"the blackout windows of the flow {name} do not count in a rehearsal")
    if waiting:
        notes.append(f"live in the rehearsal, and not yet in your file: {', '.join(waiting)}")
    return changed


def _end(value: Any, cast: Cast) -> Any:
    """Return the end of a flow without those who do not play; None or [] when nobody is left."""
    if isinstance(value, str):
        return value if value in cast.connectors or value in _NAMES_NO_CONNECTION else None
    return [name for name in value if name in cast.connectors]


def _overrides(overrides: Collection[Any], profile: str | None, since: date) -> list[Any]:
    """Return the overrides that change no mode, and one more that switches a profile on."""
    kept = [
        {key: value for key, value in override.items() if not key.endswith(".mode")}
        for override in overrides
        if isinstance(override, Mapping)
    ]
    meaning = [override for override in kept if set(override) - {"match", "during"}]
    return [
        *meaning,
        *([{"during": f"{since.isoformat()}/2099-12-31", "profile": profile}] if profile is not None else []),
    ]


def _names(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(name) for name in value or ()]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
