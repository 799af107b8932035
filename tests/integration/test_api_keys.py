"""SECURITY A2, A4, G6: who may call the API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.apibed import UNBOUNDED, HandClock, add_tenant, api_bed, public

from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.ids import new_id
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.web.application import build_application
from tidegate.web.keys import create_key, list_keys, read_key, revoke_key, write_key
from tidegate.web.settings import WebSettings

pytestmark = pytest.mark.asyncio


async def test_a_good_key_lets_in(database: Database, owner_pool: Pool) -> None:
    tenant = await add_tenant(owner_pool, "one")
    async with api_bed(database, owner_pool) as bed:
        answer = await bed.call("GET", "/v1/events", key=await bed.key(tenant, "events:read"))

    assert answer.status == 200
    assert [item["id"] for item in answer.json["items"]] == [public("evt", tenant.event)]
    assert answer.headers["ratelimit-limit"] == "100000"


async def test_what_is_no_good_key_gets_one_answer(database: Database, owner_pool: Pool) -> None:
    """A4: absent, malformed, unknown, wrong, revoked, expired, from elsewhere: nobody can tell them apart."""
    tenant = await add_tenant(owner_pool, "one")
    long_ago = datetime.now(UTC) - timedelta(days=100)
    async with api_bed(database, owner_pool) as bed:
        good = await bed.key(tenant, "events:read")
        expired = await bed.key(tenant, "events:read", now=long_ago)
        elsewhere = await bed.key(tenant, "events:read", networks=["10.0.0.0/8"])
        revoked = await bed.key(tenant, "events:read", name="gone")
        async with owner_pool.acquire() as conn:
            await revoke_key(conn, tenant_id=tenant.tenant_id, reference="gone", actor="test")
        read = read_key(good)
        assert read is not None
        other_id = write_key(new_id(), read.secret.reveal())
        wrong_secret = write_key(read.key_id, "0" * 52)
        headers = [
            {},
            {"authorization": ""},
            {"authorization": "Basic dXNlcjpwYXNz"},
            {"authorization": "Bearer"},
            {"authorization": "Bearer tdg_live_nonsense"},
            {"authorization": f"Bearer {good[:-1]}{'0' if good[-1] != '0' else '1'}"},
            {"authorization": f"Bearer {good} {good}"},
            {"authorization": f"Bearer {other_id}"},
            {"authorization": f"Bearer {wrong_secret}"},
            {"authorization": f"Bearer {revoked}"},
            {"authorization": f"Bearer {expired}"},
            {"authorization": f"Bearer {elsewhere}"},
        ]
        answers = [await bed.call("GET", "/v1/events", headers=given) for given in headers]

    problems = [{**answer.json, "request_id": ""} for answer in answers]
    assert {answer.status for answer in answers} == {401}
    assert all(problem == problems[0] for problem in problems)
    assert {answer.headers["www-authenticate"] for answer in answers} == {'Bearer realm="tidegate"'}


async def test_the_database_holds_no_usable_key(database: Database, owner_pool: Pool) -> None:
    """A4: neither the key nor its secret is in the table, and the hash of it is not that of the secret alone."""
    tenant = await add_tenant(owner_pool, "one")
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(tenant, "events:read")
        row = await owner_pool.fetchrow("SELECT api_key::text AS everything, secret_hash FROM api_key")
        pepperless = await owner_pool.fetchval("SELECT sha256($1::bytea) = secret_hash FROM api_key", key.encode())
        log = await owner_pool.fetchval("SELECT string_agg(audit_log::text, ' ') FROM audit_log")

    assert row is not None
    secret = key[9 + 27 :]
    for stored in (row["everything"], log):
        assert secret not in stored
        assert secret[:20] not in stored
    assert not pepperless


async def test_another_pepper_opens_nothing(database: Database, owner_pool: Pool) -> None:
    tenant = await add_tenant(owner_pool, "one")
    async with api_bed(database, owner_pool) as bed:
        async with owner_pool.acquire() as conn:
            made = await create_key(
                conn,
                tenant_id=tenant.tenant_id,
                pepper=b"q" * 32,
                name="other",
                scopes=["events:read"],
                actor="test",
                now=datetime.now(UTC),
            )
        answer = await bed.call("GET", "/v1/events", key=made.text.reveal())

    assert answer.status == 401


async def test_a_revoked_key_is_refused_at_once_and_the_next_one_may_have_its_name(
    database: Database, owner_pool: Pool
) -> None:
    """A4: within 5 s everywhere; each key is read after it was presented, so it is the next request."""
    tenant = await add_tenant(owner_pool, "one")
    async with api_bed(database, owner_pool) as bed, api_bed(database, owner_pool) as elsewhere:
        key = await bed.key(tenant, "events:read", name="screen")
        before = [await each.call("GET", "/v1/events", key=key) for each in (bed, elsewhere)]
        async with owner_pool.acquire() as conn:
            await revoke_key(conn, tenant_id=tenant.tenant_id, reference="screen", actor="test")
            with pytest.raises(ConfigurationError, match="no key"):
                await revoke_key(conn, tenant_id=tenant.tenant_id, reference="screen", actor="test")
        after = [await each.call("GET", "/v1/events", key=key) for each in (bed, elsewhere)]
        again = await bed.key(tenant, "events:read", name="screen")
        fresh = await bed.call("GET", "/v1/events", key=again)

    assert [answer.status for answer in before] == [200, 200]
    assert [answer.status for answer in after] == [401, 401]
    assert fresh.status == 200


async def test_a_key_of_another_tenant_cannot_be_revoked(database: Database, owner_pool: Pool) -> None:
    one, two = await add_tenant(owner_pool, "one"), await add_tenant(owner_pool, "two")
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(one, "events:read", name="mine")
        async with owner_pool.acquire() as conn:
            key_id = (await list_keys(conn, one.tenant_id))[0]["key_id"]
            for reference in ("mine", public("key", key_id)):
                with pytest.raises(ConfigurationError):
                    await revoke_key(conn, tenant_id=two.tenant_id, reference=reference, actor="test")
        assert (await bed.call("GET", "/v1/events", key=key)).status == 200


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"scopes": []}, "scope_invalid"),
        ({"scopes": ["admin:*"]}, "scope_invalid"),
        ({"scopes": ["*"]}, "scope_invalid"),
        ({"scopes": ["*:write"]}, "scope_invalid"),
        ({"scopes": ["events:read", "nothing:read"]}, "scope_invalid"),
        ({"lives_for": timedelta(days=366)}, "key_expiry_invalid"),
        ({"lives_for": timedelta(0)}, "key_expiry_invalid"),
        ({"name": ""}, "key_name_invalid"),
        ({"name": "x" * 81}, "key_name_invalid"),
        ({"name": "a\x00b"}, "key_name_invalid"),
        ({"networks": ["10.0.0.1/8"]}, "network_invalid"),
        ({"networks": ["everywhere"]}, "network_invalid"),
    ],
)
async def test_a_key_that_would_be_wrong_is_not_made(
    database: Database, owner_pool: Pool, changes: dict[str, object], code: str
) -> None:
    tenant = await add_tenant(owner_pool, "one")
    given = {"name": "screen", "scopes": ["events:read"], "actor": "test", "now": datetime.now(UTC), **changes}
    async with owner_pool.acquire() as conn:
        with pytest.raises(ConfigurationError) as refused:
            await create_key(conn, tenant_id=tenant.tenant_id, pepper=b"p" * 32, **given)  # type: ignore[arg-type]

    assert refused.value.code == code
    assert refused.value.hint
    assert await owner_pool.fetchval("SELECT count(*) FROM api_key") == 0


async def test_use_is_noted_to_the_minute(database: Database, owner_pool: Pool) -> None:
    """A4: last used, and no write per request."""
    tenant = await add_tenant(owner_pool, "one")
    used = "SELECT last_used_at FROM api_key"
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(tenant, "events:read")
        assert await owner_pool.fetchval(used) is None
        await bed.call("GET", "/v1/events", key=key)
        first = await owner_pool.fetchval(used)
        await bed.call("GET", "/v1/events", key=key)

        assert first is not None
        assert await owner_pool.fetchval(used) == first


async def test_a_key_has_its_rate_and_is_told_how_long_to_wait(database: Database, owner_pool: Pool) -> None:
    """G6."""
    tenant, clock = await add_tenant(owner_pool, "one"), HandClock()
    settings = WebSettings(key_per_second=1, key_burst=3)
    async with api_bed(database, owner_pool, settings=settings, clock=clock) as bed:
        key, other = await bed.key(tenant, "events:read"), await bed.key(tenant, "*:read")
        answers = [await bed.call("GET", "/v1/events", key=key) for _ in range(5)]
        neighbour = await bed.call("GET", "/v1/events", key=other)
        clock.passed += 1
        later = await bed.call("GET", "/v1/events", key=key)

    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
    assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0", "0"]
    assert answers[-1].headers["retry-after"] == "1"
    assert answers[-1].json["code"] == "rate_limited"
    assert neighbour.status == later.status == 200


async def test_strangers_have_a_rate_and_a_good_key_of_the_same_address_does_not_suffer(
    database: Database, owner_pool: Pool
) -> None:
    """G6: guessing is slow, and behind one proxy it locks nobody out who was good before."""
    tenant, clock = await add_tenant(owner_pool, "one"), HandClock()
    settings = WebSettings(stranger_per_second=0.1, stranger_burst=4)
    async with api_bed(database, owner_pool, settings=settings, clock=clock) as bed:
        key = await bed.key(tenant, "events:read")
        assert (await bed.call("GET", "/v1/events", key=key)).status == 200
        guesses = [await bed.call("GET", "/v1/events", key=write_key(new_id(), "0" * 52)) for _ in range(6)]
        good = await bed.call("GET", "/v1/events", key=key)
        public_file = await bed.call("GET", "/v1/openapi.json")
        elsewhere = await bed.call("GET", "/v1/events", peer="192.0.2.1")
        forwarded = await bed.call("GET", "/v1/events", headers={"x-forwarded-for": "192.0.2.9"})

    assert [answer.status for answer in guesses] == [401, 401, 401, 401, 429, 429]
    assert guesses[-1].headers["retry-after"] == "10"
    assert good.status == 200
    assert public_file.status == 429
    assert elsewhere.status == 401
    assert forwarded.status == 429


async def test_a_key_keeps_to_its_addresses(database: Database, owner_pool: Pool) -> None:
    """A4, G7: by the peer of the socket, whatever headers say."""
    tenant = await add_tenant(owner_pool, "one")
    async with api_bed(database, owner_pool) as bed:
        key = await bed.key(tenant, "events:read", networks=["10.0.0.0/8", "2001:db8::/32"])
        asked = {
            peer: (await bed.call("GET", "/v1/events", key=key, peer=peer)).status
            for peer in ("10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1", "127.0.0.1", "11.0.0.1", "::1", "")
        }
        spoofed = await bed.call("GET", "/v1/events", key=key, headers={"x-forwarded-for": "10.1.2.3"})

    assert asked == {
        "10.1.2.3": 200, "::ffff:10.1.2.3": 200, "2001:db8::1": 200, "127.0.0.1": 401, "11.0.0.1": 401, "::1": 401, "": 401,
    }  # fmt: skip
    assert spoofed.status == 401


async def test_without_the_pepper_nobody_gets_in(database: Database, owner_pool: Pool) -> None:
    tenant = await add_tenant(owner_pool, "one")
    async with api_bed(database, owner_pool, settings=UNBOUNDED) as bed:
        key = await bed.key(tenant, "events:read")
        bed.world.keys = {}
        bed.app = build_application(bed.world)
        answer = await bed.call("GET", "/v1/events", key=key)

    assert answer.status == 401
