"""The vault on a real database: one key per day, ciphertexts that cannot be moved, secrets that do not show."""

from __future__ import annotations

import asyncio
import pickle
from datetime import UTC, date, datetime

import pytest
from tests.logbed import add_connection, add_tenant, key_ring

from tidegate.kernel.errors import ConfigurationError, InvariantError
from tidegate.kernel.ids import new_id
from tidegate.kernel.redaction import Secret
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.store.roles import Role
from tidegate.vault import credentials
from tidegate.vault.bodies import BodyCipher

pytestmark = pytest.mark.asyncio
TODAY = date(2026, 11, 23)
TOMORROW = date(2026, 11, 24)


async def test_all_processes_end_with_one_key_per_tenant_and_day(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as db:
        tenant_id = await add_tenant(db)
        other_id = await add_tenant(db, "other")

    async def key_id(day: date) -> object:
        async with owner_pool.acquire() as connection:
            return (await BodyCipher(key_ring()).current(connection, tenant_id, day)).key_id

    found = await asyncio.gather(*(key_id(TODAY) for _ in range(8)))
    assert len(set(found)) == 1
    assert await key_id(TOMORROW) not in found
    async with owner_pool.acquire() as db:
        assert (await BodyCipher(key_ring()).current(db, other_id, TODAY)).key_id not in found


async def test_another_process_opens_what_one_sealed(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as db:
        tenant_id = await add_tenant(db)
        one, other = BodyCipher(key_ring()), BodyCipher(key_ring())
        key = await one.current(db, tenant_id, TODAY)
        subject = new_id()
        token = one.seal(key, "event", subject, b"body")

        with pytest.raises(InvariantError) as early:
            other.open(tenant_id, key.key_id, "event", subject, token)
        await other.opener(db, [(tenant_id, key.key_id)])

        assert early.value.code == "key_missing"
        assert other.open(tenant_id, key.key_id, "event", subject, token) == b"body"


async def test_a_body_moved_elsewhere_does_not_open(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as db:
        tenant_id, other_id = await add_tenant(db), await add_tenant(db, "other")
        cipher = BodyCipher(key_ring())
        key, other_key = await cipher.current(db, tenant_id, TODAY), await cipher.current(db, other_id, TODAY)
        subject = new_id()
        token = cipher.seal(key, "event", subject, b"body")

        moved = [
            (tenant_id, key.key_id, "event", new_id()),
            (tenant_id, key.key_id, "order", subject),
            (other_id, other_key.key_id, "event", subject),
        ]
        for place in moved:
            with pytest.raises(InvariantError) as caught:
                cipher.open(*place, token)  # type: ignore[arg-type]
            assert caught.value.code == "tampered"


async def test_swapped_keys_are_noticed(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as db:
        tenant_id = await add_tenant(db)
        keys = [await BodyCipher(key_ring()).current(db, tenant_id, day) for day in (TODAY, TOMORROW)]
        await db.execute(
            "UPDATE data_key SET wrapped = (SELECT wrapped FROM data_key WHERE key_id = $2) WHERE key_id = $1",
            keys[0].key_id,
            keys[1].key_id,
        )

        with pytest.raises(InvariantError) as caught:
            await BodyCipher(key_ring()).opener(db, [(tenant_id, keys[0].key_id)])
        assert caught.value.code == "tampered"


async def test_a_key_made_in_a_transaction_that_failed_is_not_used_afterwards(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as db:
        tenant_id = await add_tenant(db)
        cipher = BodyCipher(key_ring())
        transaction = db.transaction()
        await transaction.start()
        lost = await cipher.current(db, tenant_id, TODAY)
        assert (await cipher.current(db, tenant_id, TODAY)).key_id == lost.key_id
        await transaction.rollback()

        kept = await cipher.current(db, tenant_id, TODAY)

        assert kept.key_id != lost.key_id
        assert await db.fetchval("SELECT key_id FROM data_key") == kept.key_id
        subject = new_id()
        token = cipher.seal(kept, "event", subject, b"x")
        fresh = BodyCipher(key_ring())
        await fresh.opener(db, [(tenant_id, kept.key_id)])
        assert fresh.open(tenant_id, kept.key_id, "event", subject, token) == b"x"


async def test_a_process_without_a_class_opens_nothing_of_it(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as db:
        tenant_id = await add_tenant(db)
        connection_id = await add_connection(db, tenant_id)
        await credentials.put(db, key_ring(), tenant_id, connection_id, "credential", "token", Secret("s3cret"))

        with pytest.raises(ConfigurationError):
            await credentials.get_all(db, key_ring("intake"), tenant_id, connection_id, "credential")


async def test_credentials_keep_one_version_and_webhook_secrets_two(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as db:
        tenant_id = await add_tenant(db)
        connection_id = await add_connection(db, tenant_id)
        ring = key_ring()
        for number in (1, 2, 3):
            await credentials.put(
                db, ring, tenant_id, connection_id, "credential", "token", Secret(f"api-secret-{number}")
            )
            version = await credentials.put(
                db, ring, tenant_id, connection_id, "intake", credentials.WEBHOOK_SECRET, Secret(f"webhook-{number}")
            )

        assert version == 3
        fresh = key_ring()
        found = await credentials.get_all(db, fresh, tenant_id, connection_id, "credential")
        assert found == {"token": Secret("api-secret-3")}
        active = await credentials.active_webhook_secrets(db, fresh, tenant_id, connection_id)
        assert active == [Secret("webhook-3"), Secret("webhook-2")]
        stored = await db.fetch("SELECT ciphertext, fingerprint FROM credential")
        assert not any(b"api-secret" in row["ciphertext"] or b"webhook" in row["ciphertext"] for row in stored)
        assert all(len(row["fingerprint"]) == 8 for row in stored)
        with pytest.raises(ConfigurationError):
            await credentials.put(db, ring, tenant_id, new_id(), "credential", "token", Secret("x"))


async def test_a_field_of_the_same_name_in_another_class_is_another_secret(owner_pool: Pool) -> None:
    """What a person answers as `webhook_secret` outlives the secrets that deliveries are signed with, and they outlive it."""
    async with owner_pool.acquire() as db:
        tenant_id = await add_tenant(db)
        connection_id = await add_connection(db, tenant_id)
        ring, name = key_ring(), credentials.WEBHOOK_SECRET
        await credentials.put(db, ring, tenant_id, connection_id, "intake", name, Secret("door-1"))
        for number in (1, 2, 3):
            await credentials.put(db, ring, tenant_id, connection_id, "credential", name, Secret(f"answer-{number}"))
        await credentials.put(db, ring, tenant_id, connection_id, "intake", name, Secret("door-2"))

        found = await credentials.get_all(db, ring, tenant_id, connection_id, "credential")
        assert found == {name: Secret("answer-3")}
        active = await credentials.active_webhook_secrets(db, ring, tenant_id, connection_id)
        assert active == [Secret("door-2"), Secret("door-1")]
        assert await credentials.retire_older(db, tenant_id, connection_id, "intake", name) == 1
        assert found == await credentials.get_all(db, ring, tenant_id, connection_id, "credential")


@pytest.mark.parametrize("column", ["field", "record_version", "connection_id"])
async def test_a_secret_moved_to_another_row_does_not_open(owner_pool: Pool, column: str) -> None:
    async with owner_pool.acquire() as db:
        tenant_id = await add_tenant(db)
        connection_id, other_id = await add_connection(db, tenant_id), await add_connection(db, tenant_id)
        ring = key_ring()
        await credentials.put(db, ring, tenant_id, connection_id, "credential", "token", Secret("a"))
        value: object = {"field": "password", "record_version": 9, "connection_id": other_id}[column]
        await db.execute(f"UPDATE credential SET {column} = $1", value)
        where = other_id if column == "connection_id" else connection_id

        with pytest.raises(InvariantError) as caught:
            await credentials.get_all(db, ring, tenant_id, where, "credential")
        assert caught.value.code == "tampered"


async def test_a_secret_never_shows(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as db:
        tenant_id = await add_tenant(db)
        connection_id = await add_connection(db, tenant_id)
        ring = key_ring()
        await credentials.put(db, ring, tenant_id, connection_id, "credential", "token", Secret("canary-4711"))
        found = await credentials.get_all(db, ring, tenant_id, connection_id, "credential")

        shown = [repr(found), str(found["token"]), f"{found['token']}", f"{found['token']:>30}", repr(ring.__dict__)]
        assert not any("canary-4711" in text for text in shown)
        with pytest.raises(TypeError):
            pickle.dumps(found["token"])
        assert found["token"].reveal() == "canary-4711"


async def test_the_door_sees_rows_of_its_class_only(database: Database, owner_pool: Pool) -> None:
    async with owner_pool.acquire() as db:
        tenant_id = await add_tenant(db)
        connection_id = await add_connection(db, tenant_id)
        ring = key_ring()
        await credentials.put(db, ring, tenant_id, connection_id, "credential", "token", Secret("a"))
        await credentials.put(db, ring, tenant_id, connection_id, "intake", "webhook_secret", Secret("b"))
        await BodyCipher(ring).current(db, tenant_id, datetime.now(UTC).date())

    door = await database.pool(Role.DOOR, application_name="test-door")
    try:
        for table in ("credential", "tenant_key", "data_key"):
            assert [row[0] for row in await door.fetch(f"SELECT key_class FROM {table}")] == ["intake"]
            assert await owner_pool.fetchval(f"SELECT count(DISTINCT key_class) FROM {table}") == 2
    finally:
        await door.close()
