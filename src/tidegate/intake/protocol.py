"""HTTP/1.1 for the door: strict framing, small limits, a deadline for every phase. One request at a time.

The bytes are parsed by llhttp (httptools), which refuses what could be read in two ways: Content-Length beside
Transfer-Encoding, repeated or odd lengths, bare line feeds, folded headers. What it lets pass and we do not want is
refused here: other versions, absolute targets, several hosts, trailers, upgrades, encodings. Requests that arrive
before the answer (pipelining) are dropped and the connection closes after the answer; a sender repeats them.

There is no task and no future per request: a whole request is handed to the door, which answers when it is stored.
"""

from __future__ import annotations

import asyncio
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Protocol, cast

import httptools

from tidegate.intake import answers
from tidegate.intake.answers import Answer

if TYPE_CHECKING:
    from tidegate.intake.directory import Endpoint
    from tidegate.intake.settings import Settings

NAMES_MAX = 1024
"""Header names whose lower-case form is kept."""
UNREAD_BYTES_MAX = 64 << 10
"""Answers that a sender has not read; with more, the connection ends."""
LINGER_SECONDS = 1.0
"""How long the rest of a refused request is read and dropped, so that the sender sees the answer, not a reset."""
_READS = (b"GET", b"HEAD")
_KNOWN_NAMES: dict[bytes, str] = {}


class Door(Protocol):
    """What the protocol needs of the door."""

    settings: Settings
    protocols: set[DoorProtocol]
    buffered_bytes: int

    def find(self, target: bytes) -> Endpoint | None:
        """Return what a target names; None when it is no webhook path."""

    def receive(self, request: DoorProtocol) -> None:
        """Take a whole request; `request.answer` is called now or later, once."""

    def count_refusal(self, code: str) -> None:
        """Count a refused request."""

    def render(self, answer: Answer, *, closes: bool) -> bytes:
        """Return the bytes of an answer."""

    def monotonic(self) -> float:
        """Return the time for deadlines."""


class Phase(IntEnum):
    """Where a connection stands."""

    IDLE = 0
    HEADERS = 1
    BODY = 2
    ANSWERING = 3
    LINGERING = 4
    CLOSED = 5


