"""What the hostile remote does as a shop: orders, fulfillments, stock numbers. Pure: changes the World it is given."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from tidegate.sdk.testing.hostile_world import (
    RefusalError,
    ShopFulfillment,
    ShopLine,
    ShopOrder,
    ShopPayment,
    StockSet,
    World,
)

Json = dict[str, Any]


def place_order(world: World, raw: Json, now: str) -> Json:
    """Place an order `{lines: [{sku, quantity}], customer?, address?, placed_at?, payment_state?, psp_reference?, thin?}`.

    It is announced. The shop allocates the units and never refuses: it is a shop that oversells when its number is wrong.
    """
    number = len(world.shop_orders) + 1
    lines = []
    for index, wanted in enumerate(raw["lines"], start=1):
        article = world.article_of_sku(wanted["sku"])
        article.shop_allocated += wanted["quantity"]
        lines.append(
            ShopLine(
                line_id=f"{number}-{index}",
                article_id=article.article_id,
                sku=article.sku,
                title=article.title,
                ordered=wanted["quantity"],
                current=wanted["quantity"],
                unit_price_minor=article.price_minor,
            )
        )
    order = ShopOrder(
        order_id=f"o-{number}",
        number=f"{world.account.upper()}-{1000 + number}",
        revision=world.next_revision(),
        placed_at=raw.get("placed_at", now),
        currency=raw.get("currency", "EUR"),
        state="open",
        payment_state=raw.get("payment_state", "paid"),
        lines=lines,
        customer=raw.get("customer", {"email": f"buyer{number}@example.test", "last_name": "Buyer"}),
        address=raw.get("address", {"street1": "Quay 1", "city": "Bremen", "country_code": "DE"}),
        shipping_minor=raw.get("shipping_minor", 0),
    )
    if raw.get("psp_reference"):
        total = order.shipping_minor + sum(line.unit_price_minor * line.current for line in lines)
        order.payments = [ShopPayment(f"t-{number}", "authorise", "ok", total, psp_reference=raw["psp_reference"])]
    world.shop_orders[order.order_id] = order
    announce(world, order, thin=bool(raw.get("thin")))
    return order_json(order)


def change_order(world: World, order_id: str, raw: Json) -> Json:
    """Change an order `{cancel?, lines?: {line_id: current}, payment_state?, refund?, thin?}` and announce it.

    `refund` is `{amount_minor, psp_reference?}`: with a reference the shop gave the money back itself.
    """
    order = _order(world, order_id)
    wanted = dict.fromkeys((line.line_id for line in order.lines), 0) if raw.get("cancel") else raw.get("lines", {})
    for line in order.lines:
        current = max(line.fulfilled, wanted.get(line.line_id, line.current))
        world.article(line.article_id).shop_allocated += current - line.current
        line.current = current
    if raw.get("cancel"):
        order.state = "cancelled"
    order.payment_state = raw.get("payment_state", order.payment_state)
    if raw.get("refund"):
        _add_refund(order, raw["refund"]["amount_minor"], psp_reference=raw["refund"].get("psp_reference", ""))
    order.revision = world.next_revision()
    announce(world, order, thin=bool(raw.get("thin")))
    return order_json(order)


def cancel_order(world: World, order_id: str) -> tuple[int, Json]:
    """Cancel an order; a second time changes nothing, one of which something was fulfilled is refused with 409."""
    order = _order(world, order_id)
    world.count(world.asked, "shop.cancel", order_id)
    if any(line.fulfilled for line in order.lines):
        raise RefusalError(409, "already_shipped")
    if order.state != "cancelled":
        change_order(world, order_id, {"cancel": True})
        world.count(world.effects, "shop.cancel", order_id)
    return 200, {"id": order_id, "state": order.state}


def announce(world: World, order: ShopOrder, *, thin: bool = False) -> None:
    """Record the event of an order's present revision; a thin one carries the id only."""
    if thin:
        world.emit("order.hint", order_id=order.order_id)
    else:
        world.emit("order.updated", order=order_json(order))


def order_json(order: ShopOrder) -> Json:
    """Return the order as the API and the webhooks show it."""
    shown: Json = msgspec.to_builtins(order)
    return shown


def read_placed(world: World, since: str, until: str) -> Json:
    """Return the orders that were placed in a window."""
    first, last = datetime.fromisoformat(since), datetime.fromisoformat(until)
    found = [one for one in world.shop_orders.values() if first <= datetime.fromisoformat(one.placed_at) < last]
    return {"items": [order_json(order) for order in found]}


def read_orders(world: World, *, after: int, limit: int) -> Json:
    """Return a page of orders changed after a revision, oldest change first."""
    changed = sorted((o for o in world.shop_orders.values() if o.revision > after), key=lambda o: o.revision)
    return {"items": [order_json(order) for order in changed[:limit]], "has_more": len(changed) > limit}


def read_order(world: World, order_id: str) -> Json:
    """Return one order."""
    return order_json(_order(world, order_id))


