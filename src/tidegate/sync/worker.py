"""The apply process: strands that each own slots, read their queue and run T2."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable, Sequence
from functools import partial
from uuid import UUID

import structlog

from tidegate.eventlog.read import QueuedEvent, QueueReader
from tidegate.kernel.errors import InvariantError, TidegateError
from tidegate.sdk.connector import Connector
from tidegate.store.connections import DATABASE_ERRORS, Pool
from tidegate.store.context import Context
from tidegate.store.fence import Fenced, SlotEpoch
from tidegate.store.nodes import Node, session_name
from tidegate.store.notify import Notifier
from tidegate.store.pool import BY_KEY, create_pool, direct_connection
from tidegate.sync.apply import Applier, StalePolicy
from tidegate.sync.catalogue import Catalogue
from tidegate.sync.normalize import prepare
from tidegate.sync.pulse import beat
from tidegate.sync.reading import TenantView
from tidegate.sync.records import Outcome, Prepared, StateMoved
from tidegate.sync.reserve import Reserve
from tidegate.sync.settings import SETTINGS, Settings
from tidegate.sync.strength import Strength
from tidegate.sync.turns import Turns
from tidegate.sync.views import Views
from tidegate.vault.bodies import BodyCipher
from tidegate.vault.keys import KeyRing

log = structlog.get_logger()

CRASHES = "SELECT crashes FROM event_crash WHERE tenant_id = $1 AND event_id = $2"
RETRY_SECONDS = 0.5
REST_SECONDS = 5.0
"""How long a tenant without a usable key is left alone."""
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
    views = Views(pool, context.clock, settings.view_seconds, context.connectors)
    strength = Strength(
        settings.large_claim_events, settings.large_claims_in_a_row, settings.slow_batch_seconds, settings.calm_seconds
    )
    reserve = Reserve(strength, stop)
    notifier = Notifier(partial(direct_connection, context.access, application_name=name))
    strands = [
        Strand(context, pool, cipher, index, settings, turns, views, reserve, notifier.say)
        for index in range(settings.strands)
    ]
    thresholds = gc.get_threshold()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        async with notifier, asyncio.TaskGroup() as group:
            for strand in strands[: settings.strands_at_rest]:
                group.create_task(strand.run(stop))
            for strand in strands[settings.strands_at_rest :]:
                group.create_task(strand.run_when_called())
            group.create_task(reserve.close())
            group.create_task(beat(pool, strands, settings.slow_poll_seconds, stop, refresh=views.refresh))
    finally:
        gc.set_threshold(*thresholds)
        await pool.close()


class Strand:
    """One node of the apply role: reads and applies the events of its own slots, one batch at a time."""

    def __init__(
        self,
        context: Context,
        pool: Pool,
        cipher: BodyCipher,
        index: int,
        settings: Settings,
        turns: Turns,
        views: Views,
        reserve: Reserve,
        say: Callable[[str, str], None],
    ) -> None:
        """Prepare; nothing is opened yet. `turns`, `views` and `reserve` are shared by the strands of a process.

        `say` sends a wake-up: channel and payload.
        """
        self._context = context
        self._pool = pool
        self._cipher = cipher
        self._index = index
        self._name = f"apply-{context.index}-{index}"
        self._settings = settings
        self._turns = turns
        self._reader = QueueReader(is_set_up=True)
        self._views = views
        self._reserve = reserve
        self._say = say
        self._node: Node | None = None
        self._is_restless = True
        """Whether it must look by itself soon: what it has to do does not come through the queue alone."""
        self._catalogues: dict[UUID, Catalogue] = {}
        self._resting: dict[UUID, float] = {}
        """Tenant -> until when it is left alone: it cannot be worked for."""
        self._wake = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Join, work until `stop`, leave. What must not happen ends the process, and is blamed on the work in hand."""
        lease = self._settings.lease_seconds
        self._reader.notice("")  # nobody gave notice while it was not there
        node = self._node = await Node.join(self._context.access, role="apply", name=self._name, lease_seconds=lease)
        node.when_gained(self._gained)
        await node.listen("tidegate_event", self._notified)
        await node.listen("tidegate_config", self._reconfigured)
        await node.listen("tidegate_connection", self._reconfigured)
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
            self._reserve.left(self._index)
            await node.leave()

    async def run_when_called(self) -> None:
        """Run each time that the reserve is called, until it is dismissed; end when the process stops."""
        while await self._reserve.called():
            await self.run(self._reserve.dismissed)

    # --- wake-ups ------------------------------------------------------------------------------------------------
    def held_slots(self) -> set[int]:
        """See `pulse.Sleeper`."""
        return set(self._node.slots()) if self._node is not None else set()

    def feel(self, server: str, last_seq: int) -> None:
        """See `pulse.Sleeper`. Slots that were just taken over are looked at as well."""
        if not self._reader.is_empty(self.held_slots(), server, last_seq):
            self._wake.set()

    def wake(self) -> None:
        """See `pulse.Sleeper`."""
        self._wake.set()

    async def _wake_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    def _gained(self) -> None:
        """Look at slots that were somebody else's until now: what came for them meanwhile gives no second notice."""
        self._reader.notice("")
        self._wake.set()

    def _notified(self, payload: str) -> None:
        slots = self._reader.notice(payload)
        if slots is None or not slots.isdisjoint(self.held_slots()):
            self._wake.set()

    def _reconfigured(self, _payload: str) -> None:
        self._views.expire()
        self._wake.set()

    async def _sleep(self) -> None:
        settings = self._settings
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(settings.slow_poll_seconds if self._is_restless else settings.sleep_seconds):
                await self._wake.wait()

    async def _pause(self, seconds: float, stop: asyncio.Event) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await stop.wait()

    async def _round(self, node: Node) -> bool:
        """Read one batch and apply it; return whether there was anything to do."""
        self._wake.clear()
        self._is_restless = True
        slots = node.slots()
        if not slots:
            return False
        await self._views.refresh()
        single = [slot for slot, held in slots.items() if held.crashes >= self._settings.crashes_until_single]
        calm = [slot for slot in slots if slot not in set(single)]
        events = await self._claim(calm, self._settings.batch_events_max)
        self._reserve.claimed(self._index, len(events))
        if events:
            async with self._turns.together():
                with self._reserve.in_hand(), node.using({event.slot for event in events}):
                    await self._apply(node, events)
        for slot in single:
            alone = await self._claim([slot], 1)
            if alone:
                async with self._turns.alone():
                    await self._apply_alone(node, alone[0])
                events = [*events, *alone]
            else:
                await node.calm(slot)
        self._is_restless = bool(single or events)
        return any(not self._is_resting(event.tenant_id) for event in events)

    def _is_resting(self, tenant_id: UUID) -> bool:
        return self._resting.get(tenant_id, 0.0) > self._context.clock.monotonic()

    async def _claim(self, slots: list[int], events_max: int) -> list[QueuedEvent]:
        async with self._pool.acquire() as conn:
            return await self._reader.claim(conn, slots, events_max)

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
        view = await self._views.find(tenant_id, {event.connection_id for event in batch})
        return prepare(batch, self._connectors(view), self._open)

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
            say=self._say,
        )
        try:
            await applier.apply(batch, epochs)
        except StalePolicy:
            self._views.expire()
        except StateMoved:  # others joined payments to orders all the while; they got on, and this is tried again
            log.info("apply.moved", node=self._name, events=len(batch))
        except Fenced:
            log.info("apply.fenced", node=self._name, slots=len(epochs))
            await node.refresh()
        except TidegateError as error:
            log.error("apply.failed", error_class=type(error).__name__, code=error.code, reason=str(error))
            raise
