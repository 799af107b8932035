"""SECURITY G10: a write happens once per idempotency key, whatever is repeated, raced or broken."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
from tests.apibed import add_events, add_tenant, api_bed, public

from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.web.answers import KEPT_FOR, purge_answers

pytestmark = pytest.mark.asyncio

BREAK = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'broken'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON api_answer FOR EACH ROW EXECUTE FUNCTION refuse();
"""
MEND = "DROP TRIGGER refuse ON api_answer"


def replay_address(event: UUID) -> str:
    return f"/v1/events/{public('evt', event)}/replay"


async def effects(owner_pool: Pool) -> tuple[int, int, int]:
    """Return how many replays are queued, how many were recorded, how many answers are kept."""
    queued = await owner_pool.fetchval("SELECT count(*) FROM event_queue")
    recorded = await owner_pool.fetchval("SELECT count(*) FROM audit_log WHERE action = 'events.replayed'")
    kept = await owner_pool.fetchval("SELECT count(*) FROM api_answer")
    return queued, recorded, kept


async def test_the_same_request_again_gets_the_same_answer_and_no_further_effect(
    database: Database, owner_pool: Pool
) -> None:
    tenant = await add_tenant(owner_pool, "one")
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(tenant, "events:replay")
        first, second = [await bed.call("POST", replay_address(tenant.event), key=key, once="a") for _ in range(2)]

    assert (first.status, first.body) == (second.status, second.body)
    assert first.status == 202
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert await effects(owner_pool) == (1, 1, 1)


async def test_a_refusal_is_an_answer_too(database: Database, owner_pool: Pool) -> None:
    """The state may change meanwhile: the same request still gets the same answer."""
    tenant = await add_tenant(owner_pool, "one")
    address = f"/v1/commands/{public('cmd', tenant.pending)}/retry"
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(tenant, "commands:write")
        first = await bed.call("POST", address, key=key, json={}, once="a")
        await owner_pool.execute("UPDATE command SET state = 'failed', finished_at = now() WHERE state = 'pending'")
        second = await bed.call("POST", address, key=key, json={}, once="a")
        third = await bed.call("POST", address, key=key, json={}, once="b")

    assert first.status == second.status == 409
    assert first.json["code"] == "wrong_state"
    assert first.body == second.body
    assert second.headers["content-type"] == "application/problem+json"
    assert third.status == 200


async def test_the_key_of_one_request_does_not_serve_another(database: Database, owner_pool: Pool) -> None:
    """Another body, address, query or method under the same key is told, and not done."""
    tenant = await add_tenant(owner_pool, "one")
    (other,) = await add_events(owner_pool, tenant, 1)
    address = f"/v1/commands/{public('cmd', tenant.failed)}/retry"
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(tenant, "events:replay", "commands:write")
        assert (await bed.call("POST", address, key=key, json={}, once="a")).status == 200
        answers = [
            await bed.call("POST", address, key=key, json={"rebuild": True}, once="a"),
            await bed.call("POST", replay_address(other), key=key, once="a"),
            await bed.call(
                "POST", address, key=key, body=b"{ }", once="a", headers={"content-type": "application/json"}
            ),
        ]

    assert {(answer.status, answer.json["code"]) for answer in answers} == {(422, "idempotency_key_reused")}
    assert await effects(owner_pool) == (0, 0, 1)


async def test_callers_do_not_share_idempotency_keys(database: Database, owner_pool: Pool) -> None:
    """Two API keys, and two tenants, may choose the same words."""
    one, two = await add_tenant(owner_pool, "one"), await add_tenant(owner_pool, "two")
    (further,) = await add_events(owner_pool, one, 1)
    async with api_bed(database, owner_pool) as bed:
        statuses = [
            (await bed.call("POST", replay_address(event), key=key, once="a")).status
            for event, key in (
                (one.event, await bed.key(one, "events:replay")),
                (further, await bed.key(one, "events:*")),
                (two.event, await bed.key(two, "events:replay")),
            )
        ]

    assert statuses == [202, 202, 202]
    assert await effects(owner_pool) == (3, 3, 3)


