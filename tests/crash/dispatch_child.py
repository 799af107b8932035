"""A dispatch process for tests that kill it: reads its world as JSON from standard input, runs until it is ended."""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import replace
from datetime import timedelta

import msgspec
import uvloop
from tests.dispatchbed import CELL, KEYS, SETTINGS

from tidegate.dispatch.worker import Worker
from tidegate.sdk.testing.hostile_connector import build_connector
from tidegate.store.context import Context
from tidegate.store.pool import Access
from tidegate.store.roles import Role


class World(msgspec.Struct, frozen=True):
    """What the process is told."""

    dsn: str
    index: int
    lease_seconds: float
    deadline_seconds: float
    feed_seconds: float = 3600.0
    settle_seconds: float = SETTINGS.unseen_settle_seconds
    """For how long a channel's list of orders may be late."""


async def run(world: World) -> None:
    connector = build_connector(
        feed_interval=timedelta(seconds=world.feed_seconds),
        request_deadline=timedelta(seconds=world.deadline_seconds),
    )
    context = Context(
        role="dispatch",
        index=world.index,
        cell=CELL,
        access=Access(role=Role.DISPATCH, dsn=world.dsn),
        keys=KEYS,
        connectors={"hostile": connector},
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = replace(
        SETTINGS,
        lease_seconds=world.lease_seconds,
        unseen_settle_seconds=world.settle_seconds,
        drain_look_seconds=min(SETTINGS.drain_look_seconds, world.settle_seconds),
    )
    await Worker(context, settings=settings).run(stop)


if __name__ == "__main__":
    uvloop.run(run(msgspec.json.decode(sys.stdin.buffer.readline(), type=World)))
