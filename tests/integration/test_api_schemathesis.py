"""The API does what its description says, whatever is thrown at it: schemathesis over every operation (SECURITY A6, G12).

`TIDEGATE_SCHEMATHESIS=300` tries that many cases per operation; by default two and no chains of them, so that it
fits into `make test`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.apibed import PEPPER, add_tenant
from tests.conftest import fresh_database

from tidegate.kernel.clock import SystemClock
from tidegate.runtime.ports import free_port
from tidegate.runtime.postgres import EmbeddedPostgres
from tidegate.store.context import Context
from tidegate.store.roles import Role
from tidegate.web.app import serve
from tidegate.web.keys import KEY_CLASS, create_key
from tidegate.web.scopes import SCOPES

pytestmark = pytest.mark.timeout(3600)
CASES = int(os.environ.get("TIDEGATE_SCHEMATHESIS", "2"))
PHASES = "examples,coverage,fuzzing" + (",stateful" if CASES > 2 else "")
ROOT = Path(__file__).parents[2]
BOUNDS = {"key_per_second": 1e6, "key_burst": 10**6, "stranger_per_second": 1e6, "stranger_burst": 10**6}


class LiveServer(threading.Thread):
    """The web process on a database with two tenants, in a thread with a loop of its own."""

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        super().__init__(daemon=True)
        self._postgres = postgres
        self.ready = threading.Event()
        self.url = ""
        self.key = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Event | None = None

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._draining = asyncio.get_running_loop(), asyncio.Event()
        async with fresh_database(self._postgres) as database:
            owner = await database.pool(Role.MIGRATOR, application_name="test")
            tenant = await add_tenant(owner, "one")
            await add_tenant(owner, "two")
            async with owner.acquire() as conn:
                made = await create_key(
                    conn,
                    tenant_id=tenant.tenant_id,
                    pepper=PEPPER,
                    name="fuzzer",
                    scopes=list(SCOPES),
                    actor="test",
                    now=SystemClock().now(),
                )
            await owner.close()
            port = free_port()
            self.key, self.url = made.text.reveal(), f"http://127.0.0.1:{port}"
            context = Context(
                role="web",
                index=1,
                cell="c0",
                access=database.access(Role.WEB),
                keys={KEY_CLASS: PEPPER},
                options={"port": port, **BOUNDS},
            )
            serving = asyncio.create_task(serve(context, self._draining))
            self.ready.set()
            await serving

    def stop(self) -> None:
        """Drain it and wait for its end."""
        assert self._loop is not None
        assert self._draining is not None
        self._loop.call_soon_threadsafe(self._draining.set)
        self.join(30)


@contextmanager
def live_server(postgres: EmbeddedPostgres) -> Iterator[LiveServer]:
    server = LiveServer(postgres)
    server.start()
    assert server.ready.wait(60)
    try:
        yield server
    finally:
        server.stop()


def test_the_api_does_what_its_description_says(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    with live_server(postgres) as server:
        result = subprocess.run(
            [
                str(Path(sys.executable).with_name("schemathesis")),
                "--config-file",
                str(ROOT / "tests" / "schemathesis.toml"),
                "run",
                f"{server.url}/v1/openapi.json",
                "--wait-for-schema",
                "20",
                "--header",
                f"Authorization: Bearer {server.key}",
                "--max-examples",
                str(CASES),
                "--phases",
                PHASES,
                "--seed",
                "1",
                "--warnings",
                "off",
                "--request-timeout",
                "20",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=3600,
            check=False,
            env={**os.environ, "NO_COLOR": "1"},
        )

    print(result.stdout[-600:])
    assert result.returncode == 0, result.stdout[-12_000:] + result.stderr[-2_000:]
