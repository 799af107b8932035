"""The door's HTTP: strict framing, small limits, a deadline for every phase, an orderly end."""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio
from tests.doorbed import Shop, add_shop, connector, delivery_body, eventually, running_door
from tests.logbed import key_ring

from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.vault.bodies import BodyCipher

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def shop(owner_pool: Pool) -> Shop:
    async with owner_pool.acquire() as db:
        return await add_shop(db)


async def stored(owner_pool: Pool) -> int:
    return int(await owner_pool.fetchval("SELECT count(*) FROM event"))


async def test_one_connection_carries_many_deliveries(database: Database, owner_pool: Pool, shop: Shop) -> None:
    async with running_door(database) as door:
        sender = await door.sender()
        for number in range(20):
            assert (await sender.send(shop.deliver(f"e{number}"))).status == 200
        assert (await sender.send(shop.deliver("x", headers={"webhook-signature": "v1,AAAA"}))).status == 401
        assert (await sender.send(shop.deliver("last", headers={"connection": "close"}))).status == 200
        assert await sender.is_closed()

    assert await stored(owner_pool) == 21


async def test_a_body_in_pieces_and_in_chunks_is_whole(database: Database, owner_pool: Pool, shop: Shop) -> None:
    request = shop.deliver("e1")
    body = delivery_body("e2")
    chunked = shop.deliver("e2", body=body, headers={"content-length": None, "transfer-encoding": "chunked"})
    head = chunked[: -len(body)]
    pieces = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:10], body[10:11], body[11:]))

    async with running_door(database) as door:
        sender = await door.sender()
        for position in range(len(request)):
            sender.writer.write(request[position : position + 1])
            await sender.writer.drain()
        assert (await sender.receive()).status == 200
        assert (await sender.send(head + pieces + b"0\r\n\r\n")).status == 200

    cipher = BodyCipher(key_ring("intake"))
    rows = await owner_pool.fetch("SELECT * FROM event ORDER BY event_id")
    async with owner_pool.acquire() as db:
        await cipher.opener(db, [(row["tenant_id"], row["data_key_id"]) for row in rows])
    opened = [cipher.open(r["tenant_id"], r["data_key_id"], "event", r["event_id"], r["body"]) for r in rows]
    assert opened == [delivery_body("e1"), body]


async def test_expect_100_continue_is_answered(database: Database, shop: Shop) -> None:
    request = shop.deliver("e1", headers={"expect": "100-continue"})
    head, _, body = request.partition(b"\r\n\r\n")

    async with running_door(database) as door:
        sender = await door.sender()
        assert (await sender.send(head + b"\r\n\r\n")).status == 100
        assert (await sender.send(body)).status == 200


