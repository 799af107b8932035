"""Stock that waits for somebody: what is sold too often, and articles that were deleted over there."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Response

from tidegate.monitor.oversold import read_oversold
from tidegate.sync.backorders import settle
from tidegate.sync.cancelling import cancel_orders
from tidegate.sync.matches import read_deleted
from tidegate.sync.tombstones import forget, relink
from tidegate.web.pages.visit import Here
from tidegate.web.problems import ProblemError

ITEMS = 50
OVERSOLD, DELETED = "/stock#oversold", "/stock#deleted"
_DONE = {
    "wait": "wait for goods now.",
    "cancel": "are called off: their shops are asked to cancel them.",
    "undo": "are as if nobody had decided.",
}


async def show(here: Here) -> Response[Any]:
    """Show what is oversold with its orders, and deleted articles with what may take their place."""
    async with here.reading() as conn:
        items = await read_oversold(conn, here.tenant_id, limit=ITEMS)
        deleted = await read_deleted(conn, here.tenant_id, None, limit=ITEMS)
    return here.show("stock.html", items=items, deleted=deleted)


async def decide(here: Here) -> Response[Any]:
    """Let the chosen orders of an article wait or stand, or have their shops cancel them."""
    sku, verb = here.field("sku"), here.field("verb")
    chosen = _chosen(here)
    if not chosen:
        return here.go(OVERSOLD, "Nothing was chosen.")
    who: dict[str, Any] = {"by": here.actor, "cell": here.cell, "orders": chosen}
    match verb:
        case "wait" | "undo":
            async with here.writing() as conn:
                done = await settle(conn, here.tenant_id, sku, verb, **who)
        case "cancel":
            await here.prove()
            config = await here.config()
            async with here.writing() as conn:
                done = await cancel_orders(conn, here.tenant_id, sku, config=config, connectors=here.connectors, **who)
        case _:
            raise ProblemError(400, "form_invalid", "say what becomes of the orders")
    return here.go(OVERSOLD, f"{len(done)} of {len(chosen)} orders {_DONE[verb]}")


async def replace(here: Here) -> Response[Any]:
    """Bind what took the place of a deleted article, or forget the article."""
    connection, external_id = here.field("connection"), here.field("external_id")
    if here.field("verb") == "forget":
        async with here.writing() as conn:
            gone = await forget(
                conn, tenant_id=here.tenant_id, connection=connection, external_id=external_id, actor=here.actor
            )
        return here.go(DELETED, f"{external_id} of {connection} stands for {gone.sku} no longer.")
    config = await here.config()
    async with here.writing() as conn:
        done = await relink(
            conn,
            tenant_id=here.tenant_id,
            config=config,
            connectors=here.connectors,
            connection=connection,
            external_id=external_id,
            successor=here.field("successor") or None,
            actor=here.actor,
        )
    return here.go(DELETED, f"{done.successor} of {connection} stands for {done.sku} now.")


def _chosen(here: Here) -> set[UUID]:
    try:
        return {UUID(hex=name.removeprefix("order_")) for name in here.fields if name.startswith("order_")}
    except ValueError as error:
        raise ProblemError(400, "form_invalid", "the form names an order that cannot exist") from error
