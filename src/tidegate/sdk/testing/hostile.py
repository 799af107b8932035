"""The hostile remote as a real HTTP server: `python -m tidegate.sdk.testing.hostile --port 0 --state FILE`.

Prints `listening on http://127.0.0.1:<port>` when it is ready. With `--state`, the world is loaded from the file, written
back when it changes (at most five times a second) and at the end. `PUT /__faults` programs what goes wrong
(`hostile_faults`), `GET /__state` tells what really happened, the other `/__` routes are the test's hand (`hostile_api`).
It also delivers its webhooks to whoever subscribed, signed as Standard Webhooks.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
from aiohttp import web

from tidegate.kernel.clock import Clock, SystemClock
from tidegate.kernel.redaction import Secret
from tidegate.sdk.testing.hostile_api import Answer, Call, answer
from tidegate.sdk.testing.hostile_faults import Fault, FaultPlan, Faults
from tidegate.sdk.testing.hostile_world import World
from tidegate.sdk.testing.sender import WebhookSender, build_delivery

DUMP_SECONDS = 0.2
BODY_BYTES_MAX = 16 << 20
_GARBAGE = b"<html><body><h1>We'll be back soon</h1></body></html>"
_NO_EFFECT = frozenset(("reset", "rate_limit", "lie"))


class HostileServer:
    """The remote on 127.0.0.1; an async context manager for tests inside one process.

    `world` may be read and changed directly while no request is under way; `base_url` is known after entering.
    """

    def __init__(self, *, port: int = 0, state: Path | None = None, clock: Clock | None = None) -> None:
        """`port` 0 takes a free one; `state` is the JSON file that keeps the world."""
        self.world = World()
        self.plan = FaultPlan(Faults())
        self.base_url = ""
        self._port = port
        self._state = state
        self._clock = clock or SystemClock()
        self._changed = asyncio.Event()
        self._happened = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        if state is not None and state.exists():
            self.world = msgspec.json.decode(state.read_bytes(), type=World)

    async def __aenter__(self) -> HostileServer:
        self._runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, backlog=1024)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self.base_url = f"http://127.0.0.1:{self._port}"
        self._tasks = [asyncio.create_task(self._keep_state()), asyncio.create_task(self._deliver_events())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._runner.cleanup()
        self._dump()

    def put_faults(self, *rules: Fault, **options: Any) -> None:
        """Program what goes wrong from now on; `options` are the other fields of `Faults`."""
        self.plan = FaultPlan(Faults(rules=list(rules), **options))

    # --- requests ----------------------------------------------------------------------------------------------
    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        raw = await request.content.read(-1)
        try:
            body = msgspec.json.decode(raw) if raw else None
        except msgspec.DecodeError:
            return _respond(Answer(400, {"error": {"code": "no_json"}}))
        call = Call(
            method=request.method,
            path=request.path,
            query=dict(request.query),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=body,
            now=self._clock.now().isoformat(),
        )
        if call.path == "/__faults":
            try:
                self.plan = FaultPlan(msgspec.convert(body or {}, Faults))
            except msgspec.ValidationError as error:
                return _respond(Answer(400, {"error": {"code": "malformed", "detail": str(error)}}))
            return _respond(Answer(200, {}))
        if not call.path.startswith("/api/"):
            return _respond(self._effect(call))
        route = f"{call.method} {call.path}"
        self.world.requests[route] = self.world.requests.get(route, 0) + 1
        if call.headers.get("idempotency-key") in self.world.spoiled_keys:
            return _replay()
        fault = self.plan.choose(call.method, call.path, raw.decode(errors="replace") + request.query_string)
        if fault is None:
            return _respond(self._effect(call))
        self.world.faults_used[fault.kind] = self.world.faults_used.get(fault.kind, 0) + 1
        return await self._misbehave(request, call, fault)

    def _effect(self, call: Call) -> Answer:
        result = answer(self.world, call)
        self._changed.set()
        self._happened.set()
        return result

    async def _misbehave(self, request: web.BaseRequest, call: Call, fault: Fault) -> web.StreamResponse:
        if fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
        result = self._faulty_effect(call, fault)
        if fault.kind == "delay_reply":
            await asyncio.sleep(fault.seconds)
        if fault.kind in ("reset", "lose_reply"):
            _cut(request, reset=fault.kind == "reset")
        if fault.kind in ("truncated", "slow_drip"):
            return await _send_badly(request, result, fault)
        return _respond(result, fault)

    def _faulty_effect(self, call: Call, fault: Fault) -> Answer:
        if fault.kind == "lie":
            return answer(msgspec.json.decode(msgspec.json.encode(self.world), type=World), call)
        if fault.kind == "reject_items":
            count = len(call.body["items"]) if isinstance(call.body, dict) and "items" in call.body else 0
            call = msgspec.structs.replace(call, rejected=frozenset(fault.items or range(count)))
        if fault.kind == "duplicate":
            self._effect(call)
        wanted = fault.kind not in _NO_EFFECT if fault.effect is None else fault.effect
        if fault.kind in ("status", "spoil"):
            wanted = bool(fault.effect)
        if fault.kind == "spoil":
            self.world.spoiled_keys.add(call.headers.get("idempotency-key", ""))
        result = self._effect(call) if wanted else Answer(200, {})
        if fault.kind == "stale_read" and isinstance(result.body, dict) and "items" in result.body:
            result = Answer(result.status, {**result.body, "items": []})
        return result

    # --- behind the requests -----------------------------------------------------------------------------------
    async def _keep_state(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._dump()
            await asyncio.sleep(DUMP_SECONDS)

    def _dump(self) -> None:
        if self._state is not None:
            draft = self._state.with_suffix(".draft")
            draft.write_bytes(msgspec.json.encode(self.world))
            draft.replace(self._state)

    async def _deliver_events(self) -> None:
        while True:
            await self._happened.wait()
            self._happened.clear()
            if not self.world.webhooks_enabled:
                continue
            waiting = self.world.events[self.world.delivered :]
            self.world.delivered += len(waiting)
            for url, secret in list(self.world.subscriptions.items()) if waiting else ():
                async with WebhookSender(url, Secret(secret), give_up_seconds=3600.0) as sender:
                    await sender.send_all(
                        [build_delivery(event.body) for event in waiting],
                        duplicates=self.plan.faults.duplicate_deliveries,
                        shuffle=self.plan.faults.shuffle_deliveries,
                        seed=self.plan.faults.seed,
                    )


def _respond(result: Answer, fault: Fault | None = None) -> web.Response:
    headers = {}
    status, body, content_type = result.status, msgspec.json.encode(result.body), "application/json"
    if fault is not None and fault.kind == "garbage":
        status, body, content_type = 200, _GARBAGE, "text/html"
    elif fault is not None and fault.kind == "wrong_content_type":
        content_type = "text/html"
    elif fault is not None and fault.kind in ("status", "rate_limit", "spoil"):
        status = 429 if fault.kind == "rate_limit" else fault.status
        body = msgspec.json.encode({"error": {"code": fault.code}})
        if fault.retry_after is not None:
            headers["Retry-After"] = fault.retry_after
    return web.Response(status=status, body=body, content_type=content_type, headers=headers)


def _replay() -> web.Response:
    """Answer what is kept under a spoiled key."""
    body = msgspec.json.encode({"error": {"code": "broken"}})
    return web.Response(status=500, body=body, content_type="application/json", headers={"Idempotent-Replayed": "true"})


async def _send_badly(request: web.BaseRequest, result: Answer, fault: Fault) -> web.StreamResponse:
    """Send a good answer byte by byte, or half of it and then nothing."""
    body = msgspec.json.encode(result.body)
    response = web.StreamResponse(status=result.status, headers={"Content-Type": "application/json"})
    response.content_length = len(body)
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        if fault.kind == "truncated":
            await response.write(body[: len(body) // 2])
            _close(request)
            return response
        for index in range(len(body)):
            await response.write(body[index : index + 1])
            await asyncio.sleep(fault.seconds)
        await response.write_eof()
    return response


def _close(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.close()


def _cut(request: web.BaseRequest, *, reset: bool) -> None:
    """End the connection without an answer, with a TCP reset or silently."""
    transport = request.transport
    if transport is None:
        return
    if reset:
        peer: socket.socket = transport.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _serve(arguments: argparse.Namespace, announce: Callable[[str], Awaitable[None]]) -> None:
    async with HostileServer(port=arguments.port, state=arguments.state) as server:
        server.world.account = arguments.account or server.world.account
        await announce(server.base_url)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (2, 15):  # SIGINT, SIGTERM
            loop.add_signal_handler(number, stop.set)
        await stop.wait()


async def _print_address(base_url: str) -> None:
    sys.stdout.write(f"listening on {base_url}\n")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> None:
    """Run the remote until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--state", type=Path, default=None, help="JSON file that keeps the world")
    parser.add_argument("--account", default=None, help="name of the account, also in ids of events")
    asyncio.run(_serve(parser.parse_args(arguments), _print_address))


if __name__ == "__main__":
    main()
