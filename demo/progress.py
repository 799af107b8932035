"""Shows how far the start has come: a list that moves in a terminal, a line per event elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from demo.steps import State, Step, Steps

STILL_SECONDS = 20.0
SPINNER = Spinner("dots")
MARKS: dict[State, tuple[str, str]] = {"waits": ("·", "dim"), "done": ("✓", "green"), "failed": ("✗", "bold red")}


def run_with_list(steps: Steps, console: Console) -> None:
    """Run the steps under a list of them that is kept current."""
    with Live(console=console, refresh_per_second=5, get_renderable=lambda: show_steps(steps.steps)) as live:
        steps.run()
        live.refresh()


def run_with_lines(steps: Steps, console: Console) -> None:
    """Run the steps and print a line when one begins, ends or takes long."""
    lines = Lines(steps.steps)

    def show() -> None:
        for line in lines.news(time.monotonic()):
            console.print(line)

    steps.run(show)


def show_steps(steps: Sequence[Step]) -> RenderableType:
    """Return the list of steps with what each does and how long it took or has taken."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column()
    grid.add_column(justify="right", min_width=7)
    grid.add_column(style="dim")
    for step in steps:
        seconds = "" if step.state == "waits" else f"{step.seconds():.1f} s"
        if step.state == "runs":
            grid.add_row(SPINNER, Text(step.title, style="bold"), seconds, "")
        else:
            mark, style = MARKS[step.state]
            grid.add_row(Text(mark, style=style), Text(step.title, style=style if mark == "·" else ""), seconds,
                         Text(step.note))  # fmt: skip
    return Group(grid)


class Lines:
    """Tells what is new since the last time it was asked."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._told: dict[str, State] = {step.name: "waits" for step in steps}
        self._still = dict.fromkeys(self._told, 0.0)

    def news(self, now: float) -> list[str]:
        """Return a line for every step that began, ended or still runs after a while."""
        return [line for step in self._steps for line in self._news_of(step, now)]

    def _news_of(self, step: Step, now: float) -> list[str]:
        state, before = step.state, self._told[step.name]
        self._told[step.name] = state
        if state != before:
            self._still[step.name] = now
            if state == "runs":
                return [f"... {step.title}"]
            words = f"{step.title}: {step.seconds():.1f} s" + (f", {step.note}" if step.note else "")
            return [f"{'ok ' if state == 'done' else 'FAILED'} {words}"]
        if state == "runs" and now - self._still[step.name] >= STILL_SECONDS:
            self._still[step.name] = now
            return [f"... {step.title}: {step.seconds():.0f} s"]
        return []
