"""Recording fixtures from a real system: wrap the api, call the connector, write down what was said.

    api = RecordingApi(HttpApi(...))
    result = await connector.feeds["orders"].read(api, "")
    write_exchanges(folder / "feed_orders.json", api, call=CallMade(do="feed", name="orders"), result=result,
                    source="Acme 3.1, local server", date="2026-11-22")

Look at every file before it is committed: customers and credentials must be invented ones.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import msgspec

from tidegate.sdk.http import Api, Response
from tidegate.sdk.testing.conformance.fixtures import Answered, CallMade, Exchange, ExchangeFixture, ExpectedRequest
from tidegate.sdk.testing.conformance.script import describe

KEPT_HEADERS = ("content-type", "retry-after", "location")


class RecordingApi:
    """Passes requests on and keeps them with their answers. Request headers are not kept: they may hold secrets."""

    def __init__(self, api: Api, *, kept_headers: Collection[str] = KEPT_HEADERS) -> None:
        """`exchanges` grows with every request; `kept_headers` are the headers of answers to keep, lower-case."""
        self._api = api
        self._kept_headers = kept_headers
        self.exchanges: list[Exchange] = []

    @property
    def settings(self) -> Mapping[str, Any]:
        """The connection's settings."""
        return self._api.settings

    @property
    def memory(self) -> MutableMapping[str, Any]:
        """What the connector remembers."""
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
        """See `sdk.http.Api.request`; an exchange that raises is not kept."""
        response = await self._api.request(
            method, path, json=json, form=form, headers=headers, params=params, changes_state=changes_state
        )
        sent = json if form is None else form
        body = None if sent is None else msgspec.json.decode(msgspec.json.encode(sent))
        request = ExpectedRequest(method=method, path=path, params=dict(params) if params else None, body=body)
        self.exchanges.append(Exchange(request=request, answer=answered(response, self._kept_headers)))
        return response

    async def download(self, url: str, *, first_byte: int, bytes_max: int) -> Response:
        """See `sdk.http.Api.download`."""
        response = await self._api.download(url, first_byte=first_byte, bytes_max=bytes_max)
        request = ExpectedRequest(method="GET", path=url, params={"first_byte": str(first_byte)})
        self.exchanges.append(Exchange(request=request, answer=answered(response, self._kept_headers)))
        return response


def answered(response: Response, kept_headers: Collection[str] = KEPT_HEADERS) -> Answered:
    """Return an answer as fixtures write it down."""
    headers = {name: response.headers[name] for name in sorted(kept_headers) if name in response.headers}
    try:
        return Answered(status=response.status, headers=headers, body=msgspec.json.decode(response.body))
    except ValueError:
        return Answered(status=response.status, headers=headers, body_text=response.body.decode(errors="replace"))


def write_exchanges(
    path: Path, api: RecordingApi, *, call: CallMade, result: object, source: str, date: str
) -> ExchangeFixture:
    """Write what was recorded since the api was made (or last written) as a fixture, with the result described."""
    fixture = ExchangeFixture(
        source=source,
        date=date,
        call=call,
        settings=dict(api.settings),
        exchanges=list(api.exchanges),
        expected=describe(result),
    )
    api.exchanges.clear()
    write_fixture(path, fixture)
    return fixture


def write_fixture(path: Path, fixture: msgspec.Struct) -> None:
    """Write a fixture as indented JSON, leaving out what has its default."""
    raw: dict[str, Any] = _without_defaults(fixture)
    raw.pop("name", None)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(raw), indent=2) + b"\n")


def _without_defaults(value: Any) -> Any:
    if isinstance(value, msgspec.Struct) and type(value).__module__ == ExchangeFixture.__module__:
        fields = msgspec.structs.fields(value)
        kept = {field.name: getattr(value, field.name) for field in fields}
        defaults = {
            f.name: f.default if f.default_factory is msgspec.NODEFAULT else f.default_factory() for f in fields
        }
        return {name: _without_defaults(found) for name, found in kept.items() if found != defaults[name]}
    if isinstance(value, list):
        return [_without_defaults(one) for one in value]
    return msgspec.to_builtins(value)
