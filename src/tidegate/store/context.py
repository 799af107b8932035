"""What a process is given when it starts: its role, its way into the database, its keys. Nothing is read from globals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tidegate.kernel.clock import Clock, SystemClock
from tidegate.sdk.connector import Connector
from tidegate.store.pool import Access


@dataclass(frozen=True, kw_only=True)
class Context:
    """The world of one child process."""

    role: str
    """door, web, apply or dispatch."""
    index: int
    """1-based number among the processes of its role on this machine."""
    cell: str
    access: Access
    """The role's own entrance to the database."""
    keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Key class -> class root: door and apply hold `intake`, dispatch also `credential`, web `alert` and `api_key`."""
    connectors: Mapping[str, Connector] = field(default_factory=dict)
    project: Path | None = None
    """The project folder; None for a process that was started without one."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the role: host, port, ..."""
    clock: Clock = field(default_factory=SystemClock)
