"""The recorded examples of a connector: their file format and their loading. docs/connectors/SPEC.md describes them.

fixtures/*.json            an event and the canonical changes that it stands for
fixtures/errors/*.json     a refusal and the error class that it stands for
fixtures/exchanges/*.json  a call of the connector, the requests it makes, their answers, and the result
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from tidegate.commerce.changes import CanonicalChange
from tidegate.sdk.http import Response

T = TypeVar("T", bound="Recorded")


class Recorded(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What every recording says about itself."""

    source: str
    """Where it was recorded: system, version, how."""
    date: str
    """YYYY-MM-DD."""
    name: str = ""
    """Of the file; set when it is loaded."""


class ExpectedKeys(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What the door reads out of a delivery."""

    topic: str
    sender_event_id: str
    ordering_key: str


class EventFixture(Recorded, kw_only=True, forbid_unknown_fields=True):
    """One event as it arrived."""

    via: Literal["webhook", "poll", "fetch"]
    topic: str
    headers: dict[str, str] = {}
    """Of a delivery, lower-case, without signature and timestamp."""
    body: Any = None
    body_text: str | None = None
    """Instead of `body`, where the exact bytes matter."""
    keys: ExpectedKeys | None = None
    changes: list[CanonicalChange]
    newer_than: str | None = None
    """Another fixture that shows the same entity at an earlier time."""

    @property
    def raw_body(self) -> bytes:
        """The bytes."""
        return msgspec.json.encode(self.body) if self.body_text is None else self.body_text.encode()


class Answered(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An answer of the platform."""

    status: int = 200
    headers: dict[str, str] = {}
    body: Any = None
    body_text: str | None = None

    def response(self) -> Response:
        """Return it as the connector sees it."""
        body = msgspec.json.encode(self.body) if self.body_text is None else self.body_text.encode()
        return Response(status=self.status, headers={k.lower(): v for k, v in self.headers.items()}, body=body)


class ExpectedError(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An error class by name, our code, and the wait where one is asked for."""

    error: str
    code: str
    wait_seconds: float | None = None


class ErrorFixture(Recorded, kw_only=True, forbid_unknown_fields=True):
    """One documented refusal."""

    answer: Answered
    changes_state: bool = True
    expected: ExpectedError


class ExpectedRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A request that the connector must make. Objects may hold more than is written here, lists may not."""

    method: str
    path: str
    params: dict[str, str] | None = None
    headers: dict[str, str] = {}
    body: Any = None


class Exchange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A request and its answer."""

    request: ExpectedRequest
    answer: Answered


class CallMade(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which function of the connector is called with what."""

    do: Literal[
        "open_session", "inspect", "articles", "subscribe", "feed", "fetch", "shown", "execute", "find", "check"
    ]
    name: str = ""
    """Feed, topic of the fetch, kind of the command, or field of `Connector.checks`."""
    cursor: str = ""
    external_id: str = ""
    key: str = "key-1"
    payloads: list[Any] = []


class ExchangeFixture(Recorded, kw_only=True, forbid_unknown_fields=True):
    """A call with its whole conversation."""

    call: CallMade
    settings: dict[str, Any] = {}
    exchanges: list[Exchange]
    expected: Any
    """The result as `calls.describe` shows it; objects may hold more than is written here."""


def load(folder: Path, kind: type[T]) -> tuple[T, ...]:
    """Return the recordings of a folder, sorted by file name. Raises ValueError, naming the file, for a malformed one."""
    loaded = []
    for path in sorted(folder.glob("*.json")):
        try:
            recorded = msgspec.json.decode(path.read_bytes(), type=kind)
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from error
        recorded.name = path.name
        loaded.append(recorded)
    return tuple(loaded)
