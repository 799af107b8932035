"""The dispatch process: the lanes, and beside them the keeper of issues, which needs the same keys and rows."""

from __future__ import annotations

import asyncio

from tidegate.dispatch import worker
from tidegate.monitor import issue_keeper
from tidegate.store.context import Context


async def serve(context: Context, stop: asyncio.Event) -> None:
    """Run both until `stop` is set. The keeper never ends the lanes; when they end, it does."""
    ended = asyncio.Event()
    keeper = asyncio.create_task(issue_keeper.serve(context, ended))
    try:
        await worker.serve(context, stop)
    finally:
        ended.set()
        await asyncio.gather(keeper, return_exceptions=True)
