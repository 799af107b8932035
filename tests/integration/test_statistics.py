"""A look-up of a table that has only begun to fill goes by its whole key, and so does the plan that is kept of it."""

from __future__ import annotations

from uuid import uuid4

import pytest
from tests.integration.test_queue_plans import rows_read
from tests.logbed import Sender, add_sender

from tidegate.eventlog import partitions
from tidegate.store.connections import Connection, Pool
from tidegate.store.statistics import EXPECTED, SINCE_SERVER_VERSION, expect_few
from tidegate.sync.statements import FIND_BOUND_VARIANTS, FIND_ORDERS

pytestmark = pytest.mark.asyncio
BEGUN, WANTED = 150, 20
"""Rows of a table that nobody has looked at: of as many the planner believes that each has a tenant of its own."""
BIND = """
INSERT INTO binding (tenant_id, connection_id, kind, external_id, internal_id)
SELECT $1, $2, 'variant', 'v-' || n, gen_random_uuid() FROM generate_series(1, $3) n
"""
ORDERS = """
INSERT INTO "order" (tenant_id, order_id, connection_id, external_id, number, order_state, payment_state, fulfillment_state,
                     currency, total_minor, shipping_minor, discount_minor, tax_minor, placed_at, data_key_id, private)
SELECT $1, gen_random_uuid(), $2, 'o-' || n, 'N' || n, 'open', 'paid', 'unfulfilled',
       'EUR', 1, 0, 0, 0, now(), gen_random_uuid(), '' FROM generate_series(1, $3) n
"""
KNOWN = """
SELECT attname, n_distinct::float8 AS n FROM pg_stats WHERE schemaname = current_schema() AND tablename = $1 AND inherited = $2
"""


async def known(conn: Connection, table: str, *, inherited: bool = False) -> dict[str, float]:
    """How many values the statistics give to each column of a table."""
    return {row["attname"]: row["n"] for row in await conn.fetch(KNOWN, table, inherited)}


def skip_before(conn: Connection) -> None:
    """The older server of the suite takes no statistics."""
    if conn.get_server_version().major < SINCE_SERVER_VERSION:
        pytest.skip(f"PostgreSQL {SINCE_SERVER_VERSION} takes statistics from the owner of a table")


async def begin(conn: Connection, fill: str) -> Sender:
    """A table that has begun to fill."""
    skip_before(conn)
    sender = await add_sender(conn)
    await conn.execute(fill, sender.tenant_id, sender.connection_id, BEGUN)
    return sender


@pytest.mark.parametrize(
    ("fill", "statement", "prefix"), [(BIND, FIND_BOUND_VARIANTS, "v-"), (ORDERS, FIND_ORDERS, "o-")]
)
async def test_a_key_is_looked_up_as_a_whole(owner_pool: Pool, fill: str, statement: str, prefix: str) -> None:
    async with owner_pool.acquire() as conn:
        sender = await begin(conn, fill)
        wanted = [f"{prefix}{n}" for n in range(1, WANTED + 1)]
        arguments = (sender.tenant_id, [sender.connection_id] * WANTED, wanted)

        read = await rows_read(conn, statement, *arguments)

        assert read < 10 * WANTED
        assert {row["external_id"] for row in await conn.fetch(statement, *arguments)} == set(wanted)


async def test_new_partitions_are_told_of_too(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as conn:
        skip_before(conn)
        made = await partitions.ensure(conn, 1)

        assert made
        for name in made:
            assert (await known(conn, name)).items() <= EXPECTED.items()
            assert "tenant_id" in await known(conn, name)
        assert await expect_few(conn) == 0


async def test_what_was_measured_stays(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as conn:
        sender = await begin(conn, BIND)
        for _ in range(5):
            await conn.execute(BIND, uuid4(), sender.connection_id, 10)
        await conn.execute("ANALYZE binding")
        measured = await known(conn, "binding")

        assert await expect_few(conn) == 0
        assert await known(conn, "binding") == measured
        assert measured["tenant_id"] == 6


async def test_an_empty_table_that_is_looked_at_is_still_told_of(owner_pool: Pool) -> None:
    """A vacuum of a table without rows measures nothing."""
    async with owner_pool.acquire() as conn:
        skip_before(conn)
        await conn.execute("VACUUM (ANALYZE) command")

        assert (await known(conn, "command", inherited=True))["tenant_id"] == EXPECTED["tenant_id"]
