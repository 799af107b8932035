"""The door's framing on hostile bytes: no exception, one answer per request, nothing left in memory."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any, cast

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tidegate.intake import answers
from tidegate.intake.answers import Answer, Renderer
from tidegate.intake.directory import Endpoint
from tidegate.intake.protocol import DoorProtocol
from tidegate.intake.settings import Settings

OPEN = Endpoint(body_bytes_max=100)


class Wire:
    """What was written to a sender."""

    def __init__(self) -> None:
        self.written = b""
        self.is_closed = False
        self.is_half_closed = False
        self.is_aborted = False

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        assert not self.is_half_closed
        self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.is_half_closed = True

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_aborted = True

    def get_write_buffer_size(self) -> int:
        return 0


class Desk:
    """A door that answers at once, or keeps requests until it is asked to answer."""

    def __init__(self, *, answers_at_once: bool = True) -> None:
        self.settings = Settings(header_bytes_max=300)
        self.protocols: set[DoorProtocol] = set()
        self.buffered_bytes = 0
        self.bodies: list[bytes] = []
        self.refusals: list[str] = []
        self.now = 0.0
        self._at_once = answers_at_once
        self._renderer = Renderer()

    def find(self, target: bytes) -> Endpoint | None:
        return OPEN if target.startswith(b"/in/") else None

    def receive(self, request: DoorProtocol) -> None:
        self.bodies.append(request.body)
        if self._at_once:
            request.answer(answers.STORED)

    def count_refusal(self, code: str) -> None:
        self.refusals.append(code)

    def render(self, answer: Answer, *, closes: bool) -> bytes:
        return self._renderer.render(answer, closes=closes)

    def monotonic(self) -> float:
        return self.now


def connected(desk: Desk) -> tuple[DoorProtocol, Wire]:
    protocol, wire = DoorProtocol(desk), Wire()
    protocol.connection_made(cast("asyncio.Transport", cast("Any", wire)))
    return protocol, wire


def post(body: bytes, *headers: bytes) -> bytes:
    lines = (b"POST /in/c0/x HTTP/1.1", b"host: x", b"content-length: %d" % len(body), *headers, b"", body)
    return b"\r\n".join(lines)


HOSTILE = st.lists(
    st.one_of(
        st.binary(max_size=30),
        st.sampled_from(
            [
                b"POST /in/c0/x HTTP/1.1\r\n",
                b"GET /healthz HTTP/1.1\r\n",
                b"host: x\r\n",
                b"content-length: 5\r\n",
                b"transfer-encoding: chunked\r\n",
                b"expect: 100-continue\r\n",
                b"connection: close\r\n",
                b"connection: upgrade\r\nupgrade: h2c\r\n",
                b"content-encoding: gzip\r\n",
                b"\r\n",
                b"hello",
                b"5\r\nhello\r\n",
                b"0\r\n\r\n",
                b"x: " + b"y" * 400 + b"\r\n",
                post(b"hello"),
            ]
        ),
    ),
    max_size=12,
)


@settings(max_examples=600, deadline=None)
@given(HOSTILE, st.booleans(), st.integers(1, 400))
@example([post(b"a"), post(b"b")], True, 1000)
@example([post(b"a" * 200)], True, 1000)
def test_hostile_bytes_break_nothing(parts: list[bytes], answers_at_once: bool, size: int) -> None:
    desk = Desk(answers_at_once=answers_at_once)
    protocol, wire = connected(desk)
    data = b"".join(parts)
    for start in range(0, len(data), size):
        if wire.is_closed:
            break
        protocol.data_received(data[start : start + size])
    desk.now += 100.0
    protocol.enforce(desk.now)
    protocol.enforce(desk.now + 100.0)
    protocol.connection_lost(None)

    answered = wire.written.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"").count(b"HTTP/1.1 ")
    assert answered <= len(desk.bodies) + len(desk.refusals)
    assert answered >= len(desk.bodies) * answers_at_once
    assert len(desk.refusals) <= 1
    assert desk.buffered_bytes == 0
    assert desk.protocols == set()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=100), st.lists(st.integers(0, 200), max_size=6))
def test_it_does_not_matter_how_bytes_are_cut(body: bytes, cuts: list[int]) -> None:
    desk = Desk()
    protocol, wire = connected(desk)
    request = post(body)
    places = sorted({0, len(request), *(cut for cut in cuts if cut < len(request))})
    for start, end in pairwise(places):
        protocol.data_received(request[start:end])

    assert desk.bodies == [body]
    assert wire.written.startswith(b"HTTP/1.1 200 OK\r\n")
    assert not wire.is_closed


def test_a_late_answer_to_a_sender_that_has_gone_is_dropped() -> None:
    desk = Desk(answers_at_once=False)
    protocol, wire = connected(desk)
    protocol.data_received(post(b"x"))
    protocol.connection_lost(None)
    wire.is_closed = True

    protocol.answer(answers.STORED)

    assert wire.written == b""


def test_a_request_in_hand_has_no_deadline_here_and_the_idle_connection_after_it_has_one() -> None:
    desk = Desk(answers_at_once=False)
    protocol, wire = connected(desk)
    protocol.data_received(post(b"x"))
    desk.now += 1000.0
    protocol.enforce(desk.now)
    protocol.answer(answers.STORED)
    assert not wire.is_closed

    protocol.enforce(desk.now + desk.settings.keep_alive_seconds + 1)
    assert wire.is_closed


def test_answers_carry_the_date_of_their_second_and_no_more_than_they_must() -> None:
    renderer = Renderer()
    renderer.tick(1_795_305_600.9)
    first = renderer.render(answers.UNAUTHORISED, closes=False)
    renderer.tick(1_795_305_601.0)
    second = renderer.render(answers.UNAUTHORISED, closes=True)

    assert first == (
        b"HTTP/1.1 401 Unauthorized\r\n"
        b"date: Sun, 22 Nov 2026 00:00:00 GMT\r\n"
        b"content-type: application/json\r\n"
        b"content-length: 24\r\n"
        b"cache-control: no-store\r\n"
        b"\r\n"
        b'{"error":"unauthorised"}'
    )
    assert b"00:00:01 GMT" in second
    assert b"\r\nconnection: close\r\n" in second
