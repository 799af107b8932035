"""The HTTP client of one connection, on aiohttp: `sdk.http.Api` with a session, limits and the egress guard.

One request is one exchange on the wire: no redirects, no cookies, no proxies, and no repeats. (aiohttp by itself sends a
PUT or DELETE again when the connection breaks; a middleware prevents that.)
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import aiohttp
import msgspec
from aiohttp.resolver import ThreadedResolver

from tidegate.kernel.clock import Clock
from tidegate.kernel.errors import (
    AuthenticationError,
    ConfigurationError,
    InvariantError,
    TidegateError,
    TransientError,
)
from tidegate.kernel.redaction import Secret
from tidegate.sdk.connector import Connector
from tidegate.sdk.egress import Network, check_base_url, guarded_socket_factory
from tidegate.sdk.failures import AnswerTooLargeError, Phase, failure_of, read_date, refusal_of
from tidegate.sdk.http import ANSWERS, Response, Session
from tidegate.sdk.oauth import ACCESS_TOKEN, TokenSource

ANSWER_BYTES_MAX = 10 * 1024 * 1024
"""Of a body after decompression."""
HEADER_BYTES_MAX = 64 * 1024
KEEPALIVE_SECONDS = 3.0
"""Shorter than the 5 s after which common servers close, so that a write rarely meets a connection that is just ending."""
USER_AGENT = "tidegate"

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PHASE: ContextVar[Phase] = ContextVar("tidegate_request_phase")


class HttpApi:
    """The door to the other side for one connection. Safe for concurrent requests of one event loop."""

    def __init__(
        self,
        connector: Connector,
        base_url: str,
        settings: Mapping[str, Any],
        secrets: Mapping[str, Secret],
        *,
        allow: Sequence[Network],
        clock: Clock,
        tokens: TokenSource | None = None,
    ) -> None:
        """`allow` are networks that may be reached although they are not public. Raises ConfigurationError (base_url).

        `tokens` gives the access token of a connection whose tokens expire. Nothing is opened before the first request;
        `close()` ends what was.
        """
        self.before_send: Callable[[], None] | None = None
        """Runs right before the first byte of each request is written; what it raises stops the request unsent."""
        self.clock_skew_seconds: float | None = None
        """Their clock minus ours, as the newest answer with a Date header told; that header has whole seconds. None: no
        answer told."""
        self._connector = connector
        self._base_url = check_base_url(base_url)
        self._settings = dict(settings)
        self._memory: dict[str, Any] = {}
        self._secrets = dict(secrets)
        self._allow = tuple(allow)
        self._clock = clock
        self._tokens = tokens
        self._token: Secret | None = None
        self._told_date: str | None = None
        self._session_until: datetime | None = None
        self._deadline_seconds = connector.request_deadline.total_seconds()
        self._http: aiohttp.ClientSession | None = None
        self._session: Session | None = None
        self._opening: asyncio.Task[Session] | None = None

    @property
    def settings(self) -> Mapping[str, Any]:
        """The connection's settings, not secret."""
        return self._settings

    @property
    def memory(self) -> MutableMapping[str, Any]:
        """What the connector remembers, until `close`."""
        return self._memory

    def __repr__(self) -> str:
        return f"HttpApi({self._connector.name})"

    async def session(self) -> Session:
        """Return the session, logging in when there is none; callers that come together share one log-in.

        Raises what the connector's `open_session` raises.
        """
        return await self._open(None)

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        changes_state: bool = True,
    ) -> Response:
        """Send one request with the session's headers; see `sdk.http.Api.request` for the errors.

        After a 401, or what the connector's `refuses_session` tells to be one, it logs in anew and sends the request once
        more: the refused one certainly had no effect.
        """
        content, content_type = _encode(json, form)
        session = await self.session()
        for last_try in (False, True):
            try:
                response = await self._send(
                    method,
                    path,
                    content=content,
                    headers=self._headers(session, {**content_type, **(headers or {})}, content),
                    params=self._query(session, method, path, params),
                    changes_state=changes_state,
                )
                raise_if_refused(self._connector, response)
            except AuthenticationError:
                if last_try:
                    raise
            else:
                return response
            session = await self._open(session)
        raise InvariantError("unreachable")

    async def download(self, url: str, *, first_byte: int, bytes_max: int) -> Response:
        """Read a part of a file at an address that the platform named; see `sdk.http.Api.download`."""
        address = check_base_url(url.partition("?")[0])
        if not address.startswith("https://") and self._base_url.startswith("https://"):
            raise ConfigurationError("the platform named a file at an address without TLS", code="base_url")
        phase = Phase(before_send=self.before_send)
        _PHASE.set(phase)
        try:
            async with asyncio.timeout(self._deadline_seconds):
                response = await self._read_part(url, first_byte, bytes_max, phase)
        except TidegateError:
            raise
        except (aiohttp.ClientError, OSError, ValueError) as error:
            failure: TidegateError = failure_of(error, phase, changes_state=False)
        else:
            if response.status in (
                HTTPStatus.OK,
                HTTPStatus.PARTIAL_CONTENT,
                HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            ):
                return response
            failure = TransientError("the file cannot be read", code="file_gone", context={"status": response.status})
        raise failure  # outside of the handler: the address is a secret, and the cause may show it

    async def _read_part(self, url: str, first_byte: int, bytes_max: int, phase: Phase) -> Response:
        """Ask for a range; a server that sends the whole file is read past what was not asked for."""
        http = self._http = self._http or self._build_http()
        headers = {
            "User-Agent": USER_AGENT,
            "Accept-Encoding": "identity",
            "Range": f"bytes={first_byte}-{first_byte + bytes_max - 1}",
        }
        request = http.get(url, headers=headers, allow_redirects=False, trace_request_ctx=phase)
        async with request as answer:
            if answer.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
                return Response(status=answer.status, headers={}, body=b"")
            skip = first_byte if answer.status == HTTPStatus.OK else 0
            part = bytearray()
            async for chunk in answer.content.iter_any():
                kept = chunk[skip:]
                skip = max(0, skip - len(chunk))
                part += kept[: bytes_max - len(part)]
                if len(part) == bytes_max:
                    answer.close()
                    break
            return Response(status=answer.status, headers={}, body=bytes(part))

    def _headers(self, session: Session, headers: Mapping[str, str], content: bytes | None) -> Mapping[str, str]:
        """Return the headers of one try: the session's, the request's, and the signature of both with the body."""
        together = {**session.headers, **headers}
        if session.sign is None:
            return together
        lowered = {name.lower(): value for name, value in together.items()}
        return {**together, **session.sign(lowered, content or b"", self._clock.now().timestamp())}

    def _query(
        self, session: Session, method: str, path: str, params: Mapping[str, str] | None
    ) -> Mapping[str, str] | None:
        """Return the query with what the session adds to this one request."""
        if session.sign_query is None:
            return params
        query = params or {}
        return {**query, **session.sign_query(method, self._base_url + path, query, self._clock.now())}

    async def close(self) -> None:
        """Close all connections. The api can be used again afterwards and logs in anew."""
        if self._opening is not None:
            self._opening.cancel()
        http, self._http, self._session = self._http, None, None
        if http is not None:
            await http.close()

    # --- the session -------------------------------------------------------------------------------------------
    async def _open(self, refused: Session | None) -> Session:
        """Return a session other than the `refused` one; concurrent callers wait for one and the same log-in."""
        if self._opening is None:
            is_due = self._session_until is not None and self._clock.now() >= self._session_until
            if self._session is not None and self._session is not refused and not is_due:
                return self._session
            self._opening = asyncio.create_task(self._log_in(is_refused=refused is not None))
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    async def _log_in(self, *, is_refused: bool) -> Session:
        secrets = self._secrets
        if self._tokens is not None:
            token, until = await self._tokens.access(self._token if is_refused else None)
            self._token, self._session_until = token, until
            secrets = {**secrets, ACCESS_TOKEN: token}
        return await self._connector.open_session(_WithoutSession(self), secrets, self._settings)

    def _opened(self, task: asyncio.Task[Session]) -> None:
        self._opening = None
        if not task.cancelled() and task.exception() is None:
            self._session = task.result()

    # --- one exchange ------------------------------------------------------------------------------------------
    async def _send(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None,
        changes_state: bool,
    ) -> Response:
        """Exchange one request for one response. Raises the errors of `failures`."""
        if path and not path.startswith("/"):
            raise InvariantError(f"a path begins with '/', this one is {path!r}", code="path_malformed")
        _check_headers(headers)
        phase = Phase(before_send=self.before_send)
        _PHASE.set(phase)
        try:
            async with asyncio.timeout(self._deadline_seconds):
                response = await self._exchange(
                    method, self._base_url + path, content=content, headers=headers, params=params, phase=phase
                )
        except TidegateError:
            raise
        except (aiohttp.ClientError, AnswerTooLargeError, OSError, ValueError) as error:
            failure = failure_of(error, phase, changes_state=changes_state)
        else:
            refusal = refusal_of(response.status, response.headers, changes_state=changes_state, now=self._clock.now())
            if refusal is None:
                return response
            failure = refusal
        raise failure  # outside of the handler: the cause may show headers, so it is not chained

    async def _exchange(
        self,
        method: str,
        url: str,
        *,
        content: bytes | None,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None,
        phase: Phase,
    ) -> Response:
        http = self._http = self._http or self._build_http()
        all_headers = {"Accept": "application/json", "User-Agent": USER_AGENT, **headers}
        if content is not None:
            all_headers.setdefault("Content-Type", "application/json")
        async with http.request(
            method,
            url,
            data=content,
            headers=all_headers,
            params=params,
            allow_redirects=False,
            trace_request_ctx=phase,
        ) as answer:
            received = {name.lower(): ", ".join(answer.headers.getall(name)) for name in answer.headers}
            if sum(len(name) + len(value) for name, value in received.items()) > HEADER_BYTES_MAX:
                raise AnswerTooLargeError
            self._note_clock(received.get("date"))
            response = Response(status=answer.status, headers=received, body=await _read_bounded(answer))
        notice = ANSWERS.get()
        if notice is not None:
            notice(response)
        return response

    def _note_clock(self, told: str | None) -> None:
        if told == self._told_date:
            return  # the same second as before: the first answer of it told the most
        self._told_date = told
        moment = read_date(told)
        if moment is not None:
            self.clock_skew_seconds = (moment - self._clock.now()).total_seconds()

    def _build_http(self) -> aiohttp.ClientSession:
        tracing = aiohttp.TraceConfig()
        tracing.on_request_headers_sent.append(_mark_written)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._connector.concurrency_max + 1,  # one more for the log-in
                keepalive_timeout=KEEPALIVE_SECONDS,
                resolver=ThreadedResolver(),
                socket_factory=guarded_socket_factory(self._allow, _note_blocked),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),  # `_send` holds the one deadline
            trust_env=False,
            trace_configs=[tracing],
            middlewares=(_never_repeat,),
        )


