"""The bounds of the web process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class WebSettings:
    """Every bound with its unit."""

    host: str = "127.0.0.1"
    port: int = 7481
    tenant: str = "main"
    """Whose pages these are, by name. An API key says for itself whose it is."""
    connections_max: int = 100
    """Open sockets; further ones are answered 503."""
    body_bytes_max: int = 1 << 20
    """A larger request body is answered 413."""
    body_seconds: float = 10.0
    """From the begin of reading a body to its end; then 408."""
    pool_max: int = 4
    """Connections to the database."""
    acquire_seconds: float = 2.0
    """How long a request waits for one of them; then 503."""
    key_per_second: float = 20.0
    """Requests per second of one API key, in the long run."""
    key_burst: int = 100
    """How many it may make at once."""
    stranger_per_second: float = 1.0
    """Requests per second of one address that carry no good API key."""
    stranger_burst: int = 30
    sign_in_per_second: float = 0.2
    """Tries to sign in per second from one address, in the long run, under whatever names."""
    sign_in_burst: int = 30
    callers_max: int = 10_000
    """Callers whose rate is remembered; those that were silent longest are forgotten first."""
    drain_seconds: int = 3
    """How long requests in hand may take after the process was told to stop."""


def read_settings(options: Mapping[str, Any]) -> WebSettings:
    """Return the settings with those `options` that name one; others belong to somebody else."""
    known = {field.name for field in fields(WebSettings)}
    return WebSettings(**{name: value for name, value in options.items() if name in known})
