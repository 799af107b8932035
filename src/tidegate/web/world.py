"""What every part of the web process is given; made once, when it starts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from tidegate.config.snapshots import Snapshots
from tidegate.kernel.clock import Clock
from tidegate.runtime.project import Project
from tidegate.sdk.connector import Connector
from tidegate.store.connections import Pool
from tidegate.sync.combiner import Combiner
from tidegate.web.key_finder import KeyFinder
from tidegate.web.settings import WebSettings


class World:
    """The process's way into the database, its keys and its bounds. Holds secrets: never print it."""

    def __init__(
        self,
        *,
        pool: Pool,
        key_finder: KeyFinder,
        clock: Clock,
        cell: str,
        settings: WebSettings,
        keys: Mapping[str, bytes],
        connectors: Mapping[str, Connector],
        project: Path | None,
        combiner: Combiner,
    ) -> None:
        """`project` tells where the other processes answer; None for a process that was started without one.

        `key_finder` is the process's way to API keys, `combiner` the one to reservations.
        """
        self.pool = pool
        self.key_finder = key_finder
        self.clock = clock
        self.cell = cell
        self.settings = settings
        self.keys = keys
        self.connectors = connectors
        self.project = project
        self.combiner = combiner
        self.snapshots = Snapshots()
        """Configurations that were read: each version is parsed once. Read it in a transaction of the tenant."""
        self.run_dir = Project(project).run_dir if project is not None else None
        """Where the web processes of this project meet; None for one that was started without a project."""
        self.stopping = asyncio.Event()
        """Set when the process was told to stop: whoever streams ends then."""
