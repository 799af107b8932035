"""Why: the story of an order, the story of a SKU, and finding either."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from litestar import Response

from tidegate.commerce.money import Money
from tidegate.kernel.ids import public_id
from tidegate.monitor.explain import explain_order, find_orders
from tidegate.monitor.explain_sku import explain_sku
from tidegate.monitor.search import find
from tidegate.web.pages.visit import Here
from tidegate.web.problems import ProblemError

STEPS = 50


async def show_order(here: Here) -> Response[Any]:
    """Tell everything that happened to one order; of several that are called alike, list them."""
    text = here.path("number")
    async with here.reading() as conn:
        found = await find_orders(conn, here.tenant_id, text)
        if not found:
            raise ProblemError(
                404, "order_unknown", f"no order is called {text}", hint="has it come in? See the events."
            )
        if len(found) > 1:
            return here.show("found.html", q=text, orders=_orders(here, found), items=())
        story = await explain_order(conn, here.tenant_id, found[0], cell=here.cell, now=here.now)
    return here.show("order.html", story=story, total=Money(story.total_minor, story.currency))


async def show_sku(here: Here) -> Response[Any]:
    """Tell how the stock of one SKU came to be."""
    asked = here.asked("steps")
    steps = min(1000, int(asked)) if asked.isascii() and asked.isdigit() and asked != "0" else STEPS
    async with here.reading() as conn:
        config = (await here.desk.config(conn)).config
        story = await explain_sku(conn, here.tenant_id, here.path("sku"), here.connectors, config, limit=steps)
    address = f"/skus/{quote(story.sku, safe='')}"
    return here.show("sku.html", story=story, address=address, more=min(1000, steps * 4))


async def show_found(here: Here) -> Response[Any]:
    """Go to what a text names, or list what it may mean."""
    text = here.asked("q")
    async with here.reading() as conn:
        found = await find(conn, here.tenant_id, text) if text else None
    if found is None:
        return here.go("/")
    if found.event_id is not None:
        return here.go(f"/events/{public_id('evt', here.cell, found.event_id)}")
    if found.command_id is not None:
        return here.go(f"/commands/{public_id('cmd', here.cell, found.command_id)}")
    item = found.exact_item(text)
    if len(found.orders) == 1 and item is None:
        return here.go(f"/orders/{public_id('ord', here.cell, found.orders[0]['order_id'])}")
    if item is not None and not found.orders:
        return here.go(f"/skus/{quote(item['sku'], safe='')}")
    return here.show("found.html", q=text, orders=_orders(here, found.orders), items=found.items)


def _orders(here: Here, rows: Any) -> list[dict[str, Any]]:
    return [
        {
            **dict(row),
            "id": public_id("ord", here.cell, row["order_id"]),
            "total": Money(row["total_minor"], row["currency"]),
        }
        for row in rows
    ]
