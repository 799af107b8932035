"""An `Api` that speaks a recorded conversation, and one way to call any function of a connector with it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec

from tidegate.commerce.commands import CommandKind, Payload
from tidegate.kernel.errors import OutcomeUnknownError, RateLimitedError, TidegateError, TransientError
from tidegate.kernel.redaction import Secret
from tidegate.sdk.client import raise_if_refused
from tidegate.sdk.connector import Connector, Done, Failed, FeedItem, FeedPage, NotFound, Partly, Subscription
from tidegate.sdk.failures import refusal_of
from tidegate.sdk.http import Api, Response, Session
from tidegate.sdk.testing.conformance.fixtures import Answered, Exchange, ExchangeFixture

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)

WEBHOOK_URL = "https://gate.example/in/c0/token"
WEBHOOK_SECRET = "whsec_" + base64.b64encode(b"the secret of a recorded subscription").decode()

Fault = Callable[[bool], Response]
"""Stands in for an answer: given whether the request changes state, returns a response or raises."""


class SentRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that the connector made, as plain values."""

    method: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]
    body: Any
    changes_state: bool


class ScriptedApi:
    """Answers requests from a recording, in order; an unexpected request fails the check.

    `faults` maps the position of a request to what happens instead of the recorded answer. A write that such a thing happened
    to may be repeated `repeats` times, byte for byte, and the same happens to it again. `judge` sees every answer and may
    raise, as the client does for a refused session.
    """

    def __init__(
        self,
        exchanges: Sequence[Exchange],
        settings: Mapping[str, Any],
        *,
        faults: Mapping[int, Fault] | None = None,
        repeats: int = 0,
        judge: Callable[[Response], None] | None = None,
    ) -> None:
        self.memory: dict[str, Any] = {}
        self.settings: Mapping[str, Any] = dict(settings)
        self.sent: list[SentRequest] = []
        self._exchanges = exchanges
        self._faults = dict(faults or {})
        self._repeats_left = repeats
        self._position = -1
        self._judge = judge

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
        """See `sdk.http.Api.request`."""
        request = SentRequest(
            method=method,
            path=path,
            params=dict(params or {}),
            headers={name.lower(): value for name, value in (headers or {}).items()},
            body=msgspec.json.decode(msgspec.json.encode(json if form is None else form)),
            changes_state=changes_state,
        )
        position = self._place(request)
        self.sent.append(request)
        assert position < len(self._exchanges), f"an unrecorded request: {method} {path} {request.body}"
        exchange = self._exchanges[position]
        _assert_expected(exchange, request)
        fault = self._faults.get(position)
        response = exchange.answer.response() if fault is None else fault(changes_state)
        refusal = refusal_of(response.status, response.headers, changes_state=changes_state, now=NOW)
        if refusal is not None:
            raise refusal
        if self._judge is not None:
            self._judge(response)
        return response

    def _place(self, request: SentRequest) -> int:
        is_repeated = self._position in self._faults and request.changes_state and request == self.sent[-1]
        if is_repeated and self._repeats_left:
            self._repeats_left -= 1
        else:
            self._position += 1
        return self._position

    async def download(self, url: str, *, first_byte: int, bytes_max: int) -> Response:
        """See `sdk.http.Api.download`: recorded as a GET of the whole address with `first_byte` as its parameter."""
        response = await self.request("GET", url, params={"first_byte": str(first_byte)}, changes_state=False)
        return _part(response, bytes_max)


def _part(response: Response, bytes_max: int) -> Response:
    if response.status not in (200, 206, 416):
        raise TransientError("the file cannot be read", code="file_gone", context={"status": response.status})
    return Response(status=response.status, headers=response.headers, body=response.body[:bytes_max])


def _assert_expected(exchange: Exchange, request: SentRequest) -> None:
    wanted = exchange.request
    where = f"{request.method} {request.path}"
    assert (request.method, request.path) == (wanted.method, wanted.path), f"{where} instead of {wanted.path}"
    assert wanted.params is None or request.params == wanted.params, f"{where}: params {request.params}"
    for name, value in wanted.headers.items():
        assert request.headers.get(name.lower()) == value, f"{where}: header {name}"
    assert contains(request.body, wanted.body), f"{where}: body {request.body}, recorded {wanted.body}"


def contains(found: Any, wanted: Any) -> bool:
    """Say whether `found` is `wanted`, where objects of `found` may hold more. A wanted null asks nothing."""
    if wanted is None:
        return True
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            key in found and (found[key] is None if value is None else contains(found[key], value))
            for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(found) == len(wanted)
            and all(contains(one, other) for one, other in zip(found, wanted, strict=True))
        )
    return type(found) is type(wanted) and bool(found == wanted)


