"""The database dies, hangs or is full: senders are told to come again, nothing acknowledged is lost, the door recovers."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import asyncpg
import pytest
from tests.conftest import SMALL_SETTINGS, running_postgres, short_folder
from tests.doorbed import Door, Shop, add_shop, eventually, running_door

from tidegate.kernel.errors import TidegateError
from tidegate.runtime.postgres import EmbeddedPostgres
from tidegate.store.database import Database, ensure_embedded_database, owner_connection
from tidegate.store.roles import SUPERUSER

pytestmark = [pytest.mark.asyncio, pytest.mark.crash]

ANSWER_SECONDS_MAX = 4.0
SLACK_SECONDS = 1.0
TICK_SECONDS = 0.02


@asynccontextmanager
async def arranged(server: EmbeddedPostgres) -> AsyncIterator[tuple[Database, Shop]]:
    database = await ensure_embedded_database(server.dsn, server.password, name="faults")
    async with owner_connection(database) as db:
        shop = await add_shop(db)
    yield database, shop


class HeldUp:
    """How long this process could not go on: its machine was busy. The test shares its loop with the door."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._due = time.monotonic() + TICK_SECONDS

    def seconds(self) -> float:
        """Seconds in all, until now."""
        return self._seconds + max(0.0, time.monotonic() - self._due)

    async def watch(self) -> None:
        """Count, until cancelled."""
        while True:
            self._due = time.monotonic() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            self._seconds = self.seconds()


class Load:
    """Senders that deliver without pause and remember which deliveries were acknowledged."""

    def __init__(self, door: Door, shop: Shop, *, body_bytes: int = 200) -> None:
        self.door = door
        self.shop = shop
        self.filler = "x" * body_bytes
        self.acknowledged: list[str] = []
        self.statuses: dict[int, int] = {}
        self.slowest = 0.0
        self.held_up = HeldUp()
        self._number = 0
        self._stop = False
        self._tasks: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def running(self, senders: int = 16) -> AsyncIterator[Load]:
        """Deliver while the block runs; at its end every delivery has its answer."""
        watching = asyncio.create_task(self.held_up.watch())
        self._tasks = [asyncio.create_task(self._send()) for _ in range(senders)]
        try:
            yield self
            self._stop = True
            await asyncio.gather(*self._tasks)
        finally:
            for task in (*self._tasks, watching):
                task.cancel()
            await asyncio.gather(*self._tasks, watching, return_exceptions=True)

    async def wait_for(self, status: int, count: int) -> None:
        """Wait until `count` more deliveries were answered with `status`."""
        target = self.statuses.get(status, 0) + count

        async def reached() -> bool:
            return self.statuses.get(status, 0) >= target

        await eventually(reached)

    async def _send(self) -> None:
        sender = await self.door.sender()
        while not self._stop:
            self._number += 1
            event_id = f"e{self._number}"
            body = b'{"id":"%b","type":"t","order":"%d","filler":"%b"}' % (
                event_id.encode(),
                self._number % 50,
                self.filler.encode(),
            )
            begun = time.monotonic() - self.held_up.seconds()
            response = await sender.send(self.shop.deliver(event_id, body=body))
            self.slowest = max(self.slowest, time.monotonic() - self.held_up.seconds() - begun)
            self.statuses[response.status] = self.statuses.get(response.status, 0) + 1
            if response.status == 200:
                self.acknowledged.append(event_id)
            else:
                await asyncio.sleep(0.01)


async def check_exactly_once(database: Database, load: Load) -> None:
    async with owner_connection(database) as db:
        rows = await db.fetch("SELECT external_id, count(*) FROM event GROUP BY 1")
        counted = await db.fetchrow("SELECT sum(received - duplicate)::int, sum(duplicate)::int FROM conservation")
        waiting = await db.fetchval("SELECT count(*) FROM event_queue")
    stored = {row[0]: row[1] for row in rows}
    assert [event_id for event_id in load.acknowledged if stored.get(event_id) != 1] == []
    assert set(stored.values()) == {1}
    assert counted[0] == len(stored) == waiting


async def test_a_killed_postmaster_loses_nothing_that_was_acknowledged(postgres_version: int) -> None:
    with running_postgres(postgres_version) as server:

        async def has_ended() -> bool:
            return not server.is_running()

        async with arranged(server) as (database, shop), running_door(database) as door:
            async with Load(door, shop).running() as load:
                for _ in range(3):
                    await load.wait_for(200, 150)
                    pid = server.pid
                    assert pid is not None
                    os.kill(pid, signal.SIGKILL)
                    await eventually(has_ended)  # its backends go on for a while, until the next start ends them
                    await asyncio.to_thread(server.start)
                await load.wait_for(200, 150)

            assert set(load.statuses) <= {200, 503}
            assert load.slowest < ANSWER_SECONDS_MAX + SLACK_SECONDS
            await check_exactly_once(database, load)


