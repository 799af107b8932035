"""What every step of one lane needs to know, and the two ways it meets the database."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

import asyncpg

from tidegate.commerce.commands import CommandKind
from tidegate.config.lanes import DEFAULT_RULES, LaneRules
from tidegate.config.snapshots import Snapshots
from tidegate.dispatch.budget_book import Book
from tidegate.dispatch.mapping import NO_MAPS, MapsAtWork
from tidegate.dispatch.records import ConnectionRow, Ownership
from tidegate.dispatch.safety import Safety
from tidegate.dispatch.settings import DispatchSettings
from tidegate.dispatch.statements import MAY_WRITE, STORE_BUDGET
from tidegate.kernel.clock import Clock
from tidegate.kernel.retry import full_jitter
from tidegate.sdk.connector import CommandSpec, Connector
from tidegate.store.connections import Connection, Pool
from tidegate.store.fence import Fenced, SlotEpoch, fence
from tidegate.vault.bodies import BodyCipher

T = TypeVar("T")

_ROLLED_BACK = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.LockNotAvailableError)
ACQUIRE_SECONDS = 10.0


@dataclass
class LaneSettings:
    """The lane's rules; they are replaced while it runs."""

    rules: LaneRules = DEFAULT_RULES


@dataclass
class Wishes:
    """What a transaction would have the lane do soon."""

    are_feeds_due: bool = False
    """Units wait for it to be known what the channel sold."""


@dataclass(frozen=True, kw_only=True)
class Scope:
    """One lane under one ownership. A new owner or epoch is a new scope."""

    connection: ConnectionRow
    connector: Connector
    owner: Ownership
    pool: Pool
    cipher: BodyCipher
    clock: Clock
    cell: str
    writer: str
    """Name of the lane in the conservation counters."""
    settings: DispatchSettings
    lane: LaneSettings = field(default_factory=LaneSettings, compare=False)
    """How the lane goes by configuration now."""
    safety: Safety = field(default_factory=Safety, compare=False)
    """What is withheld from the channel now."""
    maps: Callable[[], MapsAtWork] = lambda: NO_MAPS
    """The maps of the newest configuration; they may change between two calls."""
    snapshots: Snapshots = field(default_factory=Snapshots, compare=False)
    """Configurations that lanes of the process read for comparisons; each version is parsed once."""

    wishes: Wishes = field(default_factory=Wishes, compare=False, repr=False)
    """What is asked of the lane."""

    book: Book = field(init=False, compare=False, repr=False)
    """What is left of the connection's budget."""

    def __post_init__(self) -> None:
        """Begin with an empty budget."""
        object.__setattr__(self, "book", Book(self.connector, self.clock))

    @property
    def ids(self) -> tuple[UUID, UUID]:
        """Tenant and connection: $1 and $2 of the room's statements."""
        return self.connection.tenant_id, self.connection.connection_id

    @property
    def follows_sales(self) -> bool:
        """Whether what the channel shows is followed through its own sales: it lowers the number, and refuses a stale one."""
        connector = self.connector
        return connector.conditional_set and connector.deducts_own_orders and connector.stock_number == "available"

    def overtakes(self, kind: CommandKind) -> bool:
        """Whether a newer command of this kind may go although an older one of its target is in doubt.

        True for absolute numbers that the last writer wins. Where a shop takes shipped units off by itself, the late
        arrival of an old number would offer them again.
        """
        spec, connector = self.spec(kind), self.connector
        is_absolute = kind is CommandKind.INVENTORY_SET and spec is not None and spec.safe_to_resend
        return is_absolute and not connector.conditional_set and connector.stock_number == "available"

    def spec(self, kind: CommandKind) -> CommandSpec | None:
        """Return how the connector carries out a kind of command, None when it cannot."""
        return self.connector.commands.get(kind)

    def settle_seconds(self, kind: CommandKind, *, is_taken_over: bool = False) -> float:
        """Return how long after a lost answer a 'not found' may be believed.

        After a takeover the earlier owner may have been cut off from the database without noticing: until its lease ran
        out it may have begun a request, which may have lasted as long as a request may last.
        """
        spec = self.spec(kind)
        settle = (spec.readback_settle if spec is not None else timedelta(0)).total_seconds()
        if not is_taken_over:
            return settle
        return max(settle, self.settings.lease_seconds + self.connector.request_deadline.total_seconds())

    @property
    def silent_feeds(self) -> list[str]:
        """Names of the feeds that tell of no sales: whether they were read says nothing of the channel's orders."""
        return [name for name, feed in self.connector.feeds.items() if not feed.tells_sales]

    def through(self, pool: Pool) -> Scope:
        """Return the same lane, budget included, whose transactions go through another pool."""
        other = copy.copy(self)
        object.__setattr__(other, "pool", pool)
        return other

    async def fence(self, conn: Connection) -> None:
        """Hold the lane's slot until the transaction ends. Raises `Fenced` when it belongs to another node."""
        await fence(conn, "dispatch", self.owner.node_id, [SlotEpoch(self.owner.slot, self.owner.epoch)])

    async def fence_for(self, conn: Connection, flow: str) -> tuple[bool, str | None]:
        """Hold the lane's slot, and with it the switch and the mode of a flow; return whether anything may be written, and the mode.

        Raises `Fenced` as `fence` does.
        """
        held = (self.owner.slot, self.owner.epoch, self.owner.node_id)
        row = await conn.fetchrow(MAY_WRITE, *self.ids, flow, *held)
        if row is None or not row["is_held"]:
            raise Fenced("the lane's slot has another owner")
        return bool(row["may_write"]), row["mode"]

    async def store_budget(self, conn: Connection) -> None:
        """Store what is left of the budget. What a call takes was taken before, so it is durable with this transaction."""
        await conn.execute(STORE_BUDGET, *self.ids, *self.book.store())

    async def charge_read(self) -> None:
        """Store a read's charge before it is made. Raises `Fenced`."""

        async def work(conn: Connection) -> None:
            await self.fence(conn)
            await self.store_budget(conn)

        await self.transact(work)

    async def transact(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `work` in one transaction; a deadlock or a lock that is not given is tried again.

        Raises what `work` raises, and `DATABASE_ERRORS`: then the commit may have happened.
        """
        for retry_index in range(self.settings.transaction_tries):
            try:
                async with self.pool.acquire(timeout=ACQUIRE_SECONDS) as conn, conn.transaction():
                    return await work(conn)
            except _ROLLED_BACK:
                if retry_index + 1 == self.settings.transaction_tries:
                    raise
                await asyncio.sleep(full_jitter(retry_index, base_seconds=0.02))
        raise AssertionError("transaction_tries is at least 1")
