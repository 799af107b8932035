"""Genuine events that no table can hold: each is quarantined alone, and its neighbours are applied."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from tests.applybed import CONFIG, make_bed, order_event

from tidegate.store.connections import Pool
from tidegate.store.database import Database

pytestmark = pytest.mark.asyncio
LONG = secrets.token_hex(9_000)
"""Longer than an index of PostgreSQL takes, and nothing compresses it."""


def order(**changes: Any) -> dict[str, Any]:
    event = order_event("poison", [("A", 1)])
    event["order"].update(changes)
    return event


def line(**changes: Any) -> dict[str, Any]:
    event = order_event("poison", [("A", 1)])
    event["order"]["lines"][0].update(changes)
    return event


@pytest.mark.parametrize(
    ("poison", "code"),
    [
        pytest.param(order(number="N\u0000"), "sqlstate_22021", id="NUL in a column"),
        pytest.param(line(sku="\u0000"), "sqlstate_22021", id="NUL in a SKU"),
        pytest.param(line(article_id="\u0000"), "sqlstate_22021", id="NUL in what is looked up"),
        pytest.param(order(order_id=LONG), "sqlstate_54000", id="an id too long for its index"),
        pytest.param(line(sku=LONG, article_id="new"), "sqlstate_54000", id="a SKU too long for its index"),
        pytest.param(order(placed_at="9999-12-31T23:59:59-14:00"), "value_out_of_range", id="after the year 9999"),
        pytest.param(line(unit_price_minor=10**15, current=10**9), "value_out_of_range", id="a total over 64 bits"),
    ],
)
async def test_what_no_table_can_hold_is_quarantined_alone(
    database: Database, owner_pool: Pool, poison: dict[str, Any], code: str
) -> None:
    bed = await make_bed(database, owner_pool)
    good = [("shop_a", order_event(str(number), [("A", 1)])) for number in range(6)]
    await bed.append([*good[:3], ("shop_a", poison), *good[3:]])

    await bed.apply()

    assert await bed.outcomes() == {"applied": 6, "quarantined": 1}
    parked = await bed.pool.fetchrow("SELECT kind, code, reason FROM event_parked")
    assert parked is not None
    assert (parked["kind"], parked["code"]) == ("quarantined", code)
    assert LONG[:9] not in parked["reason"]
    await bed.check_books()


async def test_a_suspect_that_is_applied_is_under_no_suspicion_any_more(database: Database, owner_pool: Pool) -> None:
    """Two processes ended over it, for reasons of their own: its replay must be tried as often as the first time."""
    bed = await make_bed(database, owner_pool)
    (event_id,) = await bed.append([("shop_a", order_event("suspect", [("A", 1)]))])
    await bed.pool.execute("INSERT INTO event_crash VALUES ($1, $2, 2)", bed.tenant_id, event_id)
    await bed.pool.execute("UPDATE slot SET crashes = 3 WHERE role = 'apply'")

    await bed.apply()

    assert await bed.outcomes() == {"applied": 1}
    assert await bed.pool.fetchval("SELECT count(*) FROM event_crash") == 0


async def test_a_tenant_without_a_usable_key_waits_and_the_others_go_on(database: Database, owner_pool: Pool) -> None:
    """Nothing of it can be sealed or opened; what waits is there when its key is restored."""
    first = await make_bed(database, owner_pool)
    second = await make_bed(database, owner_pool, config=CONFIG.replace("tenant: main", "tenant: second"))
    await first.append([("shop_a", order_event("1", [("A", 1)]))])
    await second.append([("shop_a", order_event("2", [("A", 1)]))])
    turn = "UPDATE data_key SET wrapped = set_byte(wrapped, 20, get_byte(wrapped, 20) # 1) WHERE tenant_id = $1"
    await first.pool.execute(turn, first.tenant_id)

    await first.apply(until="SELECT -1")  # one of the two is left

    assert await first.outcomes() == {"applied": 1}
    assert await first.pool.fetchval("SELECT tenant_id FROM event_outcome") == second.tenant_id
    await first.pool.execute(turn, first.tenant_id)
    await first.apply()
    assert await first.outcomes() == {"applied": 2}
