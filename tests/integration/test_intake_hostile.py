"""Senders that read nothing, send in crumbs, or hide more than a limit in what a limit does not look at."""

from __future__ import annotations

import asyncio
import socket

import pytest
import pytest_asyncio
from tests.doorbed import Shop, add_shop, connector, eventually, running_door
from tests.logbed import add_tenant

from tidegate.sdk.connector import EventKeys
from tidegate.store.connections import Pool
from tidegate.store.database import Database

pytestmark = pytest.mark.asyncio
TURN_A_BIT = "UPDATE data_key SET wrapped = set_byte(wrapped, 20, get_byte(wrapped, 20) # 1) WHERE tenant_id = $1"


@pytest_asyncio.fixture
async def shop(owner_pool: Pool) -> Shop:
    async with owner_pool.acquire() as db:
        return await add_shop(db)


async def test_a_damaged_key_closes_its_own_connection_and_nobody_elses(
    database: Database, owner_pool: Pool, shop: Shop
) -> None:
    async with owner_pool.acquire() as db:
        other = await add_shop(db, tenant_id=await add_tenant(db, "second"), token="second")
        await db.execute(TURN_A_BIT, other.tenant_id)

    async with running_door(database) as door:
        assert (await door.send(shop.deliver("e1"))).status == 200
        assert (await door.send(other.deliver("e2"))).status == 503


async def test_a_sender_that_reads_no_answers_does_not_keep_its_place(database: Database, shop: Shop) -> None:
    async with running_door(database, connections_max=1, keep_alive_seconds=0.3, header_seconds=0.3) as door:
        loop = asyncio.get_running_loop()
        await eventually(lambda: has_connections(door.process.protocols, 0))
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            deaf.setblocking(False)
            await loop.sock_connect(deaf, ("127.0.0.1", door.port))
            deaf.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await eventually(lambda: has_connections(door.process.protocols, 1))
            (held,) = door.process.protocols
            held._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            async with asyncio.timeout(200):
                while held._transport.get_write_buffer_size() < 1000:
                    await loop.sock_sendall(deaf, b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n")
                    await asyncio.sleep(0.001)

            await eventually(lambda: has_connections(door.process.protocols, 0))


async def has_connections(protocols: set[object], count: int) -> bool:
    return len(protocols) == count


async def test_the_bound_on_bodies_holds_for_requests_that_began_together(database: Database, shop: Shop) -> None:
    async with running_door(database, buffered_bytes_max=100_000) as door:
        senders = [await door.sender() for _ in range(10)]
        for sender in senders:
            path = f"/in/c0/{shop.token}".encode()
            sender.writer.write(
                b"POST " + path + b" HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n" + b"x" * 9_000
            )
        await eventually(lambda: has_bytes(door.process, 90_000))
        for sender in senders:
            sender.writer.write(b"x" * 60_000)

        ended = await asyncio.gather(*(sender.receive() for sender in senders[:9]), return_exceptions=True)

        assert door.process.buffered_bytes <= 200_000
        statuses = [answer.status for answer in ended if not isinstance(answer, BaseException)]
        assert statuses.count(503) >= 5
        assert set(statuses) <= {
            503,
            408,
        }  # one that came in pieces had room, and waits in vain for the rest of its body


async def has_bytes(process: object, count: int) -> bool:
    return int(getattr(process, "buffered_bytes")) >= count  # noqa: B009 - the type is the door's own business


async def test_a_body_in_crumbs_is_whole(database: Database, owner_pool: Pool, shop: Shop) -> None:
    whole = shop.deliver("e1", headers={"content-length": None, "transfer-encoding": "chunked"})
    head, _, body = whole.partition(b"\r\n\r\n")
    crumbs = b"".join(b"1\r\n%c\r\n" % byte for byte in body)

    async with running_door(database) as door:
        answer = await door.send(head + b"\r\n\r\n" + crumbs + b"0\r\n\r\n")

    assert answer.status == 200
    assert await owner_pool.fetchval("SELECT count(*) FROM event") == 1


@pytest.mark.parametrize("path", ["/", "/healthz", "/in/c0/nobody"])
async def test_an_answer_to_head_has_no_body(database: Database, path: str) -> None:
    async with running_door(database) as door:
        sender = await door.sender()
        sender.writer.write(f"HEAD {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())

        answer = await sender.reader.read()

    assert answer.startswith(b"HTTP/1.1 4")
    assert answer.endswith(b"\r\n\r\n")


async def test_headers_over_the_limit_are_refused_however_they_are_cut(database: Database, shop: Shop) -> None:
    async with running_door(database) as door:
        sender = await door.sender()
        sender.writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\na: " + b"x" * 16_200 + b"\r\n")
        await asyncio.sleep(0.1)  # so that they come as two reads; as one they are over the limit all the same
        sender.writer.write(b"b: " + b"y" * 16_300 + b"\r\n\r\n")

        assert (await sender.receive()).status == 431


async def test_a_sender_of_http_1_0_is_not_told_to_continue(database: Database, shop: Shop) -> None:
    request = shop.deliver("e1", headers={"expect": "100-continue"}).replace(b"HTTP/1.1", b"HTTP/1.0", 1)

    async with running_door(database) as door:
        assert (await door.send(request)).status == 200


@pytest.mark.parametrize("moment", [5, True, "yesterday"])
async def test_an_odd_time_of_the_sender_stops_nothing(
    database: Database, owner_pool: Pool, shop: Shop, moment: object
) -> None:
    keys = EventKeys(topic="t", sender_event_id="e1", ordering_key="order:1", occurred_at=moment)  # type: ignore[arg-type]

    async with running_door(database, connectors=(connector(read_keys=lambda _headers, _body: keys),)) as door:
        assert (await door.send(shop.deliver("e1"))).status == 200

    assert await owner_pool.fetchval("SELECT count(*) FROM event WHERE occurred_at IS NULL") == 1
