"""The raw limit of applying, frozen: two connections that write the rows of T2 in the same batches, nothing else.

It takes the rows that an apply process has just written in another database and writes them again into its own: orders,
lines, ledger entries, marks, gates, command keys, commands, outcomes, counters; and it empties the queue. Per batch it
reads the events out of the log, bodies and all, and the balances that the entries follow, and looks at neither. The
rows lie in memory before the clock starts: no decryption, no mapping, no look-ups, no planning, no fences, no wake-ups.
Marks and levels are locked last and in order, as two writers of one database must. Do not tune it: it is the yardstick.

    python -m bench.apply_limit < {"dsn":..,"source_dsn":..,"event_ids":[..],"batch":..}

It prints "ready", waits for a line, and prints {"seconds":..,"orders":..}.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import uvloop

CONNECTIONS = 2
BY_KEY = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}

OUTCOME = (
    "tenant_id, event_id, run, outcome, code, reason, entity_kind, entity_id, connector_version, mapping_version, "
    "code_version, config_version"
)
ORDER = (
    "tenant_id, order_id, connection_id, external_id, number, version, order_state, payment_state, fulfillment_state, "
    "currency, total_minor, shipping_minor, discount_minor, tax_minor, totals_mismatch, shipping_method, placed_at, "
    "data_key_id, private"
)
LINE = (
    "tenant_id, order_id, line_id, external_id, position, variant_id, sku, title, ordered, current, shipped, "
    "unit_price, total_minor, location_id"
)
ENTRY = (
    "tenant_id, item_id, location_id, version, kind, on_hand_delta, unavailable_delta, committed_delta, "
    "reserved_delta, on_hand_after, unavailable_after, committed_after, reserved_after, cause_key, event_id, "
    "order_line_id, actor"
)
GATE = "tenant_id, connection_id, kind, external_id, facet, source_version, source_seq, mapping_version, digest"
KEY = "tenant_id, connection_id, kind, entity_id, version, command_id"
COMMAND = (
    "tenant_id, command_id, connection_id, kind, target_key, entity_id, version, priority, state, deadline_at, "
    "cause_event_id"
)
MARK = """
WITH locked AS MATERIALIZED (
  SELECT c.connection_id, c.item_id, c.dirty
  FROM unnest($2::uuid[], $3::uuid[]) AS n(connection_id, item_id) CROSS JOIN LATERAL (
    SELECT c.connection_id, c.item_id, c.dirty FROM channel_stock c
    WHERE c.tenant_id = $1 AND c.connection_id = n.connection_id AND c.item_id = n.item_id
    OFFSET 0 FOR NO KEY UPDATE) c
)
UPDATE channel_stock c SET dirty = true, dirty_at = clock_timestamp() FROM locked l
WHERE c.tenant_id = $1 AND c.connection_id = l.connection_id AND c.item_id = l.item_id AND NOT l.dirty
"""
LEVELS = """
SELECT count(*) FROM unnest($2::uuid[], $3::uuid[]) AS n(item_id, location_id)
CROSS JOIN LATERAL (
  SELECT FROM stock_level s
  WHERE s.tenant_id = $1 AND s.item_id = n.item_id AND s.location_id = n.location_id
  OFFSET 0 FOR NO KEY UPDATE) s
"""
BALANCES = """
SELECT b.* FROM unnest($2::uuid[], $3::uuid[]) AS n(item_id, location_id)
CROSS JOIN LATERAL (
  SELECT item_id, location_id, on_hand, unavailable, committed, reserved, version FROM stock_balance b
  WHERE b.tenant_id = $1 AND b.item_id = n.item_id AND b.location_id = n.location_id OFFSET 0) b
"""
READ = """
SELECT e.* FROM unnest($2::smallint[], $3::bigint[]) AS d(slot, seq)
CROSS JOIN LATERAL (
  SELECT event_id FROM event_queue q WHERE q.slot = d.slot AND q.tenant_id = $1 AND q.seq = d.seq OFFSET 0) q
CROSS JOIN LATERAL (SELECT * FROM event e WHERE e.tenant_id = $1 AND e.event_id = q.event_id OFFSET 0) e
"""
TAKE = """
DELETE FROM event_queue WHERE ctid = ANY(ARRAY(
  SELECT q.ctid FROM unnest($2::smallint[], $3::bigint[]) AS d(slot, seq)
  CROSS JOIN LATERAL (
    SELECT e.ctid FROM event_queue e WHERE e.slot = d.slot AND e.tenant_id = $1 AND e.seq = d.seq OFFSET 0) q))
"""
COUNT = """
INSERT INTO conservation AS c (tenant_id, connection_id, hour, writer, applied)
SELECT $1, n.connection_id, date_trunc('hour', now()), $2, n.applied FROM unnest($3::uuid[], $4::bigint[])
  AS n(connection_id, applied)
