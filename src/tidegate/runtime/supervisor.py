"""`tidegate up`: the embedded PostgreSQL and the child processes, kept alive until told to stop.

Order of a start: lock, end orphans, database, migrations, children. Order of a stop: children drain,
then the database. A supervisor that is killed leaves a running database, which the
next one adopts, and children that drain by themselves.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tidegate.kernel.errors import ConfigurationError, TidegateError
from tidegate.monitor import logs
from tidegate.runtime.children import DRAIN_SECONDS, Child, describe_children, end_orphans
from tidegate.runtime.handover import Handover
from tidegate.runtime.log_file import open_log
from tidegate.runtime.postgres import DEFAULT_VERSION, EmbeddedPostgres
from tidegate.runtime.postgres_process import wait_for_end
from tidegate.runtime.project import Project
from tidegate.runtime.restart import plan_restart_seconds
from tidegate.runtime.roles import CONNECTORS_ENTRY, PROCESS_ROLES
from tidegate.runtime.state import RunState, describe_process, read_state, write_state
from tidegate.store.database import Database, ensure_embedded_database, ensure_external_database
from tidegate.store.roles import Role
from tidegate.vault.keys import derive_class_root

POSTGRES_WATCH_SECONDS = 0.5
"""How often a server is looked at on systems whose kernel does not tell of its end."""
POSTGRES_LOOK_SECONDS = 30.0
"""How often it is looked at all the same."""
UPKEEP_SECONDS = 3600.0
UPKEEP_RETRY_SECONDS = 60.0

Upkeep = Callable[[Database], Awaitable[None]]
Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to run."""

    processes: Mapping[str, int]
    """Role (door, web, apply, dispatch) -> number of processes."""
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Role -> what its context's `options` hold; values must survive JSON."""
    cell: str = "c0"
    database_url: str | None = field(default=None, repr=False)
    """An external PostgreSQL; None starts the embedded one."""
    role_urls: Mapping[Role, str] = field(default_factory=dict, repr=False)
    """External only: addresses of roles with a login of their own."""
    postgres_version: int = DEFAULT_VERSION
    postgres_settings: Mapping[str, str] = field(default_factory=dict)
    prepare: tuple[Upkeep, ...] = ()
    """Run once after the migrations and before any child starts, in order."""
    upkeep: tuple[Upkeep, ...] = ()
    """Run before any child starts and then every hour (partitions)."""
    entries: Mapping[str, str] = field(default_factory=dict)
    """Role -> `module:function` that replaces the role's own `serve`."""
    connectors_entry: str | None = CONNECTORS_ENTRY
    drain_seconds: float = DRAIN_SECONDS
    """How long a child may go on after it was told to stop."""


