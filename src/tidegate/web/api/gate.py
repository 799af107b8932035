"""Who may call: API keys, their rates and scopes. Everything under `/v1` passes here before anything is read."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import MutableMapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import structlog
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import Headers
from litestar.enums import ParamType
from litestar.handlers.base import BaseRouteHandler
from litestar.params import ParameterKwarg
from litestar.typing import FieldDefinition
from prometheus_client import Counter

from tidegate.kernel import telemetry
from tidegate.kernel.errors import TransientError
from tidegate.web.buckets import Buckets, Grant, buckets_for, place_of
from tidegate.web.database import writing
from tidegate.web.edge import App, Message, Receive, Scope, Send
from tidegate.web.keys import KEY_CLASS, Caller, PresentedKey, Refusal, judge_key, note_use, read_key
from tidegate.web.problems import InvalidPart, ProblemError, request_id_of
from tidegate.web.scopes import is_allowed
from tidegate.web.world import World

GOOD_SECONDS = 60.0
"""So long a key that was good is let through to the look-up, whatever strangers of the same address do."""
USE_SECONDS = 60.0
"""A key's use is noted at most so often."""
QUERY_CHARS_MAX = 4_096
SCOPE_OPTION = "scope"
"""Option of a handler that names the scope it needs."""
_NO_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\ufffd\ud800-\udfff]")
"""Control characters, and what stands for bytes that were no UTF-8."""
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="tidegate"'}
_log = structlog.get_logger("web.api")
_REQUESTS = Counter(telemetry.API_REQUESTS, "Requests to the API that a key was good for", ["route", "status"])
_REFUSED = Counter(telemetry.API_REFUSED, "Requests to the API that were refused before they were read", ["code"])


class Doorman:
    """Knows the rates of callers, and which keys were good lately. One per process.

    Processes of one project count the requests of a key together. Strangers are counted by each for itself, like the keys that
    were good there lately: who is let through for the one is then not refused for the other.
    """

    def __init__(self, world: World) -> None:
        """Start with rested callers."""
        settings = world.settings
        self._world = world
        self._pepper = world.keys.get(KEY_CLASS)
        self._by_key = buckets_for(
            world.run_dir,
            "api-keys",
            per_second=settings.key_per_second,
            burst=settings.key_burst,
            callers_max=settings.callers_max,
        )
        self._strangers = Buckets(
            per_second=settings.stranger_per_second, burst=settings.stranger_burst, callers_max=settings.callers_max
        )
        self._good: OrderedDict[UUID, float] = OrderedDict()
        self._noted: OrderedDict[UUID, float] = OrderedDict()

    async def admit(self, authorization: str | None, peer: str, request_id: str) -> tuple[Caller, Grant]:
        """Return who calls. Raises ProblemError 401 or 429, TransientError when the database is away."""
        now = self._world.clock.monotonic()
        presented = _present(authorization)
        place = place_of(peer)
        if not self._strangers.look(place, now).allowed and not self._was_good(presented, now):
            self._refuse_rate(self._strangers.look(place, now))
        caller = await self._find(presented, peer)
        if isinstance(caller, Refusal):
            self._strangers.take(place, now)
            _REFUSED.labels(caller).inc()
            _log.warning("api.key_refused", code=caller, host=peer, request_id=request_id)
            raise ProblemError(
                401,
                "unauthorized",
                "no valid API key",
                hint="send Authorization: Bearer tdg_live_...; make a key with: tidegate keys create",
                headers=_CHALLENGE,
            )
        _remember(self._good, caller.key_id, now)
        grant = self._by_key.take(str(caller.key_id), now)
        if not grant.allowed:
            self._refuse_rate(grant)
        await self._note(caller, now)
        return caller, grant

    def admit_stranger(self, peer: str) -> Grant:
        """Let somebody without a key read what is public. Raises ProblemError 429."""
        grant = self._strangers.take(place_of(peer), self._world.clock.monotonic())
        if not grant.allowed:
            self._refuse_rate(grant)
        return grant

    async def _find(self, presented: PresentedKey | Refusal, peer: str) -> Caller | Refusal:
        if isinstance(presented, Refusal) or self._pepper is None:
            return presented if isinstance(presented, Refusal) else Refusal.UNKNOWN
        row = await self._world.key_finder.find(presented.key_id)
        return judge_key(row, presented, pepper=self._pepper, peer=peer, now=self._world.clock.now())

    async def _note(self, caller: Caller, now: float) -> None:
        """Note the use, once a minute; that it fails is nobody's trouble."""
        if now - self._noted.get(caller.key_id, -USE_SECONDS) < USE_SECONDS:
            return
        _remember(self._noted, caller.key_id, now)
        try:
            async with writing(self._world, caller.tenant_id) as conn:
                await note_use(conn, caller)
        except TransientError as error:
            _log.info("api.use_not_noted", code=error.code)

    def _was_good(self, presented: PresentedKey | Refusal, now: float) -> bool:
        if isinstance(presented, Refusal):
            return False
        return now - self._good.get(presented.key_id, -GOOD_SECONDS) < GOOD_SECONDS

    @staticmethod
    def _refuse_rate(grant: Grant) -> None:
        _REFUSED.labels("rate_limited").inc()
        raise ProblemError(
            429,
            "rate_limited",
            "too many requests",
            hint=f"wait {grant.retry_after_seconds} s",
            headers={"Retry-After": str(grant.retry_after_seconds), **rate_headers(grant)},
        )


