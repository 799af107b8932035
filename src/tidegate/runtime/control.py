"""What other commands do to a running supervisor: find it, stop it."""

import signal

import msgspec

from tidegate.runtime.postgres_process import send_signal, wait_until
from tidegate.runtime.project import Project
from tidegate.runtime.state import RunState, is_alive, read_state

STOP_TIMEOUT_SECONDS = 60.0
_LOG_LINES = 200


def running_state(project: Project) -> RunState | None:
    """State of the supervisor that runs in `project`; None when none does (a killed one does not count)."""
    state = read_state(project.state_file)
    return state if state is not None and is_alive(state.supervisor) else None


def last_failure(project: Project, child: str) -> str:
    """Return `: reason` of the last time a child (`door-1`) gave up by itself, '' when its log does not tell."""
    try:
        lines = (project.logs_dir / f"{child}.log").read_text(errors="replace").splitlines()[-_LOG_LINES:]
    except OSError:
        return ""
    for line in reversed(lines):
        try:
            entry = msgspec.json.decode(line, type=_LogLine)
        except msgspec.DecodeError:
            continue
        if entry.event == "child.failed" and entry.reason:
            return f": {entry.reason}"
    return ""


class _LogLine(msgspec.Struct):
    event: str = ""
    reason: str = ""


def stop_supervisor(project: Project, *, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> bool:
    """Ask the running supervisor to stop and wait for its end; False when none runs.

    Raises:
        TimeoutError: it still runs after `timeout_seconds`.
    """
    state = running_state(project)
    if state is None:
        return False
    send_signal(state.supervisor.pid, signal.SIGTERM)
    if not wait_until(lambda: not is_alive(state.supervisor), timeout_seconds=timeout_seconds):
        raise TimeoutError(f"the supervisor (pid {state.supervisor.pid}) does not end")
    return True