class Supervisor:
    """Runs one project on this machine. Use it once."""

    def __init__(self, project: Project, plan: Plan, *, report: Report = lambda _line: None) -> None:
        """`report` gets short lines for people, such as `ok postgres`."""
        self._project = project
        self._plan = plan
        self._report = report
        self._postgres = _embedded_postgres(project, plan)
        self._children: list[Child] = []
        self._phase = "starting"
        self._log = logs.get("runtime.supervisor")

    async def run(self, stop: asyncio.Event) -> None:
        """Start everything, keep it running until `stop` is set, then stop it in order.

        Raises:
            ConfigurationError: another supervisor runs here, or something cannot be started as configured.
            TransientError: the external database does not answer.
        """
        self._project.make_folders()
        with _only_supervisor(self._project):
            await self._end_orphans()
            self._write_state()
            try:
                database = await self._start_database()
                await self._prepare(database)
                await self._run_children(database, stop)
            finally:
                self._phase = "stopping"
                await self._stop_database()
                self._project.state_file.unlink(missing_ok=True)

    def kill_children(self) -> None:
        """Do not wait for children to drain any longer."""
        for child in self._children:
            child.kill()

    async def _end_orphans(self) -> None:
        previous = read_state(self._project.state_file)
        listed = previous.children if previous is not None else ()
        orphans = await end_orphans(listed, timeout_seconds=self._plan.drain_seconds)
        if orphans:
            self._log.warning("orphans.ended", count=len(orphans))
            self._report(f"ended {len(orphans)} processes of a supervisor that was killed")

    async def _start_database(self) -> Database:
        if self._postgres is None:
            assert self._plan.database_url is not None
            database = await ensure_external_database(self._plan.database_url, self._plan.role_urls)
        else:
            self._project.require_cluster()
            await asyncio.to_thread(self._postgres.start)
            database = await ensure_embedded_database(self._postgres.dsn, self._postgres.password)
            self._project.note_cluster()
            if self._project.postgres_dir.is_symlink():
                self._report(f"the database lies in {self._postgres.data_dir}")
        self._report("ok postgres")
        self._write_state()
        return database

    async def _prepare(self, database: Database) -> None:
        for step in (*self._plan.prepare, *self._plan.upkeep):
            await step(database)

    async def _run_children(self, database: Database, stop: asyncio.Event) -> None:
        self._children = [
            Child(handover, on_change=self._write_state, report=self._report) for handover in self._handovers(database)
        ]
        self._phase = "running"
        async with asyncio.TaskGroup() as group:
            for child in self._children:
                group.create_task(child.keep_running(stop))
                self._report(f"ok {child.name}")
            watchers = [group.create_task(self._keep_upkeep(database))]
            if self._postgres is not None:
                watchers.append(group.create_task(self._keep_postgres(self._postgres)))
            await stop.wait()
            self._phase = "stopping"
            self._write_state()
            for watcher in watchers:
                watcher.cancel()

    async def _keep_postgres(self, postgres: EmbeddedPostgres) -> None:
        """Start the embedded server again when it died; children reconnect by themselves."""
        failures = 0
        while True:
            pid = postgres.pid
            if pid is not None:
                failures = 0
                await wait_for_end(pid, seconds_max=POSTGRES_LOOK_SECONDS, poll_seconds=POSTGRES_WATCH_SECONDS)
            if postgres.is_running():
                continue
            self._log.error("postgres.died", retries=failures)
            try:
                self._project.require_cluster()
                await asyncio.to_thread(postgres.start)
                self._log.info("postgres.restarted")
                self._write_state()
            except (TidegateError, OSError) as error:
                failures += 1
                self._log.exception("postgres.start_failed", reason=str(error))
                await asyncio.sleep(plan_restart_seconds(failures))

    async def _keep_upkeep(self, database: Database) -> None:
        """Run the hourly work; a failure is logged and tried again soon, never fatal."""
        wait_seconds = UPKEEP_SECONDS
        while True:
            await asyncio.sleep(wait_seconds)
            wait_seconds = UPKEEP_SECONDS
            for step in self._plan.upkeep:
                try:
                    await step(database)
                except Exception:
                    self._log.exception("upkeep.failed")
                    wait_seconds = UPKEEP_RETRY_SECONDS

    async def _stop_database(self) -> None:
        if self._postgres is not None:
            await asyncio.to_thread(self._postgres.stop)

    def _handovers(self, database: Database) -> Iterator[Handover]:
        unknown = sorted(set(self._plan.processes) - set(PROCESS_ROLES))
        if unknown:
            raise ConfigurationError(f"unknown process roles: {', '.join(unknown)}")
        root_key = self._project.read_root_key()
        for name, role in PROCESS_ROLES.items():
            access = database.access(role.database_role)
            keys = {key_class: derive_class_root(root_key, key_class) for key_class in role.key_classes}
            for index in range(1, self._plan.processes.get(name, 0) + 1):
                yield Handover(
                    role=name,
                    index=index,
                    cell=self._plan.cell,
                    project=str(self._project.folder.absolute()),
                    database_role=access.role,
                    dsn=access.dsn,
                    assume_role=access.assume_role,
                    keys=keys,
                    options=dict(self._plan.options.get(name, {})),
                    entry=self._plan.entries.get(name, role.entry),
                    connectors_entry=self._plan.connectors_entry,
                    supervisor_pid=os.getpid(),
                    drain_seconds=self._plan.drain_seconds,
                )

    def _write_state(self) -> None:
        state = RunState(
            phase=self._phase,
            supervisor=describe_process("supervisor", 1, os.getpid()),
            postgres_pid=self._postgres.pid if self._postgres is not None else None,
            children=describe_children(self._children),
        )
        write_state(self._project.state_file, state)


async def stop_leftovers(project: Project) -> bool:
    """End what a supervisor that was killed has left: children that still drain, and the database. Safe to repeat.

    Returns whether there was anything. Raises ConfigurationError when a supervisor runs.
    """
    if not project.run_dir.exists():
        return False
    with _only_supervisor(project):
        previous = read_state(project.state_file)
        found = await end_orphans(previous.children if previous is not None else (), timeout_seconds=DRAIN_SECONDS)
        postgres = EmbeddedPostgres(project.postgres_dir, run_dir=project.run_dir)
        was_running = postgres.is_running()
        if was_running:
            await asyncio.to_thread(postgres.stop)
        project.state_file.unlink(missing_ok=True)
        return was_running or bool(found)


def open_supervisor_log(project: Project) -> None:
    """Send the log lines of this process to `logs/supervisor.log`; what people shall read goes by `report`."""
    project.make_folders()
    logs.configure("supervisor", 1, stream=open_log(project.logs_dir / "supervisor.log"))


async def run_until_signalled(supervisor: Supervisor) -> None:
    """Run the supervisor until SIGINT, SIGTERM or SIGHUP; a second signal stops waiting for children."""
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            supervisor.kill_children()
        stop.set()

    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in signals:
        loop.add_signal_handler(number, on_signal)
    try:
        await supervisor.run(stop)
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def _embedded_postgres(project: Project, plan: Plan) -> EmbeddedPostgres | None:
    if plan.database_url is not None:
        return None
    return EmbeddedPostgres(
        project.postgres_dir,
        version=plan.postgres_version,
        run_dir=project.run_dir,
        settings=plan.postgres_settings,
    )


@contextmanager
def _only_supervisor(project: Project) -> Iterator[None]:
    """Hold the project's lock; it goes with the process, however that ends."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(project.lock_file, flags, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise ConfigurationError(
                f"Tidegate is already running here (pid {holder})",
                hint="`tidegate status` shows it; `tidegate down` or Ctrl-C in its terminal stops it",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)