class Gate:
    """The middleware in front of every handler of the API."""

    def __init__(self, app: App, doorman: Doorman, *, needs_key: bool = True) -> None:
        """`needs_key` is False for what is public: the description of the API."""
        self._app = app
        self._doorman = doorman
        self._needs_key = needs_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Admit the caller, then go on."""
        peer = scope["client"][0] if scope.get("client") else ""
        if self._needs_key:
            authorization = Headers.from_scope(scope).get("authorization")  # type: ignore[arg-type]
            caller, grant = await self._doorman.admit(authorization, peer, request_id_of(scope))
            scope["user"] = caller
        else:
            grant = self._doorman.admit_stranger(peer)
        route = str(scope.get("path_template", ""))

        async def send_with_rate(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), *_encoded(rate_headers(grant))]
                message = {**message, "headers": headers}
                _REQUESTS.labels(route, str(message["status"])).inc()
            await send(message)

        if scope["method"] == "OPTIONS":
            await _answer_options(scope, route, send_with_rate)
            return
        await self._app(scope, receive, send_with_rate)


async def require_scope(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Let a caller in whose key has the handler's scope. A handler that names none lets nobody in.

    It waits for nothing; a guard that is no coroutine is run in a thread, at the price of two switches per request. Raises
    ProblemError 403.
    """
    caller: Caller = connection.scope["user"]
    needed = handler.opt.get(SCOPE_OPTION)
    if needed is None or not is_allowed(caller.scopes, needed):
        _REFUSED.labels("scope_missing").inc()
        _log.warning(
            "api.scope_missing", code=str(needed), reason=caller.name, request_id=request_id_of(connection.scope)
        )
        raise ProblemError(
            403,
            "scope_missing",
            f"this key lacks the scope {needed}",
            hint=f"make one that has it: tidegate keys create NAME --scope {needed}",
        )


