"""The webhook sender signs each try, repeats refusals of service, and can double and shuffle."""

import asyncio
import base64

import msgspec
import pytest
from tests.rawserver import Peer, RawServer
from tests.remotebed import api_of, fill, running_remote

from tidegate.kernel.redaction import Secret
from tidegate.sdk.signatures import StandardWebhooks
from tidegate.sdk.testing.hostile_connector import client
from tidegate.sdk.testing.sender import Delivery, WebhookSender, build_delivery

pytestmark = pytest.mark.asyncio
SECRET = Secret("whsec_" + base64.b64encode(b"a-secret-for-the-sender-test").decode())


def verify(request: bytes) -> dict[str, object]:
    head, _, body = request.partition(b"\r\n\r\n")
    pairs = (line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
    headers = {name.decode().lower(): value.decode() for name, value in pairs}
    StandardWebhooks()(headers, body, [SECRET.reveal()], int(headers["webhook-timestamp"]))
    event: dict[str, object] = msgspec.json.decode(body)
    assert headers["webhook-id"] == event["id"]
    return event


async def test_a_busy_receiver_gets_the_same_event_again_until_it_takes_it() -> None:
    async def busy_twice(peer: Peer) -> None:
        if peer.number == 2:
            peer.close()
        else:
            await peer.answer("503 Service Unavailable" if peer.number == 1 else "202 Accepted")

    async with RawServer(busy_twice) as server, WebhookSender(server.base_url, SECRET, retry_seconds=0.001) as sender:
        report = await sender.send(build_delivery({"id": "evt-1", "type": "order.updated"}))

    assert (report.status, report.tries, report.accepted) == (202, 3, True)
    assert [verify(request) for request in server.requests] == [{"id": "evt-1", "type": "order.updated"}] * 3


async def test_a_refusal_is_final() -> None:
    async with (
        RawServer(lambda peer: peer.answer("401 Unauthorized")) as server,
        WebhookSender(server.base_url, SECRET) as sender,
    ):
        report = await sender.send(Delivery(message_id="evt-1", body=b'{"id":"evt-1"}', headers={"x-topic": "a"}))

    assert (report.status, report.tries, report.accepted) == (401, 1, False)
    assert b"\r\nx-topic: a" in server.requests[0]


async def test_it_gives_up_after_its_time() -> None:
    async with (
        RawServer(lambda peer: peer.answer("503 Service Unavailable")) as server,
        WebhookSender(server.base_url, SECRET, retry_seconds=0.001, give_up_seconds=0.02) as sender,
    ):
        report = await sender.send(build_delivery({"id": "evt-1"}))

    assert (report.status, report.accepted) == (503, False)
    assert report.tries == len(server.requests)


async def test_doubles_and_disorder_are_repeatable() -> None:
    events = [build_delivery({"id": f"evt-{number}"}) for number in range(50)]
    orders = []
    for _ in range(2):
        async with RawServer(lambda peer: peer.answer()) as server, WebhookSender(server.base_url, SECRET) as sender:
            reports = await sender.send_all(events, duplicates=0.5, shuffle=True, seed=3, concurrency=1)
        assert len(reports) == len(server.requests)
        orders.append([verify(request)["id"] for request in server.requests])

    assert orders[0] == orders[1]
    assert set(orders[0]) == {f"evt-{number}" for number in range(50)}
    assert 60 <= len(orders[0]) <= 90
    assert orders[0] != sorted(orders[0])


async def test_the_remote_delivers_its_events_to_subscribers() -> None:
    async with RawServer(lambda peer: peer.answer()) as server, running_remote() as remote, api_of(remote) as api:
        for _ in range(2):
            await client.subscribe(api, server.base_url + "/in", SECRET)
        fill(remote.world)
        await client.inspect(api)

        async with asyncio.timeout(100):
            while len(server.requests) < len(remote.world.events):  # noqa: ASYNC110 - polls with a deadline
                await asyncio.sleep(0.005)

        delivered = {str(verify(request)["type"]) for request in server.requests}
        assert delivered == {event.topic for event in remote.world.events}
        assert len(server.requests) == len(remote.world.events)
