"""What `tidegate doctor` looks at between the systems: has everything that is sold a counterpart where it must go?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tidegate.cli.checks import Finding, ok, warn
from tidegate.cli.session import Session
from tidegate.store.sql import query

SOLD_WITHIN = timedelta(days=30)
NAMED = 5
"""SKUs that a finding names."""
_OPEN = query("doctor_unbound_open")
_SOLD = query("doctor_unbound_sold")
_PLACES = query("doctor_unbound_places")
_NEGATIVE = query("doctor_negative")


async def check_mappings(session: Session) -> AsyncIterator[Finding]:
    """Articles and places that lack a counterpart, and articles that are promised more often than they are there."""
    conn, tenant_id, flows = session.conn, session.tenant_id, session.config.flows
    if flows.orders is not None:
        erp = flows.orders.target
        again = f"give them the same SKU in both systems, run tidegate connect {erp} again, then tidegate issues list"
        stuck = await conn.fetch(_OPEN, tenant_id, erp, flows.orders.since)
        if stuck:
            orders = sum(row["orders"] for row in stuck)
            yield warn(
                "articles",
                f"{len(stuck)} SKUs of open orders are not in {erp}: {named([row['sku'] for row in stuck])}",
                again,
                code="sku_unbound_open",
                why=f"about {orders} orders cannot go to {erp}",
            )
        known = {row["sku"] for row in stuck}
        sold = await conn.fetch(_SOLD, tenant_id, erp, datetime.now(UTC) - SOLD_WITHIN)
        rest = [row["sku"] for row in sold if row["sku"] not in known]
        if rest:
            words = f"{len(rest)} SKUs sold in the last {SOLD_WITHIN.days} days are not in {erp}: {named(rest)}"
            yield warn("articles", words, again, code="sku_unbound_sold", why="the next order of them will wait")
        if not stuck and not rest:
            yield ok("articles", f"everything sold in the last {SOLD_WITHIN.days} days is in {erp}", code="articles")
    owner = session.config.owns.on_hand
    if owner is not None:
        places = [row["name"] for row in await conn.fetch(_PLACES, tenant_id, owner)]
        if places:
            words = f"{owner} does not know {len(places)} places that hold stock: {named(places)}"
            fix = f"tidegate connect {owner} binds them by name"
            yield warn("places", words, fix, code="location_unbound", why="nothing will ever move there any more")
        else:
            yield ok("places", f"every place that holds stock is one of {owner}", code="places")
    negative: list[Any] = await conn.fetch(_NEGATIVE, tenant_id)
    if negative:
        yield warn(
            "stock",
            f"{len(negative)} SKUs are promised more often than they are there: "
            + named([f"{row['sku']} ({row['available']})" for row in negative]),
            "tidegate stock SKU shows why; count them, or buy them",
            code="stock_negative",
            why="channels show 0 for them, and orders beyond stock wait",
        )
    else:
        yield ok("stock", "nothing is promised more often than it is there", code="stock")


def named(names: Sequence[str]) -> str:
    """Return the first names and how many more there are. Pure."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
