"""A process that looks at the alert rules until a crash point ends it: `python -m tests.alertchild DSN`."""

from __future__ import annotations

import asyncio
import sys

from tests.alertbed import SETTINGS, MovableClock
from tests.applybed import KEYS
from tests.dispatchbed import QUIET
from tidegate.monitor.alerts.evaluator import Evaluator
from tidegate.store.pool import Access
from tidegate.store.roles import Role


async def main() -> None:
    evaluator = Evaluator(
        Access(role=Role.WEB, dsn=sys.argv[1]),
        keys={"alert": KEYS["alert"]},
        connectors={"hostile": QUIET},
        clock=MovableClock(),
        cell="c0",
        settings=SETTINGS,
    )
    for _ in range(3):
        await evaluator.round()
        await evaluator.outbox.settle()


if __name__ == "__main__":
    asyncio.run(main())