def raise_if_refused(connector: Connector, response: Response) -> None:
    """Raise AuthenticationError for an answer that refuses the session without saying 401."""
    if connector.refuses_session is not None and connector.refuses_session(response):
        raise AuthenticationError(
            "the other side refused the session", code="session_refused", context={"status": response.status}
        )


async def ask_for_token(
    connector: Connector,
    base_url: str,
    form: Mapping[str, str],
    *,
    allow: Sequence[Network],
    clock: Clock,
    before_send: Callable[[], None] | None = None,
) -> Response:
    """Send one request for tokens of a connector with `oauth`: without a session, and never a second try.

    Raises as `Api.request`; `before_send` as in `HttpApi`.
    """
    assert connector.oauth is not None
    path = connector.oauth.token_path
    address = path if path.startswith(("http://", "https://")) else base_url.rstrip("/") + path
    api = HttpApi(connector, address, {}, {}, allow=allow, clock=clock)
    api.before_send = before_send
    try:
        return await _WithoutSession(api).request("POST", "", form=form)
    finally:
        await api.close()


class _WithoutSession:
    """The api as `open_session` sees it: the same door, no session headers, no second try."""

    def __init__(self, api: HttpApi) -> None:
        self._api = api

    @property
    def settings(self) -> Mapping[str, Any]:
        return self._api.settings

    @property
    def memory(self) -> MutableMapping[str, Any]:
        return self._api.memory

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        changes_state: bool = True,
    ) -> Response:
        content, content_type = _encode(json, form)
        return await self._api._send(
            method,
            path,
            content=content,
            headers={**content_type, **(headers or {})},
            params=params,
            changes_state=changes_state,
        )

    async def download(self, url: str, *, first_byte: int, bytes_max: int) -> Response:
        return await self._api.download(url, first_byte=first_byte, bytes_max=bytes_max)


