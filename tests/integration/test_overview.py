"""The figures of the overview and the story of a SKU, read from a real database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.applybed import CONFIG, make_bed, move_event, order_event
from tests.dispatchbed import Bed, place, stock_world, until

from tidegate.commerce.commands import CommandKind
from tidegate.commerce.money import Money
from tidegate.config import parse
from tidegate.dispatch.operator import stop_writes
from tidegate.kernel.errors import ConfigurationError
from tidegate.monitor.explain_sku import explain_sku
from tidegate.monitor.overview import Rates, read_at_risk, read_lags, read_waiting
from tidegate.sdk.testing.hostile import HostileServer
from tidegate.sdk.testing.hostile_connector import build_connector
from tidegate.store.connections import Pool
from tidegate.store.database import Database

pytestmark = pytest.mark.asyncio


async def test_rates_lags_waiting_and_money_follow_what_happened(database: Database, owner_pool: Pool) -> None:
    bed = await make_bed(database, owner_pool)
    rates = Rates()
    before = datetime.now(UTC)
    poison = order_event("poison", [("A", 1)])
    poison["order"]["number"] = "N\u0000"
    await bed.append([("erp", move_event("m1", "A", 10)), ("shop_a", order_event("1", [("A", 3)])), ("shop_a", poison)])
    async with owner_pool.acquire() as conn:
        queued = {stage.stage: stage for stage in await read_waiting(conn, bed.tenant_id)}
    await bed.apply()
    now = datetime.now(UTC)

    async with owner_pool.acquire() as conn:
        minutes = await rates.read(conn, bed.tenant_id, now)
        again = await rates.read(conn, bed.tenant_id, now + timedelta(minutes=1))
        lags = {lag.stage: lag for lag in await read_lags(conn, bed.tenant_id, now)}
        waiting = {stage.stage: stage for stage in await read_waiting(conn, bed.tenant_id)}
        at_risk = await read_at_risk(conn, bed.tenant_id, parse(CONFIG), now)

    assert queued["queued"].number == 3
    assert queued["queued"].oldest_at is not None
    assert queued["queued"].oldest_at >= before - timedelta(seconds=1)
    assert len(minutes) == 31
    assert sum(minute.received for minute in minutes) == 3
    assert sum(minute.received for minute in again) == 3
    assert lags["received_to_applied"].samples >= 2
    assert lags["planned_to_sent"].p95_seconds is None
    assert waiting["queued"].number == 0
    assert waiting["pending"].number == 1
    assert waiting["quarantined"].number == 1
    assert [(risk.reason, risk.orders, risk.total) for risk in at_risk] == [
        ("order.create:pending", 1, Money(6497, "EUR"))
    ]


async def test_a_paid_order_that_nothing_was_planned_for_is_money_at_risk(database: Database, owner_pool: Pool) -> None:
    observing = CONFIG.replace("since: 2026-01-01, mode: live", "since: 2026-01-01, mode: observe")
    bed = await make_bed(database, owner_pool, config=observing)
    await bed.append(
        [("shop_a", order_event("1", [("A", 1)])), ("shop_a", order_event("2", [("A", 1)], payment="none"))]
    )
    await bed.apply()

    async with owner_pool.acquire() as conn:
        observed = await read_at_risk(conn, bed.tenant_id, parse(observing), datetime.now(UTC))
        live = await read_at_risk(conn, bed.tenant_id, parse(CONFIG), datetime.now(UTC))

    assert observed == ()
    assert [(risk.reason, risk.orders) for risk in live] == [("unplanned", 1)]


async def test_why_sku_tells_entries_orders_and_what_the_channel_was_told(database: Database, owner_pool: Pool) -> None:
    async with HostileServer() as remote:
        bed = Bed(database, owner_pool, remote.base_url)
        await bed.create()
        stock_world(remote.world, [("S1", 0)])
        await bed.article("S1")
        await bed.move("S1", on_hand=10)
        order = await bed.order(place(remote.world, ("S1", 3)), create=False)
        async with bed.running():
            await until(bed.is_settled)
        async with owner_pool.acquire() as conn:
            await stop_writes(conn, tenant_id=bed.tenant_id, actor="test", reason="counting")
        await bed.move("S1", on_hand=-1)

        document = await owner_pool.fetchval("SELECT document FROM config_version ORDER BY version DESC LIMIT 1")
        connectors = {"hostile": build_connector()}
        async with owner_pool.acquire() as conn:
            story = await explain_sku(conn, bed.tenant_id, "S1", connectors, parse(document), limit=20)
            cut = await explain_sku(conn, bed.tenant_id, "S1", connectors, parse(document), limit=1)
            with pytest.raises(ConfigurationError, match="S9"):
                await explain_sku(conn, bed.tenant_id, "S9", connectors, parse(document), limit=1)

    assert story.mode == "live"
    assert [level["available"] for level in story.levels] == [6]
    ledger = [step.words for step in story.steps if step.kind == "ledger"]
    assert any("on_hand 0 → 10" in words for words in ledger)
    assert any("committed 0 → 3" in words for words in ledger)
    assert any("on_hand 10 → 9" in words for words in ledger)
    channel = story.channels[0]
    assert (channel.connection, channel.is_dirty) == ("shop_a", True)
    assert channel.last is not None
    assert (channel.last.state, channel.last.entries) == ("succeeded", 2 if len(ledger) == 3 else 3)
    assert channel.was_told == channel.last.quantity
    assert channel.should_be_told == channel.was_told - 1
    assert "all writes are stopped" in channel.waits
    assert [(held.units, held.channel) for held in story.orders] == [(3, "shop_a")]
    assert story.orders[0].order_id == order.reference
    assert not story.is_cut
    assert cut.is_cut
    assert len(cut.steps) == 2
    assert (await bed.states(CommandKind.INVENTORY_SET))["succeeded"] >= 1
