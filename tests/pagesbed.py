"""The web process on a database with a tenant, a login, and a visitor that speaks HTTP as a browser does."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import aiohttp

from tidegate.runtime.ports import free_port
from tidegate.sdk.connector import Connector
from tidegate.store.connections import Pool
from tidegate.store.context import Context
from tidegate.store.database import Database
from tidegate.store.roles import Role
from tidegate.web.app import serve
from tidegate.web.logins import add_login
from tidegate.web.passwords import hash_password

NAME, PASSWORD = "admin", "right horse battery"
HASH = hash_password(PASSWORD)
_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]{64})"')


class SetClock:
    """A clock that a test sets forward."""

    def __init__(self) -> None:
        self.ahead = timedelta()
        self.held: datetime | None = None

    def now(self) -> datetime:
        return (self.held or datetime.now(UTC)) + self.ahead

    def hold(self) -> None:
        """Let no time pass by itself any more."""
        self.held = datetime.now(UTC)

    def monotonic(self) -> float:
        return self.now().timestamp()

    def advance(self, **parts: float) -> None:
        self.ahead += timedelta(**parts)


@dataclass
class Answer:
    """What came back."""

    status: int
    text: str
    headers: Mapping[str, str]
    cookies: list[str] = field(default_factory=list)


class Visitor:
    """Somebody with a cookie jar."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self.http = http
        self.url = url

    async def get(self, path: str, **headers: str) -> Answer:
        """Look at a page; redirections are not followed."""
        async with self.http.get(self.url + path, headers=headers, allow_redirects=False) as answer:
            return await _answer(answer)

    async def post(self, path: str, fields: Mapping[str, str], **headers: str) -> Answer:
        """Send a form as it stands; redirections are not followed."""
        own = {"Origin": self.url, **{name.replace("_", "-"): value for name, value in headers.items()}}
        target = self.url + path
        async with self.http.post(target, data=dict(fields), headers=own, allow_redirects=False) as answer:
            return await _answer(answer)

    async def token(self, path: str = "/") -> str:
        """Return the token of the first form of a page."""
        return token_of((await self.get(path)).text)

    async def act(self, path: str, *, at: str = "/", **fields: str) -> Answer:
        """Open a page and send a form with its token."""
        return await self.post(path, {"form_token": await self.token(at), **fields})

    async def sign_in(self, name: str = NAME, password: str = PASSWORD, *, to: str = "/") -> Answer:
        """Open the login and send it."""
        return await self.act("/login", at="/login", name=name, password=password, next=to)


def token_of(html: str) -> str:
    """Return the token of the first form."""
    found = _TOKEN.search(html)
    assert found, html
    return found[1]


async def _answer(answer: aiohttp.ClientResponse) -> Answer:
    return Answer(answer.status, await answer.text(), answer.headers, answer.headers.getall("Set-Cookie", []))


async def make_login(pool: Pool, tenant_id: UUID) -> None:
    """Let admin sign in."""
    async with pool.acquire() as conn:
        await add_login(conn, tenant_id=tenant_id, name=NAME, password_hash=HASH, actor="test")


@asynccontextmanager
async def running_pages(
    database: Database, *, connectors: Mapping[str, Connector] | None = None, clock: Any = None
) -> AsyncIterator[str]:
    """Run the web process in this one; yield its address."""
    port = free_port()
    context = Context(
        role="web",
        index=1,
        cell="c0",
        access=database.access(Role.WEB),
        connectors=connectors or {},
        options={"port": port, "drain_seconds": 1},
        **({"clock": clock} if clock is not None else {}),
    )
    stop = asyncio.Event()
    task = asyncio.create_task(serve(context, stop))
    url = f"http://127.0.0.1:{port}"
    try:
        await _until_answers(url, task)
        yield url
    finally:
        stop.set()
        await asyncio.wait_for(task, 200)


@asynccontextmanager
async def visiting(url: str) -> AsyncIterator[Visitor]:
    """A visitor with a cookie jar of its own."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as http:
        yield Visitor(http, url)


async def _until_answers(url: str, task: asyncio.Task[None]) -> None:
    async with aiohttp.ClientSession() as http, asyncio.timeout(200):
        while True:
            if task.done():
                task.result()
            try:
                async with http.get(f"{url}/healthz") as answer:
                    assert answer.status == 200
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)
