"""The bounds of the door."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every bound with its unit. Doors of one installation may differ in them."""

    host: str = "127.0.0.1"
    port: int = 7480
    lanes: int = 2
    """Connections that commit; events of one ordering key always take the same one."""
    batch_max: int = 256
    """Deliveries per commit."""
    waiting_max: int = 4_096
    """Deliveries of one lane that wait for a commit; more are answered 503."""
    buffered_bytes_max: int = 256 << 20
    """Bytes of bodies in memory; beyond, requests are answered 503."""
    connections_max: int = 4_096
    """Open sockets."""
    header_bytes_max: int = 16 << 10
    body_bytes_max: int = 1 << 20
    """Where no connector says otherwise."""
    header_seconds: float = 5.0
    """From the first byte of a request (or the connect) to the end of its headers."""
    body_seconds: float = 10.0
    """From the end of the headers to the end of the body."""
    keep_alive_seconds: float = 75.0
    """How long an idle connection stays open."""
    answer_seconds: float = 3.4
    """From the whole request to a 503 when it could not be made durable; with the watch's period it stays below 4."""
    commit_seconds: float = 2.5
    """How long one commit may take before its connection to the database is thrown away."""
    watch_seconds: float = 0.1
    """Period of the watch that enforces all deadlines."""
    connect_seconds: float = 1.5
    """How long opening a database connection may take."""
    reconnect_seconds_max: float = 1.0
    """Longest pause between attempts to reach the database."""
    start_seconds: float = 2.0
    """How long a starting door waits for the database before it listens all the same."""
    refresh_seconds: float = 5.0
    """How often the connections and their secrets are read again."""
    retry_after_seconds: int = 5
    """What a 503 tells the sender."""
    tenant_per_second: float = 0.0
    """Quota of deliveries per tenant and second, 0 for none."""
    drain_seconds: float = 8.0
    """How long requests in hand may take after the door was told to stop."""


def read_settings(options: Mapping[str, Any]) -> Settings:
    """Return the settings with those `options` that name one; others belong to somebody else."""
    known = {field.name for field in fields(Settings)}
    return Settings(**{name: value for name, value in options.items() if name in known})
