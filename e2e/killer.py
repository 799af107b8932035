"""Kill -9, twice each: door, apply, dispatch, PostgreSQL; each while work of its kind is in flight."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import psutil

from e2e.stage import Stage
from e2e.watch import Watch

PATIENCE_SECONDS = 12.0
BETWEEN_SECONDS = 4.0
BACK_SECONDS = 60.0
Look = Callable[[], dict[str, int]]


class Killer:
    """Ends processes of Tidegate by their pids, and keeps a record of each."""

    def __init__(self, stage: Stage, watch: Watch, relay_in_flight: Callable[[], int]) -> None:
        self._stage = stage
        self._watch = watch
        self._relay_in_flight = relay_in_flight
        self.records: list[dict[str, Any]] = []

    def kill(self, role: str, index: int) -> None:
        """Wait until the role has work in hand, then end one of its processes; wait until there is a new one."""
        in_flight = self._wait_for_work(role)
        pid = self._pid(role, index)
        os.kill(pid, signal.SIGKILL)
        self.records.append(
            {"role": role, "pid": pid, "in_flight": in_flight, "had_work": self._has_work(role, in_flight)}
        )
        self._wait_until_back(role, pid)

    def _pid(self, role: str, index: int) -> int:
        state = self._stage.state()
        if state is None:
            raise RuntimeError("Tidegate does not run")
        if role == "postgres":
            assert state.postgres_pid is not None
            return state.postgres_pid
        return state.pids(role)[index % len(state.pids(role))]

    def _wait_for_work(self, role: str) -> dict[str, int]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                found = {**self._watch.in_flight(), "deliveries": self._relay_in_flight()}
            except OSError:
                found = {}
            if self._has_work(role, found) or time.monotonic() > deadline:
                return found
            time.sleep(0.02)

    def _has_work(self, role: str, found: dict[str, int]) -> bool:
        wanted = {
            "door": ("deliveries",),
            "apply": ("events_waiting",),
            "dispatch": ("commands_sending",),
            "postgres": ("deliveries", "events_waiting", "commands_sending"),
        }[role]
        return any(found.get(name, 0) for name in wanted)

    def _wait_until_back(self, role: str, old_pid: int) -> None:
        deadline = time.monotonic() + BACK_SECONDS
        while time.monotonic() < deadline:
            state = self._stage.state()
            pids = [] if state is None else [state.postgres_pid] if role == "postgres" else state.pids(role)
            if pids and old_pid not in pids and all(pid and psutil.pid_exists(pid) for pid in pids):
                time.sleep(BETWEEN_SECONDS)
                return
            time.sleep(0.1)
        raise RuntimeError(f"no new {role} after {BACK_SECONDS:.0f} s")
