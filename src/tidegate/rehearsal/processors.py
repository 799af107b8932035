"""Whose the processors were: ours by role, the simulated platforms', the naive script's, and everybody else's."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from tidegate.rehearsal.records import Load
from tidegate.runtime.project import Project
from tidegate.runtime.state import ProcessTimes, processor_times, read_state

Root = tuple[str, int, int]
"""What a process is, its pid, and when it started."""

PLATFORMS = "simulated platforms"
NAIVE = "naive script"
REHEARSAL = "this command"
OTHERS = "everything else here"
FULL = 0.9
"""From this share of all processors, or of one, on they count as full."""
BUSIEST_SECONDS = 10
_STAT = Path("/proc/stat")
_IDLE = (3, 4)
"""Positions of the time in which a processor had nothing to do, behind the word `cpu`: idle, and waiting for a disk."""


class Meter:
    """Looks at processor times now and then; what was used between two looks is the use of that second."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._used: dict[Root, float] = {}
        self._machine: float | None = None
        self._looked = time.monotonic()
        self.seconds: dict[int, Mapping[str, float]] = {}
        """Second of the monotonic clock -> part -> processors that it used; a look that came late stands for all it missed."""

    def look(self, others: Mapping[str, Iterable[int]]) -> None:
        """Note what was used since the last look. `others` are further processes by what they are."""
        now = time.monotonic()
        passed = now - self._looked
        used = self._measure(others)
        machine = _machine_seconds()
        parts: defaultdict[str, float] = defaultdict(float)
        for key, seconds in used.items():
            parts[key[0]] += max(0.0, seconds - self._used.get(key, 0.0 if self._used else seconds))
        if machine is not None and self._machine is not None:
            parts[OTHERS] = max(0.0, machine - self._machine - sum(parts.values()))
        if self._used and passed > 0:
            used_now = {part: spent / passed for part, spent in parts.items()}
            for second in range(int(self._looked) + 1, int(now) + 1):
                self.seconds[second] = used_now
        self._used, self._machine, self._looked = used, machine, now

    def _measure(self, others: Mapping[str, Iterable[int]]) -> dict[Root, float]:
        """Return the processor seconds of each process that we know, with all that descends from it."""
        parts = {pid: part for part, pids in others.items() for pid in pids} | {os.getpid(): REHEARSAL}
        state = read_state(self._project.state_file)
        if state is not None:
            parts |= {process.pid: process.role for process in (state.supervisor, *state.children)}
            if state.postgres_pid is not None:
                parts[state.postgres_pid] = "postgres"
        return sum_by_root(processor_times(), parts)


def sum_by_root(times: Mapping[int, ProcessTimes], parts: Mapping[int, str]) -> dict[Root, float]:
    """Return the processor seconds of each known process and its descendants; the nearest known one counts. Pure."""
    found: defaultdict[Root, float] = defaultdict(float)
    for pid, process in times.items():
        root = pid
        while root not in parts and root in times and times[root].parent in times:
            root = times[root].parent
        if root in parts:
            found[parts[root], root, times[root].start_time] += process.cpu_seconds
    return dict(found)


def summarize(seconds: Mapping[int, Mapping[str, float]], waiting: Collection[int]) -> tuple[Load, ...]:
    """Return how busy each part was: on average, in its busiest stretch, and while work waited. The busiest first. Pure."""
    names = {part for parts in seconds.values() for part in parts}
    loads = [
        Load(
            part=name,
            average=round(_average(seconds, name, seconds), 2),
            busiest=round(_busiest([seconds[second].get(name, 0.0) for second in sorted(seconds)]), 2),
            while_waiting=round(_average(seconds, name, waiting), 2),
        )
        for name in names
    ]
    return tuple(sorted(loads, key=lambda load: (-load.average, load.part)))


def _average(seconds: Mapping[int, Mapping[str, float]], part: str, among: Iterable[int]) -> float:
    found = [seconds[second].get(part, 0.0) for second in among if second in seconds]
    return sum(found) / len(found) if found else 0.0


def _busiest(used: Sequence[float]) -> float:
    size = min(BUSIEST_SECONDS, len(used))
    return max((sum(used[place : place + size]) / size for place in range(len(used) - size + 1)), default=0.0)


def _machine_seconds() -> float | None:
    """Return the processor time that all processes of this machine have used; None where the system does not tell."""
    try:
        fields = [int(field) for field in _STAT.read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    return sum(field for place, field in enumerate(fields) if place not in _IDLE) / os.sysconf("SC_CLK_TCK")
