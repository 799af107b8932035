"""Looks at the rules, in one process at a time: every web process runs this, and one of them leads.

Who leads holds a session advisory lock, and writes on that very session: when the session is gone, the lock is, and what
was being written is rolled back. So two leaders never write.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from uuid import UUID

import asyncpg
import structlog

from tidegate.config.records import Config
from tidegate.config.snapshots import Snapshots
from tidegate.kernel.clock import Clock, seconds_to_beat
from tidegate.kernel.ids import new_id
from tidegate.monitor.alerts import metrics
from tidegate.monitor.alerts.addresses import HEARTBEAT_KIND
from tidegate.monitor.alerts.evaluate import WINDOW, evaluate, silent_windows
from tidegate.monitor.alerts.judge import Memory, judge
from tidegate.monitor.alerts.machine import Track
from tidegate.monitor.alerts.notices import House
from tidegate.monitor.alerts.outbox import Outbox, Tenant
from tidegate.monitor.alerts.reader import SignalReader, count_until, first_uncounted
from tidegate.monitor.alerts.records import Signals
from tidegate.monitor.alerts.rules import RULES, tune
from tidegate.monitor.alerts.settings import DEFAULTS, AlertSettings
from tidegate.monitor.alerts.store import load_firing, store_round
from tidegate.sdk.connector import Connector
from tidegate.store.connections import DATABASE_ERRORS, DirectConnection
from tidegate.store.nodes import host_name
from tidegate.store.pool import Access, direct_connection
from tidegate.store.sql import query
from tidegate.vault.keys import KeyRing

log = structlog.get_logger("monitor.alerts")

LOCK_CLASS = 7482
"""First key of the advisory lock of whoever leads."""
CHANNEL = "tidegate_alert"
"""Somebody acknowledged, silenced, or changed a target."""
SILENT_WHEN_OVER = frozenset({"database_away"})
"""Rules that are told when it is over already."""
GONE_SECONDS = 120.0
"""After a longer pause of all rounds nobody was there to receive either."""
DRAIN_SECONDS = 2.0
_LEAD = query("alerts_lead")
_NOTE_ROUND = query("alerts_note_round")
_READ_WINDOW = query("alerts_read_window")
_LAST_ROUND = query("alerts_last_round")
_LIVE_ROLES = query("alerts_live_roles")
_WITNESS = query("alerts_witness")
_TARGETS = query("alerts_targets")
_PENDING = query("alerts_notices_pending")
_PRUNE = tuple(query(f"alerts_prune_{name}") for name in ("alerts", "notices", "rhythm", "silences", "witnesses"))

MissingProcesses = Callable[[], Mapping[str, str]]
"""Processes of this machine that should run and do not -> why one thinks so."""


class Evaluator:
    """The rounds of one process. `run` it, or call `round` yourself; one event loop, one task."""

    def __init__(
        self,
        access: Access,
        *,
        keys: Mapping[str, bytes],
        connectors: Mapping[str, Connector],
        clock: Clock,
        cell: str,
        folder: Path | None = None,
        missing: MissingProcesses = dict,
        settings: AlertSettings = DEFAULTS,
    ) -> None:
        """`folder` is the project's, whose disk is watched."""
        self._access = access
        self._connectors = connectors
        self._clock = clock
        self._cell = cell
        self._folder = folder
        self._missing = missing
        self._settings = settings
        self.outbox = Outbox(KeyRing(keys), clock, cell, settings)
        self._conn: DirectConnection | None = None
        self._busy = asyncio.Lock()
        self._leads = False
        self._started = clock.monotonic()
        self._rounds = 0
        self._snapshots = Snapshots()
        self._versions_due = 0.0
        self._readers: dict[UUID, SignalReader] = {}
        self._memories: dict[UUID, Memory] = {}
        self._may_tell: set[UUID] = set()
        """Tenants that have something that may have to be told, now or later."""
        self._counted_to = UUID(int=0)
        self._is_counted = False
        self._is_busy = False
        """Whether so much comes in that it is counted in small pieces."""
        self._was_gone = False
        self._away_since: float | None = None
        self._away_seconds = 0.0
        self._notices_due = 0.0
        self._beat_due = 0.0
        self._prune_due = 0.0
        self._witnessed: tuple[tuple[str, ...], float] = ((), -1e9)
        self._wake = asyncio.Event()

    @property
    def leads(self) -> bool:
        """Whether this process looks at the rules."""
        return self._leads

    @property
    def round_seconds(self) -> float:
        """How often the rules are looked at."""
        return self._settings.round_seconds

    async def run(self, stop: asyncio.Event) -> None:
        """Look at the rules round by round until `stop` is set. Nothing but cancellation escapes."""
        stopper = asyncio.create_task(self._wake_on(stop))
        try:
            while not stop.is_set():
                self._wake.clear()
                seconds = await self.try_round()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(seconds_to_beat(seconds, asyncio.get_running_loop().time())):
                        await self._wake.wait()
        finally:
            stopper.cancel()
            await self.outbox.drain(DRAIN_SECONDS)
            self._forget()

    async def try_round(self) -> float:
        """Do one round whatever happens; return the seconds until the next one."""
        try:
            await self.round()
        except DATABASE_ERRORS as error:
            if self._away_since is None:
                log.warning("alerts.database_away", error_class=type(error).__name__)
                self._away_since = self._clock.monotonic()
            self._forget()
            return self._settings.away_seconds
        except Exception:
            log.exception("alerts.round_failed")
            self._forget()
        return self._settings.round_seconds

    async def round(self) -> bool:
        """Do one round; return whether this process leads. Raises what asyncpg raises."""
        if self._conn is None or self._conn.is_closed():
            self._forget()  # the lock went with the lost session: whoever has it now leads
            self._conn = await self._open()
        async with self._busy:
            await self._lead(self._conn)
            if self._away_since is not None:
                self._away_seconds = self._clock.monotonic() - self._away_since
                self._away_since = None
                log.warning("alerts.database_back", wait_seconds=round(self._away_seconds, 1))
            if not self._leads:
                await self._witness(self._conn)
                self._away_seconds = 0.0
                return False
            await self._look(self._conn)
        await self._deliver(self._conn)
        return True

    # --- the session ---------------------------------------------------------------------------------------------
    async def _open(self) -> DirectConnection:
        conn = await direct_connection(self._access, application_name=f"tidegate-alerts {os.getpid()}@{host_name()}")
        try:
            await conn.execute(
                "SELECT set_config('app.tenant', 'every', false), set_config('synchronous_commit', 'on', false)"
            )
            await conn.add_listener(CHANNEL, self._notified)
            await conn.add_listener("tidegate_config", self._notified)
        except BaseException:
            conn.terminate()
            raise
        return conn

    def _notified(self, *_: object) -> None:
        self._versions_due = self._notices_due = self._beat_due = 0.0
        self._may_tell.update(self._snapshots.versions)
        self._wake.set()

    def _forget(self) -> None:
        """Close the session; what is known of the subjects stays in memory."""
        self._leads = False
        if self._conn is not None:
            self._conn.terminate()
            self._conn = None

    async def _lead(self, conn: DirectConnection) -> None:
        if self._leads:
            return
        self._leads = bool(await conn.fetchval(_LEAD, LOCK_CLASS, 1))
        if not self._leads:
            return
        now = self._clock.now()
        last = await conn.fetchrow(_LAST_ROUND)
        self._was_gone = last is None or (now - last["evaluated_at"]).total_seconds() > GONE_SECONDS
        self._counted_to = last["counted_to"] if last is not None else first_uncounted(now, self._settings)
        firing = await load_firing(conn, now)
        for tenant_id in {*self._memories, *firing}:
            memory = self._memories.setdefault(tenant_id, Memory())
            stored = firing.get(tenant_id, {})
            pending = {
                subject: track
                for subject, track in memory.tracks.items()
                if not track.is_firing and subject not in stored
            }
            memory.tracks = {**pending, **{key: _same(memory.tracks.get(key), track) for key, track in stored.items()}}
            memory.told.clear()
        for reader in self._readers.values():
            reader.begin(now, was_gone=self._was_gone)
        self._may_tell.update(self._memories)
        self._versions_due = self._notices_due = self._beat_due = 0.0
        log.info("alerts.leading", count=sum(len(tracks) for tracks in firing.values()))

    async def _witness(self, conn: DirectConnection) -> None:
        """Say what is missing on this machine, for whoever leads; only when it changed, and now and then."""
        names, now = tuple(sorted(self._missing())), self._clock.monotonic()
        known, at = self._witnessed
        if names == known and (not names or now - at < self._settings.witness_seconds):
            return
        await conn.execute(_WITNESS, host_name(), str(self._folder or ""), list(names))
        self._witnessed = (names, now)

    # --- one look ------------------------------------------------------------------------------------------------
    async def _look(self, conn: DirectConnection) -> None:
        now = self._clock.now()
        await self._read_versions(conn)
        await self._count(conn, now)
        missing = await self._read_missing(conn)
        tenants = sorted(self._snapshots.versions)
        for tenant_id in tenants:
            signals = await self._reader(tenant_id, now).read(
                conn,
                self._config(tenant_id, now),
                self._snapshots.versions[tenant_id].version,
                now=now,
                round_number=self._rounds,
                missing=missing,
                away_seconds=self._away_seconds,
                is_first=tenant_id == tenants[0],
                is_counted=self._is_counted,
                folder=self._folder,
                refused=self._snapshots.refused.get(tenant_id),
            )
            await self._judge(conn, tenant_id, signals)
        await conn.execute(_NOTE_ROUND, now, host_name(), os.getpid(), self._counted_to)
        await self._prune(conn, now)
        self._away_seconds = 0.0
        self._rounds += 1
        metrics.ROUNDS.inc()
        for rule in RULES:
            metrics.FIRING.labels(rule).set(sum(memory.count_firing(rule) for memory in self._memories.values()))

    async def _judge(self, conn: DirectConnection, tenant_id: UUID, signals: Signals) -> None:
        """Step every subject of every rule, store what changed, and make notices of it."""
        memory = self._memories.setdefault(tenant_id, Memory())
        tuned = tune(signals.config.alerts)
        seconds = self._settings.refresh_seconds
        changes = judge(memory, evaluate(signals), tuned, signals.now, refresh_seconds=seconds)
        if not changes and tenant_id not in self._may_tell:
            return
        house = await self._house(conn, tenant_id, signals)
        made, is_left = await store_round(conn, tenant_id, changes, house, signals.now, silent=SILENT_WHEN_OVER)
        if made:
            self._notices_due = 0.0
        if is_left:
            self._may_tell.add(tenant_id)
        else:
            self._may_tell.discard(tenant_id)
        for connection, window in silent_windows(signals, changes.fired):
            await conn.execute(_READ_WINDOW, tenant_id, connection, WINDOW, window, new_id())
            log.info("alerts.window_read", connection=connection, tenant_id=tenant_id)
        for fact in changes.fired:
            log.warning("alert.fired", code=fact.rule, connection=fact.subject, tenant_id=tenant_id)
        for rule, subject in changes.resolved:
            log.info("alert.resolved", code=rule, connection=subject, tenant_id=tenant_id)

    async def _house(self, conn: DirectConnection, tenant_id: UUID, signals: Signals) -> House:
        rows = await conn.fetch(_TARGETS, tenant_id)
        return House(
            tenant=signals.config.tenant,
            cell=self._cell,
            timezone=signals.config.timezone,
            settings=signals.config.alerts,
            targets=tuple(row["name"] for row in rows if row["kind"] != HEARTBEAT_KIND),
        )

    def _config(self, tenant_id: UUID, now: datetime) -> Config:
        """Return what a tenant's configuration says now."""
        now_effective = self._snapshots.at(tenant_id, now)
        return now_effective.config if now_effective is not None else self._snapshots.versions[tenant_id].config

    def _reader(self, tenant_id: UUID, now: datetime) -> SignalReader:
        reader = self._readers.get(tenant_id)
        if reader is None:
            reader = self._readers[tenant_id] = SignalReader(tenant_id, self._connectors, self._settings)
            reader.begin(now, was_gone=self._was_gone)
        return reader

    async def _read_versions(self, conn: DirectConnection) -> None:
        """Read new configurations when they are announced, and now and then."""
        if self._clock.monotonic() < self._versions_due:
            return
        await self._snapshots.read(conn)
        self._versions_due = self._clock.monotonic() + self._settings.versions_seconds

    async def _count(self, conn: DirectConnection, now: datetime) -> None:
        """Count deliveries for the rhythm: a bounded piece of the log, in one transaction with how far it is counted."""
        if self._rounds % self._settings.count_every_rounds:
            return
        until = count_until(self._counted_to, now, self._settings, is_busy=self._is_busy)
        if until > self._counted_to:
            try:
                async with conn.transaction():
                    for tenant_id in self._snapshots.versions:
                        await self._reader(tenant_id, now).count_rhythm(conn, self._counted_to, until)
                    await conn.execute(_NOTE_ROUND, now, host_name(), os.getpid(), until)
            except asyncpg.QueryCanceledError:
                if self._is_busy:
                    log.warning("alerts.signal_slow", stage="rhythm")
                    self._counted_to = until  # what cannot be counted in small pieces is left out
                self._is_busy = True
                for reader in self._readers.values():
                    reader.begin(now, was_gone=True)
            else:
                self._counted_to = until
        self._is_counted = self._counted_to >= first_uncounted(now, self._settings)
        if self._is_counted:
            self._is_busy = False

    async def _read_missing(self, conn: DirectConnection) -> dict[str, str] | None:
        """Return what should run and does not: by heartbeats, by this machine's supervisor, and by what others saw."""
        if self._clock.monotonic() - self._started < self._settings.start_grace_seconds:
            return None
        rows = await conn.fetch(_LIVE_ROLES, self._settings.node_lease_seconds, 1.5 * self._settings.witness_seconds)
        live = {row["name"] for row in rows if row["kind"] == "node"}
        missing = {row["name"]: "its machine says so" for row in rows if row["kind"] == "missing"}
        missing |= self._missing()
        for role in ("apply", "dispatch"):
            wanted = any(getattr(version.config.processes, role) for version in self._snapshots.versions.values())
            if wanted and role not in live:
                missing[role] = "no worker loop of this role has a heartbeat"
        return missing

    async def _prune(self, conn: DirectConnection, now: datetime) -> None:
        """Forget what is old, now and then."""
        if self._clock.monotonic() < self._prune_due:
            return
        self._prune_due = self._clock.monotonic() + self._settings.prune_seconds
        kept = now - timedelta(days=self._settings.keep_days)
        rhythm = now - timedelta(days=self._settings.history_days + 1)
        for statement, before in zip(_PRUNE, (kept, kept, rhythm, kept, now - timedelta(days=1)), strict=True):
            await conn.execute(statement, before)
        for reader in self._readers.values():
            reader.forget(rhythm)

    # --- telling -------------------------------------------------------------------------------------------------
    async def _deliver(self, conn: DirectConnection) -> None:
        """Tell what is due. No query while nothing can be due."""
        now = self._clock.monotonic()
        if now >= self._notices_due:
            await self.outbox.deliver(conn, self._busy, self._tenants())
            async with self._busy:
                row = await conn.fetchrow(_PENDING)
            waits = row is not None and row["number"] > 0
            self._notices_due = now if waits else now + self._settings.outbox_seconds
        if now >= self._beat_due:
            self._beat_due = now + self._settings.heartbeat_seconds
            await self.outbox.beat(conn, self._busy, self._tenants())

    def _tenants(self) -> dict[UUID, Tenant]:
        return {
            tenant_id: Tenant(version.config.tenant, [ip_network(text) for text in version.config.network.allow])
            for tenant_id, version in self._snapshots.versions.items()
        }

    async def _wake_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()


def _same(own: Track | None, stored: Track) -> Track:
    """Return our own track of an alert that is stored, because it knows more; the stored one when it is another alert."""
    return own if own is not None and own.fired_at == stored.fired_at else stored
