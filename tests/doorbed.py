"""A real door on a free port, a connection that delivers to it, and a sender that speaks raw HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from tests.logbed import CLASS_ROOTS, add_connection, add_tenant, key_ring
from tidegate.commerce.changes import CanonicalChange
from tidegate.intake.door import DoorProcess
from tidegate.intake.settings import read_settings
from tidegate.kernel.redaction import Secret
from tidegate.sdk.connector import Connector, EventKeys, Inspection, RawEvent, Webhook
from tidegate.sdk.http import Api, Session
from tidegate.sdk.signatures import StandardWebhooks, sign_standard_webhooks
from tidegate.store.connections import Connection
from tidegate.store.context import Context
from tidegate.store.database import Database
from tidegate.store.roles import Role
from tidegate.vault import credentials

SECRET = "whsec_" + "bWZKdjN4cTJhYjdkZTQ1Zmc2N2hpODlqazAxbG1ubw=="


def read_keys(_headers: Mapping[str, str], body: bytes) -> EventKeys:
    content = json.loads(body)
    return EventKeys(topic=content["type"], sender_event_id=content["id"], ordering_key=f"order:{content['order']}")


async def _open_session(_api: Api, _secrets: Mapping[str, Secret], _settings: Mapping[str, Any]) -> Session:
    return Session({})


async def _inspect(_api: Api) -> Inspection:
    raise AssertionError("this connector is never inspected")


def _normalize(_event: RawEvent) -> Sequence[CanonicalChange]:
    return ()


def connector(name: str = "plain", **webhook: Any) -> Connector:
    """A connector of which only the webhook matters."""
    return Connector(
        name=name,
        title=name,
        version="1",
        mapping_version=1,
        roles=frozenset({"channel"}),
        fields=(),
        open_session=_open_session,
        inspect=_inspect,
        normalize=_normalize,
        webhook=Webhook(**{"verify": StandardWebhooks(), "read_keys": read_keys, **webhook}),
    )


@dataclass
class Shop:
    """A connection and how it signs."""

    tenant_id: UUID
    connection_id: UUID
    token: str
    secret: str = SECRET

    def deliver(
        self,
        event_id: str,
        *,
        order: str = "1",
        body: bytes | None = None,
        path: str | None = None,
        headers: Mapping[str, str | None] | None = None,
        timestamp: int | None = None,
    ) -> bytes:
        """Return a whole signed request; `headers` replace or (None) take away."""
        content = body if body is not None else delivery_body(event_id, order)
        at = int(time.time()) if timestamp is None else timestamp
        lines: dict[str, str | None] = {
            "host": "door.example",
            "content-type": "application/json",
            "content-length": str(len(content)),
            "webhook-id": event_id,
            "webhook-timestamp": str(at),
            "webhook-signature": sign_standard_webhooks(self.secret, event_id, at, content),
            **(headers or {}),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
        return f"POST {path or '/in/c0/' + self.token} HTTP/1.1\r\n{head}\r\n".encode() + content


def delivery_body(event_id: str, order: str = "1") -> bytes:
    return json.dumps({"id": event_id, "type": "order.updated", "order": order}).encode()


async def add_shop(
    connection: Connection,
    *,
    tenant_id: UUID | None = None,
    token: str = "secret-path",
    with_secret: bool = True,
    connector_name: str = "plain",
) -> Shop:
    tenant_id = tenant_id or await add_tenant(connection)
    connection_id = await add_connection(
        connection, tenant_id, connector=connector_name, path_hash=hashlib.sha256(token.encode()).digest()
    )
    if with_secret:
        await credentials.put(
            connection, key_ring("intake"), tenant_id, connection_id, "intake", "webhook_secret", Secret(SECRET)
        )
    return Shop(tenant_id, connection_id, token)


async def eventually(condition: Callable[[], Awaitable[bool]], *, timeout_seconds: float = 200.0) -> None:
    """Poll until the condition holds. Raises TimeoutError when it does not in time."""
    async with asyncio.timeout(timeout_seconds):
        while not await condition():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.01)


@dataclass
class Response:
    status: int
    head: bytes = field(repr=False)
    body: bytes

    def header(self, name: str) -> str | None:
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.decode().lower() == name:
                return value.strip().decode()
        return None


class Sender:
    """One raw connection to the door."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, request: bytes) -> Response:
        self.writer.write(request)
        await self.writer.drain()
        return await self.receive()

    async def receive(self, timeout_seconds: float = 200.0) -> Response:
        async with asyncio.timeout(timeout_seconds):
            head = await self.reader.readuntil(b"\r\n\r\n")
            status = int(head.split(b" ", 2)[1])
            response = Response(status, head, b"")
            length = int(response.header("content-length") or 0) if status >= 200 else 0
            response.body = await self.reader.readexactly(length)
            return response

    async def is_closed(self, timeout_seconds: float = 200.0) -> bool:
        """Whether the door ends the connection without another byte."""
        async with asyncio.timeout(timeout_seconds):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True


class Door:
    """A running door."""

    def __init__(self, process: DoorProcess) -> None:
        self.process = process
        self._senders: list[Sender] = []

    @property
    def port(self) -> int:
        return self.process.port

    async def sender(self) -> Sender:
        sender = Sender(*await asyncio.open_connection("127.0.0.1", self.port))
        self._senders.append(sender)
        return sender

    async def send(self, request: bytes) -> Response:
        """Send one request over a connection of its own."""
        sender = await self.sender()
        response = await sender.send(request)
        sender.writer.close()
        return response

    async def wait_ready(self, *, timeout_seconds: float = 200.0) -> None:
        request = b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n"
        await eventually(lambda: self.answers(request, 200), timeout_seconds=timeout_seconds)

    async def answers(self, request: bytes, status: int) -> bool:
        """Whether a request is answered with that status."""
        return (await self.send(request)).status == status

    def close_senders(self) -> None:
        for sender in self._senders:
            sender.writer.close()


@asynccontextmanager
async def running_door(
    database: Database, *, connectors: Sequence[Connector] = (), ready: bool = True, **options: Any
) -> AsyncIterator[Door]:
    """A door in this process, with the door's own database role and key class."""
    context = Context(
        role="door",
        index=1,
        cell="c0",
        access=database.access(Role.DOOR),
        keys={"intake": CLASS_ROOTS["intake"]},
        connectors={one.name: one for one in connectors or (connector(),)},
        options={"port": 0, **options},
    )
    door = Door(DoorProcess(context, read_settings(context.options)))
    await door.process.start()
    stop = asyncio.Event()
    running = asyncio.create_task(door.process.run_until(stop))
    try:
        if ready:
            await door.wait_ready()
        yield door
        if running.done():
            running.result()
    finally:
        stop.set()
        await asyncio.gather(running, return_exceptions=True)
        door.close_senders()
        await door.process.drain()
