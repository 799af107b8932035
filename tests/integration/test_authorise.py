"""Allowing an app with a browser (SECURITY A8, V1, V7): what comes back is kept once, sealed, for whoever asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio
from structlog.testing import capture_logs
from tests.apibed import ApiBed, api_bed
from tests.idp import Idp, running_idp
from tests.logbed import add_tenant, key_ring

from tidegate.kernel.clock import SystemClock
from tidegate.kernel.errors import AuthenticationError, ConfigurationError, TransientError
from tidegate.kernel.redaction import Secret
from tidegate.sdk.connector import Field, Inspection
from tidegate.sdk.oauth import OAuth, Tokens
from tidegate.sdk.testing.hostile_connector import CONNECTOR
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.store.roles import Role
from tidegate.sync import authorise as authorising
from tidegate.sync.authorise import Asked, ask_person, authorise, end_asking, redeem, wait_for_redirect
from tidegate.sync.connect import ConnectOrder, earlier_name, store
from tidegate.vault import tokens as vault_tokens
from tidegate.vault.tokens import TokenVault

pytestmark = pytest.mark.asyncio
BACK = "http://127.0.0.1:7481/oauth/callback"
ALLOW = [ip_network("127.0.0.0/8")]
CODE = "canary-code-0907a61c0c8d55e9"


@dataclass
class World:
    bed: ApiBed
    owner: Pool
    tenant_id: UUID
    idp: Idp

    def order(self, name: str = "shop", **secrets: str) -> ConnectOrder:
        oauth = OAuth(token_path=self.idp.url, authorize_path=f"{self.idp.url}/authorize")
        fields = (*CONNECTOR.fields, Field(name="refresh_token", question="?", secret=True, default=""))
        return ConnectOrder(
            tenant_id=self.tenant_id,
            tenant="main",
            name=name,
            connector=replace(CONNECTOR, oauth=oauth, fields=fields),
            is_channel=True,
            settings={"base_url": "http://127.0.0.1:1", "client_id": "app"},
            secrets={
                "client_secret": Secret("the secret of the app"),
                **{field: Secret(value) for field, value in secrets.items()},
            },
            webhook_base="http://127.0.0.1:7480",
        )

    async def ask(self, order: ConnectOrder) -> Asked:
        async with self.owner.acquire() as conn:
            return await ask_person(conn, order, BACK)

    def allow(self, asked: Asked, code: str = CODE) -> str:
        """A person says yes; return where the browser is sent."""
        told = dict(parse_qsl(urlsplit(asked.url).query))
        self.idp.codes[code] = told["code_challenge"]
        return f"{told['redirect_uri']}?{urlencode({'code': code, 'state': told['state']})}"

    async def come_back(self, address: str, method: str = "GET") -> int:
        parts = urlsplit(address)
        return (await self.bed.call(method, f"{parts.path}?{parts.query}")).status

    async def redeem(self, order: ConnectOrder, asked: Asked, redirected: Secret) -> None:
        await redeem(
            self.owner.acquire, key_ring("credential"), order, asked, redirected, allow=ALLOW, clock=SystemClock()
        )

    async def token(self, order: ConnectOrder, name: str = "") -> str:
        ring, clock = key_ring("credential"), SystemClock()
        source = await authorise(self.owner.acquire, ring, order, {}, allow=ALLOW, clock=clock, name=name)
        assert source is not None
        return (await source.access())[0].reveal()


@pytest_asyncio.fixture
async def world(database: Database, owner_pool: Pool) -> AsyncIterator[World]:
    async with owner_pool.acquire() as conn:
        tenant_id = await add_tenant(conn)
    async with api_bed(database, owner_pool) as bed:
        with running_idp() as idp:
            yield World(bed, owner_pool, tenant_id, idp)


async def test_a_browser_comes_back_and_the_tokens_are_kept_and_used(world: World) -> None:
    order = world.order()
    asked = await world.ask(order)
    with capture_logs() as logs:
        assert await world.come_back(world.allow(asked)) == 200
        async with world.owner.acquire() as conn:
            redirected = await wait_for_redirect(conn, order, asked)
        await world.redeem(order, asked, redirected)

    assert await world.token(order) == "a1"
    assert "canary" not in repr(logs) + repr(redirected) + repr(asked)
    async with world.owner.acquire() as conn:
        await end_asking(conn, order, asked)
        assert await conn.fetchval("SELECT count(*) FROM oauth_request") == 0


async def test_v1_the_database_holds_neither_code_nor_state(world: World) -> None:
    asked = await world.ask(world.order())
    await world.come_back(world.allow(asked))

    row = await world.owner.fetchrow("SELECT * FROM oauth_request")

    assert row is not None
    text = repr(dict(row))
    assert "canary" not in text
    assert asked.grant.state not in text


async def test_a8_a_state_is_used_once_and_not_after_its_time(world: World) -> None:
    order = world.order()
    asked, late = await world.ask(order), await world.ask(order)
    address = world.allow(asked)
    assert await world.come_back(address, "HEAD") == 405, "what looks ahead uses nothing up"

    assert [await world.come_back(address) for _ in range(2)] == [200, 400]
    second = world.allow(asked, "another code")
    assert await world.come_back(second) == 400
    await world.owner.execute("UPDATE oauth_request SET expires_at = now() WHERE answer IS NULL")
    assert await world.come_back(world.allow(late)) == 400

    async with world.owner.acquire() as conn:
        redirected = await wait_for_redirect(conn, order, asked)
    assert CODE in redirected.reveal(), "the first one counts"
    with pytest.raises(AuthenticationError) as foreign:
        await world.redeem(order, late, redirected)
    assert foreign.value.code == "redirect_unusable", "bound to its own request"


@pytest.mark.parametrize(
    "query",
    [
        "", "state=", "code=x", "state=" + "x" * 43, "state=" + "x" * 42, "state=" + "y" * 43 + "&state=" + "y" * 43,
        "state=" + "x" * 43 + "&next=https://evil.example", "state=%00" + "x" * 40, "x" * 5000,
        "state=" + "x" * 43 + "&" + "p" * 5000,
    ],
)  # fmt: skip
async def test_a8_what_nobody_waits_for_gets_one_answer_and_is_sent_nowhere(world: World, query: str) -> None:
    answer = await world.bed.call("GET", f"/oauth/callback?{query}")

    assert (answer.status, answer.headers["content-type"]) == (400, "text/plain; charset=utf-8")
    assert answer.body.startswith(b"Nobody waits for this.")
    assert "location" not in answer.headers
    assert (answer.headers["cache-control"], answer.headers["referrer-policy"]) == ("no-store", "no-referrer")


async def test_two_browsers_at_once_are_one(world: World) -> None:
    asked = await world.ask(world.order())
    address = world.allow(asked)

    answers = await asyncio.gather(*(world.come_back(address) for _ in range(8)))

    assert sorted(answers) == [200] + [400] * 7


async def test_a_code_that_is_spent_or_stolen_gives_nothing(world: World) -> None:
    """PKCE: whoever has the code alone has nothing."""
    order = world.order()
    asked, thief = await world.ask(order), await world.ask(order)
    address = world.allow(asked)
    world.idp.codes[CODE] = dict(parse_qsl(urlsplit(thief.url).query))["code_challenge"]

    with pytest.raises(AuthenticationError) as refused:
        await world.redeem(order, asked, Secret(address))

    assert refused.value.code == "code_refused"
    assert "canary" not in str(refused.value)


async def test_a_refused_token_is_healed(world: World) -> None:
    order = world.order(refresh_token="r9")
    now = datetime.now(UTC)
    dead = Tokens(access="a0", refresh="r9", issued_at=now - timedelta(hours=2), expires_at=now - timedelta(hours=1))
    vault = TokenVault(key_ring("credential"), world.tenant_id, "shop")
    async with world.owner.acquire() as conn:
        await vault.store(conn, 4, dead, timedelta(minutes=5))
        await conn.execute("UPDATE oauth_token SET refused = 'no'")
    asked = await world.ask(order)

    await world.redeem(order, asked, Secret(world.allow(asked)))

    ring, clock = key_ring("credential"), SystemClock()
    stored = {"refresh_token": Secret("r9")}
    source = await authorise(world.owner.acquire, ring, order, stored, allow=ALLOW, clock=clock)
    assert source is not None
    assert (await source.access())[0] == Secret("a1")
    async with world.owner.acquire() as conn:
        kept = await vault.read(conn)
    assert kept is not None
    assert (kept.generation, kept.refused) == (5, None)


async def test_nobody_comes_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authorising, "GRANT_SECONDS", 0.2)
    order = world.order()
    asked = await world.ask(order)

    async with world.owner.acquire() as conn:
        with pytest.raises(AuthenticationError) as late:
            await wait_for_redirect(conn, order, asked)

    assert late.value.code == "redirect_missing"


async def test_a_connector_without_a_browser_step_says_so(world: World) -> None:
    order = world.order()
    plain = replace(order.connector, oauth=replace(order.connector.oauth, authorize_path=""))  # type: ignore[type-var]

    with pytest.raises(ConfigurationError) as refused:
        async with world.owner.acquire() as conn:
            await ask_person(conn, replace_connector(order, plain), BACK)

    assert refused.value.code == "no_browser_step"


def replace_connector(order: ConnectOrder, connector: Any) -> ConnectOrder:
    import msgspec  # noqa: PLC0415

    return msgspec.structs.replace(order, connector=connector)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM oauth_request", "SELECT name FROM oauth_request", "DELETE FROM oauth_request",
        "UPDATE oauth_request SET expires_at = now()", "SELECT ciphertext FROM oauth_token", "UPDATE oauth_token SET refused = ''",
    ],
)  # fmt: skip
async def test_a10_web_may_keep_a_redirect_and_nothing_else(database: Database, statement: str) -> None:
    pool = await database.pool(Role.WEB, application_name="test")
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.execute(statement)
    finally:
        await pool.close()


# --- a connection that is called otherwise ------------------------------------------------------------------------------
async def test_a_renamed_connection_keeps_its_tokens(world: World) -> None:
    inspection = Inspection(
        external_account="acme", account_name="Acme", version="1", locations=(), variants=(), findings=()
    )
    order, renamed = (replace_role(world.order(name)) for name in ("shop", "harbour"))
    asked = await world.ask(order)
    await world.redeem(order, asked, Secret(world.allow(asked)))
    ring = key_ring("credential", "intake")
    async with world.owner.acquire() as conn:
        await store(conn, ring, order, inspection)
        ids = (conn, world.tenant_id, "harbour", CONNECTOR.name, "http://127.0.0.1:1")
        assert await earlier_name(*ids, ["shop", "harbour"]) == "harbour", "the old name is still used"
        assert await earlier_name(*ids[:-1], "http://127.0.0.1:2", ["harbour"]) == "harbour", "another address"
        assert await earlier_name(*ids, ["harbour"]) == "shop"
        assert await world.token(renamed, name="shop") == "a1"

        async with TokenVault(ring, world.tenant_id, "shop").renewing(conn):
            await store(conn, ring, renamed, inspection)

        assert await world.token(renamed) == "a1"
        rows = await conn.fetch("SELECT name, generation FROM oauth_token")
        assert [tuple(row) for row in rows] == [("harbour", 1)]
        assert world.idp.used == [], "no token was spent for it"
        await store(conn, ring, renamed, inspection)
        assert await world.token(renamed) == "a1"


def replace_role(order: ConnectOrder) -> ConnectOrder:
    import msgspec  # noqa: PLC0415

    return msgspec.structs.replace(order, is_channel=False)


async def test_tokens_that_are_given_under_the_new_name_win(world: World) -> None:
    now = datetime.now(UTC)
    ring = key_ring("credential")
    old, new = (TokenVault(ring, world.tenant_id, name) for name in ("shop", "harbour"))
    async with world.owner.acquire() as conn:
        await old.store(conn, 7, Tokens(access="old", issued_at=now), timedelta(0))
        await new.store(conn, 1, Tokens(access="new", issued_at=now), timedelta(0))
        await old.rename(conn, "harbour")
        kept, gone = await new.read(conn), await old.read(conn)

    assert gone is None
    assert kept is not None
    assert kept.tokens.access == "new"


# --- waiting for somebody else's renewal --------------------------------------------------------------------------------
async def test_the_wait_for_a_renewal_is_not_ended_by_the_limit_of_statements(world: World) -> None:
    """The role's limit of statements and locks is shorter than a renewal may take; it holds again afterwards."""
    vault = TokenVault(key_ring("credential"), world.tenant_id, "shop")
    waiting = asyncio.Event()
    async with world.owner.acquire() as first, world.owner.acquire() as second:
        await second.execute("SET statement_timeout = '150ms'; SET lock_timeout = '100ms'")

        async def wait() -> str:
            waiting.set()
            async with vault.renewing(second):
                return str(await second.fetchval("SHOW statement_timeout"))

        async with vault.renewing(first):
            task = asyncio.create_task(wait())
            await waiting.wait()
            await first.execute("SELECT pg_sleep(0.5)")
            assert not task.done()
        assert await asyncio.wait_for(task, 200) == "150ms"
        assert await second.fetchval("SHOW lock_timeout") == "100ms"


async def test_the_wait_for_a_renewal_ends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault_tokens, "LOCK_WAIT_SECONDS", 0.2)
    vault = TokenVault(key_ring("credential"), world.tenant_id, "shop")
    async with world.owner.acquire() as first, world.owner.acquire() as second, vault.renewing(first):
        with pytest.raises(TransientError) as busy:
            async with vault.renewing(second):
                pass
        assert await second.fetchval("SELECT 1") == 1, "the connection is as good as before"

    assert busy.value.code == "token_busy"


async def test_a_token_that_does_not_expire_takes_the_place_of_a_pair(world: World) -> None:
    order = world.order()
    asked = await world.ask(order)
    await world.redeem(order, asked, Secret(world.allow(asked)))
    ring, clock = key_ring("credential"), SystemClock()
    fixed = world.order(access_token="shpat_fixed")

    known = {"access_token": Secret("shpat_fixed")}
    kept = await authorise(world.owner.acquire, ring, fixed, known, allow=ALLOW, clock=clock)
    source = await authorise(world.owner.acquire, ring, fixed, {}, allow=ALLOW, clock=clock)

    assert kept is not None, "one that was there before says nothing"
    assert source is None
    assert await world.owner.fetchval("SELECT count(*) FROM oauth_token") == 0
