"""Telling people: mail, webhooks, heartbeats; at least once, and never twice by two gateways."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from ipaddress import ip_network

import asyncpg
import pytest
import pytest_asyncio
from tests.alertbed import SETTINGS, HookSink, MailSink, MovableClock, Watch, hook_sink, mail_sink, tell, watching
from tests.applybed import KEYS
from tests.dispatchbed import QUIET, Bed, until

from tidegate.kernel import crashpoint
from tidegate.kernel.ids import new_id
from tidegate.kernel.redaction import Secret
from tidegate.monitor.alerts.addresses import Target, build_target
from tidegate.monitor.alerts.delivery import Message
from tidegate.monitor.alerts.delivery import tell as deliver
from tidegate.monitor.alerts.operator import acknowledge, list_targets, remove_target, silence
from tidegate.monitor.alerts.post import Letter
from tidegate.runtime.postgres import EmbeddedPostgres
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.store.pool import direct_connection
from tidegate.store.roles import SUPERUSER, Role

pytestmark = pytest.mark.asyncio
CONNECTORS = {"hostile": QUIET}


@pytest_asyncio.fixture
async def bed(database: Database, owner_pool: Pool) -> Bed:
    made = Bed(database, owner_pool, "http://127.0.0.1:9")
    await made.create()
    return made


@pytest_asyncio.fixture
async def watch(bed: Bed) -> AsyncIterator[Watch]:
    async with watching(bed.database, bed.pool, CONNECTORS) as made:
        await bed.configure_alerts("missing_worker: {enabled: false}")
        yield made


@pytest_asyncio.fixture
async def mail() -> AsyncIterator[MailSink]:
    async with mail_sink() as sink:
        yield sink


@pytest_asyncio.fixture
async def hook() -> AsyncIterator[HookSink]:
    async with hook_sink() as sink:
        yield sink


async def quarantine(bed: Bed) -> None:
    """The cause of an alert that fires at once."""
    await bed.pool.execute(
        "INSERT INTO event_parked (tenant_id, event_id, run, slot, connection_id, ordering_key, kind, code, reason)"
        " VALUES ($1, $2, 0, 1, $3, 'x', 'quarantined', 'x', 'x')",
        bed.tenant_id, new_id(), bed.shop,
    )  # fmt: skip


async def mend(bed: Bed) -> None:
    await bed.pool.execute("DELETE FROM event_parked")


async def test_a_mail_tells_of_it_and_another_one_that_it_is_over(bed: Bed, watch: Watch, mail: MailSink) -> None:
    await tell(bed.pool, bed.tenant_id, "ops", mail.target)
    await quarantine(bed)

    await watch.round()
    await watch.round()
    assert mail.subjects() == ["[tidegate main] warning: events are in quarantine"]
    assert "tidegate events list --outcome quarantined" in mail.text()
    assert mail.mails[0]["to"] == "ops@example.test"

    await mend(bed)
    await watch.until_over("quarantined")
    await watch.round()
    assert mail.subjects()[1:] == ["[tidegate main] warning: over: events are in quarantine"]
    assert {notice["state"] for notice in await watch.notices()} == {"sent"}


async def test_a_server_that_says_later_is_asked_later(bed: Bed, watch: Watch, mail: MailSink) -> None:
    mail.refuse = 2
    await tell(bed.pool, bed.tenant_id, "ops", mail.target)
    await quarantine(bed)

    await watch.round()
    assert mail.mails == []
    (notice,) = await watch.notices()
    assert (notice["state"], notice["tries"]) == ("pending", 1)
    for _ in range(10):
        await watch.round(timedelta(minutes=1))

    assert len(mail.mails) == 1
    (notice,) = await watch.notices()
    assert (notice["state"], notice["tries"], notice["last_error"]) == ("sent", 3, None)


async def test_a_webhook_gets_json_with_a_key(bed: Bed, watch: Watch, hook: HookSink) -> None:
    await tell(bed.pool, bed.tenant_id, "hook", {"kind": "webhook", "url": hook.url})
    await quarantine(bed)

    await watch.round()

    (posted,) = hook.posts
    assert posted["kind"] == "firing"
    assert posted["severity"] == "warning"
    assert posted["title"] == "[tidegate main] warning: events are in quarantine"
    assert posted["alerts"][0].startswith("alr_c0_")
    assert hook.keys == [posted["key"]]


@pytest.mark.parametrize("status", [500, 404, 302])
async def test_a_webhook_that_does_not_take_it_is_tried_again(
    bed: Bed, watch: Watch, hook: HookSink, status: int
) -> None:
    """Redirects are not followed: they lead where nobody checked."""
    hook.status = status
    await tell(bed.pool, bed.tenant_id, "hook", {"kind": "webhook", "url": hook.url})
    await quarantine(bed)
    await watch.round()
    async with bed.pool.acquire() as conn:
        (target,) = await list_targets(conn, bed.tenant_id)
    assert target.last_error is not None
    assert str(status) in target.last_error
    assert "secret-token" not in target.last_error

    hook.status = 204
    await watch.round(timedelta(minutes=1))

    assert len(hook.posts) == 1


async def test_it_gives_up_in_the_end(bed: Bed, watch: Watch, hook: HookSink) -> None:
    hook.status = 500
    await tell(bed.pool, bed.tenant_id, "hook", {"kind": "webhook", "url": hook.url})
    await quarantine(bed)

    for _ in range(SETTINGS.tries_max + 1):
        await watch.round(timedelta(hours=1))

    (notice, *_) = await watch.notices()
    assert (notice["state"], notice["tries"]) == ("failed", SETTINGS.tries_max)


async def test_private_addresses_need_the_operators_word(
    bed: Bed, watch: Watch, hook: HookSink, mail: MailSink
) -> None:
    """E2, V: targets obey the egress rules of connectors, apprise too."""
    await bed.pool.execute("UPDATE config_version SET document = replace(document, '127.0.0.0/8', '10.0.0.0/8')")
    await bed.configure_alerts("missing_worker: {enabled: false}")
    await bed.pool.execute("UPDATE config_version SET document = replace(document, '127.0.0.0/8', '10.0.0.0/8')")
    await tell(bed.pool, bed.tenant_id, "hook", {"kind": "webhook", "url": hook.url})
    await tell(bed.pool, bed.tenant_id, "mail", mail.target)
    await tell(bed.pool, bed.tenant_id, "json", {"url": f"json://127.0.0.1:{hook.port}/hook"})
    await tell(bed.pool, bed.tenant_id, "name", {"url": f"json://localhost:{hook.port}/hook"})
    await quarantine(bed)

    await watch.round()

    assert (hook.posts, mail.sessions) == ([], 0)
    errors = {notice["target"]: notice["last_error"] for notice in await watch.notices()}
    assert len(errors) == 4
    assert all("network.allow" in error for error in errors.values()), errors


async def test_a_target_that_hangs_holds_nobody_up(bed: Bed, watch: Watch, mail: MailSink) -> None:
    """A round does not wait for who is told."""
    gate = asyncio.Event()

    async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await tell(bed.pool, bed.tenant_id, "slow", {"kind": "webhook", "url": f"http://127.0.0.1:{port}/"})
    await tell(bed.pool, bed.tenant_id, "ops", mail.target)
    await quarantine(bed)

    await watch.evaluator.round()
    await until(lambda: len(mail.mails) == 1)
    await until(lambda: watch.evaluator.outbox.under_way == 1)
    await watch.evaluator.round()

    assert watch.evaluator.outbox.under_way == 1
    gate.set()
    await watch.evaluator.outbox.settle()
    server.close()


async def test_heartbeats_are_called_while_rules_are_looked_at(bed: Bed, watch: Watch, hook: HookSink) -> None:
    """The watcher is watched from outside."""
    await tell(bed.pool, bed.tenant_id, "watchdog", {"kind": "heartbeat", "url": hook.url.replace("/hook", "/beat")})

    await watch.round()
    await watch.round()
    assert hook.beats == 1
    await watch.round(timedelta(minutes=1))

    assert hook.beats == 2
    await quarantine(bed)
    await watch.round()
    assert await watch.notices() == []


async def test_night_silence_and_acknowledgement(bed: Bed, watch: Watch, hook: HookSink) -> None:
    await tell(bed.pool, bed.tenant_id, "hook", {"kind": "webhook", "url": hook.url})
    async with bed.pool.acquire() as conn:
        end = watch.clock.now() + timedelta(hours=2)
        who = {"tenant_id": bed.tenant_id, "actor": "me"}
        await silence(conn, **who, rule="quarantined", subject=None, until=end, reason="x", now=watch.clock.now())
        await quarantine(bed)
        await watch.until_firing("quarantined", rounds=1)
        assert hook.posts == []

        await watch.round(timedelta(hours=2))
        assert [post["kind"] for post in hook.posts] == ["firing"]
        await watch.round(timedelta(hours=24))
        assert [post["kind"] for post in hook.posts] == ["firing", "reminder"]

        alert = await watch.alert("quarantined")
        assert await acknowledge(conn, **who, alert_ids=[alert["alert_id"]], now=watch.clock.now())
        assert not await acknowledge(conn, **who, alert_ids=[alert["alert_id"]], now=watch.clock.now())
        await watch.round(timedelta(hours=48))
        assert len(hook.posts) == 2
        await mend(bed)
        await watch.until_over("quarantined")
        await watch.round()
        assert [post["kind"] for post in hook.posts] == ["firing", "reminder", "resolved"]
        actions = await conn.fetch("SELECT action FROM audit_log WHERE action LIKE 'alert.%' ORDER BY audit_id")
    assert [row["action"] for row in actions] == ["alert.target_stored", "alert.silenced", "alert.acknowledged"]


async def test_a_target_that_was_removed_is_not_told(bed: Bed, watch: Watch, hook: HookSink) -> None:
    hook.status = 500
    await tell(bed.pool, bed.tenant_id, "hook", {"kind": "webhook", "url": hook.url})
    await quarantine(bed)
    await watch.round()
    async with bed.pool.acquire() as conn:
        assert await remove_target(conn, tenant_id=bed.tenant_id, actor="me", name="hook")
        assert not await remove_target(conn, tenant_id=bed.tenant_id, actor="me", name="hook")

    await watch.round(timedelta(minutes=5))

    (notice,) = await watch.notices()
    assert notice["state"] == "failed"


async def test_a_target_added_later_hears_of_what_still_fires(bed: Bed, watch: Watch, hook: HookSink) -> None:
    await quarantine(bed)
    await watch.until_firing("quarantined", rounds=1)

    await tell(bed.pool, bed.tenant_id, "hook", {"kind": "webhook", "url": hook.url})
    await watch.round()

    assert [post["kind"] for post in hook.posts] == ["firing"]


# --- two of everything, and none ---------------------------------------------------------------------------------------
async def test_one_leads_and_the_other_takes_over(bed: Bed, watch: Watch, hook: HookSink) -> None:
    await tell(bed.pool, bed.tenant_id, "hook", {"kind": "webhook", "url": hook.url})
    async with watching(bed.database, bed.pool, CONNECTORS, clock=watch.clock) as second:
        assert await watch.round()
        assert not await second.round()
        await quarantine(bed)
        await watch.round()
        assert not await second.round()
        assert len(hook.posts) == 1

        await watch.close()
        await bed.pool.execute("SELECT 1")
        await until(second.round)
        await second.round()
        assert await second.firing() == {("quarantined", "")}
        assert len(hook.posts) == 1

        await mend(bed)
        await second.until_over("quarantined")
        await second.round()
    assert [post["kind"] for post in hook.posts] == ["firing", "resolved"]


async def test_whoever_lost_the_session_lost_the_lead(bed: Bed, watch: Watch, postgres: EmbeddedPostgres) -> None:
    """The lock goes with the session: a new session leads only when it gets the lock anew."""
    async with watching(bed.database, bed.pool, CONNECTORS, clock=watch.clock) as second:
        assert await watch.round()
        lost = watch.evaluator._conn
        assert lost is not None
        admin = await asyncpg.connect(postgres.dsn(SUPERUSER, await bed.pool.fetchval("SELECT current_database()")))
        ended = await admin.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'tidegate-alerts%'"
        )
        await admin.close()
        assert ended == 1
        await until(second.round)
        await until(lost.is_closed)

        assert not await watch.round()
        assert await second.round()


async def test_a_gateway_that_does_not_lead_says_what_it_misses(bed: Bed, watch: Watch) -> None:
    """G: a crash-looping door of another machine is seen by whoever leads."""
    async with watching(bed.database, bed.pool, CONNECTORS, clock=watch.clock) as second:
        await bed.configure()
        await watch.round()
        second.missing = {"door-1": "it does not stay alive"}
        await second.round()

        for _ in range(4):
            await watch.round()

    assert any(subject.endswith(": door-1") for _, subject in await watch.firing())


@pytest.mark.crash
@pytest.mark.parametrize(
    ("place", "told_before"),
    [("alerts.round.stored", 0), ("alerts.notices.claimed", 0), ("alerts.notice.told", 1)],
)
async def test_killed_between_steps_it_is_told_all_the_same(
    bed: Bed, hook: HookSink, place: str, told_before: int
) -> None:
    """kill -9 between the change of state, the claim, the telling and the note of it: told at least once, under one key."""
    await tell(bed.pool, bed.tenant_id, "hook", {"kind": "webhook", "url": hook.url})
    await bed.configure_alerts("missing_worker: {enabled: false}")
    await quarantine(bed)

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.alertchild", bed.database.access(Role.WEB).dsn,
        env={**os.environ, crashpoint.VARIABLE: place},
    )  # fmt: skip
    async with asyncio.timeout(200):
        assert await process.wait() == -9
    assert len(hook.posts) == told_before

    clock = MovableClock()
    clock.move(timedelta(minutes=2))
    async with watching(bed.database, bed.pool, CONNECTORS, clock=clock) as after:
        await until(after.round)
        for _ in range(3):
            await after.round()

    assert len(hook.posts) == told_before + 1
    assert len(set(hook.keys)) == 1
    assert [notice["state"] for notice in await after.notices()] == ["sent"]


# --- secrets -----------------------------------------------------------------------------------------------------------
async def test_addresses_are_stored_encrypted_under_a_class_of_their_own(bed: Bed, hook: HookSink) -> None:
    """V1, V7: the web role opens these and nothing else; moved to another name one does not open."""
    await tell(bed.pool, bed.tenant_id, "hook", {"kind": "webhook", "url": hook.url})

    row = await bed.pool.fetchrow("SELECT * FROM alert_target")
    assert row is not None
    assert b"secret-token" not in row["address"]
    web = await direct_connection(bed.database.access(Role.WEB), application_name="test")
    await web.execute("SELECT set_config('app.tenant', 'every', false)")
    assert {each["key_class"] for each in await web.fetch("SELECT key_class FROM tenant_key")} == {"alert"}
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await web.fetch("SELECT * FROM credential")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await web.execute("INSERT INTO alert_target SELECT * FROM alert_target")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await web.execute("UPDATE alert_target SET address = ''")
    await web.close()


async def test_an_address_that_was_moved_does_not_open(bed: Bed, watch: Watch, hook: HookSink) -> None:
    """V3: swapped in SQL, it is not used."""
    await tell(bed.pool, bed.tenant_id, "hook", {"kind": "webhook", "url": hook.url})
    await bed.pool.execute("UPDATE alert_target SET name = 'other'")
    await quarantine(bed)

    await watch.round()

    assert hook.posts == []
    (notice,) = await watch.notices()
    assert notice["state"] == "failed"


async def test_each_class_of_keys_is_a_root_of_its_own() -> None:
    assert len(set(KEYS.values())) == 3


# --- the process that posts --------------------------------------------------------------------------------------------
async def run_post(script: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return output.decode()


async def test_the_process_that_posts_reaches_nothing_forbidden_and_starts_nothing() -> None:
    """E2: held at the socket, after every resolution, for literal addresses, names and odd spellings alike."""
    script = """
