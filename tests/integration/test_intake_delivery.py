"""Deliveries: stored once, answered after the commit, refused without a trace when they are not genuine."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from tests.doorbed import Shop, add_shop, connector, delivery_body, eventually, running_door
from tests.logbed import add_tenant, key_ring

from tidegate.kernel.redaction import Secret
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.vault import credentials
from tidegate.vault.bodies import BodyCipher

pytestmark = pytest.mark.asyncio


async def arranged(owner_pool: Pool, **options: Any) -> Shop:
    async with owner_pool.acquire() as db:
        return await add_shop(db, **options)


async def counters(owner_pool: Pool) -> tuple[int, int, int, int]:
    """received, duplicate, events, waiting."""
    row = await owner_pool.fetchrow(
        "SELECT coalesce(sum(received), 0)::int, coalesce(sum(duplicate), 0)::int, "
        "(SELECT count(*) FROM event)::int, (SELECT count(*) FROM event_queue)::int FROM conservation"
    )
    assert row is not None
    return row[0], row[1], row[2], row[3]


async def test_a_genuine_delivery_is_stored_encrypted_with_all_that_t2_needs(
    database: Database, owner_pool: Pool
) -> None:
    shop = await arranged(owner_pool)
    async with running_door(database) as door:
        response = await door.send(shop.deliver("e1", order="77", headers={"user-agent": "shop/1", "cookie": "x=y"}))

    assert (response.status, response.body) == (200, b'{"stored":true}')
    row = await owner_pool.fetchrow("SELECT * FROM event")
    assert row is not None
    assert (row["tenant_id"], row["connection_id"]) == (shop.tenant_id, shop.connection_id)
    assert (row["source"], row["topic"], row["ordering_key"]) == ("webhook", "order.updated", "order:77")
    assert (row["external_id"], row["undecodable"], row["conflict"]) == ("e1", None, False)
    assert json.loads(row["headers"]) == {"content-type": "application/json", "user-agent": "shop/1"}
    assert json.loads(row["envelope"])["connector"] == "plain"
    assert delivery_body("e1", "77") not in row["body"]
    cipher = BodyCipher(key_ring("intake"))
    async with owner_pool.acquire() as db:
        await cipher.opener(db, [(row["tenant_id"], row["data_key_id"])])
    opened = cipher.open(row["tenant_id"], row["data_key_id"], "event", row["event_id"], row["body"])
    assert opened == delivery_body("e1", "77")
    assert await counters(owner_pool) == (1, 0, 1, 1)


async def test_64_parallel_identical_deliveries_are_one_event(database: Database, owner_pool: Pool) -> None:
    shop = await arranged(owner_pool)
    request = shop.deliver("same")
    async with running_door(database) as door, running_door(database) as other:
        senders = [await (door if n % 2 else other).sender() for n in range(64)]
        responses = await asyncio.gather(*(sender.send(request) for sender in senders))

    assert {(response.status, response.body) for response in responses} == {(200, b'{"stored":true}')}
    assert await counters(owner_pool) == (64, 63, 1, 1)


async def test_the_same_id_with_another_body_is_kept_as_a_conflict(database: Database, owner_pool: Pool) -> None:
    shop = await arranged(owner_pool)
    async with running_door(database) as door:
        first = await door.send(shop.deliver("e1", order="1"))
        second = await door.send(shop.deliver("e1", order="2"))
        third = await door.send(shop.deliver("e1", order="2"))

    assert {first.status, second.status, third.status} == {200}
    conflicts = await owner_pool.fetch("SELECT ordering_key, conflict FROM event ORDER BY event_id")
    assert [tuple(row) for row in conflicts] == [("order:1", False), ("order:2", True)]
    assert await counters(owner_pool) == (3, 1, 2, 2)


async def test_an_authentic_body_that_cannot_be_read_is_stored_and_marked(database: Database, owner_pool: Pool) -> None:
    shop = await arranged(owner_pool)
    bodies = [
        b"no json at all",
        b'{"id": "e1"}',
        b'{"id": "e\\u0000", "type": "t", "order": "1"}',
        b'{"id": "\\ud800", "type": "t", "order": "1"}',
        b'{"id": "' + b"x" * 5000 + b'", "type": "t", "order": "1"}',
        b"[" * 100_000,
        b"\xff\xfe",
        b"",
    ]
    async with running_door(database) as door:
        statuses = [(await door.send(shop.deliver(f"e{n}", body=body))).status for n, body in enumerate(bodies)]
        again = await door.send(shop.deliver("new-id", body=bodies[0]))

    assert statuses == [200] * len(bodies)
    assert again.status == 200
    rows = await owner_pool.fetch("SELECT undecodable, ordering_key FROM event")
    assert len(rows) == len(bodies), "the body's digest is its key"
    assert all(row["undecodable"] and row["ordering_key"].startswith("undecodable:") for row in rows)


async def test_whatever_is_not_genuine_gets_the_same_answer_and_leaves_a_counter(
    database: Database, owner_pool: Pool
) -> None:
    shop = await arranged(owner_pool)
    async with owner_pool.acquire() as db:
        disabled = await add_shop(db, tenant_id=shop.tenant_id, token="disabled")
    await owner_pool.execute(
        "UPDATE connection SET state = 'disabled' WHERE connection_id = $1", disabled.connection_id
    )
    now = int(time.time())
    forged = Shop(shop.tenant_id, shop.connection_id, shop.token, secret="whsec_" + "A" * 32)
    requests = {
        "unknown_path": shop.deliver("e1", path="/in/c0/unknown"),
        "unknown_cell": shop.deliver("e1", path=f"/in/c1/{shop.token}"),
        "disabled": disabled.deliver("e1"),
        "wrong secret": forged.deliver("e1"),
        "no signature": shop.deliver("e1", headers={"webhook-signature": None}),
        "unsigned id": shop.deliver("e1", headers={"webhook-id": "e2"}),
        "stale": shop.deliver("e1", timestamp=now - 320),
        "future": shop.deliver("e1", timestamp=now + 320),
    }

    async with running_door(database) as door:
        responses = {name: await door.send(request) for name, request in requests.items()}

    assert {(response.status, response.body) for response in responses.values()} == {(401, b'{"error":"unauthorised"}')}
    assert len({response.head.partition(b"date:")[2].partition(b"\r\n")[2] for response in responses.values()}) == 1
    assert await counters(owner_pool) == (0, 0, 0, 0)
    refused = {row[0]: row[1] for row in await owner_pool.fetch("SELECT code, refused FROM intake_refusal")}
    assert refused == {
        "unknown_path": 2,
        "disabled": 1,
        "signature_mismatch": 2,
        "signature_missing": 1,
        "timestamp_stale": 1,
        "timestamp_future": 1,
    }


async def test_a_connection_without_secret_accepts_nothing(database: Database, owner_pool: Pool) -> None:
    shop = await arranged(owner_pool, with_secret=False)
    async with running_door(database) as door:
        response = await door.send(shop.deliver("e1"))
        unsigned = await door.send(shop.deliver("e1", headers={"webhook-signature": None}))

    assert (response.status, unsigned.status) == (503, 503)
    assert response.header("retry-after") is not None
    assert await counters(owner_pool) == (0, 0, 0, 0)
    assert await owner_pool.fetchval("SELECT code FROM intake_refusal") == "secret_missing"


async def test_a_rotated_secret_works_beside_the_old_one_until_the_next(database: Database, owner_pool: Pool) -> None:
    shop = await arranged(owner_pool)
    ring = key_ring("intake")
    secrets = [shop.secret, "whsec_" + "QQ" * 22, "whsec_" + "Qg" * 22]

    async def put(secret: str) -> None:
        async with owner_pool.acquire() as db:
            await credentials.put(
                db, ring, shop.tenant_id, shop.connection_id, "intake", "webhook_secret", Secret(secret)
            )

    async with running_door(database) as door:

        async def accepts(number: int, event_id: str) -> bool:
            signer = Shop(shop.tenant_id, shop.connection_id, shop.token, secret=secrets[number])
            return (await door.send(signer.deliver(event_id))).status == 200

        await put(secrets[1])
        await eventually(lambda: accepts(1, "probe-1"))
        assert await accepts(0, "old")

        await put(secrets[2])
        await eventually(lambda: accepts(2, "probe-2"))
        assert await accepts(1, "previous")
        assert not await accepts(0, "oldest")


async def test_a_new_connection_is_known_within_moments(database: Database, owner_pool: Pool) -> None:
    async with running_door(database) as door:
        shop = await arranged(owner_pool)
        await eventually(lambda: door.answers(shop.deliver("e1"), 200))


async def test_a_tenant_over_its_quota_is_told_to_wait_and_others_are_not(database: Database, owner_pool: Pool) -> None:
    async with owner_pool.acquire() as db:
        flood = await add_shop(db, token="flood")
        calm = await add_shop(db, tenant_id=await add_tenant(db, "calm"), token="calm")

    async with running_door(database, tenant_per_second=1.0) as door:
        sender = await door.sender()
        statuses = [(await sender.send(flood.deliver(f"e{n}"))).status for n in range(8)]
        other = await sender.send(calm.deliver("e1"))

    assert statuses[:5] == [200] * 5
    assert statuses[-1] == 503
    assert other.status == 200
    assert (await counters(owner_pool))[2] == statuses.count(200) + 1


async def test_a_connector_that_breaks_while_reading_keys_loses_nothing(database: Database, owner_pool: Pool) -> None:
    def broken(_headers: Any, _body: bytes) -> Any:
        raise ZeroDivisionError

    shop = await arranged(owner_pool)
    async with running_door(database, connectors=[connector(read_keys=broken)]) as door:
        response = await door.send(shop.deliver("e1"))

    assert response.status == 200
    assert "ZeroDivisionError" in await owner_pool.fetchval("SELECT undecodable FROM event")
