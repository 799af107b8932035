"""Steps of a start that wait for each other: each runs in a thread of its own as soon as those it needs are done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

State = Literal["waits", "runs", "done", "failed"]
LOOK_SECONDS = 0.2


@dataclass
class Step:
    """One step. `run` may return a few words about what it found; they are shown when it is done."""

    name: str
    title: str
    run: Callable[[], str | None]
    needs: tuple[str, ...] = ()
    state: State = "waits"
    note: str = ""
    error: BaseException | None = None
    started: float = 0.0
    ended: float = 0.0

    def seconds(self) -> float:
        """Return how long it has been running, or ran."""
        if self.state == "waits":
            return 0.0
        return (time.monotonic() if self.state == "runs" else self.ended) - self.started


class StepFailedError(RuntimeError):
    """A step failed; `step.error` says why."""

    def __init__(self, step: Step) -> None:
        super().__init__(f"{step.title}: {step.error}")
        self.step = step


class Steps:
    """All steps of a start."""

    def __init__(self, steps: Sequence[Step]) -> None:
        names = {step.name for step in steps}
        unknown = sorted({need for step in steps for need in step.needs} - names)
        if unknown:
            raise ValueError(f"steps need what is no step: {unknown}")
        self.steps = list(steps)
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []

    def run(self, show: Callable[[], None] = lambda: None) -> None:
        """Run all steps; `show` is called now and then, in this thread. Raises StepFailedError for the first failure.

        No step begins after a failure; those that run go on in the background, see `join`.
        """
        while True:
            with self._changed:
                self._begin_ready()
                self._changed.wait_for(self._is_something_due, LOOK_SECONDS)
                failed = [step for step in self.steps if step.state == "failed"]
                is_done = all(step.state == "done" for step in self.steps)
            show()
            if failed:
                raise StepFailedError(min(failed, key=lambda step: step.ended))
            if is_done:
                return

    def join(self, timeout_seconds: float) -> bool:
        """Wait until no step runs any more; False when some still do."""
        deadline = time.monotonic() + timeout_seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _begin_ready(self) -> None:
        done = {step.name for step in self.steps if step.state == "done"}
        for step in self.steps:
            if step.state == "waits" and done.issuperset(step.needs):
                step.state, step.started = "runs", time.monotonic()
                thread = threading.Thread(target=self._run_one, args=(step,), name=f"step-{step.name}", daemon=True)
                self._threads.append(thread)
                thread.start()

    def _is_something_due(self) -> bool:
        done = {step.name for step in self.steps if step.state == "done"}
        return len(done) == len(self.steps) or any(
            step.state == "failed" or (step.state == "waits" and done.issuperset(step.needs)) for step in self.steps
        )

    def _run_one(self, step: Step) -> None:
        try:
            note = step.run() or ""
        except Exception as error:  # whatever it is, the main thread raises it
            with self._ending(step):
                step.state, step.error = "failed", error
        else:
            with self._ending(step):
                step.state, step.note = "done", note

    @contextmanager
    def _ending(self, step: Step) -> Iterator[None]:
        with self._changed:
            step.ended = time.monotonic()
            yield
            self._changed.notify_all()
