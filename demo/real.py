"""`python -m demo.real`: see the package's words; `--help` for what can be chosen."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from e2e.stage import Stage
from realsystems.packages import PackagesUnavailableError, RegistryUnreachableError
from realsystems.vendure import NODE_MAJOR_MIN, ShopUnavailableError, require_node
from rich.console import Console

from demo.closing import close
from demo.gate import Gate, GateUnavailableError
from demo.opening import Opening, opened_file
from demo.progress import run_with_lines, run_with_list
from demo.show import Show
from demo.steps import StepFailedError, Steps

NAME = "demo"
PACE_SECONDS = 2.0
ENDED_BY_SIGNAL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WIDTH_OF_A_FILE = 10_000


class Refused(Exception):
    """The demo cannot run here; the message says why, `hint` what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def main() -> int:
    """Open two shops and an ERP, let people trade, show it until somebody ends it, and stop everything."""
    began = time.monotonic()
    arguments = _arguments()
    is_terminal = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    width = None if is_terminal else WIDTH_OF_A_FILE
    console = Console(force_terminal=is_terminal, width=width, highlight=False, markup=False)
    for name in [name for name in os.environ if name.startswith("TIDEGATE_") and name != "TIDEGATE_REAL_DIR"]:
        del os.environ[name]  # the demo has a project and a database of its own
    try:
        _check_node()
        stage = Stage(NAME, say=lambda _line: None)
        with _only_demo(stage.folder):
            return _play(stage, console, arguments, began)
    except Refused as refusal:
        console.print(f"demo: {refusal}", style="bold red")
        console.print(f"  {refusal.hint}")
        return 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m demo.real",
        description="Two real Vendure shops and a real Tryton ERP, Tidegate between them, people who trade,"
        " and a table of what each system believes.",
    )
    parser.add_argument("--seconds", type=float, help="end after so long, when all systems agree, with a summary")
    parser.add_argument("--fresh", action="store_true", help="begin with new databases instead of the last run's")
    parser.add_argument("--pace", type=float, default=PACE_SECONDS, help="seconds between two orders (2)")
    return parser.parse_args()


def _check_node() -> None:
    try:
        require_node()
    except ShopUnavailableError as error:
        raise Refused(
            str(error),
            f"install Node {NODE_MAJOR_MIN} or newer with npm, put both into PATH and run `make demo-real` again",
        ) from error


@contextlib.contextmanager
def _only_demo(folder: Path) -> Iterator[None]:
    """Hold the lock of the demo in this folder. Raises Refused when another one runs."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read().strip()
            raise Refused(f"another demo runs already (pid {pid})", "end it with Ctrl-C first") from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def _play(stage: Stage, console: Console, arguments: argparse.Namespace, began: float) -> int:
    gate = Gate(stage.project)
    steps = Steps(Opening(stage, gate, fresh=arguments.fresh).steps())
    show = Show(stage, console, pace_seconds=arguments.pace)
    status = 0
    for ending in ENDED_BY_SIGNAL:
        signal.signal(ending, _interrupt)
    try:
        console.print("Tidegate demo: two Vendure shops, one Tryton, Tidegate between them")
        (run_with_list if console.is_terminal else run_with_lines)(steps, console)
        is_settled = show.run(start_seconds=time.monotonic() - began, run_seconds=arguments.seconds)
        status = 0 if is_settled else 1
    except StepFailedError as error:
        _tell_failure(console, error, stage)
        status = 1
    except KeyboardInterrupt:
        pass
    finally:
        _close(stage, gate, steps, show, console)
    return status


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _close(stage: Stage, gate: Gate, steps: Steps, show: Show, console: Console) -> None:
    """Stop everything; from here on signals are waited out, so that nothing is left behind."""
    for ending in ENDED_BY_SIGNAL:
        signal.signal(ending, signal.SIG_IGN)
    began = time.monotonic()
    with contextlib.suppress(OSError):  # the terminal may be gone
        console.print("stopping ...")
    problems = close(stage, gate, steps, people=show.stop)
    with contextlib.suppress(OSError):
        for problem in problems:
            console.print(f"not stopped: {problem}", style="bold red")
        kept = "; the next start takes up the data (--fresh begins anew)" if opened_file(stage).exists() else ""
        console.print(f"stopped in {time.monotonic() - began:.1f} s{kept}")


def _tell_failure(console: Console, failure: StepFailedError, stage: Stage) -> None:
    error = failure.step.error
    console.print(f"demo: {failure}", style="bold red")
    if isinstance(error, RegistryUnreachableError):
        hint = "check the network, or which registry pip and npm are set to; what was installed is kept"
    elif isinstance(error, PackagesUnavailableError):
        hint = "what was installed is kept; run it again"
    elif isinstance(error, GateUnavailableError):
        hint = f"look into {stage.project.logs_dir}, or begin anew: python -m demo.real --fresh"
    else:
        hint = "run it again, or begin anew: python -m demo.real --fresh"
    console.print(f"  {hint}")


if __name__ == "__main__":
    sys.exit(main())
