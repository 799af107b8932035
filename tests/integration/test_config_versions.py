"""Configuration in the database: one version per change, and the root key that belongs to it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from tidegate.cli.checks_database import check_configuration_at_work, require_root_key
from tidegate.cli.config_file import adopt_file, read_file
from tidegate.cli.init import make_project
from tidegate.cli.session import Session
from tidegate.config.history import History
from tidegate.config.snapshots import Snapshots
from tidegate.config.versions import read_stored, record_version
from tidegate.kernel.errors import ConfigurationError
from tidegate.sdk.connector import Connector
from tidegate.sdk.testing.hostile_connector import build_connector
from tidegate.store.connections import Connection, Pool
from tidegate.sync.going_live import put_to_work
from tidegate.vault.keys import KeyRing, derive_class_root

pytestmark = pytest.mark.asyncio


async def test_a_changed_document_is_a_new_version_and_an_equal_one_is_not(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as conn:
        first = await record_version(conn, "tenant: acme\n", applied_by="test")
        again = await record_version(conn, "tenant: acme\n", applied_by="test")
        second = await record_version(conn, "tenant: acme\ncell: c7\n", applied_by="test")
        back = await record_version(conn, "tenant: acme\n", applied_by="test")

    assert [one.version for one in (first, again, second, back)] == [1, 1, 2, 3]
    assert {one.tenant_id for one in (first, again, second, back)} == {first.tenant_id}


async def test_readers_read_only_what_is_newer_than_what_they_know(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as conn:
        acme = await record_version(conn, "tenant: acme\n", applied_by="test")
        await record_version(conn, "tenant: acme\ncell: c7\n", applied_by="test")
        await record_version(conn, "tenant: other\n", applied_by="test")

        everything = await read_stored(conn, after={})
        news = await read_stored(conn, after={acme.tenant_id: 2})

    assert {(one.version, one.document) for one in everything} == {
        (2, "tenant: acme\ncell: c7\n"),
        (1, "tenant: other\n"),
    }
    assert [one.document for one in news] == ["tenant: other\n"]


async def store_bad_version(conn: Connection, tenant_id: UUID, document: str = "cell: [no\n") -> None:
    """Store what no release of ours would: a later release did, or somebody by hand."""
    await conn.execute(
        "INSERT INTO config_version (tenant_id, version, digest, document, applied_by) "
        "SELECT $1, max(version) + 1, $2::text::bytea, $2, 'test' FROM config_version WHERE tenant_id = $1",
        tenant_id,
        document,
    )


async def test_a_stored_version_that_is_refused_leaves_the_last_good_one_at_work(owner_pool: Pool) -> None:
    running, starting = Snapshots(), Snapshots()
    async with owner_pool.acquire() as conn:
        tenant_id = (await record_version(conn, "tenant: acme\ncell: c7\n", applied_by="test")).tenant_id
        await running.read(conn)
        await store_bad_version(conn, tenant_id)
        await store_bad_version(conn, tenant_id, "nonsense: true\n")

        for reader in (running, starting):
            await reader.read(conn)
            assert reader.versions[tenant_id].version == 1
            assert reader.versions[tenant_id].config.cell == "c7"
            assert reader.newest[tenant_id] == 3
            assert "no key 'nonsense'" in reader.refused[tenant_id].reason

        await record_version(conn, "tenant: acme\ncell: c8\n", applied_by="test")
        for reader in (running, starting):
            await reader.read(conn)
            assert reader.versions[tenant_id].version == 4
            assert reader.refused == {}


async def test_a_tenant_whose_every_version_is_refused_has_none(owner_pool: Pool) -> None:
    reader = Snapshots()
    async with owner_pool.acquire() as conn:
        tenant_id = (await record_version(conn, "tenant: acme\n", applied_by="test")).tenant_id
        await conn.execute("UPDATE config_version SET document = 'x: y'")
        await reader.read(conn)

    assert reader.versions == {}
    assert reader.refused[tenant_id].version == 1
    assert reader.at(tenant_id, datetime.now(UTC)) is None


async def test_an_invalid_document_is_not_recorded(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as conn:
        with pytest.raises(ConfigurationError):
            await record_version(conn, "tenat: acme\n", applied_by="test")

        assert await conn.fetchval("SELECT count(*) FROM tenant") == 0


async def test_another_root_key_is_refused(owner_pool: Pool, tmp_path: Path) -> None:
    today = datetime(2026, 11, 1, tzinfo=UTC)
    own, foreign = make_project(tmp_path / "own", today=today), make_project(tmp_path / "foreign", today=today)
    async with owner_pool.acquire() as conn:
        tenant_id = (await record_version(conn, "tenant: acme\n", applied_by="test")).tenant_id
        assert await require_root_key(conn, foreign, tenant_id) == 0  # nothing is stored yet
        ring = KeyRing({"intake": derive_class_root(own.read_root_key(), "intake")})
        await ring.data_key_of_day(conn, tenant_id, "intake", today.date())

        assert await require_root_key(conn, own, tenant_id) == 1
        with pytest.raises(ConfigurationError) as caught:
            await require_root_key(conn, foreign, tenant_id)

    assert caught.value.code == "root_key_foreign"


CONNECTIONS = "connections:\n  shop: {use: hostile_shop}\n  erp: {use: hostile_erp}\n"


def connectors() -> dict[str, Connector]:
    hostile = build_connector()
    return {
        "hostile_shop": replace(hostile, name="hostile_shop", roles=frozenset({"channel"})),
        "hostile_erp": replace(hostile, name="hostile_erp", roles=frozenset({"erp"})),
    }


async def test_a_preset_is_understood_without_connectors_and_since_is_fixed_once(owner_pool: Pool) -> None:
    reader = Snapshots()
    async with owner_pool.acquire() as conn:
        before = datetime.now(UTC).replace(microsecond=0)
        first = await record_version(conn, CONNECTIONS, applied_by="test", connectors=connectors())
        again = await record_version(conn, CONNECTIONS, applied_by="test", connectors=connectors())
        edited = await record_version(conn, CONNECTIONS + "polling: {enabled: false}\n", applied_by="api")
        await reader.read(conn)

    assert (first.is_new, again.is_new, again.version, edited.version) == (True, False, 1, 2)
    stored = reader.versions[first.tenant_id].config
    assert stored.flows.orders is not None
    assert stored.flows.orders.target == "erp"
    assert first.config.flows.orders is not None
    assert stored.flows.orders.since == first.config.flows.orders.since
    assert stored.flows.orders.since is not None
    assert stored.flows.orders.since >= before
    assert "since: " in first.document


async def test_of_machines_that_start_at_once_the_slower_one_compares_with_what_the_other_made(
    owner_pool: Pool, tmp_path: Path
) -> None:
    """Both saw an empty database. The one that waits for the other's transaction was overtaken, and starts all the same."""
    project = make_project(tmp_path / "acme", today=datetime(2026, 11, 1, tzinfo=UTC))
    document = read_file(project)
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    async with owner_pool.acquire() as first, owner_pool.acquire() as second, owner_pool.acquire() as third:
        async with first.transaction():
            made = await put_to_work(first, f"{document}# of another machine\n", applied_by="test")
            starting = asyncio.create_task(
                adopt_file(second, project, document, files={}, connectors={}, report=lambda _: None)
            )
            async with asyncio.timeout(200):
                while not await third.fetchval(waits):  # noqa: ASYNC110 - it waits in the database
                    await asyncio.sleep(0.01)
        assert await starting == made.tenant_id
        newest = await History(first, made.tenant_id).newest()

    assert newest is not None
    assert newest.version == 2


async def test_doctor_says_that_a_stored_version_is_refused_and_what_serves(owner_pool: Pool, tmp_path: Path) -> None:
    project = make_project(tmp_path / "acme", today=datetime(2026, 11, 1, tzinfo=UTC))
    async with owner_pool.acquire() as conn:
        version = await record_version(conn, project.config_file.read_text(), applied_by="test")
        await store_bad_version(conn, version.tenant_id, "nonsense: true\n")
        session = Session(project=project, config=version.config, conn=conn, tenant_id=version.tenant_id)

        finding = await check_configuration_at_work(session)

    assert (finding.verdict, finding.code) == ("fail", "config_refused")
    assert "no key 'nonsense'" in finding.words
    assert finding.words.endswith("version 1 goes on serving")