class DoorProtocol(asyncio.Protocol):
    """One connection of a sender."""

    __slots__ = (
        "_body",
        "_closes",
        "_counted_bytes",
        "_deadline",
        "_door",
        "_fed_bytes",
        "_head_bytes",
        "_header_bytes",
        "_parser",
        "_phase",
        "_size_max",
        "_transport",
        "endpoint",
        "headers",
        "read_at",
        "target",
    )

    def __init__(self, door: Door) -> None:
        """Wait for a connection; every `asyncio` server calls this once per socket."""
        self._door = door
        self._phase = Phase.IDLE
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._deadline = 0.0
        self._closes = False
        self._counted_bytes = self._fed_bytes = 0
        self._body: bytes | bytearray = b""
        self.endpoint: Endpoint | None = None
        self._reset()

    # --- for the door ----------------------------------------------------------------------------------------------
    @property
    def body(self) -> bytes:
        """The whole body of the request in hand."""
        return bytes(self._body)

    @property
    def method(self) -> bytes:
        """The method of the request in hand."""
        return self._parser.get_method()

    @property
    def is_busy(self) -> bool:
        """Whether a request waits for its answer."""
        return self._phase is Phase.ANSWERING

    def answer(self, answer: Answer) -> None:
        """Answer the request in hand. Does nothing when the sender has gone."""
        if self._phase is not Phase.ANSWERING:
            return
        self._release()
        closes = self._closes or answer.closes
        self._write(answer, closes=closes)
        if closes or self._transport.get_write_buffer_size() > UNREAD_BYTES_MAX:
            self.close()
            return
        self._phase = Phase.IDLE
        self._deadline = self._door.monotonic() + self._door.settings.keep_alive_seconds
        self._reset()

    def enforce(self, now: float) -> None:
        """End the connection when the deadline of its phase is over."""
        if now < self._deadline or self._phase is Phase.ANSWERING:
            return
        if self._phase is Phase.CLOSED:
            self._transport.abort()  # it does not read what was written
            return
        if self._phase is Phase.HEADERS and self._header_bytes:
            self._refuse(answers.TIMED_OUT, "header_timeout")
        elif self._phase is Phase.BODY:
            self._refuse(answers.TIMED_OUT, "body_timeout")
        else:
            self.close()

    def drain(self) -> None:
        """Close now when idle, else after the answer."""
        self._closes = True
        if self._phase is Phase.IDLE or (self._phase is Phase.HEADERS and not self._header_bytes):
            self.close()

    def close(self) -> None:
        """Close the connection; what was written is still sent."""
        self._phase = Phase.CLOSED
        self._deadline = self._door.monotonic() + LINGER_SECONDS
        self._transport.close()

    # --- asyncio ---------------------------------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the first header deadline, or refuse when there are too many connections."""
        self._transport = cast("asyncio.Transport", transport)
        door = self._door
        if len(door.protocols) >= door.settings.connections_max:
            self._phase = Phase.ANSWERING
            self.answer(answers.unavailable(door.settings.retry_after_seconds, closes=True))
            door.count_refusal("connections")
            return
        door.protocols.add(self)
        self._phase = Phase.HEADERS
        self._deadline = door.monotonic() + door.settings.header_seconds

    def connection_lost(self, _error: Exception | None) -> None:
        """Forget the connection; a request that is being stored will be stored all the same."""
        self._phase = Phase.CLOSED
        self._release()
        self._door.protocols.discard(self)

    def eof_received(self) -> bool:
        """Keep the connection half open while a request is being answered."""
        self._closes = True
        return self._phase is Phase.ANSWERING

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        phase = self._phase
        if phase >= Phase.ANSWERING:
            self._closes = True  # sent before our answer: dropped
            return
        if phase is Phase.IDLE:
            self._phase = Phase.HEADERS
            self._deadline = self._door.monotonic() + self._door.settings.header_seconds
        self._fed_bytes = len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(answers.BAD_REQUEST, "upgrade")
        except httptools.HttpParserError:
            self._refuse(answers.BAD_REQUEST, "bad_request")
        if self._phase is Phase.HEADERS:
            self._header_bytes += len(data)
            if self._header_bytes > self._door.settings.header_bytes_max:
                self._refuse(answers.HEADERS_TOO_LARGE, "header_too_large")
        elif self._phase is Phase.IDLE and self._closes:
            self.close()

    # --- httptools -------------------------------------------------------------------------------------------------
    def on_message_begin(self) -> None:
        """Note a second request that came with the first (which may have been answered already)."""
        if self._phase is not Phase.HEADERS:
            self._closes = True

    def on_url(self, url: bytes) -> None:
        """Collect the target; a large one counts as header bytes."""
        if self._phase is Phase.HEADERS:
            self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header under its lower-case name; repeated ones are joined as the protocol says."""
        if self._phase is not Phase.HEADERS:
            if self._phase is Phase.BODY:
                self._refuse(answers.BAD_REQUEST, "trailer")
            return
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > self._door.settings.header_bytes_max:
            self._refuse(answers.HEADERS_TOO_LARGE, "header_too_large")
            return
        key = _KNOWN_NAMES.get(name) or _lower(name)
        text = value.decode("latin-1")
        headers = self.headers
        if key in headers:
            if key == "host":
                self._refuse(answers.BAD_REQUEST, "bad_request")
            text = f"{headers[key]}, {text}"
        headers[key] = text

    def on_headers_complete(self) -> None:
        """Decide whether the body is read at all, and how much of it."""
        if self._phase is not Phase.HEADERS:
            return
        refusal = self._judge()
        if refusal is not None:
            self._refuse(*refusal)
            return
        self._phase = Phase.BODY
        self._deadline = self._door.monotonic() + self._door.settings.body_seconds
        is_expected = self.headers.get("expect", "").lower() == "100-continue"
        if is_expected and self._parser.get_http_version() == "1.1":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Collect the body up to its limit."""
        if self._phase is not Phase.BODY:
            return
        size = self._counted_bytes + len(body)
        if size > self._size_max:
            self._refuse(answers.TOO_LARGE, "body_too_large")
            return
        door = self._door
        if door.buffered_bytes - self._counted_bytes > door.settings.buffered_bytes_max:
            self._refuse(answers.unavailable(door.settings.retry_after_seconds, closes=True), "memory")
            return
        if not self._body:
            self._body = body
        else:  # one object, however small the pieces
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += body
        self._counted_bytes = size
        door.buffered_bytes += len(body)

    def on_message_complete(self) -> None:
        """Hand the whole request to the door."""
        if self._phase is not Phase.BODY:
            return
        self._phase = Phase.ANSWERING
        if not self._parser.should_keep_alive():
            self._closes = True
        self.read_at = self._door.monotonic()
        self._door.receive(self)

    # --- inside ----------------------------------------------------------------------------------------------------
    def _judge(self) -> tuple[Answer, str] | None:
        """Return the refusal of a request by its headers, None to go on."""
        headers, door = self.headers, self._door
        if self._fed_bytes > door.settings.header_bytes_max and self._size() > door.settings.header_bytes_max:
            return answers.HEADERS_TOO_LARGE, "header_too_large"
        if not self._is_well_formed():
            return answers.BAD_REQUEST, "bad_request"
        self.endpoint = door.find(self.target)
        if self.endpoint is None:
            self._size_max = 0
            return None if self.method in _READS else (answers.NOT_FOUND, "not_found")
        if self.method != b"POST":
            return answers.METHOD_NOT_ALLOWED, "method"
        if "content-encoding" in headers and headers["content-encoding"] != "identity":
            return answers.ENCODED, "content_encoding"
        self._size_max = self.endpoint.body_bytes_max
        if "content-length" in headers and int(headers["content-length"]) > self._size_max:
            return answers.TOO_LARGE, "body_too_large"
        if door.buffered_bytes > door.settings.buffered_bytes_max:
            return answers.unavailable(door.settings.retry_after_seconds, closes=True), "memory"
        return None

    def _is_well_formed(self) -> bool:
        """Whether the request is one that every server and proxy reads alike; the parser has seen to the rest."""
        headers, version = self.headers, self._parser.get_http_version()
        if not self.target.startswith(b"/") or "upgrade" in headers:
            return False
        encoding = headers.get("transfer-encoding")
        if version == "1.1":
            return "host" in headers and (encoding is None or encoding.lower() == "chunked")
        return version == "1.0" and encoding is None

    def _size(self) -> int:
        return len(self.target) + sum(map(len, self.headers)) + sum(map(len, self.headers.values()))

    def _refuse(self, answer: Answer, code: str) -> None:
        """Answer before the request is whole, then read and drop the rest for a moment."""
        if self._phase >= Phase.ANSWERING:
            self._closes = True  # only what came behind a whole request is wrong
            return
        self._door.count_refusal(code)
        self._release()
        self._write(answer, closes=True)
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._phase = Phase.LINGERING
        self._deadline = self._door.monotonic() + LINGER_SECONDS

    def _write(self, answer: Answer, *, closes: bool) -> None:
        """Write an answer; one to HEAD has no body, or whoever shares the connection reads it as the next answer."""
        rendered = self._door.render(answer, closes=closes)
        is_head = bool(self.target) and self.method == b"HEAD"
        self._transport.write(rendered[: len(rendered) - len(answer.body)] if is_head else rendered)

    def _release(self) -> None:
        self._door.buffered_bytes -= self._counted_bytes
        self._counted_bytes = 0
        self._body = b""

    def _reset(self) -> None:
        self.target = b""
        self.headers: dict[str, str] = {}
        self.endpoint = None
        self.read_at = 0.0
        self._body = b""
        self._header_bytes = self._head_bytes = 0
        self._size_max = 0


def _lower(name: bytes) -> str:
    lowered = name.decode("latin-1").lower()
    if len(_KNOWN_NAMES) < NAMES_MAX:
        _KNOWN_NAMES[name] = lowered
    return lowered


def listen_options() -> dict[str, Any]:
    """Return the options for `loop.create_server`: two doors may share a port, the kernel spreads connections."""
    return {"reuse_address": True, "reuse_port": True, "backlog": 1024}
