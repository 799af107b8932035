"""Nodes and their slots: who works on what, who is gone, who takes over.

A node is one worker loop. It proves that it lives by a session advisory lock on a connection of its own (gone with the
process, at once) and by a heartbeat (gone when it hangs). Live nodes of a role share the 1,024 slots by rank; a slot is
taken over by an UPDATE of its row, which waits for every transaction that is fenced on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import structlog

from tidegate.kernel.clock import seconds_to_beat
from tidegate.kernel.ids import new_id
from tidegate.store.connections import DATABASE_ERRORS, DirectConnection
from tidegate.store.fence import NodeRole
from tidegate.store.pool import Access, direct_connection

log = structlog.get_logger()

LOCK_CLASS = 7480
HEARTBEAT_SECONDS_MAX = 3.0
BEATS_PER_LEASE_MIN = 5
LEASE_SECONDS = 15.0
"""A node whose heartbeat is older than this is taken for hung; longer than any request's deadline is not needed,
because lanes check their own lease before they write to a socket."""
NODE_CHANNEL = "tidegate_node"

ADD_NODE = "INSERT INTO node (node_id, role, lock_key, pid, host) VALUES ($1, $2, $3, $4, $5)"
# One statement: beat, see who lives, and what is held. Its own beat is not in the snapshot that the statement sees, so it
# counts as beaten by the fact that its row was there to be updated.
BEAT = """
WITH beat AS (UPDATE node SET heartbeat_at = clock_timestamp() WHERE node_id = $1 RETURNING node_id),
held AS (
  SELECT coalesce(array_agg(s.slot), '{}') AS slots, coalesce(array_agg(s.epoch), '{}') AS epochs,
         coalesce(array_agg(s.crashes), '{}') AS crashes
  FROM slot s WHERE s.role = $2 AND s.node_id = $1
)
SELECT n.node_id,
       EXISTS (SELECT 1 FROM pg_locks l WHERE l.locktype = 'advisory' AND l.classid = 7480
               AND l.objid::bigint = n.lock_key::bigint AND l.granted
               AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))
       AND (b.node_id IS NOT NULL OR n.heartbeat_at > clock_timestamp() - make_interval(secs => $3)) AS is_live,
       b.node_id IS NOT NULL AS is_own,
       CASE WHEN b.node_id IS NOT NULL THEN h.slots END AS slots,
       CASE WHEN b.node_id IS NOT NULL THEN h.epochs END AS epochs,
       CASE WHEN b.node_id IS NOT NULL THEN h.crashes END AS crashes
FROM node n CROSS JOIN held h LEFT JOIN beat b ON b.node_id = n.node_id
WHERE n.role = $2 ORDER BY n.node_id
"""
HELD = "SELECT slot, epoch, crashes FROM slot WHERE role = $1 AND node_id = $2"
RELEASE = """
UPDATE slot s SET node_id = NULL FROM (
  SELECT slot FROM slot WHERE role = $1 AND node_id = $2 AND slot = ANY($3::smallint[]) ORDER BY slot FOR UPDATE
) mine WHERE s.role = $1 AND s.slot = mine.slot
"""
# A slot that a hung node's transaction still fences is skipped and taken at a later heartbeat: waiting for it would cost
# the taker its own lease.
TAKE = """
WITH free AS (
  SELECT slot FROM slot WHERE role = $1 AND slot = ANY($3::smallint[])
     AND (node_id IS NULL OR node_id = ANY($4::uuid[]) OR NOT EXISTS (SELECT 1 FROM node n WHERE n.node_id = slot.node_id))
  ORDER BY slot FOR UPDATE SKIP LOCKED
)
UPDATE slot s SET node_id = $2, epoch = s.epoch + 1 FROM free WHERE s.role = $1 AND s.slot = free.slot
"""
# A process that hangs keeps what its transactions have locked: in the middle of a COPY no time limit of the server ends
# it. Whoever buries it ends its sessions; should it wake up, it finds them closed and its slots with somebody else.
END_SESSIONS = """
SELECT count(pg_terminate_backend(a.pid)) FROM node n JOIN pg_stat_activity a
  ON starts_with(a.application_name, 'tidegate-' || n.role) AND split_part(a.application_name, ' ', 2) = n.pid || '@' || n.host
 AND a.datname = current_database()
