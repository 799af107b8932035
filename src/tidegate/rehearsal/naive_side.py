"""The naive integration as one side of a rehearsal: its own platforms, its own process, the same shoppers."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

from tidegate.kernel.errors import TransientError
from tidegate.rehearsal import collect
from tidegate.rehearsal.adapt import Cast
from tidegate.rehearsal.control import Sandbox, start_sandbox
from tidegate.rehearsal.installation import environment
from tidegate.rehearsal.platforms import Simulated
from tidegate.rehearsal.profile import Profile
from tidegate.rehearsal.records import Books, Units

START_SECONDS = 60.0
STOP_SECONDS = 5.0


class NaiveSide:
    """Platforms, and the script between them."""

    def __init__(
        self,
        cast_: Cast,
        simulated: Mapping[str, Simulated],
        options: Mapping[str, Mapping[str, Any]],
        items: Sequence[Mapping[str, Any]],
        shelf: Units,
        profile: Profile,
        folder: Path,
    ) -> None:
        self._cast = cast_
        self._simulated = simulated
        self._options = options
        self._profile = profile
        self._shelf = shelf
        self._folder = folder
        self._world = collect.world_of(cast_, simulated, options, items, shelf, profile.seed)
        for channel in cast_.channels:  # whoever sets such a script up types the numbers in by hand, once
            self._world["platforms"][channel]["stock"] = dict(shelf)
        self._sandbox: Sandbox | None = None
        self._script: asyncio.subprocess.Process | None = None
        self._before: dict[str, Any] = {}
        self._began_second = 0

    @property
    def sandbox(self) -> Sandbox:
        """Its platforms."""
        if self._sandbox is None:
            raise RuntimeError("the naive side is not open")
        return self._sandbox

    @property
    def script_pids(self) -> list[int]:
        """The script's process, while it runs."""
        return [self._script.pid] if self._script is not None and self._script.returncode is None else []

    async def open(self) -> None:
        """Start the platforms and the script, and have the channels tell it of orders."""
        self._sandbox = await start_sandbox(self._world, self._folder, "naive")
        await self.start_script()

    async def start_script(self) -> None:
        """Start the script, also again after it was killed: what it had in memory is gone, as in life."""
        settings = {
            "erp": {"url": self.sandbox.urls[self._cast.erp], **self._options[self._cast.erp]},
            "channels": {
                name: {
                    "kind": self._simulated[name].kind,
                    "url": self.sandbox.urls[name],
                    "answers": dict(self._simulated[name].answers),
                    "shelf": dict(self._shelf),
                }
                for name in self._cast.channels
            },
        }
        file = self._folder / "naive-script.json"
        file.write_bytes(msgspec.json.encode(settings))
        with (self._folder / "naive-script.log").open("ab") as log:
            self._script = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tidegate.rehearsal.naive", str(file), stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE, stderr=log, start_new_session=True, env=environment(),
            )  # fmt: skip
        output = cast("asyncio.StreamReader", self._script.stdout)
        try:
            line = await asyncio.wait_for(output.readline(), START_SECONDS)
        except TimeoutError as error:
            raise TransientError("the naive script did not start", code="sandbox_away") from error
        if not line:
            words = (self._folder / "naive-script.log").read_text(errors="replace")[-2000:]
            raise TransientError(f"the naive script did not start: {words}", code="sandbox_away")
        url = msgspec.json.decode(line)["url"]
        for name in self._cast.channels:
            if self._simulated[name].subscribes:
                await self.sandbox.ask("POST", f"/do/{name}/subscribe", {"url": f"{url}{name}"})

    def kill_script(self) -> int | None:
        """Kill -9 the script; return its pid."""
        if self._script is None or self._script.returncode is not None:
            return None
        with contextlib.suppress(ProcessLookupError):
            self._script.kill()
        return self._script.pid

    async def read_first(self) -> dict[str, Units]:
        """Return what the channels show before the first shopper, and begin to count."""
        self._before = await collect.read_counts(self.sandbox, list(self._cast.connectors))
        self._began_second = int(time.monotonic())
        return {name: await collect.read_shown(self.sandbox, name) for name in self._cast.channels}

    async def read_books(self, began_at: float, ended_at: float, shown_first: Mapping[str, Units]) -> Books:
        """Return its books; it got as long to settle as ours did."""
        after = await collect.read_counts(self.sandbox, list(self._cast.connectors))
        calls = collect.compare_counts(self._before, after, self._simulated, {}, self._began_second)
        books = await collect.read_books(
            self.sandbox, self._cast, self._shelf, began_at, ended_at, None, shown_first, calls, 0
        )
        known = {}
        for sale in books.booked:
            channel, sign, order = sale.reference.rpartition("#")[0].partition(":")
            if sign:
                known[sale.reference] = (channel, order)
        return msgspec.structs.replace(books, orders_of=known)

    async def close(self) -> None:
        """End script and platforms."""
        if self._script is not None and self._script.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._script.terminate()
            try:
                await asyncio.wait_for(self._script.wait(), STOP_SECONDS)
            except TimeoutError:
                self._script.kill()
                await self._script.wait()
        if self._sandbox is not None:
            await self._sandbox.close()
