"""A million events that were applied long ago, made by SQL: the past of a log that has grown."""

from __future__ import annotations

import asyncpg
from bench.apply_bed import Bed

# One event each millisecond, ending a minute ago. Bodies are 100 bytes instead of 1.7 kB: T2 never reads them again.
_IDS = """
CREATE TEMP TABLE past ON COMMIT DROP AS
SELECT n, (lpad(to_hex(at_ms), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid
          AS event_id,
       sha256(n::text::bytea) AS digest
FROM (SELECT n, (extract(epoch FROM now()) * 1000)::bigint - 60000 - $1 + n AS at_ms
      FROM generate_series(1, $1::bigint) n) numbered
"""
_EVENTS = """
INSERT INTO event (tenant_id, event_id, connection_id, source, topic, ordering_key, slot, dedupe_key, body_digest,
                   external_id, envelope, data_key_id, body)
SELECT $1, event_id, $2, 'webhook', 'order.placed', 'order:past-' || n, n % 1024, digest, digest, 'past-' || n,
       '{"v":1,"connector":"hostile"}', $3, substr(digest || digest || digest || digest, 1, 100)
FROM past ORDER BY event_id
"""
_DEDUPE = """
INSERT INTO event_dedupe (tenant_id, connection_id, dedupe_key, event_id, body_digest)
SELECT $1, $2, digest, event_id, digest FROM past
"""
_OUTCOMES = """
INSERT INTO event_outcome (tenant_id, event_id, run, outcome, code, entity_kind, entity_id, connector_version,
                           mapping_version, code_version, config_version)
SELECT $1, event_id, 0, 'applied', 'applied', 'order', md5(n::text)::uuid, '1', '1', '0', 1 FROM past ORDER BY event_id
"""
_GATES = """
INSERT INTO entity_version (tenant_id, connection_id, kind, external_id, facet, source_version, source_seq,
                            mapping_version, digest)
SELECT $1, $2, 'order_seen', 'past-' || n, 'all', 1, 0, 1, substr(digest, 1, 16) FROM past
"""


async def add_past(conn: asyncpg.Connection, bed: Bed, events: int) -> None:
    """Add applied events with their dedupe keys, outcomes and version gates; then tidy up as autovacuum would."""
    shop = bed.connections["shop_a"]
    key_id = await conn.fetchval("SELECT key_id FROM data_key WHERE tenant_id = $1 LIMIT 1", bed.tenant_id)
    async with conn.transaction():
        await conn.execute(_IDS.replace("$1", str(events)))
        await conn.execute(_EVENTS, bed.tenant_id, shop, key_id)
        await conn.execute(_DEDUPE, bed.tenant_id, shop)
        await conn.execute(_OUTCOMES, bed.tenant_id)
        await conn.execute(_GATES, bed.tenant_id, shop)
    await conn.execute("VACUUM (ANALYZE) event, event_dedupe, event_outcome, entity_version")
    await conn.execute("CHECKPOINT")