WHERE n.role = $1 AND n.node_id = ANY($2::uuid[])
"""
# A process that vanished in the middle of a batch: remember on which slots, and on which event when it ran alone.
BURY = """
WITH gone AS (
  SELECT node_id FROM node WHERE role = $1 AND node_id = ANY($2::uuid[]) ORDER BY node_id FOR UPDATE SKIP LOCKED
), dead AS (
  DELETE FROM node n USING gone WHERE n.node_id = gone.node_id
  RETURNING n.working_slots, n.working_tenant, n.working_event
), marked AS (
  INSERT INTO event_crash AS c (tenant_id, event_id, crashes)
  SELECT working_tenant, working_event, 1 FROM dead WHERE working_event IS NOT NULL
  ON CONFLICT (tenant_id, event_id) DO UPDATE SET crashes = c.crashes + 1
), blamed AS (
  SELECT slot FROM slot WHERE role = $1 AND slot IN (SELECT unnest(working_slots) FROM dead)
  ORDER BY slot FOR UPDATE SKIP LOCKED
)
UPDATE slot s SET crashes = s.crashes + 1 FROM blamed WHERE s.role = $1 AND s.slot = blamed.slot
"""
MARK_WORKING = """
WITH soon AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
UPDATE node SET working_slots = $2, working_tenant = $3, working_event = $4 FROM soon WHERE node_id = $1
"""
"""Waits for no disk: a process that ends leaves the mark all the same, and where the server goes down nobody is to blame."""
CALM = "UPDATE slot SET crashes = 0 WHERE role = $1 AND slot = $2"


def session_name(role: NodeRole, index: int) -> str:
    """Return the name of this process's database sessions: the role, and by whom its nodes know them."""
    return f"tidegate-{role}-{index} {os.getpid()}@{host_name()}"


def host_name() -> str:
    """Return the machine's name, cut so that it fits into the name of a session."""
    return socket.gethostname().replace(" ", "-")[:30]


@dataclass(frozen=True, slots=True)
class Held:
    """A slot that this node holds."""

    epoch: int
    crashes: int
    """Processes that vanished while they worked on it."""