@pytest.mark.parametrize("stopped", ["lanes", "everything"])
async def test_a_database_that_hangs_is_answered_for_with_503(postgres_version: int, stopped: str) -> None:
    with running_postgres(postgres_version) as server:
        async with arranged(server) as (database, shop), running_door(database) as door:
            async with Load(door, shop).running() as load:
                await load.wait_for(200, 100)
                with frozen(await pids_of(server, lanes_only=stopped == "lanes")):
                    await load.wait_for(503, 1)
                    if stopped == "everything":  # else new sessions commit what comes next
                        before = load.statuses[200]
                        await load.wait_for(503, 200)
                        assert load.statuses[200] == before
                        assert (await door.send(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")).status == 503
                        assert (await door.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")).status == 200
                await load.wait_for(200, 100)

            assert set(load.statuses) == {200, 503}
            assert load.slowest < ANSWER_SECONDS_MAX + SLACK_SECONDS
            await check_exactly_once(database, load)


async def test_an_away_database_costs_a_sender_no_waiting_and_forged_deliveries_no_503(postgres_version: int) -> None:
    with running_postgres(postgres_version) as server:
        async with arranged(server) as (database, shop), running_door(database) as door:
            await asyncio.to_thread(server.stop, "immediate")
            await eventually(lambda: door.answers(shop.deliver("e1"), 503))
            response = await door.send(shop.deliver("e2"))
            forged = await door.send(shop.deliver("e2", headers={"webhook-signature": "v1,AAAA"}))
            await asyncio.to_thread(server.start)
            await eventually(lambda: door.answers(shop.deliver("e3"), 200))

            assert (response.status, response.header("retry-after")) == (503, "5")
            assert forged.status == 401


async def test_a_door_that_starts_before_its_database_refuses_nobody_for_good(postgres_version: int) -> None:
    with running_postgres(postgres_version) as server:
        async with arranged(server) as (database, shop):
            await asyncio.to_thread(server.stop, "immediate")
            async with running_door(database, ready=False) as door:
                assert (await door.send(shop.deliver("e1", path="/in/c0/unknown"))).status == 503
                assert (await door.send(shop.deliver("e1"))).status == 503
                await asyncio.to_thread(server.start)
                await door.wait_ready()
                assert (await door.send(shop.deliver("e1", path="/in/c0/unknown"))).status == 401
                assert (await door.send(shop.deliver("e1"))).status == 200


async def test_a_read_only_database_is_answered_for_with_503(postgres_version: int) -> None:
    with running_postgres(postgres_version) as server:
        async with arranged(server) as (database, shop), running_door(database) as door:
            assert (await door.send(shop.deliver("e1"))).status == 200
            await set_read_only(server, database, on=True)
            assert (await door.send(shop.deliver("e2"))).status == 503
            await set_read_only(server, database, on=False)
            await eventually(lambda: door.answers(shop.deliver("e2"), 200))


@asynccontextmanager
async def kept_running(server: EmbeddedPostgres) -> AsyncIterator[None]:
    """Start the server whenever it has died, as the supervisor does: it may die of a full disk later than one would look."""

    async def keep() -> None:
        while True:
            if not server.is_running():
                with suppress(TidegateError):
                    await asyncio.to_thread(server.start)
            await asyncio.sleep(0.1)

    keeper = asyncio.create_task(keep())
    try:
        yield
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)


async def test_a_full_disk_refuses_at_the_door_and_keeps_what_is_there(postgres_version: int) -> None:
    with short_folder() as folder, small_disk(folder, megabytes=200):
        data = folder / "disk"
        data.chmod(0o711)
        settings = {**SMALL_SETTINGS, "max_wal_size": "32MB", "min_wal_size": "32MB", "wal_keep_size": "0"}
        server = EmbeddedPostgres(data / "pg", version=postgres_version, settings=settings, run_dir=folder)
        try:
            await asyncio.to_thread(server.start)
            async with arranged(server) as (database, shop), running_door(database) as door:
                async with Load(door, shop, body_bytes=20_000).running(8) as load:
                    await load.wait_for(200, 50)
                    filler = data / "filler"
                    fill(filler, leave_bytes=3 << 20)
                    await load.wait_for(503, 20)
                    filler.unlink()
                    async with kept_running(server):
                        await load.wait_for(200, 50)

                await check_exactly_once(database, load)
        finally:
            await asyncio.to_thread(server.stop, "immediate")


# --- injectors -----------------------------------------------------------------------------------------------------
async def pids_of(server: EmbeddedPostgres, *, lanes_only: bool) -> list[int]:
    """Pids of the lanes' backends, or of the whole server, the postmaster first."""
    if not lanes_only:
        assert server.pid is not None
        return [server.pid, *children_of(server.pid)]
    connection = await asyncpg.connect(server.dsn(SUPERUSER, "postgres"))
    rows = await connection.fetch(
        "SELECT pid FROM pg_stat_activity WHERE query LIKE '%INSERT INTO event_dedupe%' AND pid <> pg_backend_pid()"
    )
    await connection.close()
    assert len(rows) == 2
    return [row[0] for row in rows]


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def frozen(pids: list[int]) -> Iterator[None]:
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                continue


async def set_read_only(server: EmbeddedPostgres, database: Database, *, on: bool) -> None:
    """What a failover leaves behind: sessions that may not write any more."""
    connection = await asyncpg.connect(server.dsn(SUPERUSER, "postgres"))
    await connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {'on' if on else 'off'}")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()
    async with owner_connection(database) as db:

        async def is_set() -> bool:
            return await db.fetchval("SHOW default_transaction_read_only") == ("on" if on else "off")

        await eventually(is_set)


@contextmanager
def small_disk(folder: Path, *, megabytes: int) -> Iterator[None]:
    """Mount a small file system of its own; skips where that is not allowed."""
    target = folder / "disk"
    target.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tidegate-test", str(target)],
        check=False,
        capture_output=True,
    )
    if not mounted or mounted.returncode:
        pytest.skip("a small disk needs the right to mount")
    try:
        yield
    finally:
        subprocess.run(["umount", str(target)], check=False)


def fill(path: Path, *, leave_bytes: int) -> None:
    status = os.statvfs(path.parent)
    size = status.f_bavail * status.f_frsize - leave_bytes
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
