"""The worker's side of hooks: starts processes for them, gives each one order at a time, and kills what goes wrong.

Whatever a hook does - loops, allocates, raises, ends its process, writes garbage - is the answer to its own order and to
nobody else's. The worker holds at most one bounded answer per process.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import structlog

import tidegate
from tidegate.commerce.commands import CreateOrder
from tidegate.commerce.states import HELD_CODE
from tidegate.kernel.errors import TransientError
from tidegate.mapping.apply import SKIPPED, Refused, Shaped
from tidegate.mapping.compile import CompiledMaps, FlowMap
from tidegate.mapping.hook_values import HookResultError, order_for_hooks, order_from_hooks, shipment_for_hooks
from tidegate.mapping.hook_wire import ANSWER_BYTES_MAX, LENGTH, Answer, Request, Setup, frame, read_answer
from tidegate.mapping.records import Hooks
from tidegate.mapping.references import Files

log = structlog.get_logger()

PROCESSES = 2
"""Hook processes of one worker: one that hangs holds up half of them, until its deadline."""
START_SECONDS = 20.0
"""Until a new process must have loaded the hooks."""
GRACE_SECONDS = 0.5
"""Beyond the deadline, for the process to say itself where the hook was."""
IDLE_SECONDS = 60.0
"""A process that had nothing to do for so long is ended."""
BROKEN_SECONDS = 30.0
"""Hooks that cannot be loaded are not tried again before."""
PAUSE_SECONDS_MAX = 5.0
_ROOT = str(Path(tidegate.__file__).parent.parent)
_START = "import sys; sys.path.append(sys.argv[1]); from tidegate.mapping.hook_child import main; main()"
_LIMIT = "hooks.deadline and hooks.memory of tidegate.yaml set the bounds"


class _DeadError(Exception):
    """The process gave no answer that can be used; code and reason say why."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class HookHost:
    """Runs the hooks of one version of the maps."""

    def __init__(self, maps: CompiledMaps, settings: Hooks, files: Files, *, processes: int = PROCESSES) -> None:
        """Start nothing yet: processes are started when there is an order for them."""
        tables = {name: table.for_hooks() for name, table in maps.tables.items()}
        self._deadline = settings.deadline_seconds
        self._setup = Setup(
            files={name: text for name, text in files.items() if name.endswith(".py")},
            hooks={"orders": dict(maps.orders.hooks), "shipments": dict(maps.shipments.hooks)},
            cfg={**tables, **settings.options},
            memory_bytes=settings.memory_bytes,
            deadline_seconds=self._deadline,
        )
        self._slots = asyncio.Semaphore(processes)
        self._idle: list[_Process] = []
        self._numbers = itertools.count(1)
        self._deaths = 0
        self._broken: tuple[float, Refused] | None = None
        self._is_retired = False

    async def run(
        self, flow_map: FlowMap, payload: Shaped, facts: Mapping[str, str], *, is_approved: bool = False
    ) -> Shaped | Refused:
        """Return what the hooks of a flow make of a payload, or why it is not sent.

        What a person approved is not held. Raises TransientError when the machine gives no process.
        """
        value = order_for_hooks(payload, facts) if isinstance(payload, CreateOrder) else shipment_for_hooks(payload)
        async with self._slots:
            answer = await self._ask(flow_map.flow, value)
        if isinstance(answer, Refused):
            return answer
        if answer.trouble is not None:
            return Refused(code=answer.trouble.code, reason=answer.trouble.reason[:500])
        if isinstance(payload, CreateOrder) and answer.order is not None:
            try:
                payload = order_from_hooks(payload, facts, answer.order)
            except HookResultError as error:
                return Refused(code="hook_invalid", reason=str(error)[:500])
        if answer.verdict == "hold" and not is_approved:
            return Refused(kind="hold", code=HELD_CODE, reason=answer.reason or "a hook wants a person to decide")
        if answer.verdict == "skip":
            return Refused(kind="skip", code=SKIPPED, reason=answer.reason or "a hook let it be left out")
        return payload

    async def check(self) -> Refused | None:
        """Load the hooks in a process and say why they cannot be used, None when they can."""
        async with self._slots:
            try:
                self._keep(await self._start())
            except _DeadError as error:
                return Refused(code=error.code, reason=str(error))
        return None

    def retire(self) -> None:
        """Take no more orders after those in hand: a newer version of the maps is at work."""
        self._is_retired = True
        for process in self._idle:
            process.kill()
        self._idle.clear()

    async def close(self) -> None:
        """End the processes."""
        idle = list(self._idle)
        self.retire()
        await asyncio.gather(*(process.wait() for process in idle))

    async def _ask(self, flow: str, value: dict[str, object]) -> Answer | Refused:
        loop = asyncio.get_running_loop()
        if self._broken is not None and loop.time() < self._broken[0]:
            return self._broken[1]
        process: _Process | None = None
        is_fit = False
        try:
            process = self._idle.pop() if self._idle else await self._start()
            request = Request(number=next(self._numbers), flow=flow, value=value)
            answer = await process.ask(request, self._deadline + GRACE_SECONDS)
            is_fit = not answer.is_ending
        except _DeadError as error:
            return self._note_death(Refused(code=error.code, reason=str(error)))
        else:
            self._deaths = 0 if is_fit else self._deaths + 1
            return answer
        finally:
            if process is not None and is_fit and not self._is_retired:
                self._keep(process)
            elif process is not None:
                process.kill()
                await asyncio.shield(process.wait())

    def _note_death(self, refused: Refused) -> Refused:
        self._deaths += 1
        log.warning("hooks.ended", code=refused.code, reason=refused.reason[:200], count=self._deaths)
        return refused

    def _keep(self, process: _Process) -> None:
        self._idle.append(process)
        uses = process.uses

        def end_if_idle() -> None:
            if process in self._idle and process.uses == uses:
                self._idle.remove(process)
                process.kill()

        asyncio.get_running_loop().call_later(IDLE_SECONDS, end_if_idle)

    async def _start(self) -> _Process:
        """Start a process; the more of them died in a row, the longer it waits before. Raises _DeadError."""
        if self._deaths > 2:
            await asyncio.sleep(min(PAUSE_SECONDS_MAX, 0.05 * 2 ** min(self._deaths - 3, 10)))
        try:
            process = await _Process.start()
        except OSError as error:
            raise TransientError(f"no process for hooks: {error.strerror}", code="hook_process_missing") from error
        try:
            answer = await process.ask(self._setup, START_SECONDS)
        except BaseException:
            process.kill()
            await asyncio.shield(process.wait())
            raise
        if answer.trouble is not None:
            process.kill()
            await asyncio.shield(process.wait())
            refused = Refused(code=answer.trouble.code, reason=answer.trouble.reason[:500])
            self._broken = (asyncio.get_running_loop().time() + BROKEN_SECONDS, refused)
            raise _DeadError(refused.code, refused.reason)
        return process


