"""Signing in to the pages: sessions that end, cookies that rotate, doors that close for a while (SECURITY A8)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import pytest_asyncio

from tidegate.kernel.ids import new_id
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.store.roles import Role
from tidegate.web.database import combiner_on, key_finder_on
from tidegate.web.logins import add_login, list_logins, remove_login, set_password
from tidegate.web.passwords import hash_password
from tidegate.web.sessions import ABSOLUTE, IDLE, STEP_UP, Refused, Sessions, SignedIn, form_token, hash_token
from tidegate.web.settings import WebSettings
from tidegate.web.world import World

pytestmark = pytest.mark.asyncio
PASSWORD = "right horse"
HASH = hash_password(PASSWORD)


class SetClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC)

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    def advance(self, **parts: float) -> None:
        self.at += timedelta(**parts)


@pytest_asyncio.fixture
async def world(database: Database) -> AsyncIterator[World]:
    pool = await database.pool(Role.WEB, application_name="test-web")
    yield World(
        pool=pool,
        key_finder=key_finder_on(pool, acquire_seconds=1),
        clock=SetClock(),
        cell="c0",
        settings=WebSettings(),
        keys={},
        connectors={},
        project=None,
        combiner=combiner_on(pool),
    )
    await pool.close()


@pytest_asyncio.fixture
async def tenant_id(owner_pool: Pool) -> UUID:
    tenant_id = new_id()
    await owner_pool.execute("INSERT INTO tenant (tenant_id, name) VALUES ($1, 'main')", tenant_id)
    async with owner_pool.acquire() as conn:
        await add_login(conn, tenant_id=tenant_id, name="admin", password_hash=HASH, actor="test")
    return tenant_id


@pytest.fixture
def clock(world: World) -> SetClock:
    assert isinstance(world.clock, SetClock)
    return world.clock


@pytest.fixture
def sessions(world: World, tenant_id: UUID) -> Sessions:
    return Sessions(world, tenant_id)


async def signed_in(sessions: Sessions) -> str:
    answer = await sessions.sign_in("admin", PASSWORD, address="127.0.0.1")
    assert isinstance(answer, SignedIn)
    return answer.token


async def test_a8_the_right_password_begins_a_session_and_the_database_knows_no_cookie(
    sessions: Sessions, owner_pool: Pool
) -> None:
    token = await signed_in(sessions)
    visit = await sessions.find(token)

    assert visit is not None
    assert (visit.name, visit.actor) == ("admin", "page:admin")
    assert visit.form_token == form_token(token) != token
    stored = await owner_pool.fetchval("SELECT login_session::text || login::text FROM login_session, login")
    assert token not in stored
    assert PASSWORD not in stored
    assert "$argon2id$" in stored
    audited = await owner_pool.fetch("SELECT actor, action FROM audit_log ORDER BY at")
    assert [tuple(row) for row in audited] == [("test", "login.added"), ("page:admin", "login.signed_in")]


async def test_a8_each_sign_in_has_a_cookie_of_its_own(sessions: Sessions) -> None:
    """Fixation: nothing that a stranger planted before becomes a session."""
    planted = "x" * 43

    first, second = await signed_in(sessions), await signed_in(sessions)

    assert len({first, second, planted}) == 3
    assert await sessions.find(planted) is None
    assert await sessions.find("\ud800 not a token") is None


async def test_a8_a_session_ends_after_thirty_minutes_without_use(sessions: Sessions, clock: SetClock) -> None:
    token = await signed_in(sessions)
    for _ in range(4):
        clock.advance(minutes=IDLE.seconds / 60 - 1)
        assert await sessions.find(token) is not None

    clock.advance(minutes=31)

    assert await sessions.find(token) is None


async def test_a8_a_session_ends_after_twelve_hours_however_busy(sessions: Sessions, clock: SetClock) -> None:
    token = await signed_in(sessions)
    steps = int(ABSOLUTE / timedelta(minutes=20))
    for _ in range(steps):
        clock.advance(minutes=20)
        assert await sessions.find(token) is not None

    clock.advance(seconds=1)

    assert await sessions.find(token) is None


async def test_a8_looking_whether_a_session_lives_is_no_use_of_it(
    sessions: Sessions, clock: SetClock, owner_pool: Pool
) -> None:
    """An open page with its stream does not keep somebody signed in for ever."""
    token = await signed_in(sessions)
    async with owner_pool.acquire() as conn:
        for _ in range(3):
            clock.advance(minutes=10)
            alive = await sessions.alive(conn, [hash_token(token)])
        assert alive == {hash_token(token)}
        clock.advance(seconds=1)
        assert await sessions.alive(conn, [hash_token(token)]) == set()


async def test_a8_signing_out_ends_it_at_once(sessions: Sessions) -> None:
    token = await signed_in(sessions)
    visit = await sessions.find(token)
    assert visit is not None

    await sessions.end(visit)
    await sessions.end(visit)

    assert await sessions.find(token) is None


async def test_a8_proving_the_password_rotates_the_cookie_and_lengthens_nothing(
    sessions: Sessions, clock: SetClock
) -> None:
    token = await signed_in(sessions)
    started_at = clock.at
    clock.advance(minutes=15)
    visit = await sessions.find(token)
    assert visit is not None
    assert not visit.is_fresh(clock.now())

    wrong = await sessions.confirm(visit, "wrong", address="127.0.0.1")
    right = await sessions.confirm(visit, PASSWORD, address="127.0.0.1")

    assert wrong == Refused(wait_seconds=0)
    assert isinstance(right, SignedIn)
    assert await sessions.find(token) is None
    renewed = await sessions.find(right.token)
    assert renewed is not None
    assert renewed.started_at == started_at
    assert renewed.is_fresh(clock.now())
    clock.advance(seconds=STEP_UP.seconds)
    assert not renewed.is_fresh(clock.now())
    assert await sessions.confirm(visit, PASSWORD, address="127.0.0.1") == Refused(wait_seconds=0)


async def test_a8_failures_cost_more_and_more_and_a_right_password_clears_them(
    sessions: Sessions, clock: SetClock
) -> None:
    for _ in range(6):
        assert await sessions.sign_in("admin", "wrong", address="10.0.0.1") == Refused(wait_seconds=0)

    waits = []
    for _ in range(4):
        refused = await sessions.sign_in("admin", PASSWORD, address="10.0.0.1")
        assert isinstance(refused, Refused)
        waits.append(refused.wait_seconds)
        clock.advance(seconds=refused.wait_seconds)
        assert await sessions.sign_in("admin", "wrong", address="10.0.0.1") == Refused(wait_seconds=0)
    elsewhere = await sessions.sign_in("admin", PASSWORD, address="10.0.0.2")

    assert waits == [5, 10, 20, 40]
    assert isinstance(elsewhere, SignedIn)


async def test_a8_the_answer_does_not_depend_on_whether_the_name_exists(sessions: Sessions) -> None:
    """Enumeration: same answers, same lockout."""
    known = [await sessions.sign_in("admin", "wrong", address="10.0.0.1") for _ in range(8)]
    unknown = [await sessions.sign_in("nobody", "wrong", address="10.0.0.1") for _ in range(8)]
    impossible = [await sessions.sign_in("\0 no name", "wrong", address="10.0.0.1") for _ in range(8)]

    assert known == unknown == impossible


async def test_a8_many_guesses_at_once_gain_nothing(sessions: Sessions) -> None:
    """A guess is counted before it is looked at."""
    answers = await asyncio.gather(
        *(sessions.sign_in("admin", f"guess {n}", address="10.0.0.1") for n in range(15)), return_exceptions=True
    )

    looked_at = [answer for answer in answers if answer == Refused(wait_seconds=0)]
    assert len(looked_at) <= 6


async def test_a8_a_new_password_and_a_removed_login_end_sessions(
    sessions: Sessions, tenant_id: UUID, owner_pool: Pool
) -> None:
    first = await signed_in(sessions)
    async with owner_pool.acquire() as conn:
        await set_password(conn, tenant_id=tenant_id, name="admin", password_hash=HASH, actor="test")
        assert await sessions.find(first) is None
        second = await signed_in(sessions)
        assert [row["name"] for row in await list_logins(conn, tenant_id)] == ["admin"]
        await remove_login(conn, tenant_id=tenant_id, name="admin", actor="test")

    assert await sessions.find(second) is None
    assert not await sessions.anybody()
    assert await sessions.sign_in("admin", PASSWORD, address="127.0.0.1") == Refused(wait_seconds=0)


async def test_the_role_makes_and_changes_no_login(world: World) -> None:
    """A hole in the pages gives nobody a login."""
    for statement in (
        "INSERT INTO login VALUES (gen_random_uuid(), 'eve', 'x')",
        "UPDATE login SET password_hash = 'x'",
        "DELETE FROM login",
    ):
        with pytest.raises(Exception, match="permission denied"):
            await world.pool.execute(statement)
