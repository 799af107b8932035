"""The fence: a transaction holds the epoch rows of its slots, so that nobody can take them over before it ends.

`FOR SHARE` on the rows is what fences: taking a slot over is an UPDATE of its row and waits for this transaction, or
comes first and makes the check below fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple
from uuid import UUID

from tidegate.kernel.errors import TransientError
from tidegate.store.connections import Connection

NodeRole = Literal["apply", "dispatch"]

HOLD_SLOTS = """
SELECT s.slot FROM (SELECT * FROM unnest($3::smallint[], $4::bigint[]) AS u(slot, epoch) ORDER BY u.slot) AS held
CROSS JOIN LATERAL (
  SELECT s.slot FROM slot s WHERE s.role = $1 AND s.slot = held.slot AND s.epoch = held.epoch AND s.node_id = $2
  OFFSET 0 FOR SHARE
) s
"""
"""One probe of the key per slot, in order: joined freely, all slots of the role are read for each."""
HOLD_SLOTS_BESIDE = f"""
WITH beside AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared($5, hashtext($6::uuid::text)))
SELECT found.slot FROM beside CROSS JOIN ({HOLD_SLOTS}) found
"""  # noqa: S608 - constants


class Fenced(TransientError):
    """The slot belongs to another node now."""

    code = "fenced"


class SlotEpoch(NamedTuple):
    """A slot as its node holds it."""

    slot: int
    epoch: int


async def fence(
    conn: Connection,
    role: NodeRole,
    node_id: UUID,
    slots: Sequence[SlotEpoch],
    *,
    beside: tuple[int, UUID] | None = None,
) -> None:
    """Hold the epoch rows of `slots` until the running transaction ends. First in the lock order.

    `beside` names an advisory lock by its class and its tenant: it is shared with others of its kind, and held as long.
    Raises Fenced when any of the slots has another owner or epoch; the caller rolls back.
    """
    columns = [held.slot for held in slots], [held.epoch for held in slots]
    if beside is None:
        rows = await conn.fetch(HOLD_SLOTS, role, node_id, *columns)
    else:
        rows = await conn.fetch(HOLD_SLOTS_BESIDE, role, node_id, *columns, *beside)
    if len(rows) != len(slots):
        raise Fenced(f"{len(slots) - len(rows)} of {len(slots)} slots have another owner")
