"""The web process reads as its own role, and says whether the installation is able to work."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from tidegate.monitor.metrics import exposed, socket_path
from tidegate.runtime.ports import free_port
from tidegate.runtime.project import Project
from tidegate.runtime.state import RunState, describe_process, write_state
from tidegate.store.connections import Pool
from tidegate.store.context import Context
from tidegate.store.database import Database
from tidegate.store.roles import Role
from tidegate.web.app import serve

pytestmark = pytest.mark.asyncio


@asynccontextmanager
async def running_web(database: Database, project: Path | None = None) -> AsyncIterator[str]:
    port = free_port()
    context = Context(
        role="web", index=1, cell="c0", access=database.access(Role.WEB), project=project, options={"port": port}
    )
    stop = asyncio.Event()
    task = asyncio.create_task(serve(context, stop))
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        stop.set()
        await asyncio.wait_for(task, 200)


async def get(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as http:
        for _ in range(4000):
            try:
                async with http.get(url) as answer:
                    return answer.status, await answer.text()
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)
    raise AssertionError("it does not answer")


def gauges_of(text: str) -> dict[str, float]:
    families = text_string_to_metric_families(text)
    return {sample.name: sample.value for family in families for sample in family.samples if not sample.labels}


async def test_it_is_ready_when_the_database_takes_writes(database: Database) -> None:
    async with running_web(database) as url:
        assert (await get(f"{url}/healthz"))[0] == 200
        status, body = await get(f"{url}/readyz")

    assert status == 200
    assert '"database":"writable"' in body


async def test_it_is_not_ready_while_a_process_is_missing(database: Database, short_dir: Path) -> None:
    project = Project(short_dir)
    project.make_folders()
    me = describe_process("supervisor", 1, os.getpid())
    gone = describe_process("door", 1, 2**22 - 1)
    state = RunState(phase="running", supervisor=me, postgres_pid=None, children=(me, gone))
    write_state(project.state_file, state)

    async with running_web(database, short_dir) as url:
        status, body = await get(f"{url}/readyz")

    assert status == 503
    assert '"missing_processes":["door-1"]' in body


async def test_metrics_join_the_database_and_every_process(
    database: Database, owner_pool: Pool, short_dir: Path
) -> None:
    project = Project(short_dir)
    project.make_folders()
    await owner_pool.execute("INSERT INTO tenant VALUES (gen_random_uuid(), 'main')")
    registry = CollectorRegistry()
    Counter("tidegate_events_received_total", "Received.", ["connector"], registry=registry).labels("x").inc(3)

    async with exposed(socket_path(project.run_dir, "door", 1), registry), running_web(database, short_dir) as url:
        status, text = await get(f"{url}/metrics")

    assert status == 200
    assert 'tidegate_events_received_total{connector="x",process="door-1"} 3.0' in text
    gauges = gauges_of(text)
    assert gauges["tidegate_event_queue_depth"] == 0
    assert gauges["tidegate_conservation_checked"] == 1
    assert gauges["tidegate_conservation_imbalance"] == 0
    assert gauges["tidegate_writes_stopped"] == 0


async def test_an_imbalance_shows(database: Database, owner_pool: Pool) -> None:
    await owner_pool.execute(
        """
        WITH t AS (INSERT INTO tenant VALUES (gen_random_uuid(), 'main') RETURNING tenant_id),
             c AS (INSERT INTO connection (tenant_id, connection_id, name, connector, external_account)
                   SELECT tenant_id, gen_random_uuid(), 'shop', 'x', 'y' FROM t RETURNING tenant_id, connection_id)
        INSERT INTO conservation (tenant_id, connection_id, hour, writer, received, applied)
        SELECT tenant_id, connection_id, date_trunc('hour', now()), 'door', 5, 3 FROM c
        """
    )

    async with running_web(database) as url:
        _, text = await get(f"{url}/metrics")

    assert gauges_of(text)["tidegate_conservation_imbalance"] == 2


async def test_other_paths_and_methods_are_refused(database: Database) -> None:
    async with running_web(database) as url:
        assert (await get(f"{url}/admin"))[0] == 404
        async with aiohttp.ClientSession() as http, http.post(f"{url}/metrics") as answer:
            assert answer.status == 405


async def test_the_role_reads_no_body_and_no_secret(database: Database) -> None:
    pool = await database.pool(Role.WEB, application_name="test-web")
    try:
        for statement in ("SELECT body FROM event", "SELECT * FROM credential", 'SELECT private FROM "order"'):
            with pytest.raises(Exception, match="permission denied"):
                await pool.execute(statement)
    finally:
        await pool.close()


async def test_every_answer_is_guarded_by_headers_and_named_by_an_id(database: Database) -> None:
    """SECURITY G12, A9: an unknown address is a problem document; nothing may be framed, sniffed or cached."""
    async with running_web(database) as url:
        await get(f"{url}/healthz")
        async with aiohttp.ClientSession() as http, http.get(f"{url}/nothing/here") as answer:
            problem = await answer.json(content_type=None)

    assert answer.status == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["code"] == "not_found"
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert abs(parsedate_to_datetime(answer.headers["date"]) - datetime.now(UTC)) < timedelta(minutes=5)
    assert problem["request_id"].startswith("req_c0_")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert "server" not in answer.headers
