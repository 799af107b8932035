"""`tidegate status`: how the installation does."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from tidegate.cli.output import plain, print_json, print_table, safe_line, show_age, show_seconds, show_time
from tidegate.cli.session import Session, find_project, json_option, project_option, run_session
from tidegate.dispatch.meter import Usage
from tidegate.monitor.alerts.notices import title_of
from tidegate.monitor.alerts.operator import list_alerts
from tidegate.monitor.alerts.records import Alert
from tidegate.monitor.alerts.rules import RULES
from tidegate.monitor.status import Status, read_status
from tidegate.runtime.control import running_state
from tidegate.runtime.project import Project
from tidegate.runtime.state import ProcessState, is_alive

ALERTS_SHOWN = 20
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@click.command()
@project_option
@json_option
def status(project_dir: Path | None, *, as_json: bool) -> None:
    """Show processes, what waits, lanes and the last polls."""

    async def body(session: Session) -> tuple[Project, Status, list[Alert]]:
        firing = await list_alerts(session.conn, session.tenant_id, include_resolved=False, limit=ALERTS_SHOWN)
        return session.project, await read_status(session.conn, session.tenant_id), firing

    processes = _processes(find_project(project_dir))
    if not as_json:
        _print_processes(processes)  # they need no database, and matter most when it is away
    _, found, firing = run_session(project_dir, body)
    if as_json:
        shown = plain(found)
        now = datetime.now(UTC)
        for lane, stored in zip(shown["lanes"], found.lanes, strict=True):
            lane.pop("budget")
            lane["usage"] = plain(stored.usage(now))
        print_json({"processes": processes, **shown, "alerts": [plain(alert) for alert in firing]})
    else:
        _print(found)
        for alert in firing:
            words = (
                f"{alert.severity.upper()}: {title_of(RULES[alert.rule], [alert])}"
                if alert.rule in RULES
                else alert.rule
            )
            click.echo(f"{safe_line(words)} (tidegate alerts)")


def _processes(project: Project) -> list[dict[str, Any]]:
    """Return the supervisor and its children as they are now; empty when none runs here."""
    state = running_state(project)
    if state is None:
        return []
    return [_process(process) for process in (state.supervisor, *state.children)]


def _process(process: ProcessState) -> dict[str, Any]:
    return {
        "name": f"{process.role}-{process.index}" if process.role != "supervisor" else "supervisor",
        "pid": process.pid,
        "alive": is_alive(process),
        "uptime_seconds": _uptime(process),
        "restarts": process.restarts,
        "crash_looping": process.crash_looping,
    }


def _uptime(process: ProcessState) -> float | None:
    if process.start_time is None:
        return None
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    return round(since_boot - process.start_time / _CLOCK_TICKS, 1)


def _print_processes(processes: list[dict[str, Any]]) -> None:
    rows = [
        [
            process["name"],
            process["pid"],
            "CRASH LOOP" if process["crash_looping"] else "alive" if process["alive"] else "GONE",
            show_seconds(process["uptime_seconds"]) if process["uptime_seconds"] is not None else "-",
            process["restarts"],
        ]
        for process in processes
    ]
    print_table(("process", "pid", "state", "uptime", "restarts"), rows, empty="no processes of this project run here")


def _print(found: Status) -> None:
    queue = found.queue
    click.echo(
        f"events: {queue.waiting} waiting (oldest {show_age(queue.oldest_at)}), {queue.parked} parked, "
        f"{queue.quarantined} quarantined"
    )
    for switch in found.switches:
        if switch.is_on:
            click.echo(
                f"WRITES ARE STOPPED by {switch.changed_by} since {show_time(switch.changed_at)}: "
                f"{safe_line(switch.reason or '')}"
            )
    print_table(
        ("connection", "kind", "state", "commands", "oldest"),
        [[c.connection, c.kind, c.state, c.commands, show_age(c.oldest_at)] for c in found.commands],
        empty="commands: none open, none failed",
    )
    print_table(
        ("connection", "state", "budget", "snoozed until", "stock to tell", "since"),
        _lanes(found),
        empty="no connections",
    )
    print_table(
        ("connection", "feed", "last read", "error"),
        [[feed.connection, feed.feed, show_age(feed.last_ok_at), feed.last_error] for feed in found.feeds],
        empty="no feed was read yet",
    )
    doubtful = found.count("in_doubt")
    if doubtful:
        click.echo(f"{doubtful} commands in doubt: sent, and not known whether carried out; they are being verified")


def _budget(usage: Usage | None) -> str:
    if usage is None:
        return "-"
    own = f" of {usage.operation}" if usage.operation else ""
    return f"{usage.left:.0f} of {usage.limit:.0f}{own} left, {usage.used_last_minute:.0f} used in a minute"


def _lanes(found: Status) -> list[list[object]]:
    now = datetime.now(UTC)
    return [
        [
            lane.connection,
            lane.state if lane.state_reason is None else f"{lane.state}: {lane.state_reason}",
            _budget(lane.usage(now)),
            lane.snoozed_until,
            lane.dirty,
            show_age(lane.dirty_since),
        ]
        for lane in found.lanes
    ]
