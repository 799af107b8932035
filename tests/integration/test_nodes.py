"""Slots always have at most one owner, move when a process dies or hangs, and fenced work is never taken over."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from tidegate.kernel.ids import SLOTS, new_id
from tidegate.runtime.postgres import EmbeddedPostgres
from tidegate.store.connections import DirectConnection, Pool
from tidegate.store.database import Database
from tidegate.store.fence import Fenced, NodeRole, SlotEpoch, fence
from tidegate.store.nodes import BURY, TAKE, Node
from tidegate.store.pool import direct_connection
from tidegate.store.roles import SUPERUSER, Role

ALL = set(range(SLOTS))
NODE_LINE = re.compile(rb"([0-9a-f-]{36}) (\d+)\n")
NODE_PROGRAM = """
import asyncio, sys
from uuid import UUID
from tidegate.store.nodes import Node
from tidegate.store.pool import Access
from tidegate.store.roles import SUPERUSER, Role

async def main():
    access = Access(role=Role.APPLY, dsn=sys.stdin.readline().strip())
    node = await Node.join(access, role="apply", name="other", lease_seconds=float(sys.argv[1]))
    if len(sys.argv) > 2:
        await node.mark_working([7, 9], UUID(sys.argv[2]), UUID(sys.argv[3]))
    while True:
        print(node.node_id, len(node.slots()), flush=True)
        await asyncio.sleep(0.02)

asyncio.run(main())
"""

Join = Callable[..., Awaitable[Node]]


@pytest_asyncio.fixture
async def join(database: Database) -> AsyncIterator[Join]:
    joined: list[Node] = []

    async def make(role: NodeRole = "apply", lease_seconds: float = 15.0) -> Node:
        access = database.access(Role.APPLY if role == "apply" else Role.DISPATCH)
        joined.append(await Node.join(access, role=role, name=f"n{len(joined)}", lease_seconds=lease_seconds))
        return joined[-1]

    yield make
    for node in joined:
        await node.leave()


@pytest_asyncio.fixture
async def other(database: Database) -> AsyncIterator[Callable[..., Awaitable["OtherProcess"]]]:
    """Nodes in processes of their own; ended by pid at the end."""
    started: list[OtherProcess] = []

    async def start(*arguments: object) -> "OtherProcess":
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            NODE_PROGRAM,
            *(str(argument) for argument in arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        started.append(OtherProcess(process))
        assert process.stdin is not None
        process.stdin.write(database.access(Role.APPLY).dsn.encode() + b"\n")
        return started[-1]

    yield start
    for one in started:
        one.kill()
        await one.process.communicate()


class OtherProcess:
    """A node in another process, seen through what it prints."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def says(self, wanted: Callable[[UUID, int], bool]) -> UUID:
        """Read its lines until node id and number of slots are as wanted."""
        assert self.process.stdout is not None
        async with asyncio.timeout(200):
            while True:
                match = NODE_LINE.fullmatch(await self.process.stdout.readline())
                if match is not None and wanted(UUID(match[1].decode()), int(match[2])):
                    return UUID(match[1].decode())

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()


async def wait_for(condition: Callable[[], bool], *, seconds: float = 200) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the state is the database's
            await asyncio.sleep(0.01)


@pytest_asyncio.fixture
async def superuser(postgres: EmbeddedPostgres) -> AsyncIterator[DirectConnection]:
    connection = await asyncpg.connect(postgres.dsn(SUPERUSER, "postgres"), command_timeout=200)
    yield connection
    await connection.close()


async def cut(superuser: DirectConnection, node: Node) -> None:
    """End the node's own session on the server."""
    ended = await superuser.fetchval(
        "SELECT count(pg_terminate_backend(a.pid)) FROM pg_stat_activity a WHERE application_name = $1",
        f"tidegate-node-{node._name}",
    )
    assert ended == 1


async def owners(pool: Pool, role: str = "apply") -> dict[UUID | None, int]:
    rows = await pool.fetch("SELECT node_id, count(*) AS n FROM slot WHERE role = $1 GROUP BY 1", role)
    return {row["node_id"]: row["n"] for row in rows}


