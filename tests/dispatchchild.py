"""A dispatch node in a process of its own, with ten calls a second: `python -m tests.dispatchchild DSN`. Ended by kill -9."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace

from tests.dispatchbed import CELL, KEYS, QUIET, SETTINGS
from tidegate.dispatch.worker import Worker
from tidegate.sdk.budgets import SlidingWindow
from tidegate.store.context import Context
from tidegate.store.pool import Access
from tidegate.store.roles import Role

LIMIT = 10
SECONDS = 1.0


async def main() -> None:
    context = Context(
        role="dispatch",
        index=1,
        cell=CELL,
        access=Access(role=Role.DISPATCH, dsn=sys.argv[1]),
        keys=KEYS,
        connectors={"hostile": replace(QUIET, budget=SlidingWindow(LIMIT, SECONDS))},
    )
    await Worker(context, settings=SETTINGS).run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main())
