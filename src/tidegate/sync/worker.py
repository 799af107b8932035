"""The apply process: strands that each own slots, read their queue and run T2."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Sequence
from uuid import UUID

import structlog

from tidegate.eventlog.read import QueuedEvent, QueueReader
from tidegate.kernel.errors import InvariantError, TidegateError
from tidegate.sdk.connector import Connector
from tidegate.store.connections import DATABASE_ERRORS, Connection, Pool
from tidegate.store.context import Context
from tidegate.store.fence import Fenced, SlotEpoch
from tidegate.store.nodes import Node, session_name
from tidegate.store.pool import create_pool
from tidegate.sync import statements
from tidegate.sync.apply import Applier, StalePolicy
from tidegate.sync.catalogue import Catalogue
from tidegate.sync.going_live import refresh_modes
from tidegate.sync.normalize import prepare
from tidegate.sync.reading import TenantReader, TenantView
from tidegate.sync.records import Outcome, Prepared
from tidegate.sync.settings import SETTINGS, Settings
from tidegate.sync.turns import Turns
from tidegate.sync.write import COMMAND_CHANNEL
from tidegate.vault.bodies import BodyCipher
from tidegate.vault.keys import KeyRing

log = structlog.get_logger()

CRASHES = "SELECT crashes FROM event_crash WHERE tenant_id = $1 AND event_id = $2"
RETRY_SECONDS = 0.5
REST_SECONDS = 5.0
"""How long a tenant without a usable key is left alone."""
BY_KEY = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}
"""T2 reads by key and nothing else. A plan that was made while a table was empty must not read all of it later."""
GC_THRESHOLDS = (50_000, 20, 100)
"""A batch holds thousands of objects until it is committed, hardly any of them in a cycle. With Python's own thresholds
the collector walks them some 25 times per batch: a seventh of the process's CPU."""


async def serve(context: Context, stop: asyncio.Event, settings: Settings = SETTINGS) -> None:
    """Apply events until `stop` is set; then finish the batches in hand and leave the slots to others."""
    name = session_name("apply", context.index)
    pool = await create_pool(
        context.access, application_name=name, size_min=1, size_max=settings.strands + 2, server_settings=BY_KEY
    )
    cipher = BodyCipher(KeyRing(context.keys))
    turns = Turns()
    thresholds = gc.get_threshold()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        async with asyncio.TaskGroup() as group:
            for index in range(settings.strands):
                strand = Strand(context, pool, cipher, f"apply-{context.index}-{index}", settings, turns)
                group.create_task(strand.run(stop))
    finally:
        gc.set_threshold(*thresholds)
        await pool.close()


