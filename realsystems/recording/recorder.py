"""Makes calls of a connector against a running system and writes them, events and refusals as fixtures."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec

from tidegate.kernel.clock import SystemClock
from tidegate.kernel.errors import TidegateError
from tidegate.kernel.redaction import Secret
from tidegate.sdk.client import HttpApi
from tidegate.sdk.connector import Connector, FeedItem, RawEvent
from tidegate.sdk.failures import refusal_of
from tidegate.sdk.http import Response
from tidegate.sdk.testing.conformance.fixtures import (
    CallMade,
    ErrorFixture,
    EventFixture,
    Exchange,
    ExchangeFixture,
    ExpectedError,
    ExpectedKeys,
)
from tidegate.sdk.testing.conformance.recording import RecordingApi, answered, write_exchanges, write_fixture
from tidegate.sdk.testing.conformance.script import NOW, dispatch, payloads_of

LOOPBACK = (ip_network("127.0.0.0/8"),)
TIMEOUT_SECONDS = 60.0


class Recorder:
    """Writes the fixtures of one connector."""

    def __init__(
        self,
        connector: Connector,
        folder: Path,
        *,
        base_url: str,
        settings: Mapping[str, Any],
        secrets: Mapping[str, str],
        source: str,
        kept_headers: Collection[str],
    ) -> None:
        self._connector = connector
        self._fixtures = folder / "fixtures"
        self._base_url = base_url
        self._settings = dict(settings)
        self._secrets = {name: Secret(value) for name, value in secrets.items()}
        self._source = source
        self._date = datetime.now(UTC).date().isoformat()
        self._kept_headers = kept_headers

    def clear(self) -> None:
        """Remove what was recorded before."""
        for path in self._fixtures.rglob("*.json"):
            path.unlink()

    # --- calls -------------------------------------------------------------------------------------------------
    async def record(self, name: str, call: CallMade, **settings: Any) -> Any:
        """Make a call and write its conversation; return the result or the TidegateError that was raised."""
        api = self._api({**self._settings, **settings})
        recording = RecordingApi(
            _WithoutSession(api) if call.do == "open_session" else api, kept_headers=self._kept_headers
        )
        empty = ExchangeFixture(source="", date="", call=call, settings=dict(api.settings), exchanges=[], expected=None)
        try:
            result: Any = await dispatch(self._connector, empty, recording, self._secrets)
        except TidegateError as error:
            result = error
        finally:
            await api.close()
        path = self._fixtures / "exchanges" / f"{name}.json"
        written = write_exchanges(path, recording, call=call, result=result, source=self._source, date=self._date)
        print(f"{name}: {len(written.exchanges)} requests, {msgspec.json.encode(written.expected).decode()[:160]}")
        return result

    async def execute(self, name: str, *payloads: Any) -> Any:
        """Record a command; payloads of one kind."""
        return await self.record(name, _made("execute", payloads))

    async def find(self, name: str, payload: Any) -> Any:
        """Record a read-back."""
        return await self.record(name, _made("find", (payload,)))

    async def make(self, *payloads: Any) -> Any:
        """Carry out a command without recording it."""
        fixture = ExchangeFixture(
            source="", date="", call=_made("execute", payloads), settings={}, exchanges=[], expected=None
        )
        api = self._api(self._settings)
        try:
            return await dispatch(self._connector, fixture, api, self._secrets)
        finally:
            await api.close()

    def _api(self, settings: Mapping[str, Any]) -> HttpApi:
        return HttpApi(self._connector, self._base_url, settings, self._secrets, allow=LOOPBACK, clock=SystemClock())

    # --- events ------------------------------------------------------------------------------------------------
    def write_delivery(
        self, name: str, headers: Mapping[str, str], body: bytes, *, newer_than: str | None = None
    ) -> None:
        """Write a delivery that a sink received, without signature and timestamp."""
        webhook = self._connector.webhook
        assert webhook is not None
        keys = webhook.read_keys(headers, body)
        kept = {name: headers[name] for name in ("content-type", "user-agent", "webhook-id") if name in headers}
        self._write_event(
            name,
            "webhook",
            keys.topic,
            body,
            headers=kept,
            keys=ExpectedKeys(topic=keys.topic, sender_event_id=keys.sender_event_id, ordering_key=keys.ordering_key),
            newer_than=newer_than,
        )

    def write_item(self, name: str, via: Any, item: FeedItem, *, newer_than: str | None = None) -> None:
        """Write an item of a feed or a fetch as the event that it becomes."""
        self._write_event(name, via, item.topic, item.body, newer_than=newer_than)

    def _write_event(
        self,
        name: str,
        via: Any,
        topic: str,
        body: bytes,
        *,
        headers: dict[str, str] | None = None,
        keys: ExpectedKeys | None = None,
        newer_than: str | None = None,
    ) -> None:
        changes = list(self._connector.normalize(RawEvent(source=via, topic=topic, body=body)))
        fixture = EventFixture(
            source=self._source,
            date=self._date,
            via=via,
            topic=topic,
            headers=headers or {},
            body=msgspec.json.decode(body),
            keys=keys,
            changes=changes,
            newer_than=None if newer_than is None else f"{newer_than}.json",
        )
        write_fixture(self._fixtures / f"{name}.json", fixture)
        print(f"{name}: {topic}, {len(changes)} changes")

    # --- refusals ----------------------------------------------------------------------------------------------
    def write_error(self, name: str, response: Response, error_of: Any, *, changes_state: bool = True) -> None:
        """Write a refusal with the error that it is taken for."""
        error = refusal_of(response.status, response.headers, changes_state=changes_state, now=NOW) or error_of(
            response, changes_state=changes_state
        )
        fixture = ErrorFixture(
            source=self._source,
            date=self._date,
            changes_state=changes_state,
            answer=answered(response),
            expected=ExpectedError(
                error=type(error).__name__, code=error.code, wait_seconds=getattr(error, "wait_seconds", None)
            ),
        )
        write_fixture(self._fixtures / "errors" / f"{name}.json", fixture)
        print(f"{name}: {response.status}, {type(error).__name__} {error.code}")

    def write_refused_login(self, name: str, response: Response, error_of: Any, *, like: str) -> None:
        """Write a log-in with the requests of another one, refused at the first; an api keeps no such exchange."""
        error = refusal_of(response.status, response.headers, changes_state=False, now=NOW) or error_of(response)
        written = self._read(like)
        request = written.exchanges[0].request
        fixture = msgspec.structs.replace(
            written,
            exchanges=[Exchange(request=request, answer=answered(response))],
            expected={"error": type(error).__name__, "code": error.code},
        )
        write_fixture(self._fixtures / "exchanges" / f"{name}.json", fixture)
        print(f"{name}: {response.status}")

    def sent_bodies(self, name: str) -> list[Any]:
        """Return the bodies of a recorded call's requests that had one."""
        return [exchange.request.body for exchange in self._read(name).exchanges if exchange.request.body is not None]

    def _read(self, name: str) -> ExchangeFixture:
        path = self._fixtures / "exchanges" / f"{name}.json"
        return msgspec.json.decode(path.read_bytes(), type=ExchangeFixture)

    def send(
        self, method: str, path: str, *, json_body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Send a request as it is and return the answer, whatever it is."""
        request = urllib.request.Request(
            self._base_url + path,
            method=method,
            data=None if json_body is None else json.dumps(json_body).encode(),
            headers={"Content-Type": "application/json", "Accept": "application/json", **(headers or {})},
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                return _response(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return _response(error.code, error.headers, error.read())


class _WithoutSession:
    """An api whose requests carry only the headers that they name, as a log-in's do."""

    def __init__(self, api: HttpApi) -> None:
        self._api = api
        self.settings = api.settings

    async def request(self, method: str, path: str, **options: Any) -> Response:
        content = None if options.get("json") is None else msgspec.json.encode(options["json"])
        return await self._api._send(
            method,
            path,
            content=content,
            headers=options.get("headers") or {},
            params=options.get("params"),
            changes_state=options.get("changes_state", True),
        )


def _made(do: Any, payloads: Sequence[Any]) -> CallMade:
    raw = [msgspec.to_builtins(payload) for payload in payloads]
    kept = CallMade(do=do, name=raw[0]["type"], payloads=raw)
    assert payloads_of(ExchangeFixture(source="", date="", call=kept, exchanges=[], expected=None)) == list(payloads)
    return kept


def _response(status: int, headers: Any, body: bytes) -> Response:
    return Response(status=status, headers={name.lower(): value for name, value in headers.items()}, body=body)


def without_credentials(path: Path, *, header: str, variable: str) -> None:
    """Leave a secret variable of GraphQL out of a written exchange, and put a placeholder for the session's token."""
    fixture = msgspec.json.decode(path.read_bytes(), type=ExchangeFixture)
    for exchange in fixture.exchanges:
        exchange.request.body["variables"].pop(variable, None)
        if header in exchange.answer.headers:
            headers = {**exchange.answer.headers, header: "recorded-token"}
            exchange.answer = msgspec.structs.replace(exchange.answer, headers=headers)
    write_fixture(path, fixture)
