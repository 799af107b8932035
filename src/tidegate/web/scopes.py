"""What an API key may do. Everything that is not named is denied. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from types import MappingProxyType

from tidegate.kernel.errors import ConfigurationError

SCOPES: Mapping[str, str] = MappingProxyType(
    {
        "status:read": "see how the installation does",
        "events:read": "see what came in and what became of it, without bodies",
        "events:replay": "send stored events through once more",
        "commands:read": "see what other systems are told, without payloads",
        "commands:write": "retry, cancel, approve and reject commands",
        "orders:read": "see orders, their lines and why they are as they are, without customers and addresses",
        "stock:read": "see levels, ledger, reservations and what channels are told",
        "stock:write": "change on_hand and set units aside, by entries in the ledger; settle conflicts by what others wrote",
        "stock:reserve": "hold units for a while, claim and release what is held",
        "connections:read": "see connections, their lanes and feeds",
        "flows:read": "see flows and their modes",
        "flows:write": "change the mode of a flow",
        "config:read": "see the versions of the configuration",
        "config:write": "put a configuration to work, or an earlier one again",
        "runs:read": "see runs",
        "plan:read": "see what would change",
        "drift:read": "see where systems differ",
        "drift:run": "compare systems now, pause and resume comparing",
        "drift:heal": "have stock numbers told anew that differ",
        "matches:read": "see articles that were deleted over there, and what took their place",
        "matches:write": "bind what was made anew, and forget what was deleted",
        "issues:read": "see groups of failures",
        "issues:write": "retry groups of failures",
        "alerts:read": "see alerts",
        "alerts:write": "acknowledge and test alerts",
    }
)
"""Scope -> what it allows, for people."""
_WILDCARD = re.compile(r"([a-z]+):\*|\*:(read)")


def check_scopes(given: Collection[str]) -> tuple[str, ...]:
    """Return the scopes sorted, each once. `area:*` stands for all of an area, `*:read` for reading everywhere.

    Raises ConfigurationError for one that does not exist, or when there is none.
    """
    areas = {scope.partition(":")[0] for scope in SCOPES}
    wrong = [scope for scope in given if scope not in SCOPES and not _is_wildcard(scope, areas)]
    if wrong or not given:
        said = f"there is no scope {wrong[0]!r}" if wrong else "a key without a scope can do nothing"
        raise ConfigurationError(
            said, code="scope_invalid", hint=f"scopes are {', '.join(SCOPES)}; also AREA:* and *:read"
        )
    return tuple(sorted(set(given)))


def is_allowed(granted: Collection[str], needed: str) -> bool:
    """Whether these scopes allow what needs that one."""
    area, _, verb = needed.partition(":")
    return needed in granted or f"{area}:*" in granted or (verb == "read" and "*:read" in granted)


def _is_wildcard(scope: str, areas: Collection[str]) -> bool:
    match = _WILDCARD.fullmatch(scope)
    return match is not None and (match[1] is None or match[1] in areas)
