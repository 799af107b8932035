"""An evaluator on a database of its own, with a clock that tests move, and those who are told: an SMTP server, a web server."""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import msgspec
from aiohttp import web

from tests.applybed import KEYS
from tidegate.kernel.clock import SystemClock
from tidegate.monitor.alerts.addresses import build_target
from tidegate.monitor.alerts.evaluator import Evaluator
from tidegate.monitor.alerts.operator import add_target
from tidegate.monitor.alerts.settings import AlertSettings
from tidegate.sdk.connector import Connector
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.store.roles import Role
from tidegate.vault.keys import KeyRing

SETTINGS = AlertSettings(start_grace_seconds=0.0, count_every_rounds=1, outbox_seconds=0.0, count_lag_seconds=0.0)
ROUND = timedelta(seconds=10)
ROUNDS_MAX = 6
"""An alert fires within this many rounds of its cause: a minute."""


class MovableClock:
    """The real time, and what a test adds to it."""

    def __init__(self) -> None:
        self.ahead = timedelta()
        self._real = SystemClock()

    def now(self) -> datetime:
        return self._real.now() + self.ahead

    def monotonic(self) -> float:
        return self._real.monotonic() + self.ahead.total_seconds()

    def move(self, by: timedelta) -> None:
        self.ahead += by


class Watch:
    """One evaluator under a test's hand."""

    def __init__(
        self,
        database: Database,
        pool: Pool,
        connectors: Mapping[str, Connector],
        *,
        clock: MovableClock | None = None,
        folder: Path | None = None,
        settings: AlertSettings = SETTINGS,
    ) -> None:
        self.clock = clock or MovableClock()
        self.pool = pool
        self.missing: dict[str, str] = {}
        self.evaluator = Evaluator(
            database.access(Role.WEB),
            keys={"alert": KEYS["alert"]},
            connectors=connectors,
            clock=self.clock,
            cell="c0",
            folder=folder,
            missing=lambda: self.missing,
            settings=settings,
        )

    async def round(self, by: timedelta = ROUND) -> bool:
        """Let time pass and look once; whatever is to be told is told before this returns."""
        self.clock.move(by)
        leads = await self.evaluator.round()
        await self.evaluator.outbox.settle()
        return leads

    async def firing(self) -> set[tuple[str, str]]:
        rows = await self.pool.fetch("SELECT rule, subject FROM alert WHERE state = 'firing'")
        return {(row["rule"], row["subject"]) for row in rows}

    async def alert(self, rule: str) -> dict[str, Any]:
        """The newest alert of a rule."""
        row = await self.pool.fetchrow("SELECT * FROM alert WHERE rule = $1 ORDER BY alert_id DESC LIMIT 1", rule)
        assert row is not None, f"{rule} never fired"
        return dict(row)

    async def until_firing(self, rule: str, subject: str | None = None, *, rounds: int = ROUNDS_MAX) -> dict[str, Any]:
        """Look until a rule fires; fail when it does not within a minute of the clock."""
        for _ in range(rounds):
            await self.round()
            if any(name == rule and subject in (None, about) for name, about in await self.firing()):
                return await self.alert(rule)
        raise AssertionError(f"{rule} did not fire within {rounds} rounds; firing: {await self.firing()}")

    async def until_over(self, rule: str, *, rounds: int = 12) -> dict[str, Any]:
        """Look until no alert of a rule fires."""
        for _ in range(rounds):
            await self.round()
            if all(name != rule for name, _ in await self.firing()):
                found = await self.alert(rule)
                assert found["state"] == "resolved"
                return found
        raise AssertionError(f"{rule} was not over after {rounds} rounds: {await self.alert(rule)}")

    async def notices(self) -> list[dict[str, Any]]:
        return [dict(row) for row in await self.pool.fetch("SELECT * FROM alert_notice ORDER BY notice_id")]

    async def close(self) -> None:
        await self.evaluator.outbox.drain(1)
        self.evaluator._forget()


@contextlib.asynccontextmanager
async def watching(
    database: Database, pool: Pool, connectors: Mapping[str, Connector], **more: Any
) -> AsyncIterator[Watch]:
    watch = Watch(database, pool, connectors, **more)
    try:
        yield watch
    finally:
        await watch.close()


async def tell(pool: Pool, tenant_id: UUID, name: str, given: Mapping[str, Any]) -> None:
    """Store a target as the command line does."""
    async with pool.acquire() as conn:
        await add_target(
            cast("Any", conn), KeyRing(KEYS), tenant_id=tenant_id, actor="test", target=build_target(name, given)
        )


# --- who is told -------------------------------------------------------------------------------------------------------
class MailSink:
    """A real SMTP server on the loopback that keeps what it is sent. `refuse` answers the next messages with 451."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.refuse = 0
        self.sessions = 0
        self.port = 0

    @property
    def target(self) -> dict[str, Any]:
        return {
            "kind": "mail", "host": "127.0.0.1", "port": self.port, "security": "none", "from": "tide@example.test",
            "to": ["ops@example.test"],
        }  # fmt: skip

    def subjects(self) -> list[str]:
        return [str(mail["subject"]) for mail in self.mails]

    def text(self, index: int = -1) -> str:
        return str(self.mails[index].get_content())

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sessions += 1
        try:
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(line: str) -> None:
            writer.write(line.encode() + b"\r\n")

        say("220 sink ESMTP")
        while line := (await reader.readline()).decode("utf-8", "replace").strip():
            verb = line.partition(" ")[0].upper()
            if verb == "EHLO":
                say("250-sink")
                say("250 8BITMIME")
            elif verb in {"HELO", "MAIL", "RCPT", "RSET", "NOOP"}:
                say("250 fine")
            elif verb == "DATA":
                say("354 go on")
                await writer.drain()
                say(self._keep(await reader.readuntil(b"\r\n.\r\n")))
            elif verb == "QUIT":
                say("221 bye")
                await writer.drain()
                return
            else:
                say("502 not here")
            await writer.drain()

    def _keep(self, data: bytes) -> str:
        if self.refuse:
            self.refuse -= 1
            return "451 try later"
        body = data.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n.")
        self.mails.append(cast("EmailMessage", email.message_from_bytes(body, policy=email.policy.default)))
        return "250 taken"


@contextlib.asynccontextmanager
async def mail_sink() -> AsyncIterator[MailSink]:
    sink = MailSink()
    server = await asyncio.start_server(sink.serve, "127.0.0.1", 0)
    sink.port = server.sockets[0].getsockname()[1]
    try:
        yield sink
    finally:
        server.close()
        await server.wait_closed()


class HookSink:
    """A web server that keeps what is posted to it, and answers as it is told."""

    def __init__(self) -> None:
        self.posts: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.beats = 0
        self.status = 200
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=secret-token"

    async def post(self, request: web.Request) -> web.Response:
        body = msgspec.json.decode(await request.read())
        if self.status < 300:
            self.posts.append(body)
            self.keys.append(request.headers["Idempotency-Key"])
        headers = {"Location": "/elsewhere"} if 300 <= self.status < 400 else {}
        return web.Response(status=self.status, headers=headers)

    async def beat(self, _request: web.Request) -> web.Response:
        self.beats += 1
        return web.Response(status=self.status)


@contextlib.asynccontextmanager
async def hook_sink() -> AsyncIterator[HookSink]:
    sink = HookSink()
    app = web.Application()
    app.router.add_post("/hook", sink.post)
    app.router.add_get("/beat", sink.beat)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    sink.port = cast("Any", runner.addresses[0])[1]
    try:
        yield sink
    finally:
        await runner.cleanup()
