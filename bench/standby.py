"""A synchronous standby beside a running server: every commit waits until it has the log on its disk as well."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from tidegate.runtime.postgres import EmbeddedPostgres
from tidegate.store.roles import SUPERUSER

IS_SYNCHRONOUS = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
ATTACH_SECONDS = 60.0


@contextmanager
def made_standby(server: EmbeddedPostgres, folder: Path) -> Iterator[EmbeddedPostgres]:
    """Copy the server into `folder` and run the copy as its standby. No commit waits for it before `attach`."""
    account = server.account
    folder.mkdir(mode=0o700)
    account.own(folder)
    subprocess.run(
        [
            server.programs().program("pg_basebackup"),
            *("-d", server.dsn(SUPERUSER, "postgres"), "-D", folder, "-R", "-c", "fast", "-X", "stream"),
        ],
        check=True,
        cwd="/",
        **account.popen_identity(),
    )
    standby = EmbeddedPostgres(folder)
    standby.start()
    try:
        yield standby
    finally:
        standby.stop("immediate")


async def attach(conn: asyncpg.Connection) -> None:
    """Let every commit wait for the standby from now on; return when it does."""
    await conn.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
    await conn.execute("SELECT pg_reload_conf()")
    until = time.monotonic() + ATTACH_SECONDS
    while not await conn.fetchval(IS_SYNCHRONOUS):
        if time.monotonic() > until:
            raise SystemExit("the standby does not attach")
        await asyncio.sleep(0.1)


async def detach(conn: asyncpg.Connection) -> None:
    """Wait for no standby any more."""
    await conn.execute("ALTER SYSTEM RESET synchronous_standby_names")
    await conn.execute("SELECT pg_reload_conf()")
