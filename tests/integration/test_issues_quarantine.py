"""Events put aside become issues; after a fix of the mapper they are replayed, each applied once."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from tests.applybed import KEYS, make_bed, order_event

from tidegate.dispatch.issue_retry import Again, preview_retry, read_result, retry_step
from tidegate.kernel.clock import SystemClock
from tidegate.monitor.issue_keeper import IssueKeeper
from tidegate.monitor.issues import list_issues, read_issue
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.store.roles import Role
from tidegate.vault.bodies import BodyCipher
from tidegate.vault.keys import KeyRing

pytestmark = pytest.mark.asyncio


def refuse(event: Any) -> Any:
    raise ValueError("Expected `int`, got `str` of Ada Canary - at `$.order.lines[0].quantity`")


async def test_quarantined_events_are_replayed_after_the_fix_and_foretold_before(
    database: Database, owner_pool: Pool
) -> None:
    """P6: neither the reason's shape nor the sample shows whom the order is for."""
    bed = await make_bed(database, owner_pool)
    good, bed.connector = bed.connector, dataclasses.replace(bed.connector, normalize=refuse)
    await bed.append([("shop_a", order_event(str(number), [("A", 1)])) for number in range(5)])
    await bed.apply()
    keeper_pool = await database.pool(Role.DISPATCH, application_name="test-keeper")
    keeper = IssueKeeper(keeper_pool, BodyCipher(KeyRing(KEYS)), cell="c0", clock=SystemClock())
    await keeper.look()

    async with owner_pool.acquire() as conn:
        (issue,) = await list_issues(conn, bed.tenant_id)
        assert (issue.class_, issue.operation, issue.code, issue.standing) == (
            "quarantined", "order.updated", "unreadable", 5
        )  # fmt: skip
        assert issue.shape == "expected int got str of … at order lines … quantity"
        sample = (await read_issue(conn, bed.tenant_id, issue.issue_id)).sample
        assert sample is not None
        shown = sample["event"]["order"]
        assert shown["lines"][0]["sku"] == "A"
        assert all(value == "<text>" for value in shown["customer"].values())
        assert "example" not in json.dumps(sample)
        who: dict[str, Any] = {"tenant_id": bed.tenant_id, "issue_id": issue.issue_id}
        preview = await preview_retry(conn, **who, connectors={"hostile": bed.connector})
        assert (preview.takes, preview.calls, preview.again) == (5, 0, {Again.SAME_CODE: 5})
        fixed = dataclasses.replace(good, version="1.0.1")
        assert (await preview_retry(conn, **who, connectors={"hostile": fixed})).again == {}

        first = await retry_step(conn, **who, actor="test", limit=1)
        assert len(first.sent) == 1
        assert first.events == set(first.sent)
        waiting = await read_result(conn, tenant_id=bed.tenant_id, subject_id=first.sent[0], is_event=True)
        assert waiting.state == "waiting"
        bed.connector = fixed
        await bed.apply()
        done = await read_result(conn, tenant_id=bed.tenant_id, subject_id=first.sent[0], is_event=True)
        assert done.state == "succeeded"
        rest = await retry_step(conn, **who, actor="test", after=first.last)
        assert len(rest.sent) == 4
        again = await retry_step(conn, **who, actor="test")
        assert again.sent == ()
    await bed.apply()
    await keeper.look()
    assert (await bed.outcomes())["applied"] == 5
    async with owner_pool.acquire() as conn:
        (issue,) = await list_issues(conn, bed.tenant_id, all_=True)
        assert (issue.state, issue.standing, issue.retried) == ("resolved", 0, 0)
    await keeper_pool.close()
    await bed.check_books()