import socket, subprocess, os, sys
from tidegate.monitor.alerts.post import Guard
sys.addaudithook(Guard([]))
def attempt(name, act):
    try:
        act()
    except Exception as error:
        print(name, type(error).__name__)
    else:
        print(name, "went through")
def connect(address, family=socket.AF_INET):
    with socket.socket(family) as s:
        s.settimeout(0.2)
        s.connect(address)
attempt("loopback", lambda: connect(("127.0.0.1", 9)))
attempt("short", lambda: connect(("127.1", 9)))
attempt("name", lambda: connect(("localhost", 9)))
attempt("metadata", lambda: connect(("169.254.169.254", 80)))
attempt("six", lambda: connect(("::1", 9, 0, 0), socket.AF_INET6))
attempt("mapped", lambda: connect(("::ffff:127.0.0.1", 9, 0, 0), socket.AF_INET6))
attempt("unix", lambda: connect("/tmp/none", socket.AF_UNIX))
attempt("created", lambda: socket.create_connection(("localhost", 9), 0.2))
attempt("udp", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9)))
attempt("program", lambda: subprocess.run(["true"]))
attempt("shell", lambda: os.system("true"))
"""
    lines = (await run_post(script)).splitlines()

    assert len(lines) == 11
    assert [line for line in lines if "EgressBlockedError" not in line] == [
        "program PermissionError",
        "shell PermissionError",
    ]


async def test_words_of_a_failure_hold_no_secret(mail: MailSink) -> None:
    """L4: neither the user, nor the password, nor who would have been told."""
    mail.refuse = 100
    target = build_target("ops", {**mail.target, "user": "canary-user", "password": "canary-pass"})
    message = Message(key="k", kind="test", severity="info", title="t", body="b", tenant="main", cell="c0")

    answer = await deliver(target, message, [ip_network("127.0.0.0/8")])

    assert not answer.ok
    assert "canary" not in answer.words
    assert "ops@example.test" not in answer.words


async def test_a_letter_that_cannot_be_posted_has_an_answer() -> None:
    target = Target(name="x", kind="chat", url=Secret("slack://"))
    message = Message(key="k", kind="test", severity="info", title="t", body="b", tenant="main", cell="c0")

    answer = await deliver(target, message, [])

    assert (answer.ok, answer.words) == (False, "apprise cannot use this address")
    assert "slack" not in repr(Letter(url="slack://x", title="t", body="b", tone="info", allow=()))
