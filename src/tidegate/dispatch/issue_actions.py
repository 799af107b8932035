"""What a person does to an issue: see it, write a note, hand it to somebody, close it. Each leaves a row in the audit log.

Every function is one transaction; run it on a connection without an open one. Sending the failures again is
`dispatch.issue_retry`.
"""

from __future__ import annotations

from uuid import UUID

import msgspec

from tidegate.kernel.errors import ConfigurationError, ConflictError
from tidegate.kernel.ids import new_id
from tidegate.store.connections import Connection
from tidegate.store.sql import query

NOTE_CHARACTERS_MAX = 2000
_CHANGE = query("issue_change")
_STATE = query("issue_state")
_ADD_AUDIT = query("audit_add")


async def acknowledge_issue(conn: Connection, *, tenant_id: UUID, issue_id: UUID, actor: str) -> str:
    """Say that somebody has seen it; return its new state.

    Raises ConfigurationError (no such issue) or ConflictError (it is resolved).
    """
    return await _change(conn, tenant_id, issue_id, actor, "issue.acknowledged", state="acknowledged")


async def resolve_issue(
    conn: Connection, *, tenant_id: UUID, issue_id: UUID, actor: str, reason: str | None = None
) -> str:
    """Close an issue by hand; failures that still stand stay as they are, and a further one opens it again as regressed.

    Return its new state. Raises ConfigurationError (no such issue).
    """
    return await _change(conn, tenant_id, issue_id, actor, "issue.resolved", state="resolved", reason=reason)


async def note_issue(
    conn: Connection,
    *,
    tenant_id: UUID,
    issue_id: UUID,
    actor: str,
    note: str | None = None,
    assigned_to: str | None = None,
) -> str:
    """Keep a note with an issue, or whose it is; '' takes either back. Return its state.

    Raises ConfigurationError: no such issue, or a note of more than NOTE_CHARACTERS_MAX characters.
    """
    if max(len(note or ""), len(assigned_to or "")) > NOTE_CHARACTERS_MAX:
        raise ConfigurationError(f"a note has at most {NOTE_CHARACTERS_MAX} characters", code="note_too_long")
    return await _change(
        conn, tenant_id, issue_id, actor, "issue.noted", note=_storable(note), assigned_to=_storable(assigned_to)
    )


async def _change(
    conn: Connection,
    tenant_id: UUID,
    issue_id: UUID,
    actor: str,
    action: str,
    *,
    state: str | None = None,
    note: str | None = None,
    assigned_to: str | None = None,
    reason: str | None = None,
) -> str:
    async with conn.transaction():
        before: str | None = await conn.fetchval(_STATE, tenant_id, issue_id)
        if before is None:
            raise ConfigurationError("there is no such issue", code="issue_unknown", hint="tidegate issues list --all")
        if state == "acknowledged" and before == "resolved":
            raise ConflictError("the issue is resolved already", code="wrong_state")
        after: str = await conn.fetchval(_CHANGE, tenant_id, issue_id, state, note, assigned_to, actor)
        said = {"from": before, "to": after, "note": note, "assigned_to": assigned_to, "reason": _storable(reason)}
        detail = {name: value for name, value in said.items() if value is not None}
        await conn.execute(
            _ADD_AUDIT, tenant_id, new_id(), actor, action, str(issue_id), msgspec.json.encode(detail).decode()
        )
    return after


def _storable(text: str | None) -> str | None:
    """Return the text without what a column cannot hold."""
    return text.replace("\x00", "") if text is not None else None
