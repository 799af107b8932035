"""One dispatch process for `bench.reconcile`, with shops that show a catalogue of any size: `python -m bench.reconcile_process DSN ARTICLES`.

The shops answer from memory, so what is measured is ours. Article `a-0000123` shows 7 units, each thousandth one 9: somebody
changed it there.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import uvloop
from bench.apply_bed import KEYS

from tidegate.commerce.commands import CommandKind, Payload
from tidegate.dispatch.worker import Worker
from tidegate.sdk.connector import (
    Connector,
    Done,
    ItemOutcome,
    Shown,
    ShownArticle,
    ShownField,
    ShownPage,
    ShownValue,
    TokenBucket,
)
from tidegate.sdk.http import Api
from tidegate.sdk.testing.hostile_connector import build_connector
from tidegate.store.context import Context
from tidegate.store.pool import Access
from tidegate.store.roles import Role

PAGE = 1_000
"""Articles of a page, as bulk reads give them."""
PLACE = "wh-1"
OURS, CHANGED = 7, 9
EVERY = 1_000
"""Each so-manyth article differs."""


def shop_connector(articles: int) -> Connector:
    """Return a connector whose shop has so many articles."""

    async def read(_api: Api, cursor: str) -> ShownPage:
        first = int(cursor or 0)
        last = min(first + PAGE, articles)
        shown = tuple(_article(number) for number in range(first, last))
        return ShownPage(articles=shown, cursor=str(last), has_more=last < articles)

    async def set_numbers(_api: Api, payloads: Sequence[Payload], _key: str) -> Sequence[ItemOutcome]:
        return [Done() for _ in payloads]

    base = build_connector(stock_number="available")
    spec = replace(base.commands[CommandKind.INVENTORY_SET], execute=set_numbers, bulk_max=100)
    return replace(
        base,
        budget=TokenBucket(10_000, 1_000.0),
        feeds={},
        shown=Shown(read=read, fields=frozenset({ShownField.STOCK}), articles_max=PAGE),
        commands={CommandKind.INVENTORY_SET: spec},
    )


def _article(number: int) -> ShownArticle:
    units = CHANGED if number % EVERY == 0 else OURS
    value = ShownValue(field=ShownField.STOCK, place=PLACE, value=Decimal(units))
    return ShownArticle(external_id=f"a-{number:07}", sku=f"SKU-{number:07}", values=(value,))


async def main() -> None:
    """Serve until killed."""
    context = Context(
        role="dispatch",
        index=1,
        cell="c0",
        access=Access(role=Role.DISPATCH, dsn=sys.argv[1]),
        keys=KEYS,
        connectors={"hostile": shop_connector(int(sys.argv[2]))},
    )
    await Worker(context).run(asyncio.Event())


if __name__ == "__main__":
    uvloop.run(main())