# --- what can go wrong with an answer ------------------------------------------------------------------------------
def lost(changes_state: bool) -> Response:
    """Raise as the client does when the answer of a written request never comes."""
    if changes_state:
        raise OutcomeUnknownError("no whole answer came", code="answer_lost")
    raise TransientError("no whole answer came", code="answer_lost")


def not_sent(_changes_state: bool) -> Response:
    """Raise as the client does when no byte was written."""
    raise TransientError("the request was not sent", code="not_sent_connect")


def answered(answer: Answered) -> Fault:
    """Return the fault of another answer."""
    return lambda _changes_state: answer.response()


# --- calling -------------------------------------------------------------------------------------------------------
async def call(
    connector: Connector,
    fixture: ExchangeFixture,
    *,
    faults: Mapping[int, Fault] | None = None,
    secrets: Mapping[str, Secret] | None = None,
) -> tuple[Any, ScriptedApi]:
    """Make the recorded call and return (its result or the TidegateError that it raised, the api with what was sent)."""
    judge = None if fixture.call.do == "open_session" else partial(raise_if_refused, connector)
    spec = connector.commands.get(CommandKind(fixture.call.name)) if fixture.call.do == "execute" else None
    repeats = spec.repeats if spec is not None else 0
    api = ScriptedApi(fixture.exchanges, fixture.settings, faults=faults, repeats=repeats, judge=judge)
    try:
        return await dispatch(connector, fixture, api, secrets or recorded_secrets(connector)), api
    except TidegateError as error:
        return error, api


async def dispatch(connector: Connector, fixture: ExchangeFixture, api: Api, secrets: Mapping[str, Secret]) -> Any:
    """Make the call of a fixture through `api` and return its result. Raises what the connector raises."""
    made = fixture.call
    match made.do:
        case "open_session":
            return await connector.open_session(api, secrets, fixture.settings)
        case "inspect":
            return await connector.inspect(api)
        case "articles":
            assert connector.articles is not None, "the connector's inspection reads its articles"
            return await connector.articles.read(api, made.cursor)
        case "subscribe":
            assert connector.subscribe is not None, "the connector cannot subscribe"
            return await connector.subscribe(api, WEBHOOK_URL, Secret(WEBHOOK_SECRET))
        case "feed":
            return await connector.feeds[made.name].read(api, made.cursor)
        case "fetch":
            return await connector.fetch[made.name](api, made.external_id)
        case "shown":
            assert connector.shown is not None, "the connector shows nothing"
            return await connector.shown.read(api, made.cursor)
        case "execute":
            return await connector.commands[CommandKind(made.name)].execute(api, payloads_of(fixture), made.key)
        case "find":
            find = connector.commands[CommandKind(made.name)].find
            assert find is not None, f"{made.name} has no find"
            return await find(api, payloads_of(fixture)[0])
        case "check":
            check = getattr(connector.checks, made.name)
            assert check is not None, f"the connector has no check {made.name}"
            return await (check(api, WEBHOOK_URL) if made.name == "webhook" else check(api))


def payloads_of(fixture: ExchangeFixture) -> list[Payload]:
    """Return the payloads of a recorded command."""
    return msgspec.convert(fixture.call.payloads, list[Payload])


def recorded_secrets(connector: Connector) -> dict[str, Secret]:
    """Return the secrets of a recorded log-in."""
    return {field.name: Secret(f"recorded-{field.name}") for field in connector.fields if field.secret}


def describe(result: Any) -> Any:
    """Return a result as plain JSON values, the way fixtures write it down."""
    match result:
        case TidegateError():
            return _describe_error(result)
        case Session():
            return {"headers": sorted(name.lower() for name in result.headers)}
        case FeedPage():
            items = [_describe_item(item) for item in result.items]
            return {"items": items, "cursor": result.cursor, "has_more": result.has_more}
        case FeedItem():
            return _describe_item(result)
        case Done() | NotFound() | Partly():
            return {_TAGS[type(result)]: msgspec.json.decode(msgspec.json.encode(result))}
        case Subscription():
            return {"registered": result.registered, "explanation": result.explanation}
        case Failed():
            return {"failed": _describe_error(result.error)}
        case list() | tuple():
            return [describe(one) for one in result]
        case _:
            return msgspec.json.decode(msgspec.json.encode(result))


_TAGS: dict[type, str] = {Done: "done", NotFound: "not_found", Partly: "partly"}


def _describe_item(item: FeedItem) -> dict[str, str]:
    return {"topic": item.topic, "external_id": item.external_id, "ordering_key": item.ordering_key}


def _describe_error(error: TidegateError) -> dict[str, Any]:
    described: dict[str, Any] = {"error": type(error).__name__, "code": error.code}
    if isinstance(error, (RateLimitedError, TransientError)) and error.wait_seconds is not None:
        described["wait_seconds"] = error.wait_seconds
    return described
