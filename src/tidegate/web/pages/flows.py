"""Flows: their modes, the proposals that wait for somebody, and the switch that stops all writes."""

from __future__ import annotations

from typing import Any, cast, get_args
from uuid import UUID

from litestar import Response

from tidegate.commerce.money import Money
from tidegate.config.records import Mode
from tidegate.config.stock_modes import FlowName
from tidegate.dispatch.approval import WITHIN_ONE_MAX, Selection, approve, count_chosen, reject
from tidegate.dispatch.operator import allow_writes, stop_writes
from tidegate.monitor.flows_view import read_proposals, view_flows
from tidegate.sync.moving import Move, move_mode
from tidegate.web.pages.visit import Here
from tidegate.web.problems import ProblemError

PLACE = "/flows#proposals"
FLOW_NAMES = get_args(FlowName)
MODES = get_args(Mode)


async def show(here: Here) -> Response[Any]:
    """Show flows, proposals and the switch."""
    async with here.reading() as conn:
        version = await here.desk.config(conn)
        proposals = await read_proposals(conn, here.tenant_id)
    figures = await here.desk.hub.figures()
    commands = [
        {
            **row,
            "total": Money(row["total_minor"], row["currency"]) if row["total_minor"] is not None else None,
        }
        for row in proposals.commands
    ]
    return here.show(
        "flows.html",
        modes=MODES,
        view=view_flows(version.config, here.now),
        version=version.version,
        proposals=proposals,
        commands=commands,
        stopped=[switch for switch in figures.status.switches if switch.is_on],
    )


async def decide(here: Here) -> Response[Any]:
    """Approve or reject the chosen proposals, or all of them."""
    verb, reason = here.field("verb"), here.field("reason")
    if verb not in ("approve", "reject"):
        raise ProblemError(400, "form_invalid", "say whether to approve or to reject")
    if verb == "reject" and not reason:
        return here.go(PLACE, "Nothing was changed: say why you reject; it is kept with the command.")
    is_all = here.field("all") == "yes"
    selection = Selection() if is_all else _chosen(here)
    if not is_all and not selection.commands and not selection.marks:
        return here.go(PLACE, "Nothing was chosen.")
    if is_all:
        await here.prove()
    async with here.writing() as conn:
        number = await count_chosen(conn, here.tenant_id, selection)
        if number > WITHIN_ONE_MAX:
            message = (
                f"Nothing was changed: these are {number} proposals, and the page decides {WITHIN_ONE_MAX} at once."
            )
            return here.go(PLACE, f"{message} For all of them: tidegate {verb} --all")
        if verb == "approve":
            verdict = await approve(conn, tenant_id=here.tenant_id, selection=selection, actor=here.actor)
        else:
            verdict = await reject(
                conn, tenant_id=here.tenant_id, selection=selection, actor=here.actor, reason=reason[:500]
            )
    done = {"approve": "approved", "reject": "rejected"}[verb]
    return here.go(PLACE, f"{verdict.count} {done}.")


async def stop(here: Here) -> Response[Any]:
    """Stop all writes."""
    reason = here.field("reason")
    if not reason:
        return here.go("/flows#writes", "Nothing was changed: say why; everybody sees it.")
    async with here.writing() as conn:
        await stop_writes(conn, tenant_id=here.tenant_id, actor=here.actor, reason=reason[:500])
    return here.go("/flows#writes", "All writes are stopped. Calls that were on their way may still finish.")


async def resume(here: Here) -> Response[Any]:
    """Let writes go on."""
    await here.prove()
    async with here.writing() as conn:
        await allow_writes(conn, tenant_id=here.tenant_id, actor=here.actor)
    return here.go("/flows#writes", "Writes go on.")


def _chosen(here: Here) -> Selection:
    commands: list[UUID] = []
    marks: list[tuple[UUID, UUID]] = []
    try:
        for name in here.fields:
            if name.startswith("command_"):
                commands.append(UUID(hex=name.removeprefix("command_")))
            elif name.startswith("mark_"):
                connection, _, item = name.removeprefix("mark_").partition("_")
                marks.append((UUID(hex=connection), UUID(hex=item)))
    except ValueError as error:
        raise ProblemError(400, "form_invalid", "the form names a proposal that cannot exist") from error
    return Selection(commands=tuple(commands), marks=tuple(marks))


async def move(here: Here) -> Response[Any]:
    """Move a flow, or some SKUs of the stock flow, to another mode; first say what would follow."""
    name, mode = here.path("name"), here.field("mode")
    if name not in FLOW_NAMES or mode not in MODES:
        raise ProblemError(404, "flow_missing", "there is no such flow, or no such mode")
    match = here.field("match")
    if match and not match.startswith(("sku:", "group:")):
        match = f"sku:{match}"
    matches = (match,) if match else ()
    wanted = Move(flow=cast("FlowName", name), mode=cast("Mode", mode), matches=matches)
    is_sure = here.field("verb") == "move"
    if is_sure and mode == "live":
        await here.prove()
    async with here.writing() as conn:
        moved = await move_mode(
            conn,
            tenant_id=here.tenant_id,
            actor=here.actor,
            move=wanted,
            connectors=here.connectors,
            is_trial=not is_sure,
        )
    about = f"{name} {match}".strip()
    if not is_sure:
        return here.show("move.html", about=about, flow=name, mode=mode, match=match, moved=moved)
    if not moved.version.is_new:
        return here.go("/flows", f"{about} is {mode} already.")
    words = (
        f"{about} is {mode} from version {moved.version.version} on. The file on disk is behind: tidegate config pull"
    )
    return here.go("/flows", words)
