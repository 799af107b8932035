"""The few answers of the door, rendered once a second (they carry the date)."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus


@dataclass(frozen=True, eq=False)
class Answer:
    """A status, a small JSON body, further header lines."""

    status: HTTPStatus
    body: bytes
    headers: tuple[bytes, ...] = ()
    closes: bool = False
    """The connection ends with it: the rest of the request was not read or cannot be trusted."""


STORED = Answer(HTTPStatus.OK, b'{"stored":true}')
PONG = Answer(HTTPStatus.OK, b'{"stored":false}')
"""For a platform that asks, unsigned, whether somebody is there: nothing is kept of it."""
HEALTHY = Answer(HTTPStatus.OK, b'{"healthy":true}')
READY = Answer(HTTPStatus.OK, b'{"ready":true}')
UNAUTHORISED = Answer(HTTPStatus.UNAUTHORIZED, b'{"error":"unauthorised"}')
"""For an unknown path, a disabled connection and a bad signature alike."""
NOT_FOUND = Answer(HTTPStatus.NOT_FOUND, b'{"error":"not found"}')
BAD_REQUEST = Answer(HTTPStatus.BAD_REQUEST, b'{"error":"bad request"}', closes=True)
TIMED_OUT = Answer(HTTPStatus.REQUEST_TIMEOUT, b'{"error":"too slow"}', closes=True)
METHOD_NOT_ALLOWED = Answer(HTTPStatus.METHOD_NOT_ALLOWED, b'{"error":"only POST"}', (b"allow: POST",), closes=True)
TOO_LARGE = Answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b'{"error":"body too large"}', closes=True)
HEADERS_TOO_LARGE = Answer(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, b'{"error":"headers too large"}', closes=True)
ENCODED = Answer(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, b'{"error":"content-encoding is not accepted"}', closes=True)


def unavailable(retry_after_seconds: int, *, closes: bool = False) -> Answer:
    """Return the 503 that asks the sender to come again."""
    headers = (b"retry-after: %d" % retry_after_seconds,)
    return Answer(HTTPStatus.SERVICE_UNAVAILABLE, b'{"error":"not stored, send it again"}', headers, closes)


class Renderer:
    """Bytes of answers, kept for the current second."""

    def __init__(self) -> None:
        """Start without anything rendered."""
        self._second = -1
        self._rendered: dict[tuple[Answer, bool], bytes] = {}

    def tick(self, now: float) -> None:
        """Take in the time (Unix seconds); call it more than once a second."""
        if int(now) != self._second:
            self._second = int(now)
            self._rendered.clear()

    def render(self, answer: Answer, *, closes: bool) -> bytes:
        """Return the whole response; `closes` announces the end of the connection."""
        rendered = self._rendered.get((answer, closes))
        if rendered is None:
            rendered = self._rendered[(answer, closes)] = self._build(answer, closes)
        return rendered

    def _build(self, answer: Answer, closes: bool) -> bytes:
        lines = [
            f"HTTP/1.1 {answer.status.value} {answer.status.phrase}".encode(),
            b"date: " + formatdate(max(self._second, 0), usegmt=True).encode(),
            b"content-type: application/json",
            b"content-length: %d" % len(answer.body),
            b"cache-control: no-store",
            *answer.headers,
        ]
        if closes:
            lines.append(b"connection: close")
        return b"\r\n".join((*lines, b"", answer.body))
