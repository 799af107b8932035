"""The sandbox talks to this machine only: what it listens on and where it sends is checked here, without asking a resolver."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult


class NotLoopback(Exception):
    """An address outside of this machine."""


def is_loopback(host: str | None) -> bool:
    """Tell whether `host` is this machine by its spelling: `localhost`, 127.0.0.0/8 or ::1."""
    if host is None:
        return False
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def reachable(url: str, routes: Mapping[str, str]) -> str:
    """Return where `url` is reached from here: itself on the loopback, else by the first route that is its beginning.

    Raises NotLoopback when there is none.
    """
    for public, local in routes.items():
        base = public.rstrip("/")
        if url == base or url.startswith((f"{base}/", f"{base}?")):
            url = local.rstrip("/") + url[len(base) :]
            break
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not is_loopback(parts.hostname) or parts.username is not None:
        raise NotLoopback(f"the sandbox sends to the loopback only, not to {parts.hostname or url!r}")
    return url


class LoopbackResolver(AbstractResolver):
    """Knows `localhost` and nothing else, so that no name can lead away from this machine."""

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 - as asked or not, there is one answer
    ) -> list[ResolveResult]:
        """Return 127.0.0.1 for `localhost`. Raises NotLoopback for any other name."""
        if not is_loopback(host):
            raise NotLoopback(f"{host!r} is not this machine")
        return [
            ResolveResult(
                hostname=host,
                host="127.0.0.1",
                port=port,
                family=socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
        ]

    async def close(self) -> None:
        """Nothing to close."""