@pytest.mark.asyncio
async def test_nodes_of_a_role_share_all_slots_and_hand_them_back(join: Join) -> None:
    first = await join()
    await wait_for(lambda: set(first.slots()) == ALL)

    second, third = await join(), await join()
    nodes = (first, second, third)
    await wait_for(lambda: sorted(len(node.slots()) for node in nodes) == [341, 341, 342])
    assert set().union(*(node.slots() for node in nodes)) == ALL

    await second.leave()
    await third.leave()
    await wait_for(lambda: set(first.slots()) == ALL)


@pytest.mark.asyncio
async def test_roles_do_not_compete(join: Join) -> None:
    apply, dispatch = await join("apply"), await join("dispatch")

    await wait_for(lambda: set(apply.slots()) == ALL and set(dispatch.slots()) == ALL)


@pytest.mark.crash
@pytest.mark.asyncio
async def test_a_killed_process_is_replaced_without_waiting_for_its_lease_and_leaves_a_trace(
    join: Join, other: Callable[..., Awaitable[OtherProcess]], owner_pool: Pool
) -> None:
    tenant, event = new_id(), new_id()
    survivor = await join(lease_seconds=600)
    victim = await other(600, tenant, event)
    await victim.says(lambda _, count: count == SLOTS // 2)

    victim.kill()

    await wait_for(lambda: set(survivor.slots()) == ALL)
    assert await owner_pool.fetchval("SELECT count(*) FROM node") == 1
    crashed = await owner_pool.fetch("SELECT slot FROM slot WHERE role = 'apply' AND crashes = 1 ORDER BY slot")
    assert [row["slot"] for row in crashed] == [7, 9]
    assert await owner_pool.fetchval("SELECT crashes FROM event_crash WHERE event_id = $1", event) == 1
    await wait_for(lambda: survivor.slots()[7].crashes == 1)
    await survivor.calm(7)
    assert survivor.slots()[7].crashes == 0


@pytest.mark.crash
@pytest.mark.asyncio
async def test_a_hung_process_loses_its_slots_and_comes_back_as_somebody_else(
    join: Join, other: Callable[..., Awaitable[OtherProcess]], owner_pool: Pool
) -> None:
    survivor = await join(lease_seconds=4.0)
    hung = await other(4.0)
    before = await hung.says(lambda _, count: count == SLOTS // 2)

    hung.signal(signal.SIGSTOP)
    await wait_for(lambda: set(survivor.slots()) == ALL)
    assert await owners(owner_pool) == {survivor.node_id: SLOTS}
    hung.signal(signal.SIGCONT)

    after = await hung.says(lambda node_id, count: node_id != before and count == SLOTS // 2)
    assert after != before


@pytest.mark.asyncio
async def test_a_lost_session_is_replaced_under_a_new_id(join: Join, superuser: DirectConnection) -> None:
    node = await join()
    await wait_for(lambda: len(node.slots()) == SLOTS)
    before = node.node_id

    await cut(superuser, node)
    await node.refresh()

    await wait_for(lambda: node.node_id != before and len(node.slots()) == SLOTS)


@pytest.mark.asyncio
async def test_a_slot_under_a_fence_is_not_taken_before_the_work_ends(
    join: Join, database: Database, owner_pool: Pool
) -> None:
    node = await join()
    await wait_for(lambda: len(node.slots()) == SLOTS)
    held = [SlotEpoch(slot, node.slots()[slot].epoch) for slot in (3, 5)]
    thief = new_id()

    async with owner_pool.acquire() as working, owner_pool.acquire() as stealing:
        transaction = working.transaction()
        await transaction.start()
        await fence(working, "apply", node.node_id, held)

        await stealing.execute(TAKE, "apply", thief, list(ALL), [node.node_id])
        assert (await owners(owner_pool)) == {node.node_id: 2, thief: SLOTS - 2}

        await transaction.commit()
        await stealing.execute(TAKE, "apply", thief, list(ALL), [node.node_id])
        assert (await owners(owner_pool)) == {thief: SLOTS}

        with pytest.raises(Fenced, match="2 of 2 slots"):
            await fence(working, "apply", node.node_id, held)


@pytest.mark.asyncio
async def test_an_older_epoch_is_fenced_even_for_the_same_node(join: Join, owner_pool: Pool) -> None:
    node = await join()
    await wait_for(lambda: len(node.slots()) == SLOTS)
    epoch = node.slots()[3].epoch

    await fence(owner_pool, "apply", node.node_id, [SlotEpoch(3, epoch)])  # type: ignore[arg-type]
    with pytest.raises(Fenced):
        await fence(owner_pool, "apply", node.node_id, [SlotEpoch(3, epoch - 1)])  # type: ignore[arg-type]
    with pytest.raises(Fenced):
        await fence(owner_pool, "dispatch", node.node_id, [SlotEpoch(3, epoch)])  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_a_dead_node_in_an_open_transaction_does_not_hold_the_living_up(
    join: Join, owner_pool: Pool, database: Database
) -> None:
    """The hung node's transaction fences slots and has touched its own row; nobody may wait for it."""
    node = await join()
    await wait_for(lambda: len(node.slots()) == SLOTS)
    held = [SlotEpoch(3, node.slots()[3].epoch)]
    impatient = await direct_connection(database.access(Role.APPLY), application_name="test")
    await impatient.execute("SET lock_timeout = '50ms'")

    async with owner_pool.acquire() as working, working.transaction():
        await fence(working, "apply", node.node_id, held)
        await working.execute("UPDATE node SET working_slots = '{3}' WHERE node_id = $1", node.node_id)

        await impatient.execute(BURY, "apply", [node.node_id])
        await impatient.execute(TAKE, "apply", new_id(), list(ALL), [node.node_id])

    assert await owner_pool.fetchval("SELECT count(*) FROM node") == 1
    await impatient.execute(BURY, "apply", [node.node_id])
    assert await owner_pool.fetchval("SELECT count(*) FROM node") == 0
    assert await owner_pool.fetchval("SELECT crashes FROM slot WHERE role = 'apply' AND slot = 3") == 1
    await impatient.close()


@pytest.mark.asyncio
async def test_two_takers_and_many_fences_never_deadlock(join: Join, owner_pool: Pool, database: Database) -> None:
    """Takers and workers lock slots in the same order."""
    node = await join()
    await wait_for(lambda: len(node.slots()) == SLOTS)
    first, second = new_id(), new_id()

    async def work(start: int) -> None:
        for _ in range(20):
            async with owner_pool.acquire() as conn, conn.transaction():
                rows = await conn.fetch(
                    "SELECT slot, epoch, node_id FROM slot WHERE role = 'apply' AND slot % 7 = $1", start
                )
                chosen = [SlotEpoch(row["slot"], row["epoch"]) for row in reversed(rows)]
                with contextlib.suppress(Fenced):
                    await fence(conn, "apply", rows[0]["node_id"], chosen)

    async def take(taker: UUID, victim: UUID) -> None:
        for _ in range(20):
            await owner_pool.execute(TAKE, "apply", taker, list(reversed(range(SLOTS))), [victim, node.node_id])

    await asyncio.gather(work(0), work(1), work(2), take(first, second), take(second, first))


@pytest.mark.asyncio
async def test_a_listener_survives_a_lost_session(join: Join, owner_pool: Pool, superuser: DirectConnection) -> None:
    node = await join()
    heard: list[str] = []
    await node.listen("tidegate_event", heard.append)
    await owner_pool.execute("SELECT pg_notify('tidegate_event', 'one')")
    await wait_for(lambda: heard == ["one"])
    before = node.node_id

    await cut(superuser, node)
    await node.refresh()
    await wait_for(lambda: node.node_id != before and len(node.slots()) == SLOTS)
    await owner_pool.execute("SELECT pg_notify('tidegate_event', 'two')")

    await wait_for(lambda: heard == ["one", "two"])