class Node:
    """One worker loop among its peers. Use `join`, then `slots()` before each piece of work, then `leave`."""

    def __init__(self, access: Access, role: NodeRole, name: str, lease_seconds: float = LEASE_SECONDS) -> None:
        """Prepare; `join` opens it."""
        self.node_id: UUID = new_id()
        self.role: NodeRole = role
        self.in_use: set[int] = set()
        """Slots whose work is not finished: their user adds and removes them, and they are not given away meanwhile."""
        self._access = access
        self._name = name
        self._lease_seconds = lease_seconds
        self._beat_seconds = min(HEARTBEAT_SECONDS_MAX, lease_seconds / BEATS_PER_LEASE_MIN)
        self._conn: DirectConnection | None = None
        self._held: dict[int, Held] = {}
        self._leaving: set[int] = set()
        self._lease_until = 0.0
        self._when_gained: Callable[[], None] | None = None
        self._listeners: list[tuple[str, Callable[[str], None]]] = []
        self._beat = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._busy = asyncio.Lock()

    @classmethod
    async def join(cls, access: Access, *, role: NodeRole, name: str, lease_seconds: float = LEASE_SECONDS) -> Node:
        """Return a node that is registered and heart-beating. It reconnects under a new id when its session is lost."""
        node = cls(access, role, name, lease_seconds)
        with contextlib.suppress(*DATABASE_ERRORS):
            await node._open()
        node._task = asyncio.create_task(node._run(), name=f"{name}-heartbeat")
        return node

    def slots(self) -> dict[int, Held]:
        """Return the slots held now; empty when the lease has run out."""
        return self._held if self.has_lease() else {}

    def has_lease(self, margin_seconds: float = 0.0) -> bool:
        """Return whether the lease runs for at least `margin_seconds` more, by the monotonic clock."""
        return asyncio.get_running_loop().time() + margin_seconds < self._lease_until

    async def listen(self, channel: str, callback: Callable[[str], None]) -> None:
        """Call `callback(payload)` for every NOTIFY on `channel`, also after reconnecting."""
        async with self._busy:
            self._listeners.append((channel, callback))
            if self._conn is not None and not self._conn.is_closed():
                await self._conn.add_listener(channel, lambda *args: callback(str(args[3])))

    def when_gained(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever slots are held that were not before: what came for them gave notice to somebody else."""
        self._when_gained = callback

    @contextlib.contextmanager
    def using(self, slots: set[int]) -> Iterator[None]:
        """Keep these slots until the block is left, then give away at once what another node waits for.

        Giving a slot away waits for the transactions that are fenced on it, and all the others would wait with it.
        """
        self.in_use |= slots
        try:
            yield
        finally:
            self.in_use -= slots
            if not self._leaving.isdisjoint(slots):
                self._beat.set()

    async def mark_working(self, slots: list[int], tenant_id: UUID | None = None, event_id: UUID | None = None) -> None:
        """Say what is being worked on, so that a vanished process leaves a trace. Cleared by the work's transaction."""
        async with self._busy:
            await self._connection().execute(MARK_WORKING, self.node_id, slots, tenant_id, event_id)

    async def calm(self, slot: int) -> None:
        """Forget the crashes of a slot whose events ran through."""
        async with self._busy:
            await self._connection().execute(CALM, self.role, slot)
        if slot in self._held:
            self._held[slot] = Held(self._held[slot].epoch, 0)

    async def refresh(self) -> None:
        """Look at once who holds what, instead of at the next heartbeat."""
        self._beat.set()
        await asyncio.sleep(0)

    async def leave(self) -> None:
        """Give every slot back, so that others need not wait, and close."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        conn, self._conn, self._held = self._conn, None, {}
        if conn is None or conn.is_closed():
            return
        with contextlib.suppress(*DATABASE_ERRORS):
            await conn.execute(RELEASE, self.role, self.node_id, list(range(1024)))
            await conn.execute("DELETE FROM node WHERE node_id = $1", self.node_id)
            await conn.execute("SELECT pg_notify($1, '')", NODE_CHANNEL)
        conn.terminate()

    def abandon(self) -> None:
        """End as if the process had died: its row stays, and who takes over counts what it was working on."""
        if self._task is not None:
            self._task.cancel()
        self._forget()

    def _connection(self) -> DirectConnection:
        if self._conn is None or self._conn.is_closed():
            raise asyncpg.InterfaceError("the node's session is closed")
        return self._conn

    async def _run(self) -> None:
        while True:
            self._beat.clear()
            try:
                if self._conn is None or self._conn.is_closed():
                    self._forget()  # what the lost session held is not held under the new id
                    await self._open()
                else:
                    await self._heartbeat()
            except DATABASE_ERRORS as error:
                log.warning("node.session_lost", node=self._name, error_class=type(error).__name__)
                self._forget()
            with contextlib.suppress(TimeoutError):
                # Not wait_for: before Python 3.12 it swallows a cancellation that meets the event.
                now = asyncio.get_running_loop().time()
                async with asyncio.timeout(seconds_to_beat(self._beat_seconds, now) if self._conn else 0.5):
                    await self._beat.wait()

    def _forget(self) -> None:
        self._held, self._leaving, self._lease_until = {}, set(), 0.0
        if self._conn is not None:
            self._conn.terminate()
            self._conn = None

    async def _open(self) -> None:
        """Register under a fresh id: an old id's slots are taken over like a dead node's."""
        async with self._busy:
            await self._register()
        await self._heartbeat()
        async with self._busy:
            await self._connection().execute("SELECT pg_notify($1, '')", NODE_CHANNEL)

    async def _register(self) -> None:
        conn = await direct_connection(self._access, application_name=f"tidegate-node-{self._name}")
        try:
            self.node_id = new_id()
            lock_key = secrets.randbits(31)
            await conn.execute("SELECT pg_advisory_lock($1, $2)", LOCK_CLASS, lock_key)
            await conn.execute("SET synchronous_commit = off")  # a lost marker or heartbeat costs a few seconds
            await conn.execute(ADD_NODE, self.node_id, self.role, lock_key, os.getpid(), host_name())
            await conn.add_listener(NODE_CHANNEL, lambda *_: self._beat.set())
            for channel, callback in self._listeners:
                await conn.add_listener(channel, lambda *args, callback=callback: callback(str(args[3])))
            self._conn = conn
        except BaseException:
            self._conn = None
            conn.terminate()
            raise

    async def _heartbeat(self) -> None:
        """Beat, share the slots anew, and learn what is held. The lease runs from before the beat was sent."""
        async with self._busy:
            conn = self._connection()
            started = asyncio.get_running_loop().time()
            rows = await conn.fetch(BEAT, self.node_id, self.role, self._lease_seconds)
            own = next((row for row in rows if row["is_own"]), None)
            if own is None:
                raise asyncpg.InterfaceError("this node was taken for dead")
            live = [row["node_id"] for row in rows if row["is_live"]]
            dead = [row["node_id"] for row in rows if not row["is_live"] and row["node_id"] != self.node_id]
            held = list(zip(own["slots"], own["epochs"], own["crashes"], strict=True))
            if self.node_id in live and await self._share(conn, live, dead):
                held = [(row[0], row[1], row[2]) for row in await conn.fetch(HELD, self.role, self.node_id)]
            before = self._held.keys()
            self._held = {slot: Held(epoch, crashes) for slot, epoch, crashes in held if slot not in self._leaving}
            self._lease_until = started + self._lease_seconds
        if self._when_gained is not None and not self._held.keys() <= before:
            self._when_gained()

    async def _share(self, conn: DirectConnection, live: list[UUID], dead: list[UUID]) -> bool:
        """Give back what is not ours any more, take what is and has no live owner; return whether anything was asked."""
        rank = live.index(self.node_id)
        mine = set(range(rank, 1024, len(live)))
        if dead:
            with contextlib.suppress(asyncpg.InsufficientPrivilegeError):  # then its transactions run into their limits
                ended = await conn.fetchval(END_SESSIONS, self.role, dead)
                if ended:
                    log.warning("node.sessions_ended", node=self._name, count=ended)
            await conn.execute(BURY, self.role, dead)
        surplus = {slot for slot in (*self._held, *self._leaving) if slot not in mine}
        for slot in surplus:
            self._held.pop(slot, None)
        self._leaving = surplus & self.in_use
        if surplus - self._leaving:
            await conn.execute(RELEASE, self.role, self.node_id, list(surplus - self._leaving))
            await conn.execute("SELECT pg_notify($1, '')", NODE_CHANNEL)
        missing = [slot for slot in mine if slot not in self._held]
        if missing:
            await conn.execute(TAKE, self.role, self.node_id, missing, dead)
        return bool(missing or surplus)
