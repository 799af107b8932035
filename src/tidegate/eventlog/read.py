"""Reading the queue: the next batch of the slots that a node owns, fair over tenants."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from tidegate.eventlog.lower_bounds import LowerBounds, Observation
from tidegate.eventlog.records import Source
from tidegate.store.connections import Connection
from tidegate.store.pool import BY_INDEX

SLOT_SHARE = 16
"""At most one part in this many of a batch comes from one slot of a tenant."""
TENANTS_MAX = 16
"""Tenants that one statement looks at; with more active ones, claims take turns."""
SWEEP_SECONDS = 2.0
"""How often tenants that nobody gave notice of are looked at, a few at a time."""
ACTIVE_SECONDS = 2.0
"""How long a tenant is looked at in every claim after a notice or an event."""
OBSERVE_SECONDS = 0.5
"""How often the lower bounds are brought up to date."""

_TENANTS = "SELECT tenant_id FROM tenant ORDER BY tenant_id"
# Two statements, because the sequence has to be read before the snapshot is taken and before a transaction id is: $1 tells
# whether one is. A sequence that never gave a number shows 1 all the same.
_LAST_SEQ = """
SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END, (pg_current_wal_insert_lsn() - '0/0')::bigint
FROM event_seq
"""
_SNAPSHOT = """
SELECT pg_postmaster_start_time()::text, pg_snapshot_xmin(s)::text::bigint,
       CASE WHEN $1 THEN pg_current_xact_id()::text::bigint END, (pg_current_wal_flush_lsn() - '0/0')::bigint
FROM pg_current_snapshot() s
"""
_SET_BY_INDEX = "; ".join(f"SET LOCAL {name} = {value}" for name, value in BY_INDEX.items())
# One index probe per tenant and slot, each ending at the first rows; a tenant's probing ends when its batch is full.
# The tenants then take turns, row by row, so a small tenant is never behind a large one. OFFSET 0 keeps the planner
# from turning the last join around.
_CLAIM = """
WITH found AS MATERIALIZED (
    SELECT q.*, row_number() OVER (PARTITION BY q.tenant_id ORDER BY q.seq) AS turn
    FROM unnest($3::uuid[]) WITH ORDINALITY AS t (tenant_id, place)
    CROSS JOIN LATERAL (
        SELECT s.slot, t.tenant_id, w.seq, w.event_id, w.run
        FROM unnest($1::smallint[]) WITH ORDINALITY AS s (slot, place)
        CROSS JOIN LATERAL (
            SELECT e.seq, e.event_id, e.run FROM event_queue e
            WHERE e.slot = s.slot AND e.tenant_id = t.tenant_id
              AND e.seq > ($2::bigint[])[(t.place - 1) * cardinality($1::smallint[]) + s.place]
            ORDER BY e.seq
            LIMIT $4
        ) w
        LIMIT $5
    ) q
), chosen AS MATERIALIZED (
    SELECT * FROM found ORDER BY turn, seq LIMIT $5
)
SELECT c.slot, c.tenant_id, c.seq, c.event_id, c.run, e.connection_id, e.source, e.topic, e.ordering_key, e.conflict,
       e.undecodable, e.external_id, e.occurred_at, e.envelope, e.data_key_id, e.body
FROM chosen c
LEFT JOIN LATERAL (
    SELECT * FROM event e WHERE e.tenant_id = c.tenant_id AND e.event_id = c.event_id OFFSET 0
) e ON true
ORDER BY c.seq
"""


class QueuedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event that waits for T2, with its body still sealed. Fields in the order of the claim's columns."""

    slot: int
    tenant_id: UUID
    seq: int
    """Position in the queue; events of one slot are applied in this order."""
    event_id: UUID
    run: int
    """0 at first, +1 for each replay."""
    connection_id: UUID
    source: Source
    topic: str
    ordering_key: str
    conflict: bool
    """The same dedupe key as an earlier event, another body."""
    undecodable: str | None
    external_id: str | None
    occurred_at: datetime | None
    envelope: str
    """JSON text, see `records.Envelope`."""
    data_key_id: UUID
    body: bytes


