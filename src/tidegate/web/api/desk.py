"""What a handler of the API works with: who calls, reads of their tenant, and writes that happen once."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, Response
from litestar.di import NamedDependency

from tidegate.config import Config
from tidegate.config.versions import ConfigVersion
from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.ids import public_id
from tidegate.monitor.events_view import find_connection
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.web.database import reading, writing
from tidegate.web.keys import Caller
from tidegate.web.problems import MEDIA_TYPE, ProblemError, as_problem, build_problem, request_id_of
from tidegate.web.world import World

REPLAYED_HEADER = "Idempotency-Replayed"
JSON = "application/json"
_LOCK = query("api_answer_lock")
_FIND = query("api_answer_find")
_ADD = query("api_answer_add")

Effect = Callable[[Connection], Awaitable[msgspec.Struct]]
"""What a write does, on a connection in a transaction: returns the document of its answer. Safe to roll back."""


class Desk:
    """One request's caller and its way into their data."""

    __slots__ = ("_request", "caller", "now", "world")

    def __init__(self, world: World, request: Request[Any, Any, Any]) -> None:
        """Made for each request; opens nothing by itself."""
        self.world = world
        self.caller: Caller = request.scope["user"]
        self.now: datetime = world.clock.now()
        self._request = request

    @property
    def tenant_id(self) -> UUID:
        """Whose data this is about: from the key, never from the request."""
        return self.caller.tenant_id

    @property
    def cell(self) -> str:
        """What stands in public ids."""
        return self.world.cell

    def public(self, kind: str, identifier: UUID) -> str:
        """Return an id as callers see it."""
        return public_id(kind, self.world.cell, identifier)

    def reading(self) -> AbstractAsyncContextManager[Connection]:
        """A read-only snapshot of the caller's tenant."""
        return reading(self.world, self.tenant_id)

    async def find_connection(self, conn: Connection, name: str | None) -> UUID | None:
        """Return the id of a connection of the caller's tenant; None for None. Raises ConfigurationError for no such one."""
        return None if name is None else await find_connection(conn, self.tenant_id, name)

    async def read_version(self, conn: Connection) -> ConfigVersion | None:
        """Return the configuration that works for the caller's tenant, None before the first one."""
        await self.world.snapshots.read(conn)
        return self.world.snapshots.versions.get(self.tenant_id)

    async def read_config(self, conn: Connection) -> Config:
        """Return the configuration that works. Raises ConfigurationError when none was ever put to work."""
        version = await self.read_version(conn)
        if version is None:
            raise ConfigurationError(
                "no configuration was put to work yet", code="config_missing", hint="run: tidegate up"
            )
        return version.config

    async def once(self, idempotency_key: str, effect: Effect, *, status: int = 200) -> Response[Any]:
        """Do something once per idempotency key: the same request again gets the same answer and has no further effect.

        Effect and answer are committed together. A refusal is an answer too; an error of ours is none, and the request
        may be repeated. Raises ProblemError: 409 while the same key is being worked on, 422 when it was used for another
        request. Raises TransientError when the database is away.
        """
        digest = await self.digest()
        names = (self.tenant_id, self.caller.key_id, idempotency_key)
        async with writing(self.world, self.tenant_id) as conn:
            if not await conn.fetchval(_LOCK, *names):
                raise ProblemError(
                    409,
                    "idempotency_key_in_use",
                    "a request with this Idempotency-Key is being worked on",
                    hint="repeat it in a moment: it then gets the answer of the first one",
                    headers={"Retry-After": "1"},
                )
            kept = await conn.fetchrow(_FIND, *names)
            if kept is None:
                code, media_type, body = await self._perform(conn, effect, status)
                await conn.execute(_ADD, *names, digest, code, media_type, body)
                return respond_kept(code, media_type, body, is_replayed=False)
            if kept["request_digest"] != digest:
                raise key_reused()
        return respond_kept(kept["status"], kept["media_type"], kept["body"], is_replayed=True)

    async def _perform(self, conn: Connection, effect: Effect, status: int) -> tuple[int, str, bytes]:
        try:
            async with conn.transaction():
                document = await effect(conn)
        except Exception as error:
            problem = as_problem(error)
            if problem.status >= 500:
                raise
            document = build_problem(problem, self.request_id)
            return problem.status, MEDIA_TYPE, msgspec.json.encode(document)
        return status, JSON, msgspec.json.encode(document)

    @property
    def request_id(self) -> str:
        """The id of the request, which the log has too."""
        return request_id_of(self._request.scope)

    async def digest(self) -> bytes:
        """Return the digest of what is asked: method, address with its query, and body."""
        return self.digest_part(await self._request.body())

    def digest_part(self, body: bytes) -> bytes:
        """Return the digest of a part of what is asked: method, address with its query, and what stands for the body."""
        scope = self._request.scope
        address = f"{scope['method']} {scope['path']}".encode() + b"?" + scope["query_string"]
        return hashlib.sha256(len(address).to_bytes(4, "big") + address + body).digest()


def key_reused() -> ProblemError:
    """Return what is told to whoever uses the key of one request for another."""
    return ProblemError(
        422,
        "idempotency_key_reused",
        "this Idempotency-Key was used for another request",
        hint="a new request needs a new key; to repeat one, send the same method, address and body",
    )


def respond_kept(status: int, media_type: str, body: bytes, *, is_replayed: bool) -> Response[Any]:
    """Return the response of an answer that is kept."""
    headers = {REPLAYED_HEADER: "true"} if is_replayed else None
    return Response(content=body, status_code=status, media_type=media_type, headers=headers)


async def provide_desk(request: Request[Any, Any, Any], world: NamedDependency[World]) -> Desk:
    """Make the desk of a request. Litestar calls it."""
    return Desk(world, request)
