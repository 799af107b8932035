"""What the lanes of one process share of a host: when it is down for one connection, it is down for the others there.

A host is known by tenant, scheme, name and port. Pure but for the state that it keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from tidegate.dispatch.budget import CLOSED, Breaker


class Host:
    """The breaker of one host, and who may probe it while it counts as down."""

    def __init__(self, name: str = "") -> None:
        """Start with a host that is up."""
        self.name = name
        self.breaker: Breaker = CLOSED
        self._prober: object = None

    def may_call(self, caller: object, *, limit: int) -> bool:
        """Whether `caller` may begin a call: while the host counts as down, one lane at a time probes it."""
        return not self.breaker.is_tripped(limit) or self._prober in (None, caller)

    def begin(self, caller: object, *, limit: int) -> None:
        """Note that a call begins."""
        if self.breaker.is_tripped(limit):
            self._prober = caller

    def end(self, caller: object) -> None:
        """Note that the calls of a lane are over."""
        if self._prober is caller:
            self._prober = None


class Hosts:
    """The hosts that the lanes of a process talk to."""

    def __init__(self) -> None:
        """Know none."""
        self._hosts: dict[tuple[UUID, str], Host] = {}

    def of(self, tenant_id: UUID, settings: Mapping[str, Any], *, is_shared: bool = False) -> Host:
        """Return the host of a connection with these settings; lanes of the same host get the same one.

        Where strangers share the host, each connection counts as a host of its own.
        """
        name = host_name(str(settings.get("base_url", "")))
        return self._hosts.setdefault((tenant_id, name), Host(name)) if name and not is_shared else Host(name)


def host_name(url: str) -> str:
    """Return `host:port` of a web address, '' when it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return ""
    return f"{parts.hostname}:{port}" if parts.hostname else ""
