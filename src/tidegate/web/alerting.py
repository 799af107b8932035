"""The alert rules are looked at here: the web process runs in every gateway, and one of them leads."""

from __future__ import annotations

from tidegate.monitor.alerts.evaluator import Evaluator
from tidegate.runtime.project import Project
from tidegate.runtime.state import missing_of, read_state
from tidegate.store.context import Context


def build_evaluator(context: Context) -> Evaluator:
    """Return the evaluator of this process; it opens nothing before its first round."""
    project = Project(context.project) if context.project is not None else None

    def missing() -> dict[str, str]:
        return find_missing(project) if project is not None else {}

    return Evaluator(
        context.access,
        keys={name: key for name, key in context.keys.items() if name == "alert"},
        connectors=context.connectors,
        clock=context.clock,
        cell=context.cell,
        folder=context.project,
        missing=missing,
    )


def find_missing(project: Project) -> dict[str, str]:
    """Return the processes of this machine that should run and do not, or do not stay alive -> why one thinks so."""
    state = read_state(project.state_file)
    if state is None or state.phase == "stopping":
        return {}
    missing = dict.fromkeys(missing_of(state), "its process is gone")
    for child in state.children:
        if child.crash_looping:
            missing[f"{child.role}-{child.index}"] = f"it does not stay alive: started {child.restarts} times again"
    return missing
