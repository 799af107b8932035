"""A fetched order in the shape of a delivery, so that one mapper reads both."""

from __future__ import annotations

from typing import Any

import msgspec

from tidegate.connectors.shopify.graphql import Raw, number_of
from tidegate.connectors.shopify.mapper import COUNT_TOPIC, HINT_TOPIC, ORDER_TOPIC, WINDOW_TOPIC
from tidegate.sdk.connector import FeedItem


def order_item(node: Raw, lines: list[Raw]) -> FeedItem:
    """Return the item of a fetched order; `lines` are all of its lines, over all pages."""
    external_id = str(node["legacyResourceId"])
    return FeedItem(
        topic=ORDER_TOPIC,
        external_id=external_id,
        ordering_key=f"order:{external_id}",
        body=msgspec.json.encode(order_body(node, lines), order="sorted"),
    )


def hint_item(node: Raw) -> FeedItem:
    """Return the item of an order that changed: enough to tell whether it is news."""
    body = _hint(node)
    return FeedItem(
        topic=HINT_TOPIC,
        external_id=body["id"],
        ordering_key=f"order:{body['id']}",
        body=msgspec.json.encode(body, order="sorted"),
    )


def window_item(window: str, nodes: list[Raw]) -> FeedItem:
    """Return the item of the orders of a window, each as a hint."""
    return FeedItem(
        topic=WINDOW_TOPIC,
        external_id=window,
        ordering_key="orders:window",
        body=msgspec.json.encode([_hint(node) for node in nodes], order="sorted"),
    )


def count_item(window: str, count: int) -> FeedItem:
    """Return the item of a count."""
    return FeedItem(
        topic=COUNT_TOPIC,
        external_id="orders",
        ordering_key="orders:window",
        body=msgspec.json.encode({"window": window, "count": count}, order="sorted"),
    )


def _hint(node: Raw) -> Raw:
    return {
        "id": str(node["legacyResourceId"]),
        "updated_at": node["updatedAt"],
        "placed_at": node["processedAt"] or node["createdAt"],
    }


def order_body(node: Raw, lines: list[Raw]) -> Raw:
    """Return the order as a webhook would show it, as far as the mapper reads it. Parts are sorted by id."""
    return {
        "id": int(node["legacyResourceId"]),
        "name": node["name"],
        "email": node["email"],
        "phone": node["phone"],
        "created_at": node["createdAt"],
        "processed_at": node["processedAt"],
        "updated_at": node["updatedAt"],
        "cancelled_at": node["cancelledAt"],
        "closed_at": node["closedAt"],
        "test": node["test"],
        "taxes_included": node["taxesIncluded"],
        "currency": node["currencyCode"],
        "financial_status": (node["displayFinancialStatus"] or "").lower(),
        "current_total_price_set": _money(node["currentTotalPriceSet"]),
        "current_total_tax_set": _money(node["currentTotalTaxSet"]),
        "current_total_duties_set": _money(node["currentTotalDutiesSet"]),
        "total_tip_received": node["totalTipReceivedSet"]["shopMoney"]["amount"],
        "customer": _customer(node["customer"]),
        "shipping_address": _address(node["shippingAddress"]),
        "billing_address": _address(node["billingAddress"]),
        "shipping_lines": [_shipping_line(line) for line in node["shippingLines"]["nodes"]],
        "line_items": sorted((_line(line) for line in lines), key=lambda line: line["id"]),
        "refunds": sorted((_refund(one) for one in node["refunds"]), key=lambda one: one["id"]),
        "transactions": sorted((_transaction(one) for one in node["transactions"]), key=lambda one: one["id"]),
    }


def _line(raw: Raw) -> Raw:
    variant = raw["variant"]
    return {
        "id": int(number_of(raw["id"])),
        "variant_id": int(variant["legacyResourceId"]) if variant is not None else None,
        "sku": raw["sku"],
        "name": raw["name"],
        "quantity": raw["quantity"],
        "current_quantity": raw["currentQuantity"],
        "price_set": _money(raw["originalUnitPriceSet"]),
        "discount_allocations": _discounts(raw),
        "tax_lines": _taxes(raw),
    }


def _shipping_line(raw: Raw) -> Raw:
    return {
        "code": raw["code"],
        "title": raw["title"],
        "price_set": _money(raw["originalPriceSet"]),
        "discount_allocations": _discounts(raw),
        "tax_lines": _taxes(raw),
    }


def _transaction(raw: Raw) -> Raw:
    money, parent = raw["amountSet"]["shopMoney"], raw["parentTransaction"]
    return {
        "id": int(number_of(raw["id"])),
        "parent_id": int(number_of(parent["id"])) if parent is not None else None,
        "kind": raw["kind"].lower(),
        "status": raw["status"].lower(),
        "gateway": raw["gateway"],
        "payment_id": raw["paymentId"],
        "amount": money["amount"],
        "currency": money["currencyCode"],
        "created_at": raw["createdAt"],
        "processed_at": raw["processedAt"],
        "test": raw["test"],
        "receipt": _receipt(raw["receiptJson"]),
    }


def _refund(raw: Raw) -> Raw:
    """Return a refund with the ids of its transactions; these stand with the order's own."""
    return {
        "id": int(raw["legacyResourceId"]),
        "note": raw["note"],
        "transaction_ids": sorted(int(number_of(one["id"])) for one in raw["transactions"]["nodes"]),
    }


def _receipt(raw: Any) -> Raw:
    """Return what a payment provider answered as an object: a JSON text, an object, or nothing."""
    if isinstance(raw, str):
        try:
            raw = msgspec.json.decode(raw)
        except (ValueError, RecursionError):
            return {}
    return raw if isinstance(raw, dict) else {}


def _discounts(raw: Raw) -> list[Raw]:
    return [{"amount_set": _money(one["allocatedAmountSet"])} for one in raw["discountAllocations"]]


def _taxes(raw: Raw) -> list[Raw]:
    return [{"price_set": _money(one["priceSet"])} for one in raw["taxLines"]]


def _money(raw: Raw | None) -> Raw | None:
    return None if raw is None else {"shop_money": {"amount": raw["shopMoney"]["amount"]}}


def _customer(raw: Raw | None) -> Raw | None:
    if raw is None:
        return None
    return {"id": int(raw["legacyResourceId"]), "first_name": raw["firstName"], "last_name": raw["lastName"]}


def _address(raw: Raw | None) -> Raw | None:
    if raw is None:
        return None
    return {
        **{name: raw[name] for name in ("name", "company", "address1", "address2", "city", "zip", "phone")},
        "province_code": raw["provinceCode"],
        "country_code": raw["countryCodeV2"],
    }
