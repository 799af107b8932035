"""Test programs of the supervisor: the supervisor as a process of its own, and children that record what they see.

`python -m tests.integration.supervised PROJECT '{"processes": {"door": 1}, "serve": "recording"}'`
"""

import asyncio
import hashlib
import json
import os
import sys
from pathlib import Path

from tests.conftest import SMALL_SETTINGS

from tidegate.kernel.errors import TidegateError
from tidegate.runtime.project import Project
from tidegate.runtime.roles import PROCESS_ROLES
from tidegate.runtime.supervisor import Plan, Supervisor, open_supervisor_log, run_until_signalled
from tidegate.store.connections import DATABASE_ERRORS, is_outage
from tidegate.store.context import Context
from tidegate.store.pool import create_pool

BEAT_SECONDS = 0.02


def record_file(project: Path, role: str, index: int) -> Path:
    return project / "run" / f"record-{role}-{index}.json"


def write_record(context: Context, **fields: object) -> None:
    assert context.project is not None
    path = record_file(context.project, context.role, context.index)
    staging = path.with_suffix(".new")
    staging.write_text(json.dumps({"pid": os.getpid(), **fields}))
    staging.rename(path)


async def recording(context: Context, stop: asyncio.Event) -> None:
    """Record role, keys and database user, count heartbeats over lost connections, and that the stop came."""
    keys = {name: hashlib.sha256(key).hexdigest() for name, key in context.keys.items()}
    pool = await create_pool(context.access, application_name=f"test-{context.role}", size_max=1)
    user, beats, backend = None, 0, None
    while not stop.is_set():
        try:
            async with pool.acquire(timeout=100) as connection:
                user = await connection.fetchval("SELECT current_user::text")
                backend = await connection.fetchval("SELECT pg_backend_pid()")
            beats += 1
        except DATABASE_ERRORS as error:
            if not is_outage(error):
                raise
        write_record(context, state="running", keys=keys, user=user, beats=beats, backend=backend)
        await asyncio.sleep(BEAT_SECONDS)
    await pool.close()
    write_record(context, state="drained", keys=keys, user=user, beats=beats, backend=backend)


async def crashing(context: Context, stop: asyncio.Event) -> None:
    """Fail at once, with something private in the message."""
    raise RuntimeError("private text of a payload")


async def stubborn(context: Context, stop: asyncio.Event) -> None:
    """Never drain."""
    write_record(context, state="running")
    await asyncio.Event().wait()


def main() -> int:
    project = Project(Path(sys.argv[1]))
    wanted = json.loads(sys.argv[2])
    serve = wanted.get("serve", "recording")
    plan = Plan(
        processes=wanted["processes"],
        postgres_version=wanted.get("postgres_version", 18),
        postgres_settings=SMALL_SETTINGS,
        database_url=os.environ.get("TIDEGATE_DATABASE_URL"),
        entries=dict.fromkeys(PROCESS_ROLES, f"tests.integration.supervised:{serve}"),
        connectors_entry=None,
        drain_seconds=wanted.get("drain_seconds", 10),
    )
    open_supervisor_log(project)
    try:
        asyncio.run(run_until_signalled(Supervisor(project, plan, report=lambda line: print(line, flush=True))))
    except TidegateError as error:
        print(f"{error}\n{error.hint}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
