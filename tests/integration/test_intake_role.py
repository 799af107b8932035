"""What a door that was taken over could do with its database role: append, and little else."""

from __future__ import annotations

import asyncpg
import pytest
from tests.doorbed import add_shop, running_door
from tests.logbed import key_ring

from tidegate.kernel.redaction import Secret
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.store.roles import Role
from tidegate.vault import credentials

pytestmark = pytest.mark.asyncio

FORBIDDEN = [
    "SELECT body FROM event",
    "SELECT count(*) FROM event",
    "SELECT * FROM event_queue",
    "SELECT * FROM event_outcome",
    "SELECT settings FROM connection",
    "SELECT name FROM connection",
    'SELECT * FROM "order"',
    "SELECT * FROM command",
    "SELECT * FROM call",
    "SELECT * FROM attempt_answer",
    "SELECT * FROM config_version",
    "SELECT * FROM tenant",
    "SELECT * FROM stock_entry",
    "UPDATE event SET topic = 'x'",
    "DELETE FROM event",
    "DELETE FROM event_dedupe",
    "UPDATE event_dedupe SET body_digest = '\\x00'",
    "DELETE FROM event_queue",
    "UPDATE credential SET ciphertext = '\\x00'",
    "DELETE FROM credential",
    "UPDATE data_key SET wrapped = '\\x00'",
    "INSERT INTO tenant_key (tenant_id, key_class, key_version, wrapped) VALUES (gen_random_uuid(), 'intake', 2, '\\x00')",
    "UPDATE connection SET state = 'active'",
    "TRUNCATE event",
    "DROP TABLE event",
    "CREATE TABLE mine (x int)",
    "ALTER TABLE credential DISABLE ROW LEVEL SECURITY",
    "SET ROLE tidegate_migrator",
    "SELECT setval('event_seq', 1)",
    "COPY event TO STDOUT",
    "SELECT pg_read_file('PG_VERSION')",
]


async def test_the_door_role_can_do_nothing_but_append(database: Database, owner_pool: Pool) -> None:
    async with owner_pool.acquire() as db:
        shop = await add_shop(db)
        await credentials.put(
            db, key_ring(), shop.tenant_id, shop.connection_id, "credential", "password", Secret("canary")
        )
    async with running_door(database) as door:
        assert (await door.send(shop.deliver("e1"))).status == 200

    pool = await database.pool(Role.DOOR, application_name="test-door", size_max=1)
    allowed = []
    for statement in FORBIDDEN:
        try:
            await pool.execute(statement)
            allowed.append(statement)
        except asyncpg.InsufficientPrivilegeError:
            continue
    rows = await pool.fetch("SELECT key_class FROM credential")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pool.execute(
            "INSERT INTO data_key (tenant_id, key_class, key_id, day, key_version, wrapped) "
            "VALUES ($1, 'credential', gen_random_uuid(), '2027-01-01', 1, '\\x00')",
            shop.tenant_id,
        )
    await pool.close()

    assert allowed == []
    assert {row[0] for row in rows} == {"intake"}
