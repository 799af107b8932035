"""The embedded PostgreSQL: one cluster, started and stopped by the supervisor.

Everything here is synchronous and may wait for seconds; call it in a thread. The server runs in a
session of its own, listens on one Unix socket in a private folder, and outlives a supervisor that
is killed: the next `start` adopts it.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal
from urllib.parse import quote

from tidegate.kernel.errors import ConfigurationError, TransientError
from tidegate.runtime.passwords import ensure_passwords, load_passwords
from tidegate.runtime.postgres_binaries import PostgresBinaries, find_binaries, usable_binaries
from tidegate.runtime.postgres_cluster import SERVER_ENVIRONMENT, SETTINGS_FILE, ensure_cluster
from tidegate.runtime.postgres_places import choose_socket_dir, place_data_dir
from tidegate.runtime.postgres_process import (
    PidFile,
    end_leftovers,
    find_postmaster,
    process_exists,
    remove_stale_files,
    send_signal,
    wait_until,
)
from tidegate.runtime.postgres_settings import render_settings
from tidegate.runtime.unprivileged import ServerAccount, choose_account
from tidegate.store.roles import LOGIN_ROLES, SUPERUSER

StopMode = Literal["smart", "fast", "immediate"]

DEFAULT_VERSION = 18
START_TIMEOUT_SECONDS = 120.0
STOP_TIMEOUT_SECONDS = 30.0
LEFTOVER_TIMEOUT_SECONDS = 10.0
STATE_ROOT = Path("/var/lib/tidegate")
"""Where the cluster goes when the server's account cannot enter the project folder."""

_STOP_SIGNALS: Mapping[StopMode, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}
_LOG_TAIL_CHARS = 2000