ON CONFLICT (tenant_id, connection_id, hour, writer) DO UPDATE SET applied = c.applied + excluded.applied
"""


@dataclass
class Batch:
    """Everything that one transaction writes."""

    tenant_id: UUID
    copies: dict[str, tuple[list[str], list[tuple[Any, ...]]]]
    """Table -> columns and rows."""
    marks: Sequence[Sequence[UUID]]
    levels: Sequence[Sequence[UUID]]
    taken: Sequence[Sequence[int]]
    counts: Sequence[Sequence[Any]]


async def read_batch(source: asyncpg.Connection, tenant_id: UUID, queued: Sequence[asyncpg.Record]) -> Batch:
    """Read the rows that follow from some events out of the database where they were applied."""
    event_ids = [row["event_id"] for row in queued]

    async def rows(columns: str, rest: str, *arguments: object) -> list[tuple[Any, ...]]:
        found = await source.fetch(f"SELECT {columns} FROM {rest}", tenant_id, *arguments)
        return [tuple(row) for row in found]

    outcomes = await rows(OUTCOME, "event_outcome WHERE tenant_id = $1 AND event_id = ANY($2)", event_ids)
    order_ids = [row[7] for row in outcomes]
    orders = await rows(ORDER, '"order" WHERE tenant_id = $1 AND order_id = ANY($2)', order_ids)
    external_ids = [row[3] for row in orders]
    entries = await rows(
        ENTRY, "stock_entry WHERE tenant_id = $1 AND event_id = ANY($2) ORDER BY item_id, version", event_ids
    )
    commands = await rows(
        COMMAND, "command WHERE tenant_id = $1 AND entity_id = ANY($2) ORDER BY command_id", order_ids
    )
    copies = {
        ("order", ORDER): orders,
        ("order_line", LINE): await rows(LINE, "order_line WHERE tenant_id = $1 AND order_id = ANY($2)", order_ids),
        ("stock_entry", ENTRY): entries,
        ("entity_version", GATE): await rows(
            GATE, "entity_version WHERE tenant_id = $1 AND kind = 'order_seen' AND external_id = ANY($2)", external_ids
        ),
        ("command_key", KEY): await rows(KEY, "command_key WHERE tenant_id = $1 AND entity_id = ANY($2)", order_ids),
        ("command", COMMAND): commands,
        ("event_outcome", OUTCOME): outcomes,
    }
    levels = sorted({(entry[1], entry[2]) for entry in entries})
    items = sorted({item_id for item_id, _ in levels})
    channels = sorted({row[2] for row in orders})
    marks = [(channel, item) for channel in channels for item in items]
    placed = sorted(Counter(row[2] for row in orders).items())
    return Batch(
        tenant_id,
        {table: (columns.split(", "), found) for (table, columns), found in copies.items()},
        list(zip(*marks, strict=True)),
        list(zip(*levels, strict=True)),
        [[row["slot"] for row in queued], [row["seq"] for row in queued]],
        list(zip(*placed, strict=True)),
    )


async def write(connection: asyncpg.Connection, batches: list[Batch], writer: str) -> None:
    """Write batches, one transaction each."""
    for batch in batches:
        await connection.fetch(READ, batch.tenant_id, *batch.taken)
        async with connection.transaction():
            for table in ("order", "order_line", "entity_version", "event_outcome", "command_key", "command"):
                await copy(connection, batch, table)
            await connection.execute(TAKE, batch.tenant_id, *batch.taken)
            await connection.execute(COUNT, batch.tenant_id, writer, *batch.counts)
            await connection.execute(MARK, batch.tenant_id, *batch.marks)
            await connection.execute(LEVELS, batch.tenant_id, *batch.levels)
            await connection.fetch(BALANCES, batch.tenant_id, *batch.levels)
            await copy(connection, batch, "stock_entry")


async def copy(connection: asyncpg.Connection, batch: Batch, table: str) -> None:
    columns, rows = batch.copies[table]
    await connection.copy_records_to_table(table, records=rows, columns=columns)


async def main() -> None:
    order = json.loads(sys.stdin.readline())
    event_ids = [UUID(text) for text in order["event_ids"]]
    connections = [await asyncpg.connect(order["dsn"], server_settings=BY_KEY) for _ in range(CONNECTIONS)]
    queued = await connections[0].fetch(
        "SELECT tenant_id, slot, seq, event_id FROM event_queue WHERE event_id = ANY($1) ORDER BY seq", event_ids
    )
    source = await asyncpg.connect(order["source_dsn"])
    work: list[list[Batch]] = []
    for number in range(CONNECTIONS):
        own = [row for row in queued if row["slot"] % CONNECTIONS == number]
        parts = [own[start : start + order["batch"]] for start in range(0, len(own), order["batch"])]
        work.append([await read_batch(source, part[0]["tenant_id"], part) for part in parts])
    await source.close()
    print("ready", flush=True)
    sys.stdin.readline()
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number, connection in enumerate(connections):
            group.create_task(write(connection, work[number], f"limit-{number}"))
    print(json.dumps({"seconds": time.perf_counter() - started, "orders": len(queued)}), flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    uvloop.run(main())
