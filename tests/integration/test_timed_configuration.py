"""What the configuration says for a time takes effect and ends by itself: safety stock, blackouts, profiles."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import pytest_asyncio
from tests.dispatchbed import SETTINGS, Bed, stock_world, until

from tidegate.sdk.testing.hostile import HostileServer
from tidegate.sdk.testing.hostile_world import article_id_of
from tidegate.store.connections import Pool
from tidegate.store.database import Database

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def remote() -> AsyncIterator[HostileServer]:
    async with HostileServer() as server:
        server.world.unique_references = False
        yield server


@pytest_asyncio.fixture
async def bed(database: Database, owner_pool: Pool, remote: HostileServer) -> Bed:
    made = Bed(database, owner_pool, remote.base_url)
    await made.create()
    stock_world(remote.world, [("A", 0), ("B", 0)])
    for sku in ("A", "B"):
        await made.article(sku)
        await made.move(sku, on_hand=20)
    return made


def shown(remote: HostileServer) -> tuple[int, int]:
    articles = remote.world.articles
    return articles[article_id_of("A")].shop_on_hand, articles[article_id_of("B")].shop_on_hand


async def has_both_lanes(bed: Bed) -> bool:
    return bool(await bed.pool.fetchval("SELECT count(*) = 2 FROM lane_state"))


async def test_safety_stock_is_withheld_once_and_told_again_when_it_changes(bed: Bed, remote: HostileServer) -> None:
    await bed.configure(more='overrides: [{match: "sku:A", stock.safety: 5}]')
    async with bed.running():
        await until(bed.is_settled)
        assert shown(remote) == (15, 20)

        await bed.configure(more='groups: {all: ["?"]}\noverrides: [{match: "group:all", stock.safety: 3}]')
        await until(lambda: shown(remote) == (17, 17))

        await bed.configure()
        await until(lambda: shown(remote) == (20, 20))
        await until(bed.is_settled)

    ledger = await bed.pool.fetchval(
        "SELECT ledger FROM command WHERE entity_id = $1 ORDER BY command_id LIMIT 1", bed.items["A"]
    )
    assert msgspec.json.decode(ledger)["safety_stock"] == 5


async def test_rules_that_changed_while_nobody_ran_are_told_by_the_next_one(bed: Bed, remote: HostileServer) -> None:
    async with bed.running():
        await until(lambda: shown(remote) == (20, 20))
        await until(bed.is_settled)
    await bed.configure(more='overrides: [{match: "sku:B", stock.safety: 8}]')

    async with bed.running():
        await until(lambda: shown(remote) == (20, 12))


async def test_rules_for_many_items_are_followed_step_by_step(bed: Bed, remote: HostileServer) -> None:
    """More items than one transaction looks at."""
    settings = dataclasses.replace(SETTINGS, safety_step_items=1)
    async with bed.running(settings=settings):
        await until(lambda: shown(remote) == (20, 20))
        await until(bed.is_settled)
        await bed.configure(more='overrides: [{match: "sku:*", stock.safety: 4}]')
        await until(lambda: shown(remote) == (16, 16))
        await until(bed.is_settled)


async def test_a_profile_begins_and_ends_by_itself(bed: Bed, remote: HostileServer) -> None:
    begin = datetime.now(UTC) + timedelta(seconds=2)
    during = f"{begin.isoformat()}/{(begin + timedelta(seconds=3)).isoformat()}"
    more = f'profiles: {{peak: {{stock.safety: 4}}}}\noverrides: [{{during: "{during}", profile: peak}}]'
    await bed.configure(more=more)
    seen: list[tuple[int, int]] = []

    def has_come_and_gone() -> bool:
        if not seen or seen[-1] != shown(remote):
            seen.append(shown(remote))
        return (16, 16) in seen and seen[-1] == (20, 20)

    async with bed.running():
        await until(has_come_and_gone)


async def test_what_is_written_in_a_blackout_waits_and_goes_out_after_it(bed: Bed, remote: HostileServer) -> None:
    always = "profiles: {freeze: {stock.mode: observe}}\noverrides: [{during: 2020-01-01/2090-01-01, profile: freeze}]"
    await bed.configure(more=always)
    async with bed.running():
        await until(lambda: has_both_lanes(bed))
        assert shown(remote) == (0, 0)
        assert await bed.pool.fetchval("SELECT count(*) FROM channel_stock WHERE dirty") == 2

        await bed.configure()
        await until(lambda: shown(remote) == (20, 20))


async def test_a_version_that_is_refused_changes_nothing(bed: Bed, remote: HostileServer) -> None:
    async with bed.running():
        await until(lambda: shown(remote) == (20, 20))
        await bed.pool.execute(
            "INSERT INTO config_version (tenant_id, version, digest, document, applied_by) "
            "SELECT $1, max(version) + 1, '\\x00', 'nonsense: true', 'test' FROM config_version WHERE tenant_id = $1",
            bed.tenant_id,
        )
        await bed.pool.execute("SELECT pg_notify('tidegate_config', '')")
        await bed.move("A", on_hand=5)

        await until(lambda: shown(remote) == (25, 20))
