"""Real processes for tests that kill and freeze them: each is the child that a supervisor starts, under the test's hand."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.applybed import KEYS
from tidegate.commerce.changes import CanonicalChange
from tidegate.dispatch.settings import DispatchSettings
from tidegate.dispatch.worker import Worker
from tidegate.kernel import crashpoint
from tidegate.runtime.handover import Handover
from tidegate.runtime.project import Project
from tidegate.runtime.roles import PROCESS_ROLES
from tidegate.sdk.connector import RawEvent
from tidegate.sdk.testing.hostile_connector import build_connector
from tidegate.store.context import Context
from tidegate.store.database import Database
from tidegate.sync import worker as apply_worker
from tidegate.sync.settings import Settings

ROOT = Path(__file__).parents[1]
LEASE_SECONDS = 2.0
APPLY = Settings(lease_seconds=LEASE_SECONDS, slow_poll_seconds=0.5, view_seconds=1.0, strands_at_rest=3)
DISPATCH = DispatchSettings(
    poll_seconds=0.5,
    config_seconds=2.0,
    lease_seconds=LEASE_SECONDS,
    lease_margin_seconds=0.2,
    drain_seconds=3.0,
    first_look_seconds=0.1,
    second_look_seconds=0.2,
    rest_seconds=0.1,
)
"""As in production, but what there takes seconds takes tenths: the order of events is the same."""

CONNECTOR = build_connector(
    feed_interval=timedelta(seconds=0.4),
    readback_settle=timedelta(seconds=0.2),
    request_deadline=timedelta(seconds=1.0),
)
ENDS_PROCESS, BREAKS_FOLD = "this event ends the process", "this event breaks the fold"


def _normalize_or_die(event: RawEvent) -> Sequence[CanonicalChange]:
    if ENDS_PROCESS.encode() in event.body:
        os.kill(os.getpid(), signal.SIGKILL)
    if BREAKS_FOLD.encode() in event.body:
        return ["no change at all"]  # type: ignore[list-item]
    return CONNECTOR.normalize(event)


DEADLY_CONNECTOR = replace(CONNECTOR, normalize=_normalize_or_die)
"""Its mapper kills its own process, or gives what no code can deal with, when an event says so."""


async def serve_apply(context: Context, stop: asyncio.Event) -> None:
    """Serve as `tidegate.sync.worker` does, with short times."""
    await apply_worker.serve(context, stop, APPLY)


async def serve_dispatch(context: Context, stop: asyncio.Event) -> None:
    """Serve as `tidegate.dispatch.worker` does, with short times."""
    await Worker(context, settings=DISPATCH).run(stop)


ENTRIES = {"apply": "tests.walkbed:serve_apply", "dispatch": "tests.walkbed:serve_dispatch"}


class Child:
    """One process of a role."""

    def __init__(self, role: str, index: int, process: asyncio.subprocess.Process) -> None:
        self.role = role
        self.index = index
        self.process = process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def runs(self) -> bool:
        return self.process.returncode is None

    @property
    def is_frozen(self) -> bool:
        """Whether it stands still until somebody continues it."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def drain(self) -> None:
        """End it in good order."""
        self.process.terminate()
        assert await self.process.wait() == 0, f"{self.role}-{self.index} did not drain"


class Crew:
    """Starts children on one database, as the supervisor does: the handover comes by standard input."""

    def __init__(
        self,
        database: Database,
        folder: Path,
        *,
        connectors: str = "CONNECTOR",
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """`connectors` names a connector of this module, `options` are those of the roles."""
        self.project = Project(folder)
        self.project.make_folders()
        self._database = database
        self._connectors = connectors
        self._options = options or {}
        self._started: list[Child] = []

    async def start(self, role: str, *, crash_at: str = "", freeze_at: str = "") -> Child:
        """Start a process; it kills or stops itself at a point, when one is given."""
        index = 1 + sum(child.role == role for child in self._started)
        traps = {crashpoint.VARIABLE: crash_at, crashpoint.FREEZE_VARIABLE: freeze_at}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tidegate.runtime.child", role, "--index", str(index),
            "--project", str(self.project.folder),
            stdin=asyncio.subprocess.PIPE,
            cwd=ROOT,
            start_new_session=True,
            env={
                **os.environ,
                "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
                "TIDEGATE_CONNECTORS": f"tests.walkbed:{self._connectors}",
                **{name: value for name, value in traps.items() if value},
            },
        )  # fmt: skip
        child = Child(role, index, process)
        self._started.append(child)
        assert process.stdin is not None
        process.stdin.write(self._handover(role, index).encode())
        return child

    def _handover(self, role: str, index: int) -> Handover:
        kind = PROCESS_ROLES[role]
        access = self._database.access(kind.database_role)
        return Handover(
            role=role,
            index=index,
            cell="c0",
            project=str(self.project.folder),
            database_role=access.role,
            dsn=access.dsn,
            assume_role=access.assume_role,
            keys={name: KEYS[name] for name in kind.key_classes},
            options=self._options.get(role, {}),
            entry=ENTRIES.get(role, kind.entry),
            connectors_entry="tidegate.app:connectors",
            supervisor_pid=os.getpid(),
            drain_seconds=5.0,
        )

    def log(self, child: Child) -> str:
        """Return what a child has logged."""
        path = self.project.logs_dir / f"{child.role}-{child.index}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def report(self) -> str:
        """Return the end of every log, for a failed test."""
        lines = {f"{child.role}-{child.index}": self.log(child).splitlines()[-12:] for child in self._started}
        return "".join(f"\n--- {name}\n" + "\n".join(last) for name, last in lines.items())

    async def end(self) -> None:
        """End every process that was started, by its own id."""
        for child in self._started:
            if child.runs:
                child.process.kill()
        for child in self._started:
            if child.process.stdin is not None:
                child.process.stdin.close()
            await child.process.wait()


@asynccontextmanager
async def running_crew(database: Database, folder: Path, **options: Any) -> AsyncIterator[Crew]:
    """A crew whose processes are ended at the end."""
    crew = Crew(database, folder, **options)
    try:
        yield crew
    finally:
        await crew.end()
