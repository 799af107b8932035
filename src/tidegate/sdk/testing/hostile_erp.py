"""What the hostile remote does as an ERP: orders under a reference, movements of goods, shipments. Pure: changes its World."""

from __future__ import annotations

from typing import Any

import msgspec

from tidegate.sdk.testing.hostile_world import (
    Article,
    ErpLine,
    ErpOrder,
    Move,
    RefusalError,
    Shipment,
    World,
    article_id_of,
)

Json = dict[str, Any]
WAREHOUSE = "wh-1"


def put_articles(world: World, articles: list[Json], now: str) -> None:
    """Create or change articles `{sku, article_id?, product_id?, title?, barcode?, price_minor?, shop_on_hand?, erp_on_hand?}`.

    Differences in the ERP become moves.
    """
    for raw in articles:
        article_id = str(raw.get("article_id") or article_id_of(raw["sku"]))
        fresh = Article(article_id, raw["sku"], str(raw.get("title", raw["sku"])))
        article = world.articles.setdefault(article_id, fresh)
        article.product_id = raw.get("product_id", article.product_id)
        article.price_minor = raw.get("price_minor", article.price_minor)
        article.shop_on_hand = raw.get("shop_on_hand", article.shop_on_hand)
        article.barcode = raw.get("barcode", article.barcode)
        delta = raw.get("erp_on_hand", article.erp_on_hand) - article.erp_on_hand
        if delta:
            move(world, article, kind="receive" if delta > 0 else "adjust", quantity_delta=delta, now=now)


def delete_articles(world: World, article_ids: list[str]) -> None:
    """Delete articles for good, and say of which products nothing is left."""
    products = {world.articles.pop(article_id).product_id for article_id in article_ids}
    for product_id in sorted(products - {""} - {each.product_id for each in world.articles.values()}):
        world.emit("product.deleted", product={"product_id": product_id})


def move(
    world: World,
    article: Article,
    *,
    kind: str,
    quantity_delta: int,
    now: str,
    order_reference: str = "",
    line_reference: str = "",
) -> Move:
    """Post a movement of goods and announce it."""
    article.erp_on_hand += quantity_delta
    posted = Move(
        move_id=f"mv-{len(world.moves) + 1}",
        revision=world.next_revision(),
        kind=kind,
        article_id=article.article_id,
        sku=article.sku,
        location_id=WAREHOUSE,
        quantity_delta=quantity_delta,
        order_reference=order_reference,
        line_reference=line_reference,
        moved_at=now,
    )
    world.moves.append(posted)
    world.emit("stock.moved", move=msgspec.to_builtins(posted))
    return posted


def add_moves(world: World, moves: list[Json], now: str) -> list[Json]:
    """Post movements `{sku, kind, quantity_delta}` and return them."""
    return [
        msgspec.to_builtins(
            move(
                world, world.article_of_sku(raw["sku"]), kind=raw["kind"], quantity_delta=raw["quantity_delta"], now=now
            )
        )
        for raw in moves
    ]


def create_order(world: World, raw: Json) -> tuple[int, Json]:
    """Create an order; a known reference is refused with 409 and the known id while references are unique."""
    reference = raw["reference"]
    world.count(world.asked, "order.create", reference)
    known = world.made_under("order", reference)
    if known and world.unique_references:
        raise RefusalError(409, "duplicate_reference", id=known[0], lines=_line_ids(world.erp_orders[known[0]]))
    lines = [
        ErpLine(
            line["reference"],
            world.article(line["article_id"]).article_id,
            line["sku"],
            line["quantity"],
            location_id=line.get("location_id", ""),
        )
        for line in raw["lines"]
    ]
    order = ErpOrder(f"so-{len(world.erp_orders) + 1}", reference, raw.get("number", ""), "open", lines)
    world.erp_orders[order.order_id] = order
    known.append(order.order_id)
    world.count(world.effects, "order.create", reference)
    return 201, {"id": order.order_id, "lines": _line_ids(order)}


def find_orders(world: World, reference: str) -> Json:
    """Return the orders of a reference."""
    return {"items": [msgspec.to_builtins(world.erp_orders[known]) for known in world.made_under("order", reference)]}


def cancel_order(world: World, order_id: str) -> tuple[int, Json]:
    """Cancel an order; a second time changes nothing, a shipped one is refused with 409."""
    order = world.erp_orders.get(order_id)
    if order is None:
        raise RefusalError(404, "unknown_order")
    world.count(world.asked, "order.cancel", order.reference)
    if any(line.shipped for line in order.lines):
        raise RefusalError(409, "already_shipped")
    if order.state != "cancelled":
        order.state = "cancelled"
        world.count(world.effects, "order.cancel", order.reference)
    return 200, {"id": order.order_id, "state": order.state}


def ship(world: World, raw: Json, now: str) -> Json:
    """Ship an order `{reference, lines?: [{reference, quantity}], tracking?}`: one movement per line and one shipment."""
    known = world.made_under("order", raw["reference"])
    if not known:
        raise RefusalError(404, "unknown_order")
    order = world.erp_orders[known[0]]
    wanted = {line["reference"]: line["quantity"] for line in raw.get("lines", [])}
    shipped: list[Json] = []
    for line in order.lines:
        units = wanted.get(line.reference, 0) if wanted else line.quantity - line.shipped
        units = min(units, line.quantity - line.shipped)
        if units > 0:
            line.shipped += units
            move(
                world,
                world.article(line.article_id),
                kind="ship",
                quantity_delta=-units,
                now=now,
                order_reference=order.reference,
                line_reference=line.reference,
            )
            shipped.append({"line_reference": line.reference, "sku": line.sku, "quantity": units})
    if not shipped:
        raise RefusalError(409, "nothing_to_ship")
    number = len(world.shipments) + 1
    shipment = Shipment(
        shipment_id=f"sh-{number}",
        revision=world.next_revision(),
        order_reference=order.reference,
        tracking=raw.get("tracking", f"TRACK-{number}"),
        carrier=raw.get("carrier", "hostile-post"),
        shipped_at=now,
        lines=shipped,
    )
    world.shipments.append(shipment)
    world.emit("shipment.created", shipment=msgspec.to_builtins(shipment))
    result: Json = msgspec.to_builtins(shipment)
    return result


def _line_ids(order: ErpOrder) -> Json:
    return {line.reference: f"{order.order_id}/{index}" for index, line in enumerate(order.lines, start=1)}