class QueueReader:
    """Reads the queue for one owner of slots. Remembers where to begin and which tenants are busy."""

    def __init__(self, *, is_set_up: bool = False) -> None:
        """Know nothing: the first claim looks at every tenant, from the front.

        `is_set_up`: the sessions that it is given have the settings of `BY_INDEX` already, and each claim saves three
        round trips.
        """
        self._is_set_up = is_set_up
        self._lowers = LowerBounds()
        self._active: dict[UUID, float] = {}
        self._tenants: list[UUID] = []
        self._slots: set[int] = set()
        self._look_at_all = True
        self._empty_to = -1
        self._empty_slots: frozenset[int] = frozenset()
        self._swept_settled = 0
        self._turn = self._swept = 0
        self._swept_at = self._observed_at = float("-inf")

    def notice(self, payload: str) -> frozenset[int] | None:
        """Take in a wake-up's payload (tenant ids; slots); '' means that any tenant may have events.

        Return the slots that have some, None when they are not named. Say '' as well after a lost listener and after slots
        came back: what was missed is then found at once.
        """
        if not payload:
            self._look_at_all = True
            return None
        tenants, _, slots = payload.partition(";")
        until = time.monotonic() + ACTIVE_SECONDS
        for tenant_id in tenants.split(","):
            self._active[UUID(tenant_id)] = until
        return frozenset(map(int, slots.split(","))) if slots else None

    @property
    def settled(self) -> int:
        """Everything in the queue up to this seq is known to be visible."""
        return self._lowers.settled

    def is_empty(self, slots: Iterable[int], server: str, last_seq: int) -> bool:
        """Return whether nothing can wait in these slots: the last claim looked at all of them and found nothing.

        `last_seq` is the newest number of the queue's sequence on `server` now. Rows up to `settled` were all visible to
        that claim, so only a larger number can have brought something. False when in doubt.
        """
        is_known = self._empty_to >= 0 and server == self._lowers.server and not self._look_at_all
        return is_known and last_seq <= self._empty_to and self._empty_slots.issuperset(slots)

    def refresh(self) -> None:
        """Bring the lower bounds up to date in the next claim, not at their next time."""
        self._observed_at = float("-inf")

    async def claim(self, connection: Connection, slots: Sequence[int], batch_max: int) -> list[QueuedEvent]:
        """Return the next events of these slots, sorted by seq, at most `batch_max`; [] when nothing waits.

        Of each (slot, tenant) it returns a prefix of what waits, so the order inside a slot is kept, and tenants
        share the batch evenly. Nothing is locked or changed: the slots are the caller's alone (see fencing), and
        events stay in the queue until T2 deletes them. Raises what asyncpg raises.
        """
        if not slots:
            return []
        self._empty_to = -1
        await self._sweep(connection, slots)
        await self._observe(connection)
        self._turn += 1
        tenants = self._by_turn()
        settled = self._lowers.settled
        for start in range(0, len(tenants), TENANTS_MAX):
            events = await self._claim_of(connection, slots, tenants[start : start + TENANTS_MAX], batch_max)
            if events:
                return events
        if self._active.keys() >= set(self._tenants):
            self._empty_to, self._empty_slots = min(settled, self._swept_settled), frozenset(slots)
        return []

    async def _claim_of(
        self, connection: Connection, slots: Sequence[int], tenants: Sequence[UUID], batch_max: int
    ) -> list[QueuedEvent]:
        start = random.randrange(len(slots))  # noqa: S311 - a full batch ends early, so another slot is first each time
        slots = [*slots[start:], *slots[:start]]
        settled = self._lowers.settled
        lowers = [lower for tenant_id in tenants for lower in self._lowers.lower(tenant_id, slots)]
        slot_max = max(1, batch_max // SLOT_SHARE) if len(slots) > 1 else batch_max
        wanted = (slots, lowers, tenants, slot_max, batch_max)
        if self._is_set_up:
            rows = await connection.fetch(_CLAIM, *wanted)
        else:
            async with connection.transaction(readonly=True):
                await connection.execute(_SET_BY_INDEX)
                rows = await connection.fetch(_CLAIM, *wanted)
        first: dict[UUID, dict[int, int]] = {tenant_id: {} for tenant_id in tenants}
        for row in rows:
            first[row[1]].setdefault(row[0], row[2])
        for tenant_id, first_seqs in first.items():
            self._lowers.note_read(tenant_id, slots, first_seqs, settled, whole=len(rows) < batch_max)
            if first_seqs:
                self._active[tenant_id] = time.monotonic() + ACTIVE_SECONDS
        return [QueuedEvent(*row) for row in rows if row[5] is not None]

    async def _sweep(self, connection: Connection, slots: Sequence[int]) -> None:
        """Choose the tenants to look at: those in use, all of them after a change of slots, and a few in turn."""
        now = time.monotonic()
        gained = not self._slots.issuperset(slots)
        if gained or self._look_at_all or now - self._swept_at >= SWEEP_SECONDS:
            settled = self._lowers.settled  # whose rows these are is in the list that is read after it
            self._tenants = [row[0] for row in await connection.fetch(_TENANTS)]
            self._swept_settled = settled
            chosen = self._tenants
            if not (gained or self._look_at_all):
                at = self._swept % max(1, len(chosen))
                chosen = [*chosen[at:], *chosen[:at]][:TENANTS_MAX]
                self._swept += TENANTS_MAX
            self._active = {tenant_id: until for tenant_id, until in self._active.items() if until > now}
            self._active.update(dict.fromkeys(chosen, now + ACTIVE_SECONDS))
            self._slots.update(slots)
            self._look_at_all = False
            self._swept_at = now

    async def _observe(self, connection: Connection) -> None:
        now = time.monotonic()
        if now - self._observed_at < OBSERVE_SECONDS:
            return
        sequence = await connection.fetchrow(_LAST_SEQ)
        if sequence is None:
            return
        last_seq, inserted_lsn = sequence
        snapshot = await connection.fetchrow(_SNAPSHOT, self._lowers.wants_xid(last_seq))
        if snapshot is None:
            return
        server, xmin, later_xid, flushed_lsn = snapshot
        backend = connection.get_server_pid()
        self._lowers.observe(Observation(server, backend, last_seq, xmin, later_xid, inserted_lsn, flushed_lsn))
        self._observed_at = now

    def _by_turn(self) -> list[UUID]:
        """Return the active tenants, another one in front each time."""
        tenants = sorted(self._active)
        at = self._turn * TENANTS_MAX % max(1, len(tenants))
        return [*tenants[at:], *tenants[:at]]