class _Process:
    """One hook process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.uses = 0

    @classmethod
    async def start(cls) -> _Process:
        """Start one in a session of its own, without environment and descriptors. Raises OSError."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-B", "-X", "utf8", "-c", _START, _ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={"LC_ALL": "C.UTF-8"},
            cwd="/",
            start_new_session=True,
        )  # fmt: skip
        return cls(process)

    async def ask(self, message: Setup | Request, seconds: float) -> Answer:
        """Send a message and return the answer. Raises _DeadError when there is none in time, or none at all."""
        self.uses += 1
        try:
            async with asyncio.timeout(seconds):
                return await self._exchange(message)
        except TimeoutError:
            raise _DeadError("hook_timeout", f"the hook did not react to its deadline; {_LIMIT}") from None
        except (asyncio.IncompleteReadError, ConnectionError):
            raise _DeadError("hook_failed", await self._last_words()) from None
        except ValueError:
            raise _DeadError("hook_invalid", "the hook's process wrote something that is no answer") from None

    async def _exchange(self, message: Setup | Request) -> Answer:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise ConnectionError
        stdin.write(frame(message))
        await stdin.drain()
        (length,) = LENGTH.unpack(await stdout.readexactly(LENGTH.size))
        if length > 2 * ANSWER_BYTES_MAX:
            raise ValueError("too long")
        answer = read_answer(await stdout.readexactly(length))
        if answer.number != message.number:
            raise ValueError("the answer to another order")
        return answer

    async def _last_words(self) -> str:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                status = await self._process.wait()
                if status == -signal.SIGKILL:
                    return f"the hook's process was killed, perhaps for memory; {_LIMIT}"
                if status < 0:
                    return f"the hook's process ended with signal {-status}"
                return f"the hook ended its process with status {status}"
        return "the hook closed its process's pipe"

    def kill(self) -> None:
        """End the process and whatever it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def wait(self) -> None:
        """Return when the process is gone."""
        await self._process.wait()
