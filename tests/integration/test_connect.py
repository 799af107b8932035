"""Connecting a system stores what is needed to work with it, once, whoever repeats it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Any
from uuid import UUID

import msgspec
import pytest
import pytest_asyncio

from tidegate.config.versions import record_version
from tidegate.kernel.clock import SystemClock
from tidegate.kernel.errors import AuthenticationError, ConfigurationError
from tidegate.kernel.redaction import Secret
from tidegate.sdk.connector import Field, Inspection, Subscription
from tidegate.sdk.health import digest_of_address
from tidegate.sdk.http import Api
from tidegate.sdk.testing.hostile import HostileServer
from tidegate.sdk.testing.hostile_connector import CONNECTOR
from tidegate.store.connections import Pool
from tidegate.sync import connect
from tidegate.sync.connect import Connected, ConnectOrder, Webhook
from tidegate.sync.webhook_path import WebhookPaths
from tidegate.vault import credentials
from tidegate.vault.keys import KeyRing, derive_class_root

ROOT_KEY = b"r" * 32
LOOPBACK = (ip_network("127.0.0.0/8"),)
pytestmark = pytest.mark.asyncio


@dataclass
class World:
    pool: Pool
    tenant_id: UUID
    ring: KeyRing

    def order(self, server: HostileServer, name: str, **changes: Any) -> ConnectOrder:
        order = ConnectOrder(
            tenant_id=self.tenant_id,
            tenant="main",
            name=name,
            connector=CONNECTOR,
            is_channel=True,
            settings={"base_url": server.base_url},
            secrets={"api_key": Secret("hostile-api-key")},
            webhook_base="http://127.0.0.1:7480",
        )
        return msgspec.structs.replace(order, **changes)

    async def connect(self, order: ConnectOrder) -> tuple[Connected, Webhook | None]:
        inspection = await connect.look(order, allow=LOOPBACK, clock=SystemClock())
        api = connect.open_api(order, allow=LOOPBACK, clock=SystemClock())
        try:
            async with self.pool.acquire() as conn:
                connected = await connect.store(conn, self.ring, order, inspection)
                paths = WebhookPaths(ROOT_KEY, "c0")
                webhook = await connect.set_up_webhook(conn, self.ring, order, connected, api, paths)
        finally:
            await api.close()
        return connected, webhook

    async def count(self, table: str) -> int:
        return int(await self.pool.fetchval(f"SELECT count(*) FROM {table}"))


@pytest_asyncio.fixture
async def world(owner_pool: Pool) -> World:
    async with owner_pool.acquire() as conn:
        version = await record_version(conn, "tenant: main\n", applied_by="test")
    ring = KeyRing({name: derive_class_root(ROOT_KEY, name) for name in ("intake", "credential")})
    return World(owner_pool, version.tenant_id, ring)


@pytest_asyncio.fixture
async def shop() -> AsyncIterator[HostileServer]:
    async with HostileServer() as server:
        stock(server, "A", "B")
        yield server


def stock(server: HostileServer, *skus: str) -> None:
    from tidegate.sdk.testing.hostile_erp import put_articles  # noqa: PLC0415

    put_articles(server.world, [{"sku": sku} for sku in skus], "2026-11-01T00:00:00+00:00")


async def test_a_first_connection_brings_its_articles_and_can_be_worked_with(world: World, shop: HostileServer) -> None:
    connected, webhook = await world.connect(world.order(shop, "shop"))

    assert connected.is_new
    assert connected.matches.bound == 2
    assert [await world.count(table) for table in ("variant", "inventory_item", "variant_item", "channel_stock")] == [
        2
    ] * 4
    assert await world.pool.fetchval("SELECT count(*) FROM channel_stock WHERE dirty") == 0
    row = await world.pool.fetchrow("SELECT state, path_hash, settings FROM connection")
    settings = msgspec.json.decode(row["settings"])
    assert row["state"] == "active"
    assert settings["location_external_id"] == connected.places.stock_location
    assert settings["webhook_state"] == "registered"
    assert webhook is not None
    assert settings["webhook_digest"] == digest_of_address(webhook.url)
    assert row["path_hash"] == WebhookPaths(ROOT_KEY, "c0").digest(webhook.url)
    assert shop.world.subscriptions == {webhook.url: webhook.secret.reveal()}
    async with world.pool.acquire() as conn:
        stored = await credentials.get_all(conn, world.ring, world.tenant_id, connected.connection_id, "credential")
    assert stored == {"api_key": Secret("hostile-api-key")}


async def test_connecting_again_changes_nothing_but_binds_what_is_new(world: World, shop: HostileServer) -> None:
    first, webhook = await world.connect(world.order(shop, "shop"))
    stock(shop, "C")

    second, again = await world.connect(world.order(shop, "shop"))

    assert not second.is_new
    assert second.connection_id == first.connection_id
    assert (len(second.matches.kept), len(second.matches.new)) == (2, 1)
    assert second.rotated == ()
    assert webhook is not None
    assert again is not None
    assert (again.url, again.secret, again.is_new) == (webhook.url, webhook.secret, False)
    assert len(shop.world.subscriptions) == 1
    assert [await world.count(table) for table in ("connection", "credential", "location")] == [1, 2, 1]
    assert await world.count("channel_stock") == 3


async def test_a_later_connection_matches_and_does_not_make_articles(world: World, shop: HostileServer) -> None:
    await world.connect(world.order(shop, "shop"))
    async with HostileServer() as erp:
        erp.world.account = "erp"
        stock(erp, "a ", "B", "ONLY-ERP")

        connected, _ = await world.connect(world.order(erp, "erp", is_channel=False))

    matches = connected.matches
    assert (len(matches.exact), len(matches.folded), len(matches.missing)) == (1, 1, 1)
    assert await world.count("variant") == 2
    assert await world.count("channel_stock") == 2
    locations = await world.pool.fetch("SELECT DISTINCT internal_id FROM binding WHERE kind = 'location'")
    assert len(locations) == 1


async def test_a_renamed_connection_of_the_same_account_is_revived(world: World, shop: HostileServer) -> None:
    first, _ = await world.connect(world.order(shop, "shop"))
    await world.pool.execute("UPDATE connection SET state = 'disabled', state_reason = 'gone'")

    second, _ = await world.connect(world.order(shop, "webshop"))

    assert second.connection_id == first.connection_id
    row = await world.pool.fetchrow("SELECT name, state, state_reason FROM connection")
    assert tuple(row) == ("webshop", "active", None)


async def test_a_name_is_not_moved_to_another_account(world: World, shop: HostileServer) -> None:
    await world.connect(world.order(shop, "shop"))
    async with HostileServer() as other:
        other.world.account = "other"

        with pytest.raises(ConfigurationError) as caught:
            await world.connect(world.order(other, "shop"))

    assert caught.value.code == "account_changed"
    assert await world.count("connection") == 1


async def test_a_system_that_moved_keeps_its_connection(world: World, shop: HostileServer) -> None:
    first, _ = await world.connect(world.order(shop, "shop"))
    shop.world.account = "shop-at-its-new-address"

    second, _ = await world.connect(world.order(shop, "shop", is_moved=True))

    assert second.connection_id == first.connection_id
    assert len(second.matches.kept) == 2
    assert await world.pool.fetchval("SELECT external_account FROM connection") == "shop-at-its-new-address"


async def test_new_secrets_rotate_the_api_secret_and_the_webhook_secret(world: World, shop: HostileServer) -> None:
    _, before = await world.connect(world.order(shop, "shop"))
    shop.world.api_key = "new-key"

    order = world.order(shop, "shop", secrets={"api_key": Secret("new-key")})
    connected, after = await world.connect(order)

    assert connected.rotated == ("api_key",)
    assert before is not None
    assert after is not None
    assert after.url == before.url
    assert after.secret != before.secret
    async with world.pool.acquire() as conn:
        active = await credentials.active_webhook_secrets(conn, world.ring, world.tenant_id, connected.connection_id)
    assert active == [after.secret, before.secret]


async def test_a_rotated_webhook_has_another_address(world: World, shop: HostileServer) -> None:
    """Until the platform has the new one, nobody counts on deliveries there."""
    state = "SELECT settings->>'webhook_state' FROM connection"
    _, before = await world.connect(world.order(shop, "shop"))
    assert await world.pool.fetchval(state) == "registered"
    meanwhile = []
    subscribe = CONNECTOR.subscribe
    assert subscribe is not None

    async def watch(api: Api, url: str, secret: Secret) -> Subscription:
        meanwhile.append(await world.pool.fetchval(state))
        return await subscribe(api, url, secret)

    watched = replace(CONNECTOR, subscribe=watch)
    _, after = await world.connect(world.order(shop, "shop", rotates_webhook=True, connector=watched))
    await world.connect(world.order(shop, "shop", connector=watched))

    assert meanwhile == [None, "registered"]
    assert await world.pool.fetchval(state) == "registered"

    assert before is not None
    assert after is not None
    assert after.url != before.url


async def test_refused_credentials_store_nothing(world: World, shop: HostileServer) -> None:
    with pytest.raises(AuthenticationError):
        await world.connect(world.order(shop, "shop", secrets={"api_key": Secret("wrong")}))

    assert await world.count("connection") == 0


async def test_no_secret_and_no_path_is_readable_in_the_database(world: World, shop: HostileServer) -> None:
    _, webhook = await world.connect(world.order(shop, "shop"))

    assert webhook is not None
    needles = [b"hostile-api-key", webhook.secret.reveal().encode(), webhook.url.rpartition("/")[2].encode()]
    tables = await world.pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for (table,) in tables:
        rows = await world.pool.fetch(f'SELECT t::text FROM "{table}" t')
        text = "\n".join(row[0] for row in rows).encode()
        assert not [needle for needle in needles if needle in text or needle.hex().encode() in text], table


async def test_a_signing_secret_that_the_operator_gives_is_taken_and_the_one_before_it_still_verifies(
    world: World, shop: HostileServer
) -> None:
    assert CONNECTOR.webhook is not None
    field = Field(name="signing_secret", question="Secret of the app", secret=True, default="")
    webhook = replace(CONNECTOR.webhook, secret_field="signing_secret")
    connector = replace(CONNECTOR, fields=(*CONNECTOR.fields, field), webhook=webhook)

    async def connect_with(secret: str) -> Webhook:
        secrets = {"api_key": Secret("hostile-api-key"), "signing_secret": Secret(secret)}
        _, found = await world.connect(world.order(shop, "shop", connector=connector, secrets=secrets))
        assert found is not None
        return found

    first = await connect_with("")
    assert not first.is_given
    given = await connect_with("the secret of the app 1")
    assert (given.secret, given.is_new, given.is_given) == (Secret("the secret of the app 1"), True, True)
    assert given.url == first.url, "the address stays"
    rotated = await connect_with("the secret of the app 2")
    again = await connect_with("the secret of the app 2")

    assert (rotated.is_new, again.is_new) == (True, False)
    async with world.pool.acquire() as conn:
        connection_id = await conn.fetchval("SELECT connection_id FROM connection")
        active = await credentials.active_webhook_secrets(conn, world.ring, world.tenant_id, connection_id)
    assert active == [Secret("the secret of the app 2"), Secret("the secret of the app 1")]


async def test_a_system_without_a_list_is_bound_to_our_articles(world: World, shop: HostileServer) -> None:
    await world.connect(world.order(shop, "shop"))
    bare = Inspection(external_account="", account_name="3PL", version="1", locations=(), variants=())

    async def inspect(_api: Api) -> Inspection:
        return bare

    connector = replace(CONNECTOR, name="listless", articles_are_ours=True, inspect=inspect, subscribe=None)
    order = world.order(shop, "threepl", connector=connector, is_channel=False)

    first, _ = await world.connect(order)
    stock(shop, "C")
    await world.connect(world.order(shop, "shop"))
    second, _ = await world.connect(order)

    assert first.inspection.external_account == "threepl"
    assert [external_id for external_id, _ in first.matches.exact] == ["A", "B"]
    assert [external_id for external_id, _ in second.matches.exact] == ["C"]
    assert second.matches.bound == 3
