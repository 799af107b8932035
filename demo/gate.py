"""Tidegate as a process of the demo: `tidegate up` in a session of its own, ready when every role says so."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

from tidegate.runtime.control import stop_supervisor
from tidegate.runtime.project import Project

READY_LINES = {"ok door", "ok apply", "ok dispatch", "ok web"}
READY_SECONDS = 180.0
STOP_SECONDS = 60.0
LAST_WORDS_MAX = 2000


class GateUnavailableError(RuntimeError):
    """Tidegate did not start; the message holds what it said."""


class Gate:
    """The supervisor of one project and, through it, Tidegate's processes."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The supervisor's process id; None when this object has not started it."""
        return self._process.pid if self._process is not None else None

    def end_leftover(self) -> None:
        """End what a killed demo left running in this project."""
        stop_supervisor(self._project, timeout_seconds=STOP_SECONDS)

    def start(self) -> None:
        """Start it and wait until all its roles answer. Raises GateUnavailableError when they do not."""
        self._project.make_folders()
        log = self._project.logs_dir / "up.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tidegate", "up", "--project", str(self._project.folder)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                env={**os.environ, "NO_COLOR": "1"},
            )  # fmt: skip
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            ended = self._process.poll() is not None  # looked at first: the log may get its last line meanwhile
            said = log.read_text(errors="replace")
            if READY_LINES.issubset(said.splitlines()):
                return
            if ended:
                break
            time.sleep(0.05)
        raise GateUnavailableError(f"Tidegate did not start:\n{said.strip()[-LAST_WORDS_MAX:]}")

    def stop(self) -> None:
        """Let it finish what is in hand, then end it. Raises TimeoutError when it does not end."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"Tidegate's supervisor (pid {process.pid}) does not end") from error
        self._process = None
