"""`/healthz` (alive), `/readyz` (able to work), `/metrics` (Prometheus text of all processes). They need no key."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog

from tidegate import __version__
from tidegate.kernel.errors import TransientError
from tidegate.monitor import metrics
from tidegate.monitor.alerts import settings as alert_settings
from tidegate.monitor.alerts.operator import read_last_round
from tidegate.monitor.conservation import Balance, read_balances
from tidegate.monitor.gauges import build_gauges
from tidegate.monitor.status import read_queue, read_status
from tidegate.runtime.project import Project
from tidegate.runtime.state import missing_processes
from tidegate.store.connections import DATABASE_ERRORS
from tidegate.store.sql import query
from tidegate.web.database import reading, writing
from tidegate.web.edge import App, Receive, Scope, Send
from tidegate.web.world import World

AUDITED_HOURS = 48
"""How far back the conservation audit of the metrics page looks."""
AUDITED_WAITING_MAX = 20_000
"""With a longer backlog the audit would cost more than it tells; `tidegate conservation` makes it on request."""
ALERTS_STALE_SECONDS = alert_settings.DEFAULTS.round_seconds * alert_settings.DEFAULTS.stale_rounds
PAGE_SECONDS = 5.0
"""A metrics page is made at most this often; in between the last one is given out."""
_WRITE_PROBE = query("web_write_probe")
_AWAY = (*DATABASE_ERRORS, TransientError)
_log = structlog.get_logger("web.health")


class HealthPages:
    """The three pages, as ASGI applications by path."""

    def __init__(self, world: World) -> None:
        """Read the whole installation."""
        self._world = world
        self._project = Project(world.project) if world.project is not None else None
        self._page = ""
        self._page_due = 0.0
        self._making_page = asyncio.Lock()

    def apps(self) -> dict[str, App]:
        """Return path -> application."""
        return {
            "/healthz": self._page_app(self._health),
            "/readyz": self._page_app(self._readiness),
            "/metrics": self._page_app(self._metrics),
        }

    def _page_app(self, make: Any) -> App:
        async def app(scope: Scope, _receive: Receive, send: Send) -> None:
            if scope["method"] not in ("GET", "HEAD"):
                await _answer(send, 405, b"only GET\n", "text/plain", ((b"allow", b"GET, HEAD"),))
                return
            status, body, content_type = await make()
            await _answer(send, status, body if scope["method"] == "GET" else b"", content_type)

        return app

    async def _health(self) -> tuple[int, bytes, str]:
        return 200, _json({"status": "alive", "version": __version__}), "application/json"

    async def _readiness(self) -> tuple[int, bytes, str]:
        """Ready means: the database takes writes and every process that should run does."""
        missing = self._missing_processes()
        try:
            async with writing(self._world, None) as conn:
                await conn.execute(_WRITE_PROBE)
                queue = await read_queue(conn)
                watched_at = await read_last_round(conn)
        except _AWAY as error:
            _log.warning("readiness.database_away", error_class=type(error).__name__)
            problem = {"status": "not ready", "database": "away", "missing_processes": missing}
            return 503, _json(problem), "application/json"
        oldest = (self._world.clock.now() - queue.oldest_at).total_seconds() if queue.oldest_at else 0.0
        report = {
            "status": "not ready" if missing else "ready",
            "database": "writable",
            "missing_processes": missing,
            "events_waiting": queue.waiting,
            "oldest_event_seconds": round(max(0.0, oldest), 1),
            "alerts": self._describe_watch(watched_at),
        }
        return (503 if missing else 200), _json(report), "application/json"

    def _describe_watch(self, watched_at: datetime | None) -> str:
        """Say whether anybody looks at the alert rules: they look at everything else."""
        if watched_at is None:
            return "not looked at yet"
        age = (self._world.clock.now() - watched_at).total_seconds()
        return "looked at" if age <= ALERTS_STALE_SECONDS else f"not looked at for {age:.0f} s"

    async def _metrics(self) -> tuple[int, bytes, str]:
        async with self._making_page:
            if self._world.clock.monotonic() >= self._page_due:
                self._page = await self._make_page()
                self._page_due = self._world.clock.monotonic() + PAGE_SECONDS
        return 200, self._page.encode(), metrics.CONTENT_TYPE

    async def _make_page(self) -> str:
        texts = await metrics.collect(self._project.run_dir) if self._project is not None else {}
        own = await self._read_gauges()
        return metrics.join(texts, own)

    async def _read_gauges(self) -> list[Any]:
        try:
            async with reading(self._world, None) as conn:
                status = await read_status(conn)
            balances = await self._audit() if status.queue.waiting <= AUDITED_WAITING_MAX else None
        except _AWAY as error:
            _log.warning("metrics.database_away", error_class=type(error).__name__)
            return []
        return build_gauges(status, balances, self._world.clock.now())

    async def _audit(self) -> list[Balance] | None:
        """Return the balances of the last hours, None when that takes too long."""
        since = self._world.clock.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=AUDITED_HOURS)
        try:
            async with reading(self._world, None) as conn:
                return await read_balances(conn, since=since)
        except TransientError as error:
            if error.code != "too_slow":
                raise
            return None

    def _missing_processes(self) -> list[str]:
        return missing_processes(self._project.state_file) if self._project is not None else []


async def _answer(
    send: Send, status: int, body: bytes, content_type: str, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    fixed = ((b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": [*fixed, *headers]})
    await send({"type": "http.response.body", "body": body})


def _json(value: object) -> bytes:
    return msgspec.json.encode(value) + b"\n"