async def test_sixty_four_at_once_have_one_effect(database: Database, owner_pool: Pool) -> None:
    tenant = await add_tenant(owner_pool, "one")
    async with api_bed(database, owner_pool) as bed, api_bed(database, owner_pool) as elsewhere:
        key = await bed.key(tenant, "events:replay")
        both = (bed, elsewhere)
        answers = await asyncio.gather(
            *(both[n % 2].call("POST", replay_address(tenant.event), key=key, once="a") for n in range(64))
        )
        last = await bed.call("POST", replay_address(tenant.event), key=key, once="a")

    assert {answer.status for answer in answers} <= {202, 409, 503}
    assert {answer.json["code"] for answer in answers if answer.status == 409} <= {"idempotency_key_in_use"}
    assert len({answer.body for answer in answers if answer.status == 202} | {last.body}) == 1
    assert last.status == 202
    assert await effects(owner_pool) == (1, 1, 1)


async def test_sixty_four_keys_for_one_thing_have_one_effect(database: Database, owner_pool: Pool) -> None:
    """Where idempotency keys do not help, the action itself keeps to once."""
    tenant = await add_tenant(owner_pool, "one")
    address = f"/v1/commands/{public('cmd', tenant.failed)}/retry"
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(tenant, "commands:write")
        answers = await asyncio.gather(*(bed.call("POST", address, key=key, json={}, once=f"k{n}") for n in range(64)))

    done = [answer for answer in answers if answer.status == 200]
    assert len(done) == 1
    assert {answer.status for answer in answers} <= {200, 409, 503}


async def test_an_effect_without_its_answer_did_not_happen(database: Database, owner_pool: Pool) -> None:
    """Both are one transaction: when the answer cannot be kept, nothing is done, and the request may be repeated."""
    tenant = await add_tenant(owner_pool, "one")
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(tenant, "events:replay")
        await owner_pool.execute(BREAK)
        broken = await bed.call("POST", replay_address(tenant.event), key=key, once="a")
        in_between = await effects(owner_pool)
        await owner_pool.execute(MEND)
        repeated = await bed.call("POST", replay_address(tenant.event), key=key, once="a")

    assert broken.status == 500
    assert broken.json["code"] == "internal"
    assert b"broken" not in broken.body
    assert in_between == (0, 0, 0)
    assert repeated.status == 202
    assert await effects(owner_pool) == (1, 1, 1)


async def test_a_write_without_a_key_is_told_what_it_lacks(database: Database, owner_pool: Pool) -> None:
    tenant = await add_tenant(owner_pool, "one")
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(tenant, "events:replay")
        absent = await bed.call("POST", replay_address(tenant.event), key=key)
        wrong = [
            await bed.call("POST", replay_address(tenant.event), key=key, once=once)
            for once in ("", "x" * 256, "two words", "\xe4")
        ]

    assert absent.json["code"] == "idempotency_key_missing"
    assert {answer.status for answer in (absent, *wrong)} == {400}
    assert await effects(owner_pool) == (0, 0, 0)


async def test_answers_are_kept_for_a_day_and_then_forgotten(database: Database, owner_pool: Pool) -> None:
    tenant = await add_tenant(owner_pool, "one")
    (other,) = await add_events(owner_pool, tenant, 1)
    async with api_bed(database, owner_pool) as bed, owner_pool.acquire() as conn:
        key = await bed.key(tenant, "events:replay")
        await bed.call("POST", replay_address(tenant.event), key=key, once="old")
        await conn.execute("UPDATE api_answer SET created_at = now() - interval '49 hours'")
        await bed.call("POST", replay_address(other), key=key, once="new")
        purged = [await purge_answers(conn), await purge_answers(conn)]
        left = [row["idempotency_key"] for row in await conn.fetch("SELECT idempotency_key FROM api_answer")]

    assert timedelta(hours=24) < KEPT_FOR
    assert purged == [1, 0]
    assert left == ["new"]
