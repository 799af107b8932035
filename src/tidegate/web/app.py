"""The web process: `/healthz` (alive), `/readyz` (able to work), `/metrics` (Prometheus text of all processes).

It listens on loopback unless told otherwise, reads only, and holds no keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import structlog
import uvicorn

from tidegate import __version__
from tidegate.kernel.clock import Clock
from tidegate.kernel.errors import ConfigurationError
from tidegate.monitor import metrics
from tidegate.monitor.conservation import Balance, read_balances
from tidegate.monitor.gauges import build_gauges
from tidegate.monitor.status import read_queue, read_status
from tidegate.runtime.project import Project
from tidegate.runtime.state import is_alive, read_state
from tidegate.store.connections import Pool
from tidegate.store.context import Context
from tidegate.store.pool import create_pool
from tidegate.store.sql import query

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 7481
AUDITED_HOURS = 48
"""How far back the conservation audit of the metrics page looks."""
AUDITED_WAITING_MAX = 20_000
"""With a longer backlog the audit would cost more than it tells; `tidegate conservation` makes it on request."""
PAGE_SECONDS = 5.0
"""A metrics page is made at most this often; in between the last one is given out."""
DRAIN_SECONDS = 3
_WRITE_PROBE = query("web_write_probe")
_DATABASE_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
_log = structlog.get_logger("web.app")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


async def serve(context: Context, stop: asyncio.Event) -> None:
    """Answer until `stop` is set, then finish the requests in hand.

    Raises ConfigurationError when the port is taken.
    """
    listener = listen(str(context.options.get("host", DEFAULT_HOST)), int(context.options.get("port", DEFAULT_PORT)))
    pool = await create_pool(context.access, application_name=f"tidegate-web-{context.index}", size_min=0, size_max=3)
    server = _Server(
        uvicorn.Config(
            WebApp(pool, context.clock, context.project),
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=DRAIN_SECONDS,
            limit_concurrency=100,
        )
    )
    stopper = asyncio.create_task(_end_when(stop, server))
    try:
        _log.info("web.listening", port=listener.getsockname()[1])
        await server.serve(sockets=[listener])
    finally:
        stopper.cancel()
        listener.close()
        await pool.close()


class WebApp:
    """The ASGI application."""

    def __init__(self, pool: Pool, clock: Clock, project: Path | None) -> None:
        """Read from `pool`; `project` tells where processes answer and which ones there should be."""
        self._pool = pool
        self._clock = clock
        self._project = Project(project) if project is not None else None
        self._page = ""
        self._page_due = 0.0
        self._making_page = asyncio.Lock()

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        routes = {"/healthz": self._health, "/readyz": self._readiness, "/metrics": self._metrics}
        make = routes.get(scope["path"])
        if make is None:
            await _answer(send, 404, b"not found\n", "text/plain")
        elif scope["method"] not in ("GET", "HEAD"):
            await _answer(send, 405, b"only GET\n", "text/plain", ((b"allow", b"GET, HEAD"),))
        else:
            status, body, content_type = await make()
            await _answer(send, status, body if scope["method"] == "GET" else b"", content_type)

    async def _health(self) -> tuple[int, bytes, str]:
        return 200, _json({"status": "alive", "version": __version__}), "application/json"

    async def _readiness(self) -> tuple[int, bytes, str]:
        """Ready means: the database takes writes and every process that should run does."""
        missing = self._missing_processes()
        try:
            async with self._pool.acquire(timeout=2) as conn:
                await conn.execute(_WRITE_PROBE)
                queue = await read_queue(conn)
        except _DATABASE_ERRORS as error:
            _log.warning("readiness.database_away", error_class=type(error).__name__)
            problem = {"status": "not ready", "database": "away", "missing_processes": missing}
            return 503, _json(problem), "application/json"
        oldest = (self._clock.now() - queue.oldest_at).total_seconds() if queue.oldest_at else 0.0
        report = {
            "status": "not ready" if missing else "ready",
            "database": "writable",
            "missing_processes": missing,
            "events_waiting": queue.waiting,
            "oldest_event_seconds": round(max(0.0, oldest), 1),
        }
        return (503 if missing else 200), _json(report), "application/json"

    async def _metrics(self) -> tuple[int, bytes, str]:
        async with self._making_page:
            if self._clock.monotonic() >= self._page_due:
                self._page = await self._make_page()
                self._page_due = self._clock.monotonic() + PAGE_SECONDS
        return 200, self._page.encode(), metrics.CONTENT_TYPE

    async def _make_page(self) -> str:
        texts = await metrics.collect(self._project.run_dir) if self._project is not None else {}
        own = await self._read_gauges()
        return metrics.join(texts, own)

    async def _read_gauges(self) -> list[Any]:
        try:
            async with self._pool.acquire(timeout=2) as conn:
                status = await read_status(conn)
                balances = await self._audit(conn) if status.queue.waiting <= AUDITED_WAITING_MAX else None
        except _DATABASE_ERRORS as error:
            _log.warning("metrics.database_away", error_class=type(error).__name__)
            return []
        return build_gauges(status, balances, self._clock.now())

    async def _audit(self, conn: Any) -> list[Balance] | None:
        """Return the balances of the last hours, None when that takes too long."""
        since = self._clock.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=AUDITED_HOURS)
        try:
            return await read_balances(conn, since=since)
        except (asyncpg.QueryCanceledError, TimeoutError):
            return None

    def _missing_processes(self) -> list[str]:
        state = read_state(self._project.state_file) if self._project is not None else None
        if state is None:
            return []
        return sorted(f"{child.role}-{child.index}" for child in state.children if not is_alive(child))


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raises ConfigurationError when the address is taken or not ours."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror}",
            code="port_taken",
            hint="another program has it; choose another listen.web_port in tidegate.yaml",
        ) from error
    listener.setblocking(False)
    return listener


class _Server(uvicorn.Server):
    """Leaves signals to the process, which owns them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


async def _end_when(stop: asyncio.Event, server: uvicorn.Server) -> None:
    await stop.wait()
    server.should_exit = True


async def _answer(
    send: Send, status: int, body: bytes, content_type: str, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    fixed = (
        (b"content-type", content_type.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    )
    await send({"type": "http.response.start", "status": status, "headers": [*fixed, *headers]})
    await send({"type": "http.response.body", "body": body})


def _json(value: object) -> bytes:
    return msgspec.json.encode(value) + b"\n"
