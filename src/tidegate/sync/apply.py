"""T2: one transaction per batch. Poison is found by halving; deadlocks and serialization failures are tried again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from tidegate.config.versions import CONFIG_LOCK_CLASS
from tidegate.inventory.backorder import BY_POLICY
from tidegate.inventory.ledger import Entry, post
from tidegate.inventory.reserve import end_postings
from tidegate.kernel.clock import Clock
from tidegate.kernel.crashpoint import reach
from tidegate.kernel.errors import TransientError
from tidegate.store.connections import Connection, Pool
from tidegate.store.fence import SlotEpoch, fence
from tidegate.sync import statements
from tidegate.sync.backorders import oversold_now, put_on_backorder
from tidegate.sync.calling_off import call_off, choose_orders
from tidegate.sync.catalogue import Catalogue
from tidegate.sync.fold import Fold, fresh_version
from tidegate.sync.listings import end_numbers, store_listings
from tidegate.sync.load import (
    articles_of,
    follow_sales,
    hurry_numbers,
    load_state,
    lock_levels,
    mark_dirty,
    read_claims,
)
from tidegate.sync.plan import plan_waiting
from tidegate.sync.policy import Policy
from tidegate.sync.records import Outcome, Prepared, Result, State, StateMoved, WiderLocks
from tidegate.sync.relocation import move_orders, plan_relocations, store_relocations
from tidegate.sync.reservations import end_reservations
from tidegate.sync.urgent import Stock
from tidegate.sync.write import COMMAND_CHANNEL, Writer

RETRIES_MAX = 8
RETRY_SPREAD_SECONDS = 0.05
"""A deadlock or serialization failure waits up to this much, times the try, before the next one."""
FINISH = """
UPDATE node SET working_slots = NULL, working_tenant = NULL, working_event = NULL WHERE node_id = $1
"""
"""Nothing is being worked on any more."""

POISON = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    OverflowError,
)
"""What says that the data is at fault: SQLSTATE classes 22, 23 and 54 (a text too long for its index), and a value that
fits no column, which is noticed on our side already."""


class StalePolicy(TransientError):
    """The policy is not that of the newest configuration: read it again."""

    code = "stale_policy"


class StaleCatalogue(Exception):
    """A binding was changed after articles were looked up."""


SealWith = Callable[[UUID, bytes], tuple[UUID, bytes]]


@dataclass(frozen=True)
class Applier:
    """Applies batches of one tenant as one node."""

    pool: Pool
    tenant_id: UUID
    node_id: UUID
    writer_name: str
    catalogue: Catalogue
    policy: Policy
    seal_order: SealWith
    clock: Clock
    say: Callable[[str, str], None]
    """Sends a wake-up: channel and payload."""

    async def apply(self, batch: Sequence[Prepared], epochs: Sequence[SlotEpoch]) -> int:
        """Apply `batch` (queue order, one tenant) under the fence of its slots; return how many events are done.

        Raises Fenced when a slot has another owner now, StalePolicy when the configuration is a newer one; nothing of the
        batch has happened then.
        """
        async with self.pool.acquire() as conn:
            return await self._halving(conn, list(batch), epochs)

    async def _halving(self, conn: Connection, batch: list[Prepared], epochs: Sequence[SlotEpoch]) -> int:
        """Apply a batch; where the data is at fault, apply its halves, and quarantine the one event that is left."""
        try:
            await self._resolved(conn, batch, epochs)
        except POISON as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                first = await self._halving(conn, batch[:middle], epochs)
                return first + await self._halving(conn, batch[middle:], epochs)
            culprit = batch[0]
            if _has_outcome_already(error):
                await self._drop_repeated(conn, culprit, epochs)
                return 1
            culprit.changes = ()
            culprit.failure = Outcome("quarantined", *_describe(error))
            await self._resolved(conn, batch, epochs)
        return len(batch)

    async def _resolved(self, conn: Connection, batch: list[Prepared], epochs: Sequence[SlotEpoch]) -> None:
        """Look articles up and apply a batch; look them up anew when somebody changed a binding meanwhile."""
        for _ in range(RETRIES_MAX):
            await self.catalogue.resolve(conn, *articles_of(batch))
            try:
                return await self._with_retries(conn, batch, epochs)
            except StaleCatalogue:
                self.catalogue.forget()
        raise StalePolicy("bindings of articles keep changing")

    async def _drop_repeated(self, conn: Connection, repeated: Prepared, epochs: Sequence[SlotEpoch]) -> None:
        """Take the second row of a run that has its outcome out of the queue."""
        async with conn.transaction():
            await fence(conn, "apply", self.node_id, epochs)
            event = repeated.event
            await conn.execute(statements.TAKE_FROM_QUEUE, self.tenant_id, [event.slot], [event.seq])

    async def _with_retries(self, conn: Connection, batch: list[Prepared], epochs: Sequence[SlotEpoch]) -> None:
        also = WiderLocks((), ())
        for attempt_number in range(1, RETRIES_MAX + 1):
            try:
                await self._transaction(conn, batch, epochs, also, may_widen=attempt_number < RETRIES_MAX)
            except WiderLocks as wider:
                also.orders |= wider.orders
                also.levels |= wider.levels
            except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, StateMoved):
                if attempt_number == RETRIES_MAX:
                    raise
                await asyncio.sleep(random.uniform(0, RETRY_SPREAD_SECONDS * attempt_number))  # noqa: S311
            else:
                return

    async def _transaction(
        self, conn: Connection, batch: list[Prepared], epochs: Sequence[SlotEpoch], also: WiderLocks, *, may_widen: bool
    ) -> None:
        """`also` is locked besides what the batch names; `may_widen`: WiderLocks may be raised."""
        now: datetime = self.clock.now()
        reach("apply.t2.begin")
        async with conn.transaction():
            await fence(conn, "apply", self.node_id, epochs, beside=(CONFIG_LOCK_CLASS, self.tenant_id))
            newest = await conn.fetchrow(statements.NEWEST_CONFIG, self.tenant_id)
            if newest is None or (newest[0], newest[1]) != (self.policy.known_version, self.policy.modes_revision):
                raise StalePolicy("a newer configuration was put to work")
            if newest["catalogue_version"] != self.catalogue.version:
                raise StaleCatalogue
            state = await load_state(
                conn,
                self.tenant_id,
                batch,
                self.catalogue,
                self.policy,
                is_order_awaited=newest["is_order_awaited"],
                also=also.orders,
            )
            result = Fold(state, self.catalogue, self.policy, now).run(batch)
            writer = Writer(self.tenant_id, self.writer_name, self.seal_order, self.policy.config_version, now)
            await writer.store_rows(conn, state, result)
            await mark_dirty(conn, self.tenant_id, self.policy, state)
            changed = await store_listings(conn, self.tenant_id, self.policy, result.listings)
            await writer.store_payments(conn, state)
            await follow_sales(conn, self.tenant_id, self.policy, result)
            held = {(hold.item_id, hold.location_id) for each in state.standing.values() for hold in each.holds}
            touched = {posting.key() for posting in result.postings}
            stock = await lock_levels(conn, self.tenant_id, held | touched | also.levels)
            claims = await read_claims(conn, self.tenant_id, list(result.claimants.values()), stock)
            for standing, ending in claims:
                result.postings += end_postings(standing, ending)
            entries = post(stock.levels, result.postings)
            if "other_location" in self.policy.oversell:
                entries += await self._relocate(conn, state, stock, entries, may_widen=may_widen)
            await end_reservations(conn, self.tenant_id, [ending for _, ending in claims])
            await writer.store_entries(conn, entries)
            await hurry_numbers(conn, self.tenant_id, state.marks, stock, entries)
            missing = oversold_now(entries, stock) if self.policy.oversell else {}
            if missing:
                await self._decide(conn, state, result, missing, _cause_of(entries), may_widen=may_widen)
            woken = await writer.store_commands(
                conn, state, result, stock_channels=self.policy.stock_channels, changed=changed
            )
            await end_numbers(conn, self.tenant_id, result.listings)
            await conn.execute(FINISH, self.node_id)
            reach("apply.t2.before_commit")
        reach("apply.t2.committed")
        if woken is not None:
            self.say(COMMAND_CHANNEL, woken)

    async def _decide(
        self,
        conn: Connection,
        state: State,
        result: Result,
        missing: Mapping[UUID, int],
        cause: UUID | None,
        *,
        may_widen: bool,
    ) -> None:
        """Decide about the orders that hold the missing units of items, by the steps of the policy in their order."""
        for step in self.policy.oversell:
            if step == "cancel_newest":
                chosen = await choose_orders(conn, self.tenant_id, self.policy, state, missing, may_widen=may_widen)
                await call_off(conn, self.tenant_id, self.policy, state, result, chosen, cause)
            elif step == "backorder":
                waiting = await put_on_backorder(conn, self.tenant_id, missing, by=BY_POLICY)
                result.commands += plan_waiting(waiting, result.changed_orders, fresh_version, self.policy, cause)

    async def _relocate(
        self, conn: Connection, state: State, stock: Stock, entries: list[Entry], *, may_widen: bool
    ) -> list[Entry]:
        """Let orders that their locations cannot serve leave from others; return the entries of that."""
        moves = await plan_relocations(
            conn, self.tenant_id, self.policy, self.catalogue, state, stock, entries, may_widen=may_widen
        )
        moved = post(stock.levels, move_orders(moves, state, self.catalogue, _cause_of(entries)))
        await store_relocations(conn, self.tenant_id, moves, state)
        return moved


def _cause_of(entries: list[Entry]) -> UUID | None:
    """Return the event of the last sale among entries, else of the last entry. Pure."""
    sales = [entry.posting.event_id for entry in entries if entry.committed_delta > 0]
    return (sales or [entry.posting.event_id for entry in entries] or [None])[-1]


def _has_outcome_already(error: Exception) -> bool:
    """Whether this run of the event was applied before: two people who replay it at once put it into the queue twice."""
    return isinstance(error, asyncpg.UniqueViolationError) and (error.table_name or "").startswith("event_outcome")


def _describe(error: Exception) -> tuple[str, str]:
    """Return a code and which rule was broken, without the values."""
    if not isinstance(error, asyncpg.PostgresError) or type(error) is asyncpg.DataError:  # it never left our side
        return "value_out_of_range", type(error).__name__
    rule = error.constraint_name or error.column_name or "data"
    return f"sqlstate_{error.sqlstate}", f"{type(error).__name__}: {rule}"
