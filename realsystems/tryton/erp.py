"""A Tryton 8.2 on loopback that plays ERP and warehouse."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from realsystems.statedir import default_state_dir
from realsystems.tryton.databases import create_erp_database, has_current_recipe, make_base, read_facts
from realsystems.tryton.install import install
from realsystems.tryton.rest import RestClient
from realsystems.tryton.warehouse import Warehouse
from realsystems.worldpg import WorldPostgres, free_port, is_free

DATABASE = "tryton"
SERVER_PROCESSES = 2
THREADS_PER_PROCESS = 4
START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 20.0
POLL_INTERVAL_SECONDS = 0.05


class TrytonErp:
    """One ERP server on one database of the world's cluster.

    Several `TrytonErp` objects, also in different processes, may name the same state folder and database:
    `start` adopts a running server, `stop` ends it for everybody.
    """

    def __init__(
        self,
        world: WorldPostgres,
        state_dir: Path | None = None,
        port: int | None = None,
        database: str = DATABASE,
    ) -> None:
        self._world = world
        self._folder = (state_dir or default_state_dir()) / "tryton" / f"run-{database}"
        self._wanted_port = port
        self.database = database
        self._facts: dict[str, Any] | None = None

    @property
    def venv(self) -> Path:
        """The ERP's own virtual environment; shared by all state folders unless one was chosen."""
        return default_state_dir() / "tryton" / "venv"

    @property
    def port(self) -> int:
        """The loopback port; the next start takes another one when somebody else has it by then."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            return int(self._port_file.read_text())
        port = self._wanted_port or free_port()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._port_file.write_text(f"{port}\n")
        return port

    @property
    def base_url(self) -> str:
        """The server's address, without the database."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def facts(self) -> dict[str, Any]:
        """Ids of the seeded records by name (`company`, `warehouse`, `customer`, ...), keys and passwords.

        `services` holds the product ids of the lines that are no goods: `SHIPPING` and `DISCOUNT`.
        """
        if self._facts is None:
            self._facts = read_facts(self._world, self.database)
        return self._facts

    @property
    def rest_key(self) -> str:
        """The Bearer key of the connector's user, who may sell and ship but not administer."""
        return str(self.facts["rest_key"])

    @property
    def client(self) -> RestClient:
        """A REST client with the staff's key, which may do everything."""
        return RestClient(self.base_url, self.database, self.facts["staff_key"], self.facts["company"])

    @property
    def warehouse(self) -> Warehouse:
        """The people who work with the ERP: articles, goods in, goods out, counts."""
        return Warehouse(self.client, self.facts)

    def install(self) -> bool:
        """Install the ERP's packages if needed; tell whether that was so. Needs no database."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return install(self.venv)

    def make_base(self) -> bool:
        """Build the database that all ERPs are copies of if needed (about a minute); tell whether that was so."""
        return make_base(self._world, self.venv)

    def is_outdated(self) -> bool:
        """Tell whether this ERP's database, which exists, was made by an older recipe; the cluster must run."""
        return not has_current_recipe(self._world, self.database)

    def prepare(self) -> None:
        """Create this ERP's database if it is missing; the cluster must run and the packages be installed."""
        create_erp_database(self._world, self.venv, self.database)

    def start(self) -> None:
        """Prepare the database, start the server and return when it answers. Safe to repeat."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self.prepare()
        if self._server_pid() is None:
            self._launch()
        self._wait_until_answering()

    def stop(self) -> None:
        """End the server, waiting for running requests; does nothing when it is not running."""
        pid = self._server_pid()
        if pid is None:
            return
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        while self._server_pid() is not None:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                return
            time.sleep(POLL_INTERVAL_SECONDS)

    @property
    def _port_file(self) -> Path:
        return self._folder / "port"

    @property
    def _pid_file(self) -> Path:
        return self._folder / "server.pid"

    @property
    def _log_file(self) -> Path:
        return self._folder / "server.log"

    def _launch(self) -> None:
        port = self._wanted_port or (self.port if is_free(self.port) else free_port())
        self._port_file.write_text(f"{port}\n")
        environment = {
            **os.environ,
            "TRYTOND_DATABASE_URI": self._world.dsn(self.database),
            "TRYTOND_DATABASE_NAMES": self.database,
        }
        subprocess.run(
            [
                str(self.venv / "bin" / "gunicorn"),
                *("--bind", f"127.0.0.1:{port}"),
                *("--workers", str(SERVER_PROCESSES), "--threads", str(THREADS_PER_PROCESS)),
                *("--keep-alive", "30", "--timeout", "120"),
                *("--daemon", "--pid", str(self._pid_file)),
                *("--error-logfile", str(self._log_file), "--capture-output", "--no-control-socket"),
                "trytond.application:app",
            ],
            env=environment,
            cwd=self._folder,
            check=True,
        )

    def _server_pid(self) -> int | None:
        """Return the pid of this folder's server, or None; a recycled pid is not ours."""
        try:
            pid = int(self._pid_file.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        return pid if str(self._pid_file).encode() in command else None

    def _wait_until_answering(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while True:
            try:
                self.client.search("company.company", [], ["id"])
            except OSError as error:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"the ERP does not answer; see {self._log_file}") from error
                time.sleep(POLL_INTERVAL_SECONDS)
            else:
                return
