"""Reads the signals of one tenant: few statements, each bounded, each by an index."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Awaitable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import structlog

from tidegate.commerce.states import RELEASING_PAYMENTS, PaymentState
from tidegate.config.parse import examine
from tidegate.config.records import Config
from tidegate.config.snapshots import Refusal
from tidegate.kernel.ids import first_id_at, time_of
from tidegate.monitor.alerts.records import (
    Arrivals,
    CallStats,
    Credential,
    Disk,
    Lag,
    LateOrders,
    Sender,
    Signals,
)
from tidegate.monitor.alerts.rhythm import DAY, HOUR, expect, usual_rate
from tidegate.monitor.alerts.rules import RULES
from tidegate.monitor.alerts.settings import AlertSettings
from tidegate.monitor.conservation import Balance, read_balances
from tidegate.monitor.oversold import read_oversold
from tidegate.monitor.status import read_status
from tidegate.monitor.stock_check import StockAudit
from tidegate.monitor.sync_view import read_order_counts
from tidegate.sdk.connector import Connector
from tidegate.store.connections import Connection
from tidegate.store.sql import query

log = structlog.get_logger("monitor.alerts")
T = TypeVar("T")

_CALLS = query("alerts_calls")
_LAG = query("alerts_lag")
_COUNTERS = query("alerts_counters")
_HISTORY = query("alerts_history")
_COUNT_RHYTHM = query("alerts_count_rhythm")
_RHYTHM = query("alerts_rhythm")
_NAMES = query("alerts_connection_names")
_CREDENTIALS = query("alerts_credentials")
GAP_AGE = timedelta(minutes=10)
"""How long ago orders were found to be missing, before anybody is told: the window is being read until then."""
OVERSOLD_MAX = 20
"""Articles that are told of at once; the most units first."""
_UNFORWARDED = query("alerts_unforwarded")
_UNCAPTURED = query("alerts_uncaptured")
_VERSIONS = query("alerts_versions")
VERSIONS_MAX = 100
"""Earlier configurations that are looked at for when a flow went live."""
SAMPLES_MAX = 256

Counters = Mapping[tuple[str, str, datetime], int]
"""(received or refused, connection or code, hour) -> number so far."""


class Counted:
    """What the rhythm of a tenant's senders is, and how far it is counted. Kept between rounds."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self.hours: dict[tuple[UUID, str], dict[datetime, int]] = {}
        self.last_at: dict[tuple[UUID, str], datetime] = {}
        self.names: dict[UUID, str] = {}
        self.is_loaded = False

    def note(self, row: Any) -> None:
        """Take a row of `alert_rhythm` in."""
        sender = (row["connection_id"], row["topic"])
        self.hours.setdefault(sender, {})[row["hour"]] = row["received"]
        self.last_at[sender] = max(row["last_at"], self.last_at.get(sender, row["last_at"]))

    def forget(self, before: datetime) -> None:
        """Drop hours that nobody looks at any more."""
        for sender, hours in list(self.hours.items()):
            self.hours[sender] = {hour: count for hour, count in hours.items() if hour >= before}
            if not self.hours[sender]:
                del self.hours[sender], self.last_at[sender]


