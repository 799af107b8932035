"""Configuration in the database: one version per change, and the root key that belongs to it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tidegate.cli.checks_database import require_root_key
from tidegate.cli.init import make_project
from tidegate.config.versions import read_newest, record_version
from tidegate.kernel.errors import ConfigurationError
from tidegate.store.connections import Pool
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


async def test_readers_parse_only_what_is_newer_than_what_they_know(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as conn:
        acme = await record_version(conn, "tenant: acme\n", applied_by="test")
        await record_version(conn, "tenant: acme\ncell: c7\n", applied_by="test")
        await record_version(conn, "tenant: other\n", applied_by="test")

        everything = await read_newest(conn)
        news = await read_newest(conn, after={acme.tenant_id: 2})

    assert {(one.config.tenant, one.version, one.config.cell) for one in everything} == {
        ("acme", 2, "c7"), ("other", 1, "c0")
    }  # fmt: skip
    assert [one.config.tenant for one in news] == ["other"]


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
