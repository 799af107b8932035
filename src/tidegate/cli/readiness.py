"""Whether the processes that were started answer: a started process is not yet a ready one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import aiohttp
import asyncpg

from tidegate.cli.session import connect_owner, find_database
from tidegate.config import Config
from tidegate.kernel.errors import TidegateError
from tidegate.runtime.control import running_state
from tidegate.runtime.project import Project
from tidegate.runtime.state import RunState, is_alive
from tidegate.store.sql import query

POLL_SECONDS = 0.1
HEALTH_WORDS = "pages, health and metrics at"
"""Said last."""
_ANSWER_TIMEOUT = aiohttp.ClientTimeout(total=2)
_NODES = query("status_nodes")
_AWAY = (aiohttp.ClientError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, TidegateError)


async def announce_ready(
    project: Project, config: Config, processes: Mapping[str, int], say: Callable[[str], None]
) -> None:
    """Say `ok ROLE` for each kind of process when all of that kind answer, and where the door is."""
    waiting = [name for name in ("door", "apply", "dispatch", "web") if processes.get(name)]
    while waiting:
        await asyncio.sleep(POLL_SECONDS)
        ready = await find_ready(project, config, processes)
        for name in [name for name in waiting if name in ready]:
            say(f"ok {name}" + (f" x{processes[name]}" if processes[name] > 1 else ""))
            waiting.remove(name)
    if processes.get("door"):
        say(f"webhooks come in at {config.webhook_base}/in/{config.cell}/...")
    if processes.get("web"):
        say(f"{HEALTH_WORDS} {config.web_base}")


async def wait_until_running(
    project: Project,
    config: Config,
    processes: Mapping[str, int],
    deadline: float,
    has_ended: Callable[[], bool],
) -> bool:
    """Return True when all processes are ready, False when the supervisor ended or `deadline` (monotonic) passed."""
    wanted = {name for name, number in processes.items() if number}
    while time.monotonic() < deadline and not has_ended():
        if wanted <= await find_ready(project, config, processes):
            return True
        await asyncio.sleep(POLL_SECONDS)
    return False


async def find_ready(project: Project, config: Config, processes: Mapping[str, int]) -> set[str]:
    """Return the kinds of processes of which all that should run answer."""
    state = running_state(project)
    if state is None or state.phase != "running":
        return set()
    ready = set()
    listen = config.listen
    if _live(state, "door") and await _answers(listen.host, listen.port):
        ready.add("door")
    if _live(state, "web") and await _answers(listen.web_host, listen.web_port):
        ready.add("web")
    pids = await _node_pids(project)
    ready.update(
        name
        for name in ("apply", "dispatch")
        if len(state.pids(name)) >= processes.get(name, 0) and set(state.pids(name)) <= pids
    )
    return ready


def _live(state: RunState, role: str) -> bool:
    """Whether every process of a role lives: somebody else may answer at its address."""
    return all(is_alive(child) and not child.crash_looping for child in state.children if child.role == role)


async def _answers(host: str, port: int) -> bool:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - read, not bound
    url = f"http://{reachable}:{port}/healthz"
    try:
        async with aiohttp.ClientSession(timeout=_ANSWER_TIMEOUT, trust_env=False) as http, http.get(url) as answer:
            return answer.status == 200
    except _AWAY:
        return False


async def _node_pids(project: Project) -> set[int]:
    """Return the pids of the worker loops that joined the database."""
    try:
        conn = await connect_owner(await find_database(project))
        try:
            return {row["pid"] for row in await conn.fetch(_NODES)}
        finally:
            await conn.close()
    except _AWAY:
        return set()
