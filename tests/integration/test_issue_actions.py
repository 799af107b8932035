"""What people do to issues: each act changes the row, is written down, and refuses what makes no sense."""

from __future__ import annotations

import hashlib
from uuid import UUID

import pytest

from tidegate.dispatch.issue_actions import acknowledge_issue, note_issue, resolve_issue
from tidegate.kernel.errors import ConfigurationError, ConflictError
from tidegate.kernel.ids import new_id
from tidegate.monitor.issues import describe_detail, list_issues, read_issue
from tidegate.store.connections import Pool

pytestmark = pytest.mark.asyncio


async def make_issue(pool: Pool, tenant_id: UUID, *, code: str = "rejected") -> UUID:
    issue_id = new_id()
    await pool.execute("INSERT INTO tenant (tenant_id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING", tenant_id, "main")
    await pool.execute(
        "INSERT INTO issue (tenant_id, issue_id, fingerprint, class, operation, code, first_seen_at, last_seen_at, seen, standing) "
        "VALUES ($1, $2, $3, 'rejected', 'order.create', $4, now(), now(), 3, 2)",
        tenant_id,
        issue_id,
        hashlib.sha256(issue_id.bytes).digest(),
        code,
    )
    return issue_id


async def test_acts_change_the_issue_and_stand_in_its_history(owner_pool: Pool) -> None:
    """L5: who did what to an issue is in the audit log."""
    tenant_id = new_id()
    issue_id = await make_issue(owner_pool, tenant_id)
    async with owner_pool.acquire() as conn:
        who = {"tenant_id": tenant_id, "issue_id": issue_id, "actor": "cli:mia"}
        assert await acknowledge_issue(conn, **who) == "acknowledged"
        await note_issue(conn, **who, note="asked\x00 the ERP people", assigned_to="mia")
        await note_issue(conn, **who, assigned_to="")
        assert await resolve_issue(conn, **who, reason="entered by hand") == "resolved"
        with pytest.raises(ConflictError):
            await acknowledge_issue(conn, **who)

        detail = await read_issue(conn, tenant_id, issue_id)
        assert (detail.issue.state, detail.issue.note, detail.issue.assigned_to) == (
            "resolved",
            "asked the ERP people",
            None,
        )
        assert [act.action for act in detail.history] == [
            "issue.resolved", "issue.noted", "issue.noted", "issue.acknowledged"
        ]  # fmt: skip
        assert detail.history[0].detail == {"from": "acknowledged", "to": "resolved", "reason": "entered by hand"}
        assert describe_detail(detail, "c0")["fix"]["wants_rebuild"] is True
        assert await list_issues(conn, tenant_id) == []
        assert len(await list_issues(conn, tenant_id, all_=True)) == 1


async def test_another_tenants_issue_does_not_exist(owner_pool: Pool) -> None:
    """A8: a foreign issue is neither shown nor changed."""
    mine, other = new_id(), new_id()
    issue_id = await make_issue(owner_pool, mine)
    async with owner_pool.acquire() as conn:
        assert await list_issues(conn, other, all_=True) == []
        for act in (
            read_issue(conn, other, issue_id),
            acknowledge_issue(conn, tenant_id=other, issue_id=issue_id, actor="x"),
            note_issue(conn, tenant_id=other, issue_id=issue_id, actor="x", note="x"),
            resolve_issue(conn, tenant_id=other, issue_id=issue_id, actor="x"),
        ):
            with pytest.raises(ConfigurationError) as refused:
                await act
            assert refused.value.code == "issue_unknown"
        with pytest.raises(ConfigurationError):
            await note_issue(conn, tenant_id=mine, issue_id=issue_id, actor="x", note="x" * 2001)
        assert (await read_issue(conn, mine, issue_id)).issue.state == "open"
