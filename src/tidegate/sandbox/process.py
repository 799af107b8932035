"""The sandbox as a process: opens its servers, says on one line where they are, and ends in good order."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from tidegate.kernel.clock import Clock, SystemClock
from tidegate.kernel.errors import ConfigurationError
from tidegate.sandbox.control import build_control
from tidegate.sandbox.edge import guard
from tidegate.sandbox.kinds import Build
from tidegate.sandbox.loopback import is_loopback
from tidegate.sandbox.world import HANDLES, Place, World, WorldSpec

PARENT_LOOK_SECONDS = 0.5
SHUTDOWN_SECONDS = 2.0
KEEPALIVE_SECONDS = 300.0


async def run_sandbox(
    spec: WorldSpec, kinds: Mapping[str, Build], *, host: str, port: int, stop: asyncio.Event | None = None
) -> None:
    """Serve until SIGTERM, SIGINT, `stop`, or the end of the parent process.

    Prints one JSON line when everything listens. Raises ConfigurationError for an address that is not the loopback, and for
    a world that cannot be.
    """
    if not is_loopback(host):
        raise ConfigurationError(
            f"the sandbox listens on the loopback only, not on {host!r}", hint="--listen 127.0.0.1:0"
        )
    stop = stop or asyncio.Event()
    loop, parent = asyncio.get_running_loop(), os.getppid()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    sandbox = Sandbox(spec, kinds, SystemClock())
    try:
        said = await sandbox.open(host, port)
        sys.stdout.write(msgspec.json.encode(said).decode() + "\n")
        sys.stdout.flush()
        while not stop.is_set() and os.getppid() == parent:
            try:
                await asyncio.wait_for(stop.wait(), PARENT_LOOK_SECONDS)
            except TimeoutError:
                continue
    finally:
        await sandbox.close()


class Sandbox:
    """All servers of one world. Make it inside of the event loop."""

    def __init__(self, spec: WorldSpec, kinds: Mapping[str, Build], clock: Clock) -> None:
        """Raises ConfigurationError for a kind that there is not, or options that its server refuses."""
        self.world = World(spec, clock)
        self.apps = {name: _build(place, kinds) for name, place in self.world.places.items()}
        self._runners: list[web.AppRunner] = []
        self._said: dict[str, Any] = {}

    async def open(self, host: str, port: int) -> dict[str, Any]:
        """Listen, and return what the start line says. `port` is the control API's; 0 takes any."""
        platforms = {}
        for name, place in self.world.places.items():
            await place.sender.open()
            handles = self.apps[name][HANDLES]
            address = await self._listen(self.apps[name], host, place.spec.port)
            platforms[name] = {"kind": place.spec.kind, "url": address}
            self._said = {"platforms": platforms}
            if handles.open is not None:
                await handles.open()
        control = build_control(self.world, self.apps, lambda: self._said)
        address = await self._listen(control, host, port)
        self._said = {"control": address, "platforms": platforms, "pid": os.getpid(), "seed": self.world.spec.seed}
        return self._said

    async def close(self) -> None:
        """Stop listening and sending."""
        for app in self.apps.values():
            if (close := app[HANDLES].close) is not None:
                await close()
        for place in self.world.places.values():
            await place.sender.close()
        for runner in reversed(self._runners):
            await runner.cleanup()

    async def _listen(self, app: web.Application, host: str, port: int) -> str:
        runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            keepalive_timeout=KEEPALIVE_SECONDS,
            shutdown_timeout=SHUTDOWN_SECONDS,
        )
        await runner.setup()
        self._runners.append(runner)
        site = web.TCPSite(runner, host, port, reuse_address=True)
        try:
            await site.start()
        except OSError as error:
            raise ConfigurationError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        return f"http://{'[::1]' if ':' in host else host}:{runner.addresses[0][1]}"


def _build(place: Place, kinds: Mapping[str, Build]) -> web.Application:
    build = kinds.get(place.spec.kind)
    if build is None:
        known = ", ".join(sorted(kinds))
        raise ConfigurationError(f"platform {place.name!r} is of kind {place.spec.kind!r}; there are {known}")
    app = build(place.world, place.name, place.spec.options)
    app.middlewares.insert(0, guard(app, place))
    return app
