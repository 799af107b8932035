"""Stock put into a database by hand, with the ledger entries that it needs."""

from __future__ import annotations

from uuid import UUID

from tidegate.kernel.ids import new_id
from tidegate.store.connections import Connection

ADD_LEVEL = "INSERT INTO stock_level (tenant_id, item_id, location_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
LOCK_LEVEL = """
SELECT FROM stock_level WHERE tenant_id = $1 AND item_id = $2 AND location_id = $3 FOR NO KEY UPDATE
"""
ADD_ENTRY = """
INSERT INTO stock_entry (tenant_id, item_id, location_id, version, kind, on_hand_delta, committed_delta, on_hand_after,
                         unavailable_after, committed_after, reserved_after, cause_key, actor)
SELECT $1, $2, $3, version + 1, 'adjust', $4, $5, on_hand + $4, unavailable, committed + $5, reserved, $6, 'test'
FROM stock_balance WHERE tenant_id = $1 AND item_id = $2 AND location_id = $3
"""


async def move_stock(
    conn: Connection, tenant_id: UUID, item_id: UUID, location_id: UUID, *, on_hand: int = 0, committed: int = 0
) -> None:
    """Post an entry, as T2 does; inside of the caller's transaction."""
    level = (tenant_id, item_id, location_id)
    await conn.execute(ADD_LEVEL, *level)
    await conn.execute(LOCK_LEVEL, *level)
    await conn.execute(ADD_ENTRY, *level, on_hand, committed, f"test:{new_id()}")
