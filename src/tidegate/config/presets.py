"""Presets: what follows from the connections alone is filled in, so that a file may name the systems and nothing else.

A preset fills what the file does not say, and never what it says. It fills flows that observe; `since` it leaves to the
moment at which the file is first put to work (`config/versions.py::record_version`). Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from tidegate.config.document import Document, Path, Problem

Roles = Mapping[str, Collection[str]]
"""Connector -> the roles that it can play (`channel`, `erp`, `payment`). What a version was filled with is stored with it."""

NONE = "none"
SHOP_AND_ERP = "shop-and-erp"
STOCK_ONLY = "stock-only"
_FLOWS = {SHOP_AND_ERP: ("orders", "shipments", "stock"), STOCK_ONLY: ("stock",)}
_OWNED = {"orders": (), "shipments": ("shipment",), "stock": ("stock.on_hand",)}
_PAYMENT = "payment"


def fill(document: Document, roles: Roles) -> tuple[Document, list[Problem]]:
    """Return the document with what its preset and its `since` say filled in, and what is wrong with the preset.

    Without a preset one applies by itself when neither `owns` nor `flows` names a connection, and the connections are one
    ERP and channels, and at most one payment provider.
    """
    root = document.root
    wanted = root.get("preset")
    problems: list[Problem] = []
    filled: dict[Path, Any] = {}
    if wanted is None and not _names_connections(root):
        wanted = SHOP_AND_ERP
    if isinstance(wanted, str) and wanted in _FLOWS:
        parts = _parts(root.get("connections"), roles)
        if parts is not None:
            filled.update(_fillings(wanted, *parts))
        elif root.get("preset") is not None and roles:
            problems.append(_misfit(document))
    if "since" in root and _has(root, ("flows", "orders"), filled):
        filled["flows", "orders", "since"] = root["since"]
    new = _missing(root, filled)
    return replace(document, root=_with(root, new), filled=frozenset(new)), problems


def _names_connections(root: Mapping[str, Any]) -> bool:
    """Return whether a person said already who owns what and what moves where."""
    owns, flows = root.get("owns"), root.get("flows")
    entries = flows.values() if isinstance(flows, dict) else ()
    named = any(isinstance(entry, dict) and ("from" in entry or "to" in entry) for entry in entries)
    return named or (bool(owns) and owns is not None) or (bool(flows) and not isinstance(flows, dict))


def _parts(connections: Any, roles: Roles) -> tuple[list[str], str, str | None] | None:
    """Return the channels, the one ERP and the payment provider, if any; None when the connections are not that."""
    if not isinstance(connections, dict):
        return None
    channels: list[str] = []
    erps: list[str] = []
    either: list[str] = []
    providers: list[str] = []
    for name, entry in connections.items():
        use = entry.get("use") if isinstance(entry, dict) else None
        found = roles.get(use) if isinstance(use, str) else None
        if not found:
            return None
        kind = either if len(found) > 1 else erps if "erp" in found else channels
        kind = providers if _PAYMENT in found else kind
        kind.append(name)
    if not erps and len(either) == 1:
        erps, either = either, []
    if len(erps) != 1 or not channels + either or len(providers) > 1:
        return None
    sold = [name for name in connections if name not in (erps[0], *providers)]
    return sold, erps[0], providers[0] if providers else None


def _fillings(preset: str, channels: list[str], erp: str, provider: str | None) -> dict[Path, Any]:
    flows: dict[str, dict[str, Any]] = {
        "orders": {"from": channels, "to": erp},
        "shipments": {"from": erp},
        "stock": {"from": erp, "to": channels},
    }
    filled: dict[Path, Any] = {("owns", key): erp for flow in _FLOWS[preset] for key in _OWNED[flow]}
    filled.update({("flows", flow, key): value for flow in _FLOWS[preset] for key, value in flows[flow].items()})
    if provider is not None and "shipments" in _FLOWS[preset]:
        filled["owns", "payment"] = provider
        filled["flows", "payments", "from"] = provider
        filled["flows", "shipments", "capture"] = provider
    return filled


def _misfit(document: Document) -> Problem:
    return Problem(
        mark=document.mark_of(("preset",)),
        message=f"preset {document.root['preset']!r} needs connections of one ERP and of sales channels",
        hint="write `owns` and `flows` yourself, and preset: none",
    )


def _has(root: Mapping[str, Any], path: Path, filled: Mapping[Path, Any]) -> bool:
    flows = root.get("flows")
    return (isinstance(flows, dict) and path[1] in flows) or any(place[:2] == path for place in filled)


def _missing(root: Mapping[str, Any], filled: Mapping[Path, Any]) -> dict[Path, Any]:
    """Return what the document does not say itself, and has a place for."""
    return {path: value for path, value in filled.items() if _is_free(root, path)}


def _is_free(part: Any, path: Path) -> bool:
    for step in path:
        if part is None:
            return True
        if not isinstance(part, dict):
            return False
        if step not in part:
            return True
        part = part[step]
    return False


def _with(root: dict[str, Any], new: Mapping[Path, Any]) -> dict[str, Any]:
    changed = dict(root)
    for path, value in new.items():
        part = changed
        for step in _steps(path):
            part[step] = dict(part.get(step) or {})
            part = part[step]
        part[str(path[-1])] = value
    return changed


def _steps(path: Path) -> Iterator[str]:
    return (str(step) for step in path[:-1])
