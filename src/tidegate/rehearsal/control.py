"""A hand on the sandbox: starts its process, and asks its control API."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import aiohttp
import msgspec

from tidegate.kernel.errors import TransientError

START_SECONDS = 60.0
STOP_SECONDS = 15.0
CALL_SECONDS = 60.0
LAST_WORDS = 2000


class Sandbox:
    """One process with all platforms of one side."""

    def __init__(self, process: asyncio.subprocess.Process, said: Mapping[str, Any]) -> None:
        self._process = process
        self.control = str(said["control"])
        self.urls = {name: str(platform["url"]) for name, platform in said["platforms"].items()}
        self._http: aiohttp.ClientSession | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Call the control API and return its JSON. Raises TransientError for a refusal or a sandbox that is gone."""
        if self._http is None:
            timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
            self._http = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=100))
        data = None if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"} if body is not None else None
        try:
            async with self._http.request(method, self.control + path, data=data, headers=headers) as answer:
                text = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TransientError(f"the sandbox does not answer: {type(error).__name__}", code="sandbox_away") from error
        if answer.status != 200:
            raise TransientError(f"the sandbox refused {path}: {text[:300]!r}", code="sandbox_refused")
        return msgspec.json.decode(text)

    async def pages(self, platform: str, part: str) -> dict[str, Any]:
        """Return one part of a platform's books, all pages of it."""
        found: dict[str, Any] = {}
        after: int | None = 0
        while after is not None:
            page = await self.ask("GET", f"/books/{platform}/{part}?after={after}")
            found.update(page[part])
            after = page["next"]
        return found

    async def changes(self, platform: str) -> list[dict[str, Any]]:
        """Return the changes of a platform's stock numbers, by time."""
        found: list[dict[str, Any]] = []
        after = 0
        while True:
            page = await self.ask("GET", f"/books/{platform}/changes?after={after}")
            if not page["changes"]:
                return found
            found += page["changes"]
            after = page["next"]

    async def close(self) -> None:
        """End the process. Safe to repeat."""
        if self._http is not None:
            await self._http.close()
            self._http = None
        if self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


async def start_sandbox(world: Mapping[str, Any], folder: Path, name: str) -> Sandbox:
    """Start a sandbox with this world and wait until it listens. Raises TransientError with its last words."""
    world_file, log_file = folder / f"{name}.json", folder / f"{name}.log"
    world_file.write_bytes(msgspec.json.encode(world))
    with log_file.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tidegate.sandbox", "--world", str(world_file),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=log, start_new_session=True,
            limit=1 << 20,
        )  # fmt: skip
    try:
        output = cast("asyncio.StreamReader", process.stdout)
        line = await asyncio.wait_for(output.readline(), START_SECONDS)
        return Sandbox(process, msgspec.json.decode(line))
    except (TimeoutError, msgspec.DecodeError) as error:
        if process.returncode is None:
            process.kill()
        await process.wait()
        words = log_file.read_text(errors="replace").strip()[-LAST_WORDS:]
        raise TransientError(f"the sandbox did not start: {words}", code="sandbox_away") from error
    except BaseException:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
