"""A PostgreSQL 18 cluster for the outside world: the shops' and the ERP's databases.

It is not Tidegate's own database. Its durability switches are off (see `SETTINGS`), because it plays
third parties whose power never fails here; what Tidegate promises is tested on its own cluster.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from realsystems.postgres_binaries import (
    Account,
    PostgresUnavailableError,
    find_account,
    find_programs,
    reachable_folder,
)
from realsystems.statedir import default_state_dir

SUPERUSER = "postgres"
START_TIMEOUT_SECONDS = 60
LEFTOVER_TIMEOUT_SECONDS = 10.0

# Speed over durability, on purpose: these databases belong to the simulated outside world, they
# hold nothing that Tidegate promises to keep, and every demo can make them again.
SETTINGS = {
    "listen_addresses": "'127.0.0.1'",
    "unix_socket_directories": "''",
    "max_connections": "200",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "timezone": "'UTC'",
    "log_timezone": "'UTC'",
    "log_checkpoints": "off",
}


class WorldPostgres:
    """One cluster in one folder, on a loopback port that is chosen once and then kept.

    Several processes may share a cluster: `start` adopts a running one, and `stop` ends it only when no
    other process uses it. It keeps running when the process that started it ends. Connections need no
    password, so anybody on this machine can use it: never put real data in it.
    """

    def __init__(self, state_dir: Path | None = None) -> None:
        self._wanted_folder = (state_dir or default_state_dir()) / "worldpg"
        self._account: Account = find_account()
        self._folder: Path | None = None
        self._programs: Path | None = None
        self._use: int | None = None

    @property
    def folder(self) -> Path:
        """The folder that holds data, log and port; made on first use."""
        if self._folder is None:
            self._folder = reachable_folder(self._account, self._wanted_folder)
        return self._folder

    @property
    def port(self) -> int:
        """The loopback TCP port. Raises PostgresUnavailableError before the first start."""
        try:
            return int((self.folder / "port").read_text())
        except (FileNotFoundError, ValueError) as error:
            raise PostgresUnavailableError("the world's PostgreSQL has not been started yet") from error

    def dsn(self, database: str) -> str:
        """Return the connection address of a database of this cluster (which need not exist)."""
        return f"postgresql://{SUPERUSER}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def start(self) -> None:
        """Make sure that the cluster runs and answers; safe to repeat and to call from two processes.

        Creates it the first time, adopts a running one, and after a crash clears what was left.
        """
        with self._locked():
            self._begin_use()
            if not self._is_initialised():
                self._initialise()
            if self._running_pid() is not None and self._answers():
                return
            self._clear_leftovers()
            self._choose_port()
            self._pg_ctl("start", "-l", str(self.folder / "log"), "-o", f"-p {self.port}")

    def stop(self) -> None:
        """End the cluster, closing its connections, unless another process that started it still uses it."""
        with self._locked():
            if self._is_last_use() and self._running_pid() is not None:
                self._pg_ctl("stop", "-m", "fast")

    def is_running(self) -> bool:
        """Tell whether the cluster's own server process is alive."""
        return self._running_pid() is not None

    def has_database(self, name: str) -> bool:
        """Tell whether a database of that name exists."""
        return self.query("postgres", f"SELECT 1 FROM pg_database WHERE datname = {_literal(name)}") == "1"

    def create_database(self, name: str, template: str | None = None) -> None:
        """Create a database, optionally as a copy of another one that nobody is connected to."""
        copied = f" TEMPLATE {_identifier(template)}" if template else ""
        self.query("postgres", f"CREATE DATABASE {_identifier(name)}{copied}")

    def drop_database(self, name: str) -> None:
        """Drop a database if it exists, closing its connections."""
        self.query("postgres", f"DROP DATABASE IF EXISTS {_identifier(name)} WITH (FORCE)")

    def rename_database(self, name: str, new_name: str) -> None:
        """Rename a database that nobody is connected to."""
        self.query("postgres", f"ALTER DATABASE {_identifier(name)} RENAME TO {_identifier(new_name)}")

    def query(self, database: str, sql: str) -> str:
        """Run SQL through psql and return its unaligned text; raises PostgresUnavailableError."""
        arguments = [
            str(self._program("psql")),
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            sql,
            self.dsn(database),
        ]
        return self._account.run(arguments).stdout.strip()

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _program(self, name: str) -> Path:
        if self._programs is None:
            self._programs = find_programs(self._account, self.folder)
        return self._programs / name

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _begin_use(self) -> None:
        """Hold a share of the file `users`; the system gives it back when this process ends, however it ends."""
        if self._use is None:
            self._use = os.open(self.folder / "users", os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(self._use, fcntl.LOCK_SH)

    def _is_last_use(self) -> bool:
        """End our use of the cluster and tell whether it was the last one."""
        if self._use is not None:
            os.close(self._use)
            self._use = None
        with (self.folder / "users").open("w") as users:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    def _is_initialised(self) -> bool:
        return (self._data / "PG_VERSION").exists()

    def _initialise(self) -> None:
        staging = self.folder / "data.partial"  # renamed when complete, so that a crash leaves no half cluster
        shutil.rmtree(staging, ignore_errors=True)
        self._account.run([
            str(self._program("initdb")), "-D", str(staging), "-U", SUPERUSER, "-A", "trust", "-E", "UTF8",
            "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-sync",
        ])  # fmt: skip
        with (staging / "postgresql.conf").open("a") as configuration:
            configuration.writelines(f"{name} = {value}\n" for name, value in SETTINGS.items())
        staging.rename(self._data)

    def _choose_port(self) -> None:
        with contextlib.suppress(PostgresUnavailableError):
            if is_free(self.port):
                return
        (self.folder / "port").write_text(f"{free_port()}\n")

    def _pg_ctl(self, action: str, *options: str) -> None:
        self._account.run(
            [
                str(self._program("pg_ctl")),
                action,
                "-D",
                str(self._data),
                "-w",
                "-t",
                str(START_TIMEOUT_SECONDS),
                *options,
            ],
            timeout_seconds=START_TIMEOUT_SECONDS + 10,
        )

    def _answers(self) -> bool:
        try:
            return self.query("postgres", "SELECT 1") == "1"
        except PostgresUnavailableError:
            return False

    def _running_pid(self) -> int | None:
        """Return the server's pid, or None: a recycled pid in a stale file is not ours."""
        try:
            pid = int((self._data / "postmaster.pid").read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return None
        return pid if pid in self._own_processes() else None

    def _own_processes(self) -> list[int]:
        """Return the pids of this cluster's processes: all of them stand in its data folder."""
        data = self._data.resolve()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                stands_here = Path(os.readlink(entry / "cwd")) == data  # noqa: PTH115
                if stands_here and (entry / "comm").read_text().strip() == "postgres":
                    found.append(int(entry.name))
            except OSError:  # ended meanwhile, or another user's
                continue
        return found

    def _clear_leftovers(self) -> None:
        """End what a killed server left behind, by pid, and remove its stale pid file."""
        deadline = time.monotonic() + LEFTOVER_TIMEOUT_SECONDS
        while leftovers := self._own_processes():
            if time.monotonic() > deadline:
                raise PostgresUnavailableError(f"processes {leftovers} of a killed server do not end")
            for pid in leftovers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        (self._data / "postmaster.pid").unlink(missing_ok=True)


def free_port() -> int:
    """Return a loopback TCP port that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Tell whether a loopback TCP port is free at this moment."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