class _ConnectionLostError(aiohttp.ClientError):
    """The connection broke under a request. Not an OSError, so that aiohttp does not send the request again."""


async def _never_repeat(
    request: aiohttp.ClientRequest, handler: Callable[[aiohttp.ClientRequest], Any]
) -> aiohttp.ClientResponse:
    try:
        answer: aiohttp.ClientResponse = await handler(request)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _ConnectionLostError from error
    return answer


async def _mark_written(
    _session: aiohttp.ClientSession, context: SimpleNamespace, _headers: aiohttp.TraceRequestHeadersSentParams
) -> None:
    """Note that bytes will be written; called when the request's head is ready and nothing is written yet."""
    phase: Phase = context.trace_request_ctx
    if phase.before_send is not None:
        phase.before_send()
    phase.written = True


def _note_blocked(address: str) -> None:
    _PHASE.get().blocked.append(address)


async def _read_bounded(answer: aiohttp.ClientResponse) -> bytes:
    chunks = []
    size = 0
    async for chunk in answer.content.iter_any():
        size += len(chunk)
        if size > ANSWER_BYTES_MAX:
            answer.close()
            raise AnswerTooLargeError
        chunks.append(chunk)
    return b"".join(chunks)


def _encode(json: Any, form: Mapping[str, str] | None) -> tuple[bytes | None, dict[str, str]]:
    """Return the body of a request and the header that names its type."""
    if form is not None:
        if json is not None:
            raise InvariantError("a request has one body: json or form", code="two_bodies")
        return urlencode(form).encode(), {"Content-Type": "application/x-www-form-urlencoded"}
    return (None, {}) if json is None else (msgspec.json.encode(json), {})


def _check_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if _CONTROL.search(name) or _CONTROL.search(value):
            raise InvariantError(
                "a header holds a control character", code="header_unsafe", context={"name": name[:40]}
            )
