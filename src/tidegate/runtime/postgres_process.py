"""What the operating system says about the processes of one database cluster.

A killed postmaster (`kill -9`) can leave backends behind that still hold the shared memory; a new
postmaster refuses to start while they live. They are found by their working directory, which for
every PostgreSQL process is its own data directory, and ended one by one by their pids.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PID_FILE = "postmaster.pid"
POLL_SECONDS = 0.02
_PROC = Path("/proc")
_LINE_PID, _LINE_SOCKET_DIR, _LINE_STATUS = 0, 4, 7


@dataclass(frozen=True, kw_only=True)
class PidFile:
    """Content of `postmaster.pid`: the pid, the socket folder, and whether it takes connections."""

    pid: int
    socket_dir: Path | None
    is_ready: bool


def read_pid_file(data_dir: Path) -> PidFile | None:
    """Read `postmaster.pid`; None when absent or not written completely yet."""
    try:
        lines = (data_dir / PID_FILE).read_text().split("\n")
        pid = int(lines[_LINE_PID])
    except (OSError, ValueError):
        return None
    socket_dir = lines[_LINE_SOCKET_DIR].strip() if len(lines) > _LINE_SOCKET_DIR else ""
    status = lines[_LINE_STATUS].strip() if len(lines) > _LINE_STATUS else ""
    return PidFile(pid=pid, socket_dir=Path(socket_dir) if socket_dir else None, is_ready=status == "ready")


def find_postmaster(data_dir: Path) -> PidFile | None:
    """The live postmaster of `data_dir`; None when there is none or its pid is someone else's."""
    recorded = read_pid_file(data_dir)
    if recorded is None or not process_exists(recorded.pid):
        return None
    return recorded if _belongs_to(recorded.pid, data_dir) else None


def find_leftovers(data_dir: Path) -> list[int]:
    """Pids of PostgreSQL processes of `data_dir`, sorted. Meaningful once the postmaster is gone.

    Linux only; elsewhere the list is empty and backends end themselves when they next look.
    """
    if not _PROC.is_dir():
        return []
    pids = (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())
    return sorted(pid for pid in pids if _belongs_to(pid, data_dir))


def end_leftovers(data_dir: Path, *, timeout_seconds: float) -> list[int]:
    """End backends whose postmaster is gone: SIGQUIT, and SIGKILL after half of the time.

    Returns the pids that were found. Safe to repeat.

    Raises:
        TimeoutError: some process could not be ended in time.
    """
    found = find_leftovers(data_dir)
    for signal_number in (signal.SIGQUIT, signal.SIGKILL):
        for pid in find_leftovers(data_dir):
            send_signal(pid, signal_number)
        if wait_until(lambda: not find_leftovers(data_dir), timeout_seconds=timeout_seconds / 2):
            return found
    raise TimeoutError(f"processes {find_leftovers(data_dir)} of {data_dir} do not end")


def remove_stale_files(data_dir: Path, socket_dir: Path) -> None:
    """Remove the pid file and the socket of a postmaster that no longer exists."""
    (data_dir / PID_FILE).unlink(missing_ok=True)
    for leftover in socket_dir.glob(".s.PGSQL.*"):
        leftover.unlink(missing_ok=True)


def process_exists(pid: int) -> bool:
    """Whether `pid` is a live process; one that ended but was not waited for does not count."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


async def wait_for_end(pid: int, *, seconds_max: float, poll_seconds: float) -> None:
    """Wait until process `pid` ended, or for `seconds_max`. The kernel says so where it can (Linux), else it is looked at."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds_max
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except (AttributeError, OSError):
        while process_exists(pid) and loop.time() < deadline:  # noqa: ASYNC110 - a process sets no event
            await asyncio.sleep(poll_seconds)
        return
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), seconds_max)
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def send_signal(pid: int, signal_number: signal.Signals) -> None:
    """Send a signal; a process that is already gone is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal_number)


def wait_until(condition: Callable[[], bool], *, timeout_seconds: float) -> bool:
    """Poll `condition` until it holds or the time is over; returns whether it holds."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _belongs_to(pid: int, data_dir: Path) -> bool:
    if not _PROC.is_dir():
        return sys.platform != "linux"
    try:
        program = (_PROC / str(pid) / "comm").read_text().strip()
        folder = (_PROC / str(pid) / "cwd").readlink()
    except OSError:
        return False
    return program == "postgres" and folder == data_dir.resolve() and not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    try:
        status = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] in ("Z", "X")
