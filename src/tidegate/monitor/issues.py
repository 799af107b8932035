"""Issues as people and programs look at them: like failures as one thing to mend. Reads only; needs no keys."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.fixes import Fix, fix_of
from tidegate.kernel.ids import public_id
from tidegate.store.connections import Connection
from tidegate.store.sql import query

IssueState = Literal["open", "acknowledged", "resolved", "regressed"]
ISSUES_MAX = 500

_LIST = query("issues_list")
_ONE = query("issues_one")
_MEMBERS = query("issues_members")
_HISTORY = query("issues_history")


class Affected(msgspec.Struct, frozen=True, kw_only=True):
    """What an issue holds up."""

    orders: int = 0
    skus: int = 0
    value: dict[str, int] = {}
    """Currency -> total of these orders in minor units."""
    is_partial: bool = False
    """True: there are more than were counted."""


class Issue(msgspec.Struct, frozen=True, kw_only=True):
    """A group of like failures."""

    issue_id: UUID
    connection: str | None
    """None: not of one connection."""
    class_: str = msgspec.field(name="class")
    """What happens next: rejected, conflict, transient, unknown, unsent, quarantined, connection, feed, intake, defect."""
    operation: str
    """Kind of the command, topic of the event, `feed:<name>`, `delivery` or `connection`."""
    code: str
    shape: str
    """The reason's words as far as they are in the vocabulary; everything else is `…`."""
    state: IssueState
    first_seen_at: datetime
    last_seen_at: datetime
    seen: int
    """Failures ever."""
    standing: int
    """Of these, the ones that still stand."""
    retried: int
    """Sent again and not over yet."""
    regressions: int
    affected: Affected
    note: str | None
    assigned_to: str | None
    changed_by: str
    changed_at: datetime

    @property
    def fix(self) -> Fix:
        """What to do about it."""
        return fix_of(self.code, self.class_)


class IssueMember(msgspec.Struct, frozen=True, kw_only=True):
    """One failure of an issue."""

    subject_id: UUID
    kind: Literal["command", "event"]
    failed_at: datetime
    retried: bool


class IssueAct(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody did to an issue."""

    actor: str
    action: str
    detail: dict[str, Any]
    at: datetime


class IssueDetail(msgspec.Struct, frozen=True, kw_only=True):
    """An issue with its sample, its first failures and what was done to it."""

    issue: Issue
    sample: dict[str, Any] | None
    """A request and its answer, redacted when the issue was grouped: structure, ids, codes and quantities."""
    members: tuple[IssueMember, ...]
    history: tuple[IssueAct, ...]


async def list_issues(
    conn: Connection, tenant_id: UUID, *, all_: bool = False, connection: str | None = None, limit: int = 100
) -> list[Issue]:
    """Return the issues that are not resolved, or `all_`, those with the most standing failures first."""
    rows = await conn.fetch(_LIST, tenant_id, all_, connection, min(limit, ISSUES_MAX))
    return [_issue(row) for row in rows]


async def read_issue(conn: Connection, tenant_id: UUID, issue_id: UUID, *, members_max: int = 20) -> IssueDetail:
    """Return one issue. Raises ConfigurationError(code='issue_unknown')."""
    row = await conn.fetchrow(_ONE, tenant_id, issue_id)
    if row is None:
        raise ConfigurationError("there is no such issue", code="issue_unknown", hint="tidegate issues list --all")
    members = await list_members(conn, tenant_id, issue_id, limit=members_max)
    history = await conn.fetch(_HISTORY, tenant_id, str(issue_id))
    return IssueDetail(
        issue=_issue(row),
        sample=msgspec.json.decode(row["sample"]) if row["sample"] is not None else None,
        members=tuple(members),
        history=tuple(
            IssueAct(actor=act["actor"], action=act["action"], detail=msgspec.json.decode(act["detail"]), at=act["at"])
            for act in history
        ),
    )


async def list_members(
    conn: Connection, tenant_id: UUID, issue_id: UUID, *, after: UUID | None = None, limit: int = 100
) -> list[IssueMember]:
    """Return failures of an issue in the order in which a retry takes them, those after the subject `after`."""
    rows = await conn.fetch(_MEMBERS, tenant_id, issue_id, after or UUID(int=0), limit)
    return [IssueMember(**row) for row in rows]


def describe_issue(issue: Issue, cell: str) -> dict[str, Any]:
    """Return an issue as JSON-ready values with its public id and its fix."""
    shown: dict[str, Any] = msgspec.to_builtins(issue)
    return {**shown, "issue_id": public_id("iss", cell, issue.issue_id), "fix": msgspec.to_builtins(issue.fix)}


def describe_detail(detail: IssueDetail, cell: str) -> dict[str, Any]:
    """Return an issue with everything that is known of it as JSON-ready values."""
    members = [
        {
            "subject": public_id("cmd" if member.kind == "command" else "evt", cell, member.subject_id),
            "failed_at": member.failed_at,
            "retried": member.retried,
        }
        for member in detail.members
    ]
    return {
        **describe_issue(detail.issue, cell),
        "sample": detail.sample,
        "members": msgspec.to_builtins(members),
        "history": msgspec.to_builtins(detail.history),
    }


def _issue(row: Any) -> Issue:
    names = [name for name in Issue.__struct_fields__ if name not in ("class_", "affected")]
    return Issue(
        class_=row["class"],
        affected=msgspec.json.decode(row["affected"], type=Affected),
        **{name: row[name] for name in names},
    )
