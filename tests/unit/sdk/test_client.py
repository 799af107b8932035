"""The client tells apart what certainly did not happen from what may have, and sends everything at most once."""

import asyncio
import gzip
from typing import Any

import pytest
from tests.rawserver import Peer, RawServer
from tests.remotebed import HASTY, OPEN, api_of

from tidegate.kernel.errors import (
    InvariantError,
    OutcomeUnknownError,
    RateLimitedError,
    TidegateError,
    TransientError,
)
from tidegate.sdk import client as client_module

pytestmark = pytest.mark.asyncio
WRITES = ("POST", "PUT", "PATCH", "DELETE")


async def close(peer: Peer) -> None:
    peer.close()


async def reset(peer: Peer) -> None:
    peer.reset()


async def half_a_body(peer: Peer) -> None:
    await peer.say(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"id":')
    peer.close()


async def half_a_chunk(peer: Peer) -> None:
    await peer.say(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{"id":')
    peer.close()


async def half_a_head(peer: Peer) -> None:
    await peer.say(b"HTTP/1.1 200 OK\r\nContent-Le")
    peer.close()


async def no_http(peer: Peer) -> None:
    await peer.say(b"\x16\x03\x01 what is this\r\n\r\n")
    peer.close()


async def bad_gzip(peer: Peer) -> None:
    await peer.answer(headers="Content-Encoding: gzip\r\n", body=b"\x1f\x8b\x08 not gzip at all")


async def huge_header(peer: Peer) -> None:
    await peer.say(b"HTTP/1.1 200 OK\r\nX-Huge: " + b"a" * 100_000 + b"\r\n\r\n")


async def many_headers(peer: Peer) -> None:
    await peer.answer(headers="".join(f"X-{number}: {'a' * 700}\r\n" for number in range(110)))


async def huge_body(peer: Peer) -> None:
    size = client_module.ANSWER_BYTES_MAX + 1
    await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"a" * size)


async def gzip_bomb(peer: Peer) -> None:
    bomb = gzip.compress(b"\x00" * (client_module.ANSWER_BYTES_MAX + 1))
    await peer.answer(headers="Content-Encoding: gzip\r\n", body=bomb)


async def broken(peer: Peer) -> None:
    await peer.answer("500 Internal Server Error")


AFTER_SENDING = {
    close: "answer_lost",
    reset: "answer_lost",
    half_a_body: "answer_truncated",
    half_a_chunk: "answer_truncated",
    half_a_head: "answer_lost",
    no_http: "answer_truncated",
    bad_gzip: "answer_truncated",
    huge_header: "answer_truncated",
    many_headers: "answer_too_large",
    huge_body: "answer_too_large",
    gzip_bomb: "answer_too_large",
    broken: "server_error",
}


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize("misbehave", AFTER_SENDING, ids=lambda handler: handler.__name__)
async def test_a_write_without_a_whole_answer_is_in_doubt_and_sent_once(misbehave: Any, method: str) -> None:
    async with RawServer(misbehave) as server, api_of(server.base_url, OPEN) as api:
        with pytest.raises(OutcomeUnknownError) as caught:
            await api.request(method, "/x", json={"a": 1})

    assert caught.value.code == AFTER_SENDING[misbehave]
    assert len(server.requests) == 1


@pytest.mark.parametrize("misbehave", AFTER_SENDING, ids=lambda handler: handler.__name__)
async def test_a_read_without_a_whole_answer_is_transient_and_sent_once(misbehave: Any) -> None:
    async with RawServer(misbehave) as server, api_of(server.base_url, OPEN) as api:
        with pytest.raises(TransientError) as caught:
            await api.request("GET", "/x", changes_state=False)

    assert caught.value.code == AFTER_SENDING[misbehave]
    assert len(server.requests) == 1


@pytest.mark.parametrize("method", ["GET", *WRITES])
async def test_a_request_on_a_kept_connection_that_breaks_is_not_repeated(method: str) -> None:
    async def answer_then_close(peer: Peer) -> None:
        await (peer.answer() if peer.number == 1 else close(peer))

    async with RawServer(answer_then_close) as server, api_of(server.base_url, OPEN) as api:
        await api.request("GET", "/first", changes_state=False)
        with pytest.raises(OutcomeUnknownError):
            await api.request(method, "/second")

    assert [request.split(b" ")[1] for request in server.requests] == [b"/first", b"/second"]
    assert server.connections == 1


async def test_a_late_answer_of_a_write_is_in_doubt() -> None:
    async def silence(peer: Peer) -> None:
        await peer.reader.read()

    async with RawServer(silence) as server, api_of(server.base_url, HASTY) as api:
        with pytest.raises(OutcomeUnknownError) as write:
            await api.request("PUT", "/x")
        with pytest.raises(TransientError) as read:
            await api.request("GET", "/x", changes_state=False)

    assert (write.value.code, read.value.code) == ("answer_timeout", "answer_timeout")
    assert len(server.requests) == 2


async def test_a_dripping_answer_does_not_outlive_the_deadline() -> None:
    async def drip(peer: Peer) -> None:
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            await peer.say(b"a")
            await asyncio.sleep(0.01)

    async with RawServer(drip) as server, api_of(server.base_url, HASTY) as api:
        with pytest.raises(OutcomeUnknownError) as caught:
            await api.request("POST", "/x")

    assert caught.value.code == "answer_timeout"


# --- answers -------------------------------------------------------------------------------------------------------
async def test_other_statuses_are_answers_for_the_connector() -> None:
    async def teapot(peer: Peer) -> None:
        await peer.answer("418 I'm a teapot", headers="X-Kind: Pot\r\nX-Kind: Tea\r\n", body=b'{"pot":1}')

    async with RawServer(teapot) as server, api_of(server.base_url + "/shop/", OPEN) as api:
        response = await api.request("POST", "/tea", json={"sugar": 0}, headers={"X-Key": "k"}, params={"a": "b c"})

    assert (response.status, response.json()) == (418, {"pot": 1})
    assert response.headers["x-kind"] == "Pot, Tea"
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /shop/tea?a=b+c HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer very-secret-token" in head
    assert b"\r\nContent-Type: application/json" in head
    assert b"\r\nX-Key: k" in head
    assert body == b'{"sugar":0}'


async def test_redirects_are_not_followed_and_cookies_not_kept() -> None:
    async def redirect(peer: Peer) -> None:
        await peer.answer("302 Found", headers="Location: http://127.0.0.1:1/\r\nSet-Cookie: id=tenant-one\r\n")

    async with RawServer(redirect) as server, api_of(server.base_url, OPEN) as api:
        first = await api.request("GET", "/a", changes_state=False)
        await api.request("GET", "/b", changes_state=False)

    assert (first.status, first.headers["location"]) == (302, "http://127.0.0.1:1/")
    assert len(server.requests) == 2
    assert b"tenant-one" not in server.requests[1]


async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with RawServer(lambda peer: peer.answer()) as server, api_of(server.base_url, OPEN) as api:
        response = await api.request("GET", "/", changes_state=False)

    assert response.status == 200


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("", None), ("Retry-After: 7\r\n", 7.0), ("Retry-After: 1.5\r\n", 1.5), ("Retry-After: soon\r\n", None)],
)
async def test_a_429_tells_how_long_to_wait(header: str, seconds: float | None) -> None:
    async def slow_down(peer: Peer) -> None:
        await peer.answer("429 Too Many Requests", headers=header)

    async with RawServer(slow_down) as server, api_of(server.base_url, OPEN) as api:
        for changes_state in (True, False):
            with pytest.raises(RateLimitedError) as caught:
                await api.request("POST", "/", changes_state=changes_state)
            assert caught.value.wait_seconds == seconds