async def check_parameters(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Refuse query parameters that the operation does not have, repeated ones, and characters that no value has.

    Raises ProblemError 400, also for a write without an idempotency key.
    """
    if "idempotency_key" in handler.parsed_fn_signature.parameters and "idempotency-key" not in connection.headers:
        raise ProblemError(
            400,
            "idempotency_key_missing",
            "a write needs the header Idempotency-Key",
            hint="send a new random value, such as a UUID, with each request, and the same one when you repeat it",
            errors=(InvalidPart(pointer=":Idempotency-Key", message="it is missing"),),
        )
    if len(connection.scope["query_string"]) > QUERY_CHARS_MAX:
        raise ProblemError(400, "invalid_request", "the query is too long")
    known = _query_fields(handler) if connection.scope["query_string"] else {}
    seen: set[str] = set()
    for name, value in connection.query_params.multi_items():
        message = ""
        if name not in known:
            message = "there is no such parameter"
        elif name in seen:
            message = "it is given more than once"
        elif not _is_text(value):
            message = "it has a character that is not allowed"
        elif value == "null" and not _takes_any_text(known[name]):
            message = "leave it out to say nothing"
        elif _is_moment(known[name]) and _MOMENT.fullmatch(value) is None:
            message = "write a moment with its offset, as 2026-11-27T10:00:00Z"
        if message:
            part = InvalidPart(pointer=f"?{name[:100]}", message=message)
            raise ProblemError(400, "invalid_request", "a query parameter is not valid", errors=(part,))
        seen.add(name)
    for name, value in connection.path_params.items():
        if isinstance(value, str) and not _is_text(value):
            part = InvalidPart(pointer=f":{name}", message="it has a character that is not allowed")
            raise ProblemError(400, "invalid_request", "the address is not valid", errors=(part,))


async def check_body(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Refuse a body that is no JSON object, before anything of it is believed. Raises ProblemError 400 or 415."""
    if "data" not in handler.parsed_fn_signature.parameters or not isinstance(connection, Request):
        return
    media_type = connection.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise ProblemError(
            415, "unsupported_media_type", "the body must be JSON", hint="send Content-Type: application/json"
        )
    try:
        msgspec.json.decode(await connection.body(), type=dict[str, msgspec.Raw])
        msgspec.json.decode(await connection.body())
    except (msgspec.DecodeError, RecursionError) as error:
        message = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        part = InvalidPart(pointer="", message=message[:300])
        raise ProblemError(400, "invalid_request", "the body is no JSON object", errors=(part,)) from None


def _query_fields(handler: BaseRouteHandler) -> dict[str, FieldDefinition]:
    """Return a handler's query parameters by name."""
    found = {}
    for field in handler.parsed_fn_signature.parameters.values():
        kwarg = field.kwarg_definition
        if isinstance(kwarg, ParameterKwarg) and kwarg.param_type is ParamType.QUERY:
            found[kwarg.name or field.name] = field
    return found


def _is_moment(field: FieldDefinition) -> bool:
    return datetime in (field.annotation, *(inner.annotation for inner in field.inner_types))


def _takes_any_text(field: FieldDefinition) -> bool:
    return str in (field.annotation, *(inner.annotation for inner in field.inner_types))


def rate_headers(grant: Grant) -> dict[str, str]:
    """Return what a caller is told about its rate."""
    return {
        "RateLimit-Limit": str(grant.limit),
        "RateLimit-Remaining": str(grant.remaining),
        "RateLimit-Reset": str(grant.reset_seconds),
    }


async def _answer_options(scope: Scope, template: str, send: Send) -> None:
    """Say which methods an address knows. They stand in the description, too."""
    methods = {
        str(method)
        for route in scope["litestar_app"].routes
        if template in (route.path, route.path_format)
        for method in route.methods
    }
    allow = ", ".join(sorted(methods | {"OPTIONS"}))
    await send({"type": "http.response.start", "status": 204, "headers": [(b"allow", allow.encode())]})
    await send({"type": "http.response.body", "body": b""})


def _present(authorization: str | None) -> PresentedKey | Refusal:
    if authorization is None:
        return Refusal.ABSENT
    scheme, _, text = authorization.partition(" ")
    if scheme.lower() != "bearer":
        return Refusal.ABSENT
    return read_key(text.strip()) or Refusal.MALFORMED


def _is_text(value: str) -> bool:
    return _NO_TEXT.search(value) is None


def _remember(book: MutableMapping[UUID, float], key_id: UUID, now: float, *, at_most: int = 10_000) -> None:
    book.pop(key_id, None)
    book[key_id] = now
    while len(book) > at_most:
        del book[next(iter(book))]


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]
