"""Tokens that expire (I21): one renewal at a time over processes, nothing used before it is stored, kills survived."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import msgspec
import pytest
import pytest_asyncio
from tests.hookbed import receiving
from tests.idp import Idp, running_idp
from tests.logbed import CLASS_ROOTS, add_tenant, key_ring

from tidegate.kernel.clock import SystemClock
from tidegate.kernel.errors import InvariantError
from tidegate.kernel.redaction import Secret
from tidegate.sdk.client import HttpApi
from tidegate.sdk.connector import Field
from tidegate.sdk.http import Session
from tidegate.sdk.oauth import OAuth, Tokens, TokenSource
from tidegate.sdk.testing.hostile_connector import CONNECTOR
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.store.roles import Role
from tidegate.sync.authorise import authorise
from tidegate.sync.connect import ConnectOrder
from tidegate.vault.tokens import TokenVault

pytestmark = pytest.mark.asyncio
ROOT = Path(__file__).parents[2]


@dataclass
class World:
    database: Database
    owner: Pool
    tenant_id: UUID
    idp: Idp

    @property
    def vault(self) -> TokenVault:
        return TokenVault(key_ring("credential"), self.tenant_id, "shop")

    async def give(self, *, expired: bool = True, refresh: str = "r0", generation: int = 1) -> None:
        """Store a first pair, of which the access token has to be renewed."""
        now = datetime.now(UTC)
        tokens = Tokens(
            access="a0",
            refresh=refresh,
            issued_at=now - timedelta(hours=2),
            expires_at=now + timedelta(hours=-1 if expired else 1),
        )
        async with self.owner.acquire() as conn:
            await self.vault.store(conn, generation, tokens, timedelta(minutes=5))

    def start(self, *, refused: str = "", crash_at: str = "") -> subprocess.Popen[str]:
        """Start a process that wants a token."""
        request = {
            "access": msgspec.to_builtins(self.database.access(Role.DISPATCH)),
            "tenant_id": str(self.tenant_id),
            "root": CLASS_ROOTS["credential"].hex(),
            "token_url": self.idp.url,
            "previous_survives": self.idp.previous_survives,
            "refused": refused,
        }
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.tokenchild"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **({"TIDEGATE_CRASH_AT": crash_at} if crash_at else {})},
        )
        assert child.stdin is not None
        child.stdin.write(json.dumps(request))
        child.stdin.close()
        child.stdin = None
        return child

    async def want(self, **options: Any) -> dict[str, Any]:
        """Let one process get a token."""
        return await self.answer(self.start(**options))

    async def answer(self, child: subprocess.Popen[str]) -> dict[str, Any]:
        out, _ = await asyncio.to_thread(child.communicate, timeout=200)
        return dict(json.loads(out.splitlines()[-1])) if out else {"died": child.returncode}


@pytest_asyncio.fixture
async def world(database: Database, owner_pool: Pool) -> AsyncIterator[World]:
    async with owner_pool.acquire() as conn:
        tenant_id = await add_tenant(conn)
    with running_idp() as idp:
        yield World(database, owner_pool, tenant_id, idp)


async def test_i21_many_processes_renew_once_and_all_get_the_new_token(world: World) -> None:
    await world.give()
    world.idp.slow_seconds = 0.3

    answers = await asyncio.gather(*(world.answer(child) for child in [world.start() for _ in range(5)]))

    assert answers == [{"token": "a1"}] * 5
    assert world.idp.used == ["r0"]
    assert world.idp.at_once_max == 1
    assert not world.idp.is_dead


async def test_i21_the_newest_refresh_token_is_used_each_time(world: World) -> None:
    await world.give()

    assert await world.want() == {"token": "a1"}
    assert await world.want(refused="a1") == {"token": "a2"}
    assert await world.want(refused="a1") == {"token": "a2"}, "whoever comes late with an old token gets the newest"
    assert await world.want(refused="a2") == {"token": "a3"}

    assert world.idp.used == ["r0", "r1", "r2"]


async def test_i21_a_token_that_is_good_asks_nobody(world: World) -> None:
    await world.give(expired=False)

    assert await world.want() == {"token": "a0"}
    assert world.idp.used == []


@pytest.mark.crash
@pytest.mark.parametrize("point", ["oauth.begun", "oauth.answered", "oauth.stored"])
async def test_i21_a_process_killed_between_the_steps_locks_nobody_out(world: World, point: str) -> None:
    """Where the platform gives some seconds of grace to the token that was replaced."""
    world.idp.grace_seconds = 60.0
    await world.give()

    assert await world.want(crash_at=point) == {"died": -9}
    answer = await world.want()

    assert answer["token"] == world.idp.access
    assert not world.idp.is_dead
    assert await world.want(refused=answer["token"]) == {"token": world.idp.access}
    assert not world.idp.is_dead


@pytest.mark.crash
async def test_i21_shopifys_previous_token_brings_us_in_after_a_kill(world: World) -> None:
    world.idp.previous_survives = True
    await world.give()

    assert await world.want(crash_at="oauth.answered") == {"died": -9}

    assert await world.want() == {"token": "a2"}
    assert world.idp.used == ["r0", "r0"]


@pytest.mark.crash
async def test_i21_where_reuse_kills_the_family_a_person_is_asked_once_and_nothing_is_tried_again(world: World) -> None:
    await world.give()
    assert await world.want(crash_at="oauth.answered") == {"died": -9}

    assert await world.want() == {"code": "token_refused"}
    asked = len(world.idp.used)
    assert await world.want() == {"code": "token_refused"}

    assert len(world.idp.used) == asked
    async with world.owner.acquire() as conn:
        kept = await world.vault.read(conn)
        assert kept is not None
        assert "refuses the refresh token" in str(kept.refused)


async def test_a_platform_that_is_away_costs_nothing_while_the_token_lives(world: World) -> None:
    now = datetime.now(UTC)
    tokens = Tokens(
        access="a0", refresh="r0", issued_at=now - timedelta(minutes=58), expires_at=now + timedelta(minutes=2)
    )
    async with world.owner.acquire() as conn:
        await world.vault.store(conn, 1, tokens, timedelta(minutes=5))
    world.idp.status = 503

    assert await world.want() == {"token": "a0"}, "it is due, and good for two minutes more"
    assert await world.want(refused="a0") == {"code": "server_error"}

    world.idp.status = 200
    assert await world.want(refused="a0") == {"token": "a1"}


async def test_an_older_pair_never_replaces_a_newer_one(world: World) -> None:
    await world.give(refresh="r5", generation=5)
    await world.give(refresh="r4", generation=4)

    async with world.owner.acquire() as conn:
        kept = await world.vault.read(conn)
    assert kept is not None
    assert (kept.generation, kept.tokens.refresh) == (5, "r5")


async def test_tokens_are_sealed_to_their_place_and_never_shown(world: World) -> None:
    await world.give(refresh="a-refresh-token-canary")
    async with world.owner.acquire() as conn:
        row = await conn.fetchrow("SELECT * FROM oauth_token")
        assert b"canary" not in row["ciphertext"]
        assert "canary" not in repr((await world.vault.read(conn)).tokens)  # type: ignore[union-attr]
        await conn.execute("UPDATE oauth_token SET name = 'other'")
        with pytest.raises(InvariantError) as moved:
            await TokenVault(key_ring("credential"), world.tenant_id, "other").read(conn)

    assert moved.value.code == "tampered"


@pytest.mark.parametrize("role", [Role.APPLY, Role.DOOR, Role.WEB])
async def test_only_dispatch_reads_tokens(world: World, role: Role) -> None:
    import asyncpg  # noqa: PLC0415

    pool = await world.database.pool(role, application_name="test")
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.fetch("SELECT * FROM oauth_token")
    finally:
        await pool.close()


# --- connecting ------------------------------------------------------------------------------------------------------
def order_of(world: World, refresh_token: str) -> ConnectOrder:
    oauth = OAuth(token_path=world.idp.url, previous_survives=True)
    field = Field(name="refresh_token", question="Refresh token", secret=True, default="")
    return ConnectOrder(
        tenant_id=world.tenant_id,
        tenant="main",
        name="shop",
        connector=replace(CONNECTOR, oauth=oauth, fields=(*CONNECTOR.fields, field)),
        is_channel=True,
        settings={"base_url": "http://127.0.0.1:1", "client_id": "app"},
        secrets={"client_secret": Secret("the secret of the app"), "refresh_token": Secret(refresh_token)},
        webhook_base="http://127.0.0.1:7480",
    )


async def begin(world: World, refresh_token: str, stored: dict[str, Secret] | None = None) -> TokenSource | None:
    ring = key_ring("credential")
    order = order_of(world, refresh_token)
    allow = [ip_network("127.0.0.0/8")]
    return await authorise(world.owner.acquire, ring, order, stored or {}, allow=allow, clock=SystemClock())


async def test_the_token_that_the_operator_gives_is_spent_once_however_often_connecting_is_repeated(
    world: World,
) -> None:
    first = await begin(world, "r0")
    assert first is not None
    again = await begin(world, "r0")  # the rest of connecting failed: nothing else was stored
    third = await begin(world, "r0", {"refresh_token": Secret("r0")})

    assert again is not None
    assert third is not None
    assert [(await source.access())[0].reveal() for source in (first, again, third)] == ["a1"] * 3
    assert world.idp.used == ["r0"]


async def test_a_new_token_replaces_one_that_was_refused(world: World) -> None:
    await world.give()
    world.idp.refresh = "given anew"
    assert await world.want() == {"code": "token_refused"}
    world.idp.is_dead = False

    source = await begin(world, "given anew", {"refresh_token": Secret("r0")})

    assert source is not None
    assert (await source.access())[0] == Secret("a1")
    assert await world.want() == {"token": "a1"}


async def test_a_connection_without_a_refresh_token_works_as_before(world: World) -> None:
    assert await begin(world, "") is None


async def test_a_session_is_renewed_in_time_and_after_a_refusal(world: World) -> None:
    """The api logs in anew when the token is due, and gives the refused one back when it was refused."""
    opened: list[str] = []
    clock = SystemClock()

    async def open_session(_api: Any, secrets: Any, _settings: Any) -> Session:
        opened.append(secrets["access_token"].reveal())
        return Session(headers={})

    class Source:
        asked: ClassVar[list[Secret | None]] = []

        async def access(self, refused: Secret | None = None) -> tuple[Secret, datetime | None]:
            self.asked.append(refused)
            due = clock.now() + timedelta(seconds=-1 if len(self.asked) == 1 else 3600)
            return Secret(f"t{len(self.asked)}"), due

    with receiving() as receiver:
        receiver.answers += [(200, {}, b"{}"), (401, {}, b""), (200, {}, b"{}")]
        connector = replace(CONNECTOR, open_session=open_session)
        allow = [ip_network("127.0.0.0/8")]
        api = HttpApi(connector, receiver.url, {}, {}, allow=allow, clock=clock, tokens=Source())
        try:
            await api.request("POST", "")
            await api.request("POST", "")
        finally:
            await api.close()

    assert opened == ["t1", "t2", "t3"]
    assert [None if each is None else each.reveal() for each in Source.asked] == [None, None, "t2"]
