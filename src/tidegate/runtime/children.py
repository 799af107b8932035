"""Child processes of the supervisor: started, watched, started again, drained."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from tidegate.kernel import crashpoint
from tidegate.monitor import logs
from tidegate.runtime.handover import Handover
from tidegate.runtime.postgres_process import send_signal
from tidegate.runtime.restart import CRASH_LOOP_DEATHS, STABLE_SECONDS, is_crash_looping, plan_restart_seconds
from tidegate.runtime.state import ProcessState, describe_process, is_alive

DRAIN_SECONDS = 10.0
"""Time a child has to drain before it is killed."""
KILL_MARGIN_SECONDS = 1.0
"""A child ends itself when its time is over; only one that cannot is killed."""
ORPHAN_POLL_SECONDS = 0.05
_ADDRESS_VARIABLES = "TIDEGATE_DATABASE_URL"
"""Prefix of environment variables that no child may see: their values hold passwords."""


class Child:
    """One place among the children: whoever runs there is replaced when it dies."""

    def __init__(
        self, handover: Handover, *, on_change: Callable[[], None], report: Callable[[str], None] = lambda _line: None
    ) -> None:
        """`on_change` is called when the process behind this place changed; `report` gets lines for people."""
        self._report = report
        self._is_reported = False
        self._handover = handover
        self._on_change = on_change
        self._process: asyncio.subprocess.Process | None = None
        self._state: ProcessState | None = None
        self._deaths: deque[float] = deque(maxlen=CRASH_LOOP_DEATHS)
        self._restarts = 0
        self._log = logs.get("runtime.children").bind(role=handover.role, count=handover.index)

    @property
    def name(self) -> str:
        """Role and number, for people."""
        return f"{self._handover.role}-{self._handover.index}"

    @property
    def state(self) -> ProcessState | None:
        """The process as it was started last; None before the first start."""
        return self._state

    async def keep_running(self, stop: asyncio.Event) -> None:
        """Run the child, and again whenever it ends, until `stop` is set; then drain it."""
        early_deaths = 0
        while not stop.is_set():
            started_at = time.monotonic()
            status = await self._run_once(stop)
            if stop.is_set():
                return
            died_at = time.monotonic()
            early_deaths = 1 if died_at - started_at >= STABLE_SECONDS else early_deaths + 1
            self._deaths.append(died_at)
            self._restarts += 1
            wait_seconds = plan_restart_seconds(early_deaths, died_at - started_at)
            self._tell_death(status, wait_seconds)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_seconds):
                    await stop.wait()

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _run_once(self, stop: asyncio.Event) -> int:
        process = self._process = await self._spawn()
        is_looping = is_crash_looping(self._deaths, time.monotonic())
        self._state = describe_process(
            self._handover.role,
            self._handover.index,
            process.pid,
            restarts=self._restarts,
            crash_looping=is_looping,
        )
        self._on_change()
        self._log.info("child.spawned", retries=self._restarts)
        ended = asyncio.create_task(process.wait())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await self._drain(process, ended)
            return await ended
        except BaseException:
            self.kill()
            raise
        finally:
            stopping.cancel()
            if process.stdin is not None:
                process.stdin.close()

    async def _spawn(self) -> asyncio.subprocess.Process:
        """Start the process in a session of its own, so that Ctrl-C in a terminal reaches the supervisor only."""
        handover = self._handover
        arguments = ["-m", "tidegate.runtime.child", handover.role, "--index", str(handover.index)]
        if handover.project is not None:
            arguments += ["--project", handover.project]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            start_new_session=True,
            env=child_environment(os.environ, is_restart=self._restarts > 0),
        )
        if process.stdin is not None:
            process.stdin.write(handover.encode())
            with contextlib.suppress(ConnectionError):  # it died at once: its end is noticed by its caller
                await process.stdin.drain()
        return process

    async def _drain(self, process: asyncio.subprocess.Process, ended: "asyncio.Task[int]") -> None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        done, _ = await asyncio.wait({ended}, timeout=self._handover.drain_seconds + KILL_MARGIN_SECONDS)
        if not done:
            self._log.warning("child.killed", reason="not drained in time")
            self.kill()

    def _tell_death(self, status: int, wait_seconds: float) -> None:
        fields: dict[str, object] = {"exit_status": status, "wait_seconds": wait_seconds, "retries": self._restarts}
        if status < 0:
            fields = {**fields, "signal": signal.Signals(-status).name}
        if is_crash_looping(self._deaths, time.monotonic()):
            self._log.error("child.crash_looping", **fields)
            if not self._is_reported:
                self._report(f"{self.name} does not stay alive: see tidegate doctor, or its log")
            self._is_reported = True
        else:
            self._log.warning("child.died", **fields)


def child_environment(environment: Mapping[str, str], *, is_restart: bool) -> dict[str, str]:
    """What of our environment a child gets: no database address, and a crash point only the first time."""
    hidden = {crashpoint.VARIABLE} if is_restart else set()
    return {
        name: value
        for name, value in environment.items()
        if name not in hidden and not name.startswith(_ADDRESS_VARIABLES)
    }


def describe_children(children: Iterable[Child]) -> tuple[ProcessState, ...]:
    """States of those that were started."""
    return tuple(child.state for child in children if child.state is not None)


async def end_orphans(orphans: Iterable[ProcessState], *, timeout_seconds: float) -> list[int]:
    """End children of a supervisor that was killed: they drain already; kill those that do not finish.

    Only processes whose pid and start time both match are touched. Returns the pids that were found alive.
    """
    found = [orphan for orphan in orphans if is_child_process(orphan)]
    for orphan in found:
        send_signal(orphan.pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_seconds
    while any(is_alive(orphan) for orphan in found):
        if time.monotonic() >= deadline:
            for orphan in filter(is_alive, found):
                send_signal(orphan.pid, signal.SIGKILL)
            deadline = time.monotonic() + timeout_seconds
        await asyncio.sleep(ORPHAN_POLL_SECONDS)
    return [orphan.pid for orphan in found]


def is_child_process(process: ProcessState) -> bool:
    """Whether this very process lives and is one of our children, judged by its command line."""
    try:
        command = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        command = []
    return b"tidegate.runtime.child" in command and is_alive(process)
