"""Migrations against the schema: what they build, table by table, is what `docs/reference/schema.txt` says.

TIDEGATE_WRITE_SCHEMA=1 writes the file anew; the difference is then read in review like any other.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tidegate.store.connections import Pool
from tidegate.store.schema_check import describe_schema

SCHEMA_FILE = Path(__file__).parents[2] / "docs" / "reference" / "schema.txt"
pytestmark = pytest.mark.asyncio


async def test_migrations_build_the_schema_that_is_written_down(owner_pool: Pool) -> None:
    async with owner_pool.acquire() as conn:
        built = await describe_schema(conn)

    if os.environ.get("TIDEGATE_WRITE_SCHEMA"):
        SCHEMA_FILE.write_text(built, encoding="utf-8")
    assert built == SCHEMA_FILE.read_text(encoding="utf-8")


async def test_every_table_of_a_tenant_has_the_tenant_first_in_its_key(owner_pool: Pool) -> None:
    """Cannot be retrofitted: tenant first in every primary key and unique constraint."""
    shared = {"schema_migration", "slot", "node", "switch", "intake_refusal", "alert_evaluator", "alert_witness"}
    rows = await owner_pool.fetch(
        "SELECT c.conrelid::regclass::text AS name, c.conname, a.attname FROM pg_constraint c"
        " JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]"
        " JOIN pg_class t ON t.oid = c.conrelid JOIN pg_namespace n ON n.oid = t.relnamespace"
        " WHERE c.contype IN ('p', 'u') AND n.nspname = 'public' AND NOT t.relispartition"
    )
    allowed = {("event_queue", "slot"), ("connection", "path_hash"), ("tenant", "name")}

    wrong = [
        tuple(row)
        for row in rows
        if row["name"] not in shared and row["attname"] != "tenant_id" and (row["name"], row["attname"]) not in allowed
    ]

    assert not wrong