class Strand:
    """One node of the apply role: reads and applies the events of its own slots, one batch at a time."""

    def __init__(
        self, context: Context, pool: Pool, cipher: BodyCipher, name: str, settings: Settings, turns: Turns
    ) -> None:
        """Prepare; nothing is opened yet. `turns` is shared by the strands of a process."""
        self._context = context
        self._pool = pool
        self._cipher = cipher
        self._name = name
        self._settings = settings
        self._turns = turns
        self._reader = QueueReader()
        self._tenants = TenantReader()
        self._views: dict[UUID, TenantView] = {}
        self._views_due = 0.0
        self._parked_due = 0.0
        self._catalogues: dict[UUID, Catalogue] = {}
        self._resting: dict[UUID, float] = {}
        """Tenant -> until when it is left alone: it cannot be worked for."""
        self._wake = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Join, work until `stop`, leave. What must not happen ends the process, and is blamed on the work in hand."""
        lease = self._settings.lease_seconds
        node = await Node.join(self._context.access, role="apply", name=self._name, lease_seconds=lease)
        await node.listen("tidegate_event", self._notified)
        stopper = asyncio.create_task(self._wake_on(stop))
        try:
            while not stop.is_set():
                try:
                    done = await self._round(node)
                except DATABASE_ERRORS as error:
                    log.warning("apply.database_away", error_class=type(error).__name__, node=self._name)
                    await self._pause(RETRY_SECONDS, stop)
                    continue
                if not done and not stop.is_set():
                    await self._sleep()
        except Exception:
            node.abandon()
            raise
        finally:
            stopper.cancel()
            await node.leave()

    async def _wake_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    def _notified(self, payload: str) -> None:
        self._reader.notice(payload)
        self._wake.set()

    async def _sleep(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.slow_poll_seconds):
                await self._wake.wait()

    async def _pause(self, seconds: float, stop: asyncio.Event) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await stop.wait()

    async def _round(self, node: Node) -> bool:
        """Read one batch and apply it; return whether there was anything to do."""
        self._wake.clear()
        slots = node.slots()
        if not slots:
            return False
        await self._refresh(list(slots))
        single = [slot for slot, held in slots.items() if held.crashes >= self._settings.crashes_until_single]
        calm = [slot for slot in slots if slot not in set(single)]
        events = await self._claim(calm, self._settings.batch_events_max)
        if events:
            async with self._turns.together():
                await self._apply(node, events)
        for slot in single:
            alone = await self._claim([slot], 1)
            if alone:
                async with self._turns.alone():
                    await self._apply_alone(node, alone[0])
                events = [*events, *alone]
            else:
                await node.calm(slot)
        return any(not self._is_resting(event.tenant_id) for event in events)

    def _is_resting(self, tenant_id: UUID) -> bool:
        return self._resting.get(tenant_id, 0.0) > self._context.clock.monotonic()

    async def _claim(self, slots: list[int], events_max: int) -> list[QueuedEvent]:
        async with self._pool.acquire() as conn:
            return await self._reader.claim(conn, slots, events_max)

    async def _refresh(self, slots: list[int]) -> None:
        now = self._context.clock.monotonic()
        if now >= self._views_due:
            async with self._pool.acquire() as conn:
                self._views = await self._tenants.read(conn, self._context.clock.now())
                for tenant_id, view in self._views.items():
                    if not view.is_settled:
                        await self._settle_modes(conn, tenant_id)
                    if view.policy.stock_channels:
                        await self._mark_untold(conn, tenant_id, view)
            self._views_due = now + self._seconds_to_next_view()
        if now >= self._parked_due:
            await self._pool.execute(statements.WAKE_PARKED, slots)
            self._parked_due = now + self._settings.wake_parked_seconds

    def _seconds_to_next_view(self) -> float:
        """Return when to look again: after a while, or when a configuration says something else by itself."""
        now = self._context.clock.now()
        changes = [(view.until - now).total_seconds() for view in self._views.values() if view.until is not None]
        return max(0.0, min([self._settings.view_seconds, *changes]))

    async def _settle_modes(self, conn: Connection, tenant_id: UUID) -> None:
        """Make the modes of the configuration count: a timed override began or ended, or this is a new release."""
        settled = await refresh_modes(conn, tenant_id)
        log.info("apply.modes_settled", tenant_id=tenant_id, flows=len(settled.changed), marks=settled.marks)
        self._views = await self._tenants.read(conn, self._context.clock.now())

    async def _mark_untold(self, conn: Connection, tenant_id: UUID, view: TenantView) -> None:
        """Have channels told of the articles that they never heard of, and wake their lanes."""
        done = await conn.execute(statements.MARK_UNTOLD, tenant_id, list(view.policy.stock_channels))
        if done != "UPDATE 0":
            await conn.execute("SELECT pg_notify($1, '')", COMMAND_CHANNEL)

    async def _apply(self, node: Node, events: Sequence[QueuedEvent]) -> None:
        by_tenant: dict[UUID, list[QueuedEvent]] = {}
        for event in events:
            by_tenant.setdefault(event.tenant_id, []).append(event)
        for tenant_id, batch in by_tenant.items():
            if self._is_resting(tenant_id):
                continue
            await node.mark_working(sorted({event.slot for event in batch}))
            await self._apply_tenant(node, tenant_id, await self._prepare(tenant_id, batch))

    async def _apply_alone(self, node: Node, event: QueuedEvent) -> None:
        """Apply one event under a marker that names it; quarantine it when it has ended too many processes."""
        crashes = await self._pool.fetchval(CRASHES, event.tenant_id, event.event_id) or 0
        if crashes >= self._settings.crashes_until_quarantine:
            reason = f"{crashes} processes ended while they worked on it"
            prepared = Prepared(event, (), "", 0, Outcome("quarantined", "crashes_worker", reason))
        else:
            await node.mark_working([event.slot], event.tenant_id, event.event_id)
            (prepared,) = await self._prepare(event.tenant_id, [event])
        prepared.crashes = crashes
        await self._apply_tenant(node, event.tenant_id, [prepared])

    async def _prepare(self, tenant_id: UUID, batch: list[QueuedEvent]) -> list[Prepared]:
        try:
            async with self._pool.acquire() as conn:
                await self._cipher.opener(conn, {(event.tenant_id, event.data_key_id) for event in batch})
        except InvariantError as error:  # the other keys are there; what needs this one is quarantined
            log.error("apply.key_unusable", tenant_id=tenant_id, code=error.code)
        view = await self._view_of(tenant_id, {event.connection_id for event in batch})
        return prepare(batch, self._connectors(view), self._open)

    async def _view_of(self, tenant_id: UUID, connection_ids: set[UUID]) -> TenantView | None:
        """Return the tenant's view; read again at once when it does not know a connection yet."""
        view = self._views.get(tenant_id)
        if view is None or not connection_ids <= view.connectors.keys():
            async with self._pool.acquire() as conn:
                self._views = await self._tenants.read(conn, self._context.clock.now())
            view = self._views.get(tenant_id)
        return view

    def _connectors(self, view: TenantView | None) -> dict[UUID, Connector]:
        known = self._context.connectors
        return {key: known[name] for key, name in view.connectors.items() if name in known} if view else {}

    def _open(self, event: QueuedEvent) -> bytes:
        return self._cipher.open(event.tenant_id, event.data_key_id, "event", event.event_id, event.body)

    async def _apply_tenant(self, node: Node, tenant_id: UUID, batch: list[Prepared]) -> None:
        view = self._views.get(tenant_id)
        if view is None:
            return
        slots = node.slots()
        epochs = [SlotEpoch(slot, slots[slot].epoch) for slot in sorted({p.event.slot for p in batch}) if slot in slots]
        if len(epochs) < len({p.event.slot for p in batch}):
            return
        today = self._context.clock.now().date()
        try:
            async with self._pool.acquire() as conn:
                key = await self._cipher.current(conn, tenant_id, today)
        except InvariantError as error:  # nothing of this tenant can be sealed; its events wait
            log.error("apply.tenant_stuck", tenant_id=tenant_id, code=error.code)
            self._resting[tenant_id] = self._context.clock.monotonic() + REST_SECONDS
            return
        applier = Applier(
            pool=self._pool,
            tenant_id=tenant_id,
            node_id=node.node_id,
            writer_name=self._name,
            catalogue=self._catalogues.setdefault(tenant_id, Catalogue(tenant_id)),
            policy=view.policy,
            seal_order=lambda order_id, text: (key.key_id, self._cipher.seal(key, "order", order_id, text)),
            clock=self._context.clock,
        )
        try:
            await applier.apply(batch, epochs)
        except StalePolicy:
            self._views_due = 0.0
        except Fenced:
            log.info("apply.fenced", node=self._name, slots=len(epochs))
            await node.refresh()
        except TidegateError as error:
            log.error("apply.failed", error_class=type(error).__name__, code=error.code, reason=str(error))
            raise