class SignalReader:
    """Reads one tenant's signals round by round, and remembers what a rate needs."""

    def __init__(self, tenant_id: UUID, connectors: Mapping[str, Connector], settings: AlertSettings) -> None:
        """Prepare; nothing is read yet."""
        self._tenant_id = tenant_id
        self._connectors = connectors
        self._stock_audit = StockAudit(tenant_id, levels=settings.checked_levels, entries=settings.checked_entries)
        self._settings = settings
        self._samples: deque[tuple[datetime, Counters]] = deque(maxlen=SAMPLES_MAX)
        self._history: dict[str, dict[datetime, int]] = {}
        self._history_hour: datetime | None = None
        self._counted = Counted()
        self._listening_since: datetime | None = None
        self._live_from: tuple[int, int] | None = None
        self._failing: set[str] = set()

    def begin(self, now: datetime, *, was_gone: bool) -> None:
        """Begin anew after a pause. `was_gone`: nobody was there to receive, so silence counts from now on."""
        self._samples.clear()
        self._counted = Counted()
        if was_gone or self._listening_since is None:
            self._listening_since = now if was_gone else None

    async def read(
        self,
        conn: Connection,
        config: Config,
        version: int,
        *,
        now: datetime,
        round_number: int,
        missing: Mapping[str, str] | None,
        away_seconds: float,
        is_first: bool,
        is_counted: bool,
        folder: Path | None,
        refused: Refusal | None = None,
    ) -> Signals:
        """Return the signals. What the server ends for its time is None; raises when the database is away."""
        settings, tenant = self._settings, self._tenant_id
        status = await self._try("status", read_status(conn, tenant))
        counters = await self._try("counters", self._read_counters(conn, now))
        is_slow_round = round_number % RULES["order_not_forwarded"].every_rounds == 0
        waits = status.queue.waiting if status is not None else settings.audited_waiting_max + 1
        return Signals(
            now=now,
            config=config,
            connectors=self._connectors,
            is_first=is_first,
            status=status,
            calls=await self._try("calls", self._read_calls(conn, now)),
            lag=await self._try("lag", self._read_lag(conn, now)),
            arrivals=await self._try("arrivals", self._arrivals(conn, now)) if counters is not None else None,
            refused=self._recent("refused", now) if counters is not None else None,
            senders=await self._try("senders", self._senders(conn, now)) if is_counted else None,
            credentials=await self._try("credentials", self._read_credentials(conn, now)),
            unforwarded=await self._try("unforwarded", self._read_unforwarded(conn, config, version, now))
            if is_slow_round
            else None,
            uncaptured=await self._try("uncaptured", self._read_uncaptured(conn, config, now))
            if is_slow_round
            else None,
            order_counts=await self._try("order_counts", read_order_counts(conn, tenant, now - GAP_AGE))
            if is_slow_round
            else None,
            oversold=await self._try("oversold", read_oversold(conn, tenant, limit=OVERSOLD_MAX)),
            unbalanced=await self._try("unbalanced", self._stock_audit.step(conn)) if is_slow_round else None,
            balances=await self._try("balances", self._audit(conn, now))
            if is_slow_round and waits <= settings.audited_waiting_max
            else None,
            missing=missing,
            disk=_disk(folder) if is_first and folder is not None else None,
            away_seconds=away_seconds,
            refused_config=refused,
        )

    async def count_rhythm(self, conn: Connection, after: UUID, before: UUID) -> int:
        """Count the deliveries between two ids, once; return how many rows changed."""
        rows = await conn.fetch(_COUNT_RHYTHM, self._tenant_id, after, before)
        if self._counted.is_loaded:
            for row in rows:
                self._counted.note(row)
        return len(rows)

    def forget(self, before: datetime) -> None:
        """Drop hours of the rhythm that nobody looks at any more."""
        self._counted.forget(before)

    async def _try(self, name: str, reading: Awaitable[T]) -> T | None:
        """Return what is read, None when it takes the server too long; that is logged once."""
        try:
            found = await reading
        except asyncpg.QueryCanceledError:
            if name not in self._failing:
                log.warning("alerts.signal_slow", stage=name, tenant_id=self._tenant_id)
            self._failing.add(name)
            return None
        self._failing.discard(name)
        return found

    async def _read_calls(self, conn: Connection, now: datetime) -> tuple[CallStats, ...]:
        first = first_id_at(now - timedelta(seconds=self._settings.calls_seconds))
        return tuple(CallStats(**row) for row in await conn.fetch(_CALLS, self._tenant_id, first))

    async def _read_credentials(self, conn: Connection, now: datetime) -> tuple[Credential, ...]:
        ahead = timedelta(days=self._settings.credentials_days)
        return tuple(Credential(**row) for row in await conn.fetch(_CREDENTIALS, self._tenant_id, now, ahead))

    async def _read_lag(self, conn: Connection, now: datetime) -> Lag:
        first = first_id_at(now - timedelta(seconds=self._settings.lag_seconds))
        row = await conn.fetchrow(_LAG, self._tenant_id, first, self._settings.lag_events_max)
        assert row is not None
        return Lag(events=row["events"], slow_seconds=max(0.0, float(row["slow_seconds"])))

    # --- rates ---------------------------------------------------------------------------------------------------
    async def _read_counters(self, conn: Connection, now: datetime) -> Counters:
        rows = await conn.fetch(_COUNTERS, self._tenant_id, _hour(now) - HOUR)
        counters = {(row["kind"], row["name"], row["hour"]): int(row["number"]) for row in rows}
        self._samples.append((now, counters))
        return counters

    def _recent(self, kind: str, now: datetime) -> dict[str, int]:
        """Return how much more there is than in the oldest sample of the window."""
        first = now - timedelta(seconds=self._settings.window_seconds)
        while len(self._samples) > 2 and self._samples[1][0] <= first:
            self._samples.popleft()
        then, newest = self._samples[0][1], self._samples[-1][1]
        recent: dict[str, int] = {}
        for key, number in newest.items():
            if key[0] == kind:
                recent[key[1]] = recent.get(key[1], 0) + max(0, number - then.get(key, 0))
        return recent

    async def _arrivals(self, conn: Connection, now: datetime) -> tuple[Arrivals, ...]:
        hour = _hour(now)
        if self._history_hour != hour:
            rows = await conn.fetch(_HISTORY, self._tenant_id, hour - DAY * self._settings.history_days, hour)
            self._history = {}
            for row in rows:
                self._history.setdefault(row["name"], {})[row["hour"]] = int(row["number"])
            self._history_hour = hour
        return tuple(
            Arrivals(connection=name, recent=recent, usual_per_hour=self._usual(name, hour))
            for name, recent in self._recent("received", now).items()
        )

    def _usual(self, name: str, hour: datetime) -> float | None:
        known = self._history.get(name)
        return usual_rate(known, hour, known_from=min(known)) if known else None

    async def _senders(self, conn: Connection, now: datetime) -> tuple[Sender, ...]:
        counted = self._counted
        if not counted.is_loaded:
            first = _hour(now) - DAY * self._settings.history_days
            for row in await conn.fetch(_RHYTHM, self._tenant_id, first):
                counted.note(row)
            counted.is_loaded = True
        if counted.last_at and any(sender[0] not in counted.names for sender in counted.last_at):
            counted.names = {row["connection_id"]: row["name"] for row in await conn.fetch(_NAMES, self._tenant_id)}
        return tuple(self._sender(sender, last_at, now) for sender, last_at in sorted(counted.last_at.items()))

    def _sender(self, sender: tuple[UUID, str], last_at: datetime, now: datetime) -> Sender:
        hours = self._counted.hours[sender]
        since = max(last_at, self._listening_since or last_at)
        silent = max(0.0, (now - since).total_seconds())
        # What came since the last delivery is nothing; the rate is that of the hours before it.
        missed = expect(hours, since, now, known_from=min(hours)) if silent >= 1.0 else 0.0
        name = self._counted.names.get(sender[0], str(sender[0]))
        return Sender(connection=name, topic=sender[1], last_at=last_at, missed=missed, silent_seconds=silent)

    # --- slower looks --------------------------------------------------------------------------------------------
    async def _audit(self, conn: Connection, now: datetime) -> tuple[Balance, ...]:
        since = _hour(now) - timedelta(hours=self._settings.audited_hours)
        return tuple(await read_balances(conn, since=since, tenant_id=self._tenant_id))

    async def _read_unforwarded(
        self, conn: Connection, config: Config, version: int, now: datetime
    ) -> tuple[LateOrders, ...]:
        orders = config.flows.orders
        if orders is None or orders.mode != "live":
            return ()
        rows = await conn.fetch(
            _UNFORWARDED,
            self._tenant_id,
            first_id_at(now - timedelta(days=self._settings.orders_days)),
            sorted(str(state) for state in RELEASING_PAYMENTS),
            orders.since,
            list(orders.sources),
            await self._live_since(conn, version),
        )
        return tuple(LateOrders(**row) for row in rows)

    async def _read_uncaptured(self, conn: Connection, config: Config, now: datetime) -> tuple[LateOrders, ...]:
        payments, shipments = config.flows.payments, config.flows.shipments
        if payments is None or payments.mode == "observe" or shipments is None or shipments.capture is None:
            return ()
        first = first_id_at(now - timedelta(days=self._settings.orders_days))
        rows = await conn.fetch(_UNCAPTURED, self._tenant_id, first, payments.since, str(PaymentState.AUTHORISED))
        return tuple(
            LateOrders(
                channel=row["channel"], orders=row["orders"], oldest_at=time_of(row["first_id"]), number=row["number"]
            )
            for row in rows
        )

    async def _live_since(self, conn: Connection, version: int) -> int:
        """Return the first configuration of the unbroken row under which orders go out, up to `version`."""
        if self._live_from is None or self._live_from[0] != version:
            first = version
            for row in await conn.fetch(_VERSIONS, self._tenant_id, version, VERSIONS_MAX):
                if not _sends_orders(row["document"]):
                    break
                first = row["version"]
            self._live_from = (version, first)
        return self._live_from[1]


def first_uncounted(now: datetime, settings: AlertSettings) -> UUID:
    """Return the id from which on events are not counted yet: their transactions may not have ended."""
    return first_id_at(now - timedelta(seconds=settings.count_lag_seconds))


def count_until(counted_to: UUID, now: datetime, settings: AlertSettings, *, is_busy: bool) -> UUID:
    """Return up to which id this round counts: a bounded piece while it is behind."""
    end = first_uncounted(now, settings)
    piece = timedelta(seconds=settings.count_seconds_max) if is_busy else HOUR
    return min(end, first_id_at(max(time_of(counted_to), datetime(2020, 1, 1, tzinfo=UTC)) + piece))


def _sends_orders(document: str) -> bool:
    config, _ = examine(document)
    return config is not None and config.flows.orders is not None and config.flows.orders.mode == "live"


def _disk(folder: Path) -> Disk | None:
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return Disk(free_bytes=usage.free, total_bytes=usage.total)


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)
