"""The integration that one writes in an afternoon, as a process: `python -m tidegate.rehearsal.naive SETTINGS.json`.

A handler that answers at once, a task per webhook, one call per event, a set of order ids in memory against repetitions, three
tries with a pause. Nothing here is written badly on purpose: it is what most scripts of this kind do, and what they do without.
It speaks the platforms' own APIs, with code of its own.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from tidegate.rehearsal.naive_channels import CHANNELS, Channel
from tidegate.rehearsal.naive_erp import Erp

TRIES = 3
PAUSE_SECONDS = 1.0
CALL_SECONDS = 10.0

_log = logging.getLogger("naive")


class Script:
    """The whole integration."""

    def __init__(self, settings: Mapping[str, Any], http: aiohttp.ClientSession) -> None:
        self._erp = Erp(settings["erp"], http)
        self._channels: dict[str, Channel] = {
            name: CHANNELS[channel["kind"]](channel, http) for name, channel in settings["channels"].items()
        }
        self._seen: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def subscribe(self, url: str) -> None:
        """Have every channel tell of its orders."""
        for name, channel in self._channels.items():
            await channel.subscribe(f"{url}{name}")

    async def receive(self, request: web.Request) -> web.Response:
        """Answer at once, and work it off in a task."""
        name = request.match_info["channel"]
        body = await request.read()
        task = asyncio.create_task(self._work(name, body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return web.Response(text="ok")

    async def _work(self, name: str, body: bytes) -> None:
        try:
            bought = self._channels[name].read(msgspec.json.decode(body))
            if bought is None or f"{name}:{bought.order}" in self._seen:
                return
            self._seen.add(f"{name}:{bought.order}")
            await self._try(lambda: self._erp.create_order(f"{name}:{bought.order}", bought.lines))
            for sku, units in bought.lines:
                for other, channel in self._channels.items():
                    if other != name:
                        await self._try(lambda channel=channel, sku=sku, units=units: channel.take(sku, units))  # type: ignore[misc]
        except Exception as error:  # as such scripts do: it is in a log
            _log.warning("%s: %s", type(error).__name__, error)

    async def _try(self, call: Callable[[], Awaitable[None]]) -> None:
        for number in range(1, TRIES + 1):
            try:
                await call()
            except (aiohttp.ClientError, TimeoutError) as error:
                if number == TRIES:
                    _log.warning("given up: %s", error)
                    return
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                return


async def run(settings: Mapping[str, Any]) -> None:
    """Serve until the process ends; prints the address of the handler."""
    timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as http:
        script = Script(settings, http)
        app = web.Application()
        app.router.add_post("/hooks/{channel}", script.receive)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/hooks/"
        await script.subscribe(url)
        said = {"url": url}
        sys.stdout.write(msgspec.json.encode(said).decode() + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main() -> None:
    """Read the settings and run."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    settings: Mapping[str, Any] = msgspec.json.decode(Path(sys.argv[1]).read_bytes())
    asyncio.run(run(settings))


if __name__ == "__main__":
    main()
