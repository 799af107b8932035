"""Stop what the demo started, and nothing else; the data stays."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psutil
from e2e.stage import Stage

from demo.gate import Gate
from demo.steps import Steps

STEP_SECONDS = 60.0
POLITE_SECONDS = 3.0


def close(stage: Stage, gate: Gate, steps: Steps, *, people: Callable[[], None]) -> list[str]:
    """End all processes of the demo, also in the middle of a start; return what could not be ended.

    `people` sends those home who work with the systems; it is called first.
    """
    problems = _problem(people)
    if any(step.state == "runs" for step in steps.steps):
        _end_installers(keep=gate.pid)
        if not steps.join(STEP_SECONDS):
            problems.append("a step of the start does not end")
    with ThreadPoolExecutor() as pool:
        endings: list[Callable[[], None]] = [gate.stop, stage.erp.stop, *(shop.stop for shop in stage.shops.values())]
        for ended in [pool.submit(ending) for ending in endings]:
            problems += _problem(ended.result)
    return problems + _problem(stage.world.stop)


def _end_installers(keep: int | None) -> None:
    """End our own children, so that nobody waits for a download; Tidegate is stopped in order later.

    npm takes no notice of a polite request while it waits for its registry.
    """
    ours = []
    for child in psutil.Process().children():
        if child.pid != keep:
            with contextlib.suppress(psutil.NoSuchProcess):
                ours += [child, *child.children(recursive=True)]
    for process in ours:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, deaf = psutil.wait_procs(ours, timeout=POLITE_SECONDS)
    for process in deaf:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _problem(ending: Callable[[], object]) -> list[str]:
    try:
        ending()
    except Exception as error:  # the others must be ended all the same
        return [f"{type(error).__name__}: {error}"]
    return []