def create_fulfillment(world: World, order_id: str, raw: Json) -> tuple[int, Json]:
    """Fulfil units of an order: takes them off on_hand and off the allocation, counts the effect."""
    reference = raw["reference"]
    world.count(world.asked, "fulfillment.create", reference)
    known = world.made_under("fulfillment", reference)
    if known and world.unique_references:
        raise RefusalError(409, "duplicate_reference", id=known[0])
    order = _order(world, order_id)
    units = {line["line_id"]: line["quantity"] for line in raw["lines"]}
    lines = [line for line in order.lines if units.get(line.line_id)]
    if len(lines) != len(units):
        raise RefusalError(422, "unknown_line")
    for line in lines:
        if units[line.line_id] > line.current - line.fulfilled:
            raise RefusalError(422, "quantity_exceeds_open", line_id=line.line_id)
        if world.refuse_short_fulfillments and world.article(line.article_id).shop_on_hand < units[line.line_id]:
            raise RefusalError(409, "insufficient_stock", line_id=line.line_id)
    for line in lines:
        article = world.article(line.article_id)
        article.shop_on_hand -= units[line.line_id]
        article.shop_allocated -= units[line.line_id]
        line.fulfilled += units[line.line_id]
    order.revision = world.next_revision()
    fulfillment = ShopFulfillment(
        fulfillment_id=f"f-{len(world.fulfillments) + 1}",
        order_id=order_id,
        reference=reference,
        tracking=raw.get("tracking", ""),
        carrier=raw.get("carrier", ""),
        revision=order.revision,
        lines=[{"line_id": line.line_id, "quantity": units[line.line_id]} for line in lines],
    )
    world.fulfillments[fulfillment.fulfillment_id] = fulfillment
    known.append(fulfillment.fulfillment_id)
    world.count(world.effects, "fulfillment.create", reference)
    world.emit("fulfillment.created", fulfillment=msgspec.to_builtins(fulfillment))
    announce(world, order)
    return 201, {"id": fulfillment.fulfillment_id}


def find_fulfillments(world: World, reference: str) -> Json:
    """Return the fulfillments of a reference."""
    known = world.made_under("fulfillment", reference)
    return {"items": [msgspec.to_builtins(world.fulfillments[fulfillment_id]) for fulfillment_id in known]}


def create_refund(world: World, order_id: str, raw: Json) -> tuple[int, Json]:
    """Record that money went back, `{reference, amount_minor, psp_reference}`; counts the effect."""
    reference = raw["reference"]
    world.count(world.asked, "refund.create", reference)
    order = _order(world, order_id)
    known = world.made_under("refund", reference)
    if known and world.unique_references:
        raise RefusalError(409, "duplicate_reference", id=known[0])
    refund = _add_refund(order, raw["amount_minor"], psp_reference=raw.get("psp_reference", ""), reference=reference)
    known.append(refund.payment_id)
    world.count(world.effects, "refund.create", reference)
    order.revision = world.next_revision()
    announce(world, order)
    return 201, {"id": refund.payment_id}


def _add_refund(order: ShopOrder, amount_minor: int, *, psp_reference: str, reference: str = "") -> ShopPayment:
    payment_id = f"r-{order.order_id}-{len(order.payments) + 1}"
    refund = ShopPayment(payment_id, "refund", "ok", amount_minor, psp_reference=psp_reference, reference=reference)
    order.payments.append(refund)
    return refund


def find_refunds(world: World, reference: str) -> Json:
    """Return the refunds of a reference."""
    return {"items": [{"refund_id": refund_id} for refund_id in world.made_under("refund", reference)]}


def set_stock(world: World, raw: Json, *, idempotency_key: str, rejected: frozenset[int]) -> Json:
    """Set stock numbers `{items: [{article_id, quantity}]}`; `rejected` are the positions that fail by order of a fault."""
    results = []
    for index, item in enumerate(raw["items"]):
        article_id, quantity = item["article_id"], item["quantity"]
        world.count(world.asked, "inventory.set", article_id)
        article = world.articles.get(article_id)
        if index in rejected:
            results.append({"article_id": article_id, "status": "error", "code": "item_rejected"})
        elif article is None:
            results.append({"article_id": article_id, "status": "error", "code": "unknown_article"})
        else:
            article.shop_on_hand = quantity
            world.stock_sets.append(StockSet(article_id, quantity, idempotency_key))
            world.count(world.effects, "inventory.set", article_id)
            results.append({"article_id": article_id, "status": "ok", "quantity": quantity})
    return {"items": results}


def read_stock(world: World, article_id: str) -> Json:
    """Return an article's counters in the shop, as a list of none or one."""
    article = world.articles.get(article_id)
    if article is None:
        return {"items": []}
    counters = {"article_id": article_id, "on_hand": article.shop_on_hand, "allocated": article.shop_allocated}
    return {"items": [counters]}


def _order(world: World, order_id: str) -> ShopOrder:
    order = world.shop_orders.get(order_id)
    if order is None:
        raise RefusalError(404, "unknown_order")
    return order
