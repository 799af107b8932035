"""What runs right now, in one file that other commands read: `run/state.json`, for our eyes only."""

import os
from pathlib import Path

import msgspec

from tidegate.kernel.errors import ConfigurationError
from tidegate.runtime.durable_file import write_private_file

_PROC = Path("/proc")
_STAT_START_TIME = 19
"""Position of the start time in /proc/PID/stat, counted behind the program's name."""
_STAT_PARENT = 1
_STAT_USED = (11, 12, 13, 14)
"""Positions of the processor time of a process and of its children that have ended, each in user and system mode."""
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class ProcessState(msgspec.Struct, frozen=True, kw_only=True):
    """One process as it was started. Pid and start time together name it for ever."""

    role: str
    index: int
    pid: int
    start_time: int | None
    """Clock ticks since boot, None where the system does not tell."""
    restarts: int = 0
    crash_looping: bool = False


class RunState(msgspec.Struct, frozen=True, kw_only=True):
    """The supervisor and its processes."""

    phase: str
    """starting, running or stopping."""
    supervisor: ProcessState
    postgres_pid: int | None
    """The embedded server; None with an external database."""
    children: tuple[ProcessState, ...] = ()

    def pids(self, role: str) -> list[int]:
        """Pids of the processes of `role`, by their number."""
        chosen = [child for child in self.children if child.role == role]
        return [child.pid for child in sorted(chosen, key=lambda child: child.index)]


def describe_process(
    role: str, index: int, pid: int, *, restarts: int = 0, crash_looping: bool = False
) -> ProcessState:
    """Describe a live process so that it can be told from a later one with the same pid."""
    return ProcessState(
        role=role, index=index, pid=pid, start_time=start_time_of(pid), restarts=restarts, crash_looping=crash_looping
    )


def is_alive(process: ProcessState) -> bool:
    """Whether exactly this process still lives (a zombie does not)."""
    fields = _stat_fields(process.pid)
    if fields is None or fields[0] in ("Z", "X"):
        return False
    return process.start_time is None or int(fields[_STAT_START_TIME]) == process.start_time


def start_time_of(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when it is gone or the system does not tell."""
    fields = _stat_fields(pid)
    return int(fields[_STAT_START_TIME]) if fields is not None else None


class ProcessTimes(msgspec.Struct, frozen=True):
    """What the system says of a process."""

    parent: int
    start_time: int
    cpu_seconds: float
    """Its own, and those of its children that it has waited for."""


def processor_times() -> dict[int, ProcessTimes]:
    """Return the processor time of every process that can be seen, by pid; nothing where the system does not tell."""
    found: dict[int, ProcessTimes] = {}
    for entry in _PROC.iterdir() if _PROC.is_dir() else ():
        fields = _stat_fields(int(entry.name)) if entry.name.isdecimal() else None
        if fields is not None:
            used = sum(int(fields[place]) for place in _STAT_USED) / _TICKS_PER_SECOND
            found[int(entry.name)] = ProcessTimes(int(fields[_STAT_PARENT]), int(fields[_STAT_START_TIME]), used)
    return found


def write_state(path: Path, state: RunState) -> None:
    """Replace the state file (0600)."""
    write_private_file(path, msgspec.json.format(msgspec.json.encode(state), indent=1).decode())


def read_state(path: Path) -> RunState | None:
    """Read the state file; None when there is none or it is damaged. Whether it is still true: `is_alive`.

    Raises:
        ConfigurationError: it belongs to somebody else.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunState)
    except PermissionError as error:
        raise ConfigurationError(
            "this project is run by another user", code="not_yours", hint="run the command as that user"
        ) from error
    except (OSError, msgspec.DecodeError):
        return None


def missing_processes(path: Path) -> list[str]:
    """Return the children that should run and do not, as `role-index`; empty when nothing is known of them."""
    state = read_state(path)
    return missing_of(state) if state is not None else []


def missing_of(state: RunState) -> list[str]:
    """Return the children of a state whose processes are gone, as `role-index`, sorted."""
    return sorted(f"{child.role}-{child.index}" for child in state.children if not is_alive(child))


def _stat_fields(pid: int) -> list[str] | None:
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
