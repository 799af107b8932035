"""Entry of every child process: `python -m tidegate.runtime.child ROLE --project DIR --index N`.

It takes the handover from its standard input, runs the role's `serve(context, stop)`, and drains when
it gets SIGTERM or when the supervisor vanishes, whichever is noticed first.
"""

import argparse
import asyncio
import contextlib
import ctypes
import faulthandler
import gc
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import uvloop

from tidegate.kernel.errors import TidegateError
from tidegate.monitor import logs, metrics
from tidegate.runtime.handover import Handover, load_function, read_handover
from tidegate.runtime.log_file import open_log
from tidegate.runtime.project import Project

EXIT_UNFINISHED = 75
EXIT_BUG = 70
_PR_SET_PDEATHSIG = 1
_STDIN = 0


def main() -> int:
    """Run one child; return its exit status (0 drained, 70 our bug, 75 not drained in time, 78 misconfigured)."""
    arguments = _parse_arguments()
    _terminate_with_parent()
    _raise_file_limit()
    _open_log(arguments.project, arguments.role, arguments.index)
    log = logs.get("runtime.child")
    try:
        handover = read_handover(_STDIN)
        if handover is None or handover.supervisor_pid != os.getppid():
            return EXIT_UNFINISHED  # the supervisor went before we were up
        log.info("child.started")
        uvloop.run(_serve(handover))
    except TidegateError as error:
        log.exception("child.failed", reason=str(error), code=error.code)
        return error.exit_status
    except Exception:
        log.exception("child.failed", code="bug")
        return EXIT_BUG
    log.info("child.drained")
    return 0


async def _serve(handover: Handover) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def begin_drain() -> None:
        if not stop.is_set():
            stop.set()
            loop.call_later(handover.drain_seconds, os._exit, EXIT_UNFINISHED)

    loop.add_signal_handler(signal.SIGTERM, begin_drain)
    loop.add_signal_handler(signal.SIGINT, begin_drain)
    await loop.connect_read_pipe(lambda: _SupervisorWatch(begin_drain), os.fdopen(_STDIN, "rb", buffering=0))
    serve = load_function(handover.entry)
    _spare_the_collector()
    async with _exposed_metrics(handover):
        await serve(handover.context(), stop)


def _spare_the_collector() -> None:
    """Keep what was imported out of the garbage collector's sight: it stays, and a walk over all of it is a pause of 50 ms."""
    gc.collect()
    gc.freeze()


def _exposed_metrics(handover: Handover) -> contextlib.AbstractAsyncContextManager[None]:
    """Let the web process of this machine read our metrics, while the child serves."""
    if handover.project is None:
        return contextlib.nullcontext()
    run_dir = Project(Path(handover.project)).run_dir
    return metrics.exposed(metrics.socket_path(run_dir, handover.role, handover.index))


class _SupervisorWatch(asyncio.Protocol):
    """Notices that the other end of standard input was closed: the supervisor is gone or wants us to end."""

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._on_end = on_end

    def connection_lost(self, _error: Exception | None) -> None:
        self._on_end()


def _terminate_with_parent() -> None:
    """Ask the kernel for SIGTERM when the supervisor dies (Linux; elsewhere the pipe alone tells us)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _raise_file_limit() -> None:
    """Take as many file descriptors as the system grants: the usual 1,024 are fewer than a door's sockets."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _open_log(project: Path | None, role: str, index: int) -> None:
    """Log into the project folder; raw output of the interpreter follows into the same file."""
    faulthandler.enable()
    if project is None:
        logs.configure(role, index)
        return
    path = Project(project).logs_dir / f"{role}-{index}.log"
    logs.configure(role, index, stream=open_log(path, redirect=(1, 2)))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tidegate-child")
    parser.add_argument("role")
    parser.add_argument("--project", type=Path)
    parser.add_argument("--index", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