class EmbeddedPostgres:
    """One PostgreSQL cluster below a project folder."""

    def __init__(
        self,
        data_dir: Path,
        *,
        version: int = DEFAULT_VERSION,
        run_dir: Path | None = None,
        settings: Mapping[str, str] | None = None,
        state_root: Path = STATE_ROOT,
    ) -> None:
        """Describe the cluster; nothing is touched before `start`.

        Args:
            data_dir: the cluster's folder. Beside it stand `<name>.passwords.json` (0600) and
                `<name>.startup.log`.
            version: major version of the bundled programs, 18 or 16.
            run_dir: folder for the socket. A short one is chosen when it is None, too long for a
                socket address, or closed to the server's account.
            settings: server settings over the defaults; durability cannot be overridden.
            state_root: parent of the cluster when `data_dir` is closed to the server's account (a
                project in root's home); `data_dir` then becomes a symbolic link to it.
        """
        self.version = version
        self._requested_dir = data_dir.absolute()
        self._run_dir = run_dir
        self._settings = dict(settings or {})
        self._state_root = state_root
        self._account = choose_account(self._requested_dir)
        self._socket_dir: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def account(self) -> ServerAccount:
        """The operating-system account the server runs as."""
        return self._account

    @property
    def data_dir(self) -> Path:
        """Where the cluster really is (symbolic links resolved)."""
        return self._requested_dir.resolve()

    @property
    def password_file(self) -> Path:
        """The file with the generated passwords of all roles."""
        return self._requested_dir.with_name(f"{self._requested_dir.name}.passwords.json")

    @property
    def socket_dir(self) -> Path:
        """Folder of the server's socket.

        Raises:
            ConfigurationError: the server was neither started by us nor found running.
        """
        if self._socket_dir is None:
            running = self._running()
            self._socket_dir = running.socket_dir if running else None
        if self._socket_dir is None:
            raise ConfigurationError("the embedded PostgreSQL is not running")
        return self._socket_dir

    @property
    def pid(self) -> int | None:
        """Pid of the postmaster, None when it does not run."""
        running = self._running()
        return running.pid if running else None

    def is_running(self) -> bool:
        """Whether a postmaster of this cluster is alive (it may still be recovering)."""
        return self._running() is not None

    def password(self, role: str) -> str:
        """The generated password of `role`.

        Raises:
            ConfigurationError: there is no such role, or the password file is lost.
        """
        password = load_passwords(self.password_file).get(role)
        if password is None:
            raise ConfigurationError(f"the embedded database has no role {role!r}")
        return password

    def dsn(self, role: str, database: str) -> str:
        """Connection address of `role` with its password in it: never log it.

        Raises:
            ConfigurationError: there is no such role, or the server was never started.
        """
        credential = quote(self.password(role), safe="")
        host = quote(str(self.socket_dir), safe="")
        return f"postgresql://{role}:{credential}@/{quote(database, safe='')}?host={host}"

    def programs(self) -> PostgresBinaries:
        """The installation this cluster runs with (for `pg_basebackup` and the like)."""
        copy_folder = self.data_dir.with_name(f".pgbin-{self.version}")
        return usable_binaries(find_binaries(self.version), self._account, copy_folder)

    def start(self, *, timeout_seconds: float = START_TIMEOUT_SECONDS) -> None:
        """Adopt the running server, or create the cluster if needed, clean up and start it.

        Backends that outlived a killed postmaster are ended by their pids first. Returns when
        connections are accepted. Safe to repeat, also from several processes at once.

        Raises:
            ConfigurationError: wrong version, unreachable folders, or the server ended at once;
                the message then carries the server's own words.
            TransientError: it is still recovering after `timeout_seconds`.
        """
        place_data_dir(self._requested_dir, self._account, self._state_root)
        with _exclusive(self._lock_file):
            if self._settle(timeout_seconds) is None:
                self._launch()
                self.wait_ready(timeout_seconds=timeout_seconds)

    def wait_ready(self, *, timeout_seconds: float) -> None:
        """Wait until connections are accepted.

        Raises:
            ConfigurationError: the server does not run, or ended instead.
            TransientError: not ready in time.
        """
        if self._settle(timeout_seconds) is None:
            raise ConfigurationError(f"PostgreSQL did not start: {self._startup_output()}")

    def stop(self, mode: StopMode = "fast", *, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> None:
        """Stop the server; after `timeout_seconds` stop it at once (it recovers on next start).

        Does nothing when it does not run. An adopted server is stopped as well.

        Raises:
            TimeoutError: even the immediate stop did not end it.
        """
        if self.data_dir.exists():
            with _exclusive(self._lock_file):
                self._stop_now(mode, timeout_seconds)

    def _stop_now(self, mode: StopMode, timeout_seconds: float) -> None:
        postmaster = self.pid or self._own_pid()
        if postmaster is None:
            return
        modes: tuple[StopMode, StopMode] = (mode, "immediate")
        for chosen in modes:
            send_signal(postmaster, _STOP_SIGNALS[chosen])
            if wait_until(lambda: not process_exists(postmaster), timeout_seconds=timeout_seconds):
                self._has_ended()
                end_leftovers(self.data_dir, timeout_seconds=LEFTOVER_TIMEOUT_SECONDS)
                self._remove_socket_dir()
                return
        raise TimeoutError(f"postmaster {postmaster} does not end")

    def _remove_socket_dir(self) -> None:
        """Leave no empty folder in a system directory; a socket that a kill left behind goes at the next start."""
        if self._socket_dir is not None:
            with contextlib.suppress(OSError):
                self._socket_dir.rmdir()

    def _launch(self) -> None:
        self._socket_dir = choose_socket_dir(self.data_dir, self._account, self._run_dir)
        end_leftovers(self.data_dir, timeout_seconds=LEFTOVER_TIMEOUT_SECONDS)
        remove_stale_files(self.data_dir, self._socket_dir)
        programs = self.programs()
        passwords = ensure_passwords(self.password_file, (SUPERUSER, *LOGIN_ROLES))
        ensure_cluster(
            self.data_dir,
            programs=programs,
            account=self._account,
            superuser=SUPERUSER,
            password=passwords[SUPERUSER],
        )
        settings = render_settings(self._settings, socket_dir=str(self._socket_dir))
        self._account.write(self.data_dir / SETTINGS_FILE, settings)
        with self._open_startup_log() as output:
            self._process = subprocess.Popen(  # noqa: S603 - the bundled server, our own arguments
                [programs.program("postgres"), "-D", self.data_dir],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=SERVER_ENVIRONMENT,
                umask=0o077,
                start_new_session=True,
                **self._account.popen_identity(),
            )

    def _settle(self, timeout_seconds: float) -> PidFile | None:
        """Wait until the server accepts connections (returned) or there is none (None)."""

        def is_settled() -> bool:
            running = self._running()
            return running.is_ready if running is not None else self._has_ended()

        if not wait_until(is_settled, timeout_seconds=timeout_seconds):
            raise TransientError(f"PostgreSQL is not ready after {timeout_seconds:.0f} s")
        running = self._running()
        self._socket_dir = running.socket_dir if running else None
        return running

    def _running(self) -> PidFile | None:
        self._has_ended()  # collects a server of ours that ended, so that no zombie stays
        return find_postmaster(self.data_dir)

    def _own_pid(self) -> int | None:
        """The server we started ourselves, also when its pid file was deleted under it."""
        return None if self._process is None or self._has_ended() else self._process.pid

    def _has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    @property
    def _lock_file(self) -> Path:
        """One starts or stops at a time."""
        return self.data_dir.with_name(f"{self.data_dir.name}.lock")

    @property
    def _startup_log(self) -> Path:
        return self.data_dir.with_name(f"{self.data_dir.name}.startup.log")

    def _open_startup_log(self) -> IO[bytes]:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.fdopen(os.open(self._startup_log, flags, 0o600), "wb")

    def _startup_output(self) -> str:
        try:
            return self._startup_log.read_text(errors="replace").strip()[-_LOG_TAIL_CHARS:]
        except OSError:
            return "no output"


@contextmanager
def _exclusive(lock_file: Path) -> Iterator[None]:
    """One starter at a time; the lock goes with the process that holds it."""
    descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
