"""Around everything: an id per request, headers that protect, a deadline for bodies, and the very last error handler.

A request whose `Host` names none goes no further: what is behind may take the addresses of requests apart.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from email.utils import formatdate
from functools import lru_cache
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import msgspec
import structlog

from tidegate.kernel.ids import new_id, public_id
from tidegate.web.problems import MEDIA_TYPE, ProblemError, build_problem
from tidegate.web.settings import WebSettings

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

DEFAULT_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
"""Sent with every answer that does not set them itself."""
_log = structlog.get_logger("web.edge")


class Edge:
    """Wraps the application. Nothing that happens inside reaches a client as a traceback."""

    def __init__(self, app: App, *, cell: str, settings: WebSettings) -> None:
        """`cell` stands in the request ids."""
        self._app = app
        self._cell = cell
        self._body_seconds = settings.body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        request_id = scope["tidegate_request_id"] = public_id("req", self._cell, new_id())
        answer = _Answer(send, request_id)
        if not all(_is_host(value) for name, value in scope["headers"] if name == b"host"):
            await answer.problem(ProblemError(400, "host_invalid", "the header Host names no host"))
            return
        try:
            await self._app(scope, _Body(receive, self._body_seconds), answer)
        except Exception as error:
            _log.error("web.failed", error_class=type(error).__name__, request_id=request_id, exc_info=error)
            if answer.has_begun:
                raise
            await answer.problem(
                ProblemError(500, "internal", "an error of ours; it is in the log under the request id")
            )


def is_host(value: bytes) -> bool:
    """Whether a `Host` header is a host with or without a port. Pure."""
    text = value.decode("latin-1")
    try:
        parts = urlsplit(f"//{text}")
        is_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    return text.isascii() and parts.netloc == text and is_port and parts.username is None


_is_host = lru_cache(maxsize=256)(is_host)
"""The same hosts are named again and again."""


class _Body:
    """The request's body, with a deadline. After its end `receive` waits for the client to go, for as long as it takes."""

    def __init__(self, receive: Receive, seconds: float) -> None:
        self._receive = receive
        self._seconds = seconds
        self._deadline: float | None = None
        self._is_complete = False

    async def __call__(self) -> Message:
        if self._is_complete:
            return await self._receive()
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + self._seconds
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise ProblemError(
                408, "request_timeout", "the body did not come in time", headers={"Connection": "close"}
            ) from None
        if not message.get("more_body", False):
            self._is_complete = True
        return message


@lru_cache(maxsize=2)
def _date(second: int) -> tuple[bytes, bytes]:
    """Return the header that says when an answer was given, in seconds since 1970. Pure."""
    return (b"date", formatdate(second, usegmt=True).encode())


class _Answer:
    """The way of an answer out: adds the headers."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            given = list(message.get("headers", ()))
            names = {name.lower() for name, _ in given}
            added = [(name, value) for name, value in DEFAULT_HEADERS if name not in names]
            message = {
                **message,
                "headers": [_date(int(time.time())), *given, *added, (b"x-request-id", self._request_id.encode())],
            }
        await self._send(message)

    async def problem(self, problem: ProblemError) -> None:
        body = msgspec.json.encode(build_problem(problem, self._request_id))
        headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
        await self({"type": "http.response.start", "status": problem.status, "headers": headers})
        await self({"type": "http.response.body", "body": body})