SMUGGLING = {
    "length and chunked": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two equal lengths": b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "two lengths": b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "list of lengths": b"Content-Length: 2, 2\r\n\r\n{}",
    "signed length": b"Content-Length: +2\r\n\r\n{}",
    "negative length": b"Content-Length: -2\r\n\r\n{}",
    "hexadecimal length": b"Content-Length: 0x2\r\n\r\n{}",
    "overflowing length": b"Content-Length: 99999999999999999999999\r\n\r\n{}",
    "space before the colon": b"Content-Length : 2\r\n\r\n{}",
    "gzip, chunked": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked, gzip": b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "identity": b"Transfer-Encoding: identity\r\n\r\n{}",
    "xchunked": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "vertical tab": b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "folded header": b"X-A: b\r\n c\r\nContent-Length: 2\r\n\r\n{}",
    "bare line feed": b"X-A: b\nContent-Length: 2\r\n\r\n{}",
    "bare carriage return": b"X-A: b\rContent-Length: 2\r\n\r\n{}",
    "zero byte": b"X-A: b\x00c\r\nContent-Length: 2\r\n\r\n{}",
    "space in a name": b"X A: b\r\nContent-Length: 2\r\n\r\n{}",
    "no name": b": b\r\nContent-Length: 2\r\n\r\n{}",
    "second host": b"Host: other\r\nContent-Length: 2\r\n\r\n{}",
    "chunk size with sign": b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
    "chunk size with prefix": b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
    "chunk with bare line feeds": b"Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n",
    "chunk longer than said": b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
    "trailer": b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nWebhook-Id: other\r\n\r\n",
    "upgrade": b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\n{}",
}
START_LINES = {
    "absolute target": b"POST http://other/in/c0/secret-path HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    "no version": b"POST /in/c0/secret-path\r\n\r\n",
    "version 2.0": b"POST /in/c0/secret-path HTTP/2.0\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    "preface of version 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no host": b"POST /in/c0/secret-path HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
    "chunked in version 1.0": b"POST /in/c0/secret-path HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "lower-case method": b"post /in/c0/secret-path HTTP/1.1\r\nHost: x\r\n\r\n",
    "tabs": b"POST\t/in/c0/secret-path\tHTTP/1.1\r\nHost: x\r\n\r\n",
    "control character in the target": b"POST /in/c0/\x01 HTTP/1.1\r\nHost: x\r\n\r\n",
    "line feeds only": b"POST /in/c0/secret-path HTTP/1.1\nHost: x\nContent-Length: 2\n\n{}",
    "connect": b"CONNECT other:443 HTTP/1.1\r\nHost: other:443\r\n\r\n",
    "noise": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


async def test_what_could_be_read_in_two_ways_is_refused_and_ends_the_connection(
    database: Database, owner_pool: Pool, shop: Shop
) -> None:
    corpus = {name: b"POST /in/c0/secret-path HTTP/1.1\r\nHost: x\r\n" + rest for name, rest in SMUGGLING.items()}
    corpus |= START_LINES
    behind = shop.deliver("smuggled")
    outcomes = {}
    async with running_door(database) as door:
        for name, request in corpus.items():
            sender = await door.sender()
            response = await sender.send(request + behind)
            outcomes[name] = (response.status, await sender.is_closed())

    assert outcomes == dict.fromkeys(corpus, (400, True))
    assert await stored(owner_pool) == 0


async def test_a_second_request_before_the_answer_is_dropped_and_the_connection_closed(
    database: Database, owner_pool: Pool, shop: Shop
) -> None:
    async with running_door(database) as door:
        sender = await door.sender()
        first = await sender.send(shop.deliver("e1") + shop.deliver("e2"))
        assert (first.status, first.header("connection")) == (200, "close")
        assert await sender.is_closed()

        refused = await door.sender()
        answer = await refused.send(shop.deliver("e3", headers={"webhook-signature": "v1,AAAA"}) + shop.deliver("e4"))
        assert answer.status == 401
        assert await refused.is_closed()

    assert await stored(owner_pool) == 1


async def test_limits(database: Database, owner_pool: Pool, shop: Shop) -> None:
    small = connector(body_bytes_max=1000)
    large_body = b'{"id":"e","type":"t","order":"' + b"1" * 970 + b'"}'
    cases = {
        "at the limit": (shop.deliver("e", body=large_body), 200 if len(large_body) <= 1000 else 413),
        "one byte over": (shop.deliver("e1", body=b"x" * 1001), 413),
        "said to be large": (shop.deliver("e2", headers={"content-length": "1001"}), 413),
        "chunked and large": (
            shop.deliver("e3", body=b"", headers={"content-length": None, "transfer-encoding": "chunked"})
            + b"3e9\r\n"
            + b"x" * 1001
            + b"\r\n0\r\n\r\n",
            413,
        ),
        "unknown path, body within one MiB": (shop.deliver("e4", path="/in/c0/none", body=b"x" * 1001), 401),
        "gzip": (shop.deliver("e5", headers={"content-encoding": "gzip"}), 415),
        "identity": (shop.deliver("e6", headers={"content-encoding": "identity"}), 200),
        "get": (b"GET /in/c0/secret-path HTTP/1.1\r\nhost: x\r\n\r\n", 405),
        "put": (b"PUT /in/c0/none HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n", 405),
        "elsewhere": (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", 404),
        "healthy": (b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n", 200),
        "ready": (b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n", 200),
        "large header": (shop.deliver("e7", headers={"x-large": "x" * 17_000}), 431),
        "many headers": (shop.deliver("e8", headers={f"x-{n}": "x" * 40 for n in range(500)}), 431),
        "long target": (shop.deliver("e9", path="/in/c0/" + "x" * 17_000), 431),
        "query is no part of the path": (shop.deliver("e10", path=f"/in/c0/{shop.token}?v=1"), 200),
    }
    async with running_door(database, connectors=[small]) as door:
        statuses = {name: (await door.send(request)).status for name, (request, _) in cases.items()}

    assert statuses == {name: status for name, (_, status) in cases.items()}
    assert await stored(owner_pool) == list(statuses.values()).count(200) - 2


async def test_a_header_that_never_ends_is_refused_while_it_comes(database: Database, shop: Shop) -> None:
    async with running_door(database) as door:
        sender = await door.sender()
        sender.writer.write(b"POST /in/c0/x HTTP/1.1\r\nhost: x\r\n")
        sender.writer.write(b"x-a: " + b"y" * 20_000)
        assert (await sender.receive()).status == 431


@pytest.mark.parametrize("where", ["nothing", "headers", "body", "idle"])
async def test_every_phase_has_a_deadline_that_dripping_does_not_move(
    database: Database, shop: Shop, where: str
) -> None:
    request = shop.deliver("e1")
    head = request.partition(b"\r\n\r\n")[0]
    limits = {"header_seconds": 0.4, "body_seconds": 0.4, "keep_alive_seconds": 0.4}
    async with running_door(database, **limits) as door:
        sender = await door.sender()
        if where == "idle":
            assert (await sender.send(request)).status == 200
            assert await sender.is_closed()
            return
        sender.writer.write({"nothing": b"", "headers": head[:20], "body": head + b"\r\n\r\n{"}[where])
        if where == "nothing":
            assert await sender.is_closed()
            return

        async def drip() -> None:
            while True:
                sender.writer.write(b"x")
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        response = await sender.receive(timeout_seconds=5)
        dripping.cancel()

    assert response.status == 408


async def test_the_rest_of_a_refused_upload_is_read_so_that_the_sender_sees_the_answer(
    database: Database, shop: Shop
) -> None:
    async with running_door(database) as door:
        sender = await door.sender()
        sender.writer.write(shop.deliver("e1", body=b"x" * (4 << 20)))
        assert (await sender.receive()).status == 413


async def test_connections_over_the_cap_are_turned_away_and_the_others_work(database: Database, shop: Shop) -> None:
    async with running_door(database, connections_max=4) as door:
        inside = [await door.sender() for _ in range(4)]
        for number, sender in enumerate(inside):
            assert (await sender.send(shop.deliver(f"e{number}"))).status == 200

        outside = await door.sender()
        turned_away = await outside.receive()
        assert (turned_away.status, turned_away.header("retry-after")) == (503, "5")
        assert await outside.is_closed()
        assert (await inside[0].send(shop.deliver("again"))).status == 200


async def test_bodies_in_memory_have_a_bound(database: Database, shop: Shop) -> None:
    async with running_door(database, buffered_bytes_max=1000) as door:
        slow = await door.sender()
        slow.writer.write(shop.deliver("e1", body=b"x" * 5000)[:-1])
        await slow.writer.drain()
        await eventually(lambda: door.answers(shop.deliver("e2"), 503))

        assert (await slow.send(b"x")).status == 200
        assert (await door.send(shop.deliver("e3"))).status == 200
        assert door.process.buffered_bytes == 0


async def test_a_stop_answers_what_is_in_hand_and_closes_what_is_idle(
    database: Database, owner_pool: Pool, shop: Shop
) -> None:
    async with running_door(database) as door:
        port = door.port
        idle, half, busy = await door.sender(), await door.sender(), await door.sender()
        assert (await idle.send(shop.deliver("e0"))).status == 200
        request = shop.deliver("e1")
        half.writer.write(request[:-5])
        await half.writer.drain()
        holder = await owner_pool.acquire()
        blocking = holder.transaction()
        await blocking.start()
        await holder.execute("LOCK TABLE event IN EXCLUSIVE MODE")
        busy.writer.write(shop.deliver("e2"))
        await busy.writer.drain()

        async def is_waiting() -> bool:
            return any(protocol.is_busy for protocol in door.process.protocols)

        await eventually(is_waiting)

        draining = asyncio.create_task(door.process.drain())
        assert await idle.is_closed()
        half.writer.write(request[-5:])
        await blocking.rollback()
        await owner_pool.release(holder)

        assert ((await half.receive()).status, (await busy.receive()).status) == (200, 200)
        await draining
        with pytest.raises(OSError, match="onnect"):
            await asyncio.open_connection("127.0.0.1", port)

    assert await stored(owner_pool) == 3


async def test_a_sender_that_leaves_early_is_stored_all_the_same(
    database: Database, owner_pool: Pool, shop: Shop
) -> None:
    async with running_door(database) as door:
        sender = await door.sender()
        sender.writer.write(shop.deliver("e1"))
        await sender.writer.drain()
        sender.writer.close()

        async def is_stored() -> bool:
            return await stored(owner_pool) == 1

        await eventually(is_stored)
        assert (await door.send(shop.deliver("e1"))).status == 200

    assert await stored(owner_pool) == 1


async def test_two_doors_share_a_port_and_one_may_leave(database: Database, owner_pool: Pool, shop: Shop) -> None:
    async with running_door(database) as one:
        async with running_door(database, port=one.port) as other:
            statuses = [(await one.send(shop.deliver(f"e{number}"))).status for number in range(40)]
            assert other.port == one.port
        statuses += [(await one.send(shop.deliver(f"f{number}"))).status for number in range(10)]

    assert statuses == [200] * 50
    writers = await owner_pool.fetch("SELECT DISTINCT split_part(writer, '.', 1) FROM conservation")
    assert len(writers) == 2


async def test_a_question_whether_somebody_is_there_is_answered_and_not_stored(
    database: Database, owner_pool: Pool, shop: Shop
) -> None:
    asks = connector(is_ping=lambda _headers, body: body == b"webhook_id=1")
    async with running_door(database, connectors=[asks]) as door:
        question = shop.deliver("e1", body=b"webhook_id=1", headers={"webhook-signature": None})
        assert (await door.send(question)).status == 200
        elsewhere = shop.deliver("e1", body=b"webhook_id=1", path="/in/c0/nobody", headers={"webhook-signature": None})
        assert (await door.send(elsewhere)).status == 401
        assert (await door.send(shop.deliver("e2"))).status == 200

    assert await stored(owner_pool) == 1
