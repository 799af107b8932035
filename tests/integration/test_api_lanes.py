"""`GET /v1/lanes` and the metrics of lanes: what waits, what is left, who counts as down, by the numbers of the database."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from tests.apibed import add_tenant, api_bed

from tidegate.dispatch.meter import Rule, pack
from tidegate.monitor.gauges import build_gauges
from tidegate.monitor.status import read_status
from tidegate.sdk.budgets import TokenBucket
from tidegate.store.connections import Pool
from tidegate.store.database import Database

pytestmark = pytest.mark.asyncio


async def put_lane(pool: Pool, tenant_id: UUID, *, left: float) -> None:
    """Every connection of the tenant counts as down, waits for its budget and has so much left of 100."""
    rule = Rule(TokenBucket(100, 0.001))
    meter, ticket = rule.take(rule.start(-100_000.0), 100.0 - left, "", 0.0)
    await pool.execute(
        "INSERT INTO lane_state AS l (tenant_id, connection_id, tokens, tokens_at, budget, hold_rule, hold_since, hold_until,"
        " breaker_opened_at) SELECT tenant_id, connection_id, 1, now(), $2::jsonb, 'budget', now(), now() + interval '1 hour',"
        " now() - interval '1 minute' FROM connection WHERE tenant_id = $1 ON CONFLICT (tenant_id, connection_id) DO UPDATE"
        " SET tokens = 1, tokens_at = now(), budget = excluded.budget, hold_rule = 'budget', hold_until = excluded.hold_until,"
        " breaker_opened_at = excluded.breaker_opened_at",
        tenant_id,
        pack(rule.end(meter, ticket, 0.0), 0.0),
    )


async def test_a_lane_is_shown_with_what_holds_it_and_what_is_left(database: Database, owner_pool: Pool) -> None:
    """R35: hold, until when, queue by class, budget, share, breaker; A5: of one's own tenant and no other."""
    one, two = await add_tenant(owner_pool, "one"), await add_tenant(owner_pool, "two")
    await put_lane(owner_pool, one.tenant_id, left=30.0)
    async with api_bed(database, owner_pool) as bed:
        shown = await bed.call("GET", "/v1/lanes", key=await bed.key(one, "connections:read"))
        others = await bed.call("GET", "/v1/lanes", key=await bed.key(two, "connections:read"))

    assert (shown.status, others.status) == (200, 200)
    assert all(lane["budget"] is None and lane["open_since"] is None for lane in others.json["items"])
    for lane in shown.json["items"]:
        assert (lane["state"], lane["held_by"]) == ("open", "budget")
        assert datetime.fromisoformat(lane["held_until"]) > datetime.now(UTC) + timedelta(minutes=50)
        assert "budget is spent" in lane["words"]
        budget = lane["budget"]
        assert (round(budget["left"]), budget["limit"], round(budget["used_last_minute"])) == (30, 100.0, 70)
        assert budget["rule"] == "100 at once, 0.001 per second"
        assert lane["share"] in (None, 1.0)


async def test_the_use_of_each_budget_and_the_breaker_are_gauges(database: Database, owner_pool: Pool) -> None:
    one = await add_tenant(owner_pool, "one")
    await put_lane(owner_pool, one.tenant_id, left=30.0)
    now = datetime.now(UTC)
    async with owner_pool.acquire() as conn:
        families = {family.name: family for family in build_gauges(await read_status(conn, one.tenant_id), None, now)}

    assert {sample.value for sample in families["tidegate_lane_breaker_open"].samples} == {1.0}
    assert {round(sample.value, 2) for sample in families["tidegate_lane_budget_used_share"].samples} == {0.7}
    assert {round(sample.value) for sample in families["tidegate_lane_budget_spent_last_minute"].samples} == {70}
    assert all(re.fullmatch("tidegate_[a-z_]+", name) for name in families)
