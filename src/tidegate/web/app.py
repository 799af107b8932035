"""The web process: health, metrics, the API and the pages, on one port.

It listens on loopback unless told otherwise. It looks at the alert rules as well, and holds no keys but those that API
keys are checked with and that the addresses of targets are sealed under.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any, cast

import structlog
import uvicorn

from tidegate.kernel.errors import ConfigurationError
from tidegate.store.context import Context
from tidegate.store.pool import BY_KEY, create_pool
from tidegate.sync.combiner import CombinerSettings
from tidegate.web.alerting import build_evaluator
from tidegate.web.application import build_application
from tidegate.web.database import combiner_on, key_finder_on, key_pool
from tidegate.web.settings import read_settings
from tidegate.web.world import World

KEEP_ALIVE_SECONDS = 5
COMBINER = CombinerSettings()
_log = structlog.get_logger("web.app")


async def serve(context: Context, stop: asyncio.Event) -> None:
    """Answer until `stop` is set, then finish the requests in hand.

    Raises ConfigurationError when the port is taken.
    """
    settings = read_settings(context.options)
    listener = listen(settings.host, settings.port)
    pool = await create_pool(
        context.access, application_name=f"tidegate-web-{context.index}", size_min=0, size_max=settings.pool_max
    )
    promises = await create_pool(
        context.access,
        application_name=f"tidegate-web-{context.index}-reserve",
        size_min=0,
        size_max=COMBINER.lanes,
        server_settings=BY_KEY,
    )
    keys = await key_pool(context.access, application_name=f"tidegate-web-{context.index}-keys")
    world = World(
        pool=pool,
        key_finder=key_finder_on(keys, acquire_seconds=settings.acquire_seconds),
        clock=context.clock,
        cell=context.cell,
        settings=settings,
        keys=context.keys,
        connectors=context.connectors,
        project=context.project,
        combiner=combiner_on(promises, COMBINER),
    )
    server = _Server(
        uvicorn.Config(
            cast("Any", build_application(world)),
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,  # `edge` writes it: uvicorn's own needs a clock that ticks all day
            proxy_headers=False,  # X-Forwarded-For is what anybody may write: the peer of the socket is who calls
            ws="none",
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=settings.drain_seconds,
            limit_concurrency=settings.connections_max,
        )
    )
    stopper = asyncio.create_task(_end_when(stop, server, world))
    watching = asyncio.create_task(build_evaluator(context).run(stop))
    try:
        _log.info("web.listening", port=listener.getsockname()[1])
        await server.serve(sockets=[listener])
    finally:
        stopper.cancel()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        listener.close()
        await pool.close()
        await promises.close()
        await keys.close()


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens: web processes share a port, the kernel spreads connections.

    Raises ConfigurationError when somebody else has the address, or it is not ours.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
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
    """Leaves signals to the process, which owns them, and does not wake up ten times a second to see what time it is."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._leaving = asyncio.Event()

    def leave(self) -> None:
        """Begin to end: no new connections, running requests are finished."""
        self.should_exit = True
        self._leaving.set()

    async def main_loop(self) -> None:
        """Wait until it is time to leave."""
        await self.on_tick(0)
        await self._leaving.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


async def _end_when(stop: asyncio.Event, server: _Server, world: World) -> None:
    await stop.wait()
    world.stopping.set()
    server.leave()
