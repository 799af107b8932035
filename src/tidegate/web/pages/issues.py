"""Issues: like failures as one thing to mend, and sending them again afterwards."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response

from tidegate.commerce.money import Money
from tidegate.dispatch.issue_actions import acknowledge_issue, note_issue, resolve_issue
from tidegate.dispatch.issue_retry import preview_retry, retry_step
from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.ids import public_id
from tidegate.monitor.issues import list_issues, read_issue
from tidegate.web.pages.lists import id_in_path
from tidegate.web.pages.visit import Here

STEPS_MAX = 50
"""Steps of one press of the button; what is left goes with the next."""


async def show_list(here: Here) -> Response[Any]:
    """List issues, those with the most standing failures first."""
    show_all = here.asked("all") == "yes"
    async with here.reading() as conn:
        found = await list_issues(conn, here.tenant_id, all_=show_all)
    return here.show("issues.html", issues=[(issue, _values(issue)) for issue in found], show_all=show_all)


async def show_one(here: Here) -> Response[Any]:
    """Show one issue: what it means, what mends it, its failures, and what a retry would do."""
    issue_id = id_in_path(here, "iss")
    async with here.reading() as conn:
        detail = await read_issue(conn, here.tenant_id, issue_id)
        preview = None
        if detail.issue.standing:
            try:
                preview = await preview_retry(
                    conn, tenant_id=here.tenant_id, issue_id=issue_id, connectors=here.connectors
                )
            except ConfigurationError:
                preview = None  # nothing in it can be sent again
    sample = msgspec.json.format(msgspec.json.encode(detail.sample), indent=2).decode() if detail.sample else ""
    return here.show(
        "issue.html",
        detail=detail,
        issue=detail.issue,
        issue_id=public_id("iss", here.cell, issue_id),
        values=_values(detail.issue),
        sample=sample,
        preview=preview,
    )


async def retry(here: Here) -> Response[Any]:
    """Send everything of an issue again, in bounded steps."""
    issue_id = id_in_path(here, "iss")
    await here.prove()
    rebuild, in_doubt = here.field("rebuild") == "yes", here.field("in_doubt") == "yes"
    sent, skipped, last = 0, 0, None
    for _ in range(STEPS_MAX):
        async with here.writing() as conn:
            step = await retry_step(
                conn,
                tenant_id=here.tenant_id,
                issue_id=issue_id,
                actor=here.actor,
                after=last,
                rebuild=rebuild,
                in_doubt=in_doubt,
            )
        sent, skipped, last = sent + len(step.sent), skipped + step.skipped, step.last
        if last is None:
            break
    more = " There are more: press it once more." if last is not None else ""
    left = f" {skipped} were left alone." if skipped else ""
    return here.go(_place(here, issue_id), f"{sent} go again.{left}{more}")


async def change(here: Here) -> Response[Any]:
    """Say that somebody has seen it, keep a note, or close it."""
    issue_id = id_in_path(here, "iss")
    verb = here.field("verb")
    async with here.writing() as conn:
        if verb == "acknowledge":
            await acknowledge_issue(conn, tenant_id=here.tenant_id, issue_id=issue_id, actor=here.actor)
        elif verb == "resolve":
            reason = here.field("reason") or None
            await resolve_issue(conn, tenant_id=here.tenant_id, issue_id=issue_id, actor=here.actor, reason=reason)
        else:
            await note_issue(
                conn,
                tenant_id=here.tenant_id,
                issue_id=issue_id,
                actor=here.actor,
                note=here.field("note"),
                assigned_to=here.field("assigned_to"),
            )
    return here.go(_place(here, issue_id), "It is kept.")


def _place(here: Here, issue_id: Any) -> str:
    return f"/issues/{public_id('iss', here.cell, issue_id)}"


def _values(issue: Any) -> list[Money]:
    return [Money(amount, currency) for currency, amount in sorted(issue.affected.value.items())]