async def test_an_unavailable_service_asks_a_read_to_wait_and_leaves_a_write_in_doubt() -> None:
    async def unavailable(peer: Peer) -> None:
        await peer.answer("503 Service Unavailable", headers="Retry-After: 9\r\n")

    async with RawServer(unavailable) as server, api_of(server.base_url, OPEN) as api:
        with pytest.raises(TransientError) as read:
            await api.request("GET", "/", changes_state=False)
        with pytest.raises(OutcomeUnknownError) as write:
            await api.request("POST", "/")

    assert read.value.wait_seconds == 9
    assert (write.value.context, write.value.wait_seconds) == ({"status": 503}, 9.0)


# --- what must not come out ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("misbehave", [*AFTER_SENDING], ids=lambda handler: handler.__name__)
async def test_no_error_shows_the_session(misbehave: Any) -> None:
    async with RawServer(misbehave) as server, api_of(server.base_url, OPEN) as api:
        with pytest.raises(TidegateError) as caught:
            await api.request("POST", "/x", headers={"X-Key": "very-secret-key"})

    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    assert "very-secret" not in f"{error!r} {error} {error.hint} {error.context} {api!r} {await api.session()!r}"


async def test_headers_with_line_breaks_and_relative_paths_are_our_own_bugs() -> None:
    async with RawServer(close) as server, api_of(server.base_url, OPEN) as api:
        for headers in ({"X-A": "a\r\nX-B: b"}, {"X-A\n": "a"}, {"X-A": "a\x00"}):
            with pytest.raises(InvariantError):
                await api.request("POST", "/x", headers=headers)
        for path in ("x", "@evil.test/", "?x=1"):
            with pytest.raises(InvariantError):
                await api.request("POST", path)

    assert server.requests == []
