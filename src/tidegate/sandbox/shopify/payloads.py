"""Bodies of webhooks: the shapes of the REST API, in which Shopify still tells of things."""

from __future__ import annotations

from typing import Any

from tidegate.sandbox.shopify import shop as shops
from tidegate.sandbox.shopify.amounts import amount, instant
from tidegate.sandbox.shopify.shop import Fulfillment, Refund, Shop, ShopLine, ShopOrder, Transaction


def order_body(order: ShopOrder) -> dict[str, Any]:
    """Return an order."""
    currency = order.order.currency
    address = _address(order)
    refunded = order.moved("REFUND")
    return {
        "id": order.id,
        "admin_graphql_api_id": f"gid://shopify/Order/{order.id}",
        "name": order.name,
        "order_number": order.order.number,
        "email": order.email,
        "phone": None,
        "created_at": instant(order.created_at),
        "processed_at": instant(order.created_at),
        "updated_at": instant(order.updated_at),
        "cancelled_at": instant(order.cancelled_at),
        "cancel_reason": order.cancel_reason.lower() if order.cancel_reason else None,
        "closed_at": instant(order.closed_at),
        "confirmed": True,
        "test": False,
        "taxes_included": True,
        "currency": currency,
        "presentment_currency": currency,
        "financial_status": order.financial_status.lower(),
        "fulfillment_status": {"FULFILLED": "fulfilled", "PARTIALLY_FULFILLED": "partial"}.get(
            order.fulfillment_status
        ),
        "note": order.extra.note,
        "source_name": "web",
        "payment_gateway_names": [order.extra.gateway],
        "total_price": amount(order.total_minor, currency),
        "total_price_set": _both(order.total_minor, currency),
        "current_total_price": amount(order.current_minor, currency),
        "current_total_price_set": _both(order.current_minor, currency),
        "current_total_tax_set": _both(0, currency),
        "current_total_duties_set": None,
        "current_subtotal_price_set": _both(order.current_minor - order.extra.shipping_minor, currency),
        "subtotal_price_set": _both(order.order.total_minor, currency),
        "total_tax_set": _both(0, currency),
        "total_tip_received": "0.0",
        "total_outstanding": amount(max(0, order.current_minor - order.received_minor + refunded), currency),
        "customer": {
            "id": order.customer_id,
            "email": order.email,
            "first_name": order.extra.first_name,
            "last_name": order.extra.last_name,
            "phone": None,
        },
        "shipping_address": address,
        "billing_address": address,
        "line_items": [_line(line, currency) for line in order.lines],
        "shipping_lines": _shipping(order),
        "fulfillments": [fulfillment_body(one) for one in order.fulfillments],
        "refunds": [refund_body(one) for one in order.refunds],
        "discount_codes": [],
        "tax_lines": [],
    }


def fulfillment_body(one: Fulfillment) -> dict[str, Any]:
    """Return a shipment."""
    first = one.tracking[0] if one.tracking else {}
    return {
        "id": one.id,
        "admin_graphql_api_id": f"gid://shopify/Fulfillment/{one.id}",
        "order_id": one.order.id,
        "name": f"{one.order.name}.{one.number}",
        "status": one.status.lower(),
        "created_at": instant(one.created_at),
        "updated_at": instant(one.updated_at),
        "tracking_company": first.get("company"),
        "tracking_number": first.get("number"),
        "tracking_numbers": [tracking["number"] for tracking in one.tracking if tracking["number"]],
        "tracking_url": first.get("url"),
        "tracking_urls": [tracking["url"] for tracking in one.tracking if tracking["url"]],
        "line_items": [{**_line(line, one.order.order.currency), "quantity": units} for line, units in one.lines],
    }


def refund_body(one: Refund) -> dict[str, Any]:
    """Return a refund."""
    currency = one.order.order.currency
    return {
        "id": one.id,
        "admin_graphql_api_id": f"gid://shopify/Refund/{one.id}",
        "order_id": one.order.id,
        "created_at": instant(one.created_at),
        "processed_at": instant(one.created_at),
        "note": one.note,
        "restock": any(how != "NO_RESTOCK" for _, _, how, _ in one.lines),
        "refund_line_items": [
            {
                "id": one.id * 100 + place,
                "line_item_id": line.id,
                "quantity": units,
                "restock_type": how.lower(),
                "subtotal_set": _both(units * line.line.price_minor, currency),
                "line_item": _line(line, currency),
            }
            for place, (line, units, how, _) in enumerate(one.lines, start=1)
        ],
        "transactions": [transaction_body(transaction) for transaction in one.transactions],
        "order_adjustments": [],
    }


def transaction_body(one: Transaction) -> dict[str, Any]:
    """Return a transaction."""
    return {
        "id": one.id,
        "admin_graphql_api_id": f"gid://shopify/OrderTransaction/{one.id}",
        "order_id": one.order.id,
        "parent_id": one.parent.id if one.parent else None,
        "kind": one.kind.lower(),
        "status": one.status.lower(),
        "gateway": one.gateway,
        "payment_id": payment_id(one),
        "authorization": one.psp_reference,
        "amount": amount(one.amount_minor, one.order.order.currency),
        "currency": one.order.order.currency,
        "created_at": instant(one.created_at),
        "processed_at": instant(one.created_at),
        "test": False,
        "receipt": receipt(one),
    }


def level_body(shop: Shop, sku: str, location: str) -> dict[str, Any]:
    """Return a stock number."""
    item, number = shop.place.books.items[sku], shop.numbers[sku]
    return {
        "inventory_item_id": shops.ITEM_IDS + number,
        "location_id": shop.location_id(location),
        "available": item.levels[location].available,
        "updated_at": instant(shop.touched.get(sku, shop.created_at)),
        "admin_graphql_api_id": level_gid(shop, number, location),
    }


def level_gid(shop: Shop, number: int, location: str) -> str:
    """Return the id of an inventory level."""
    return f"gid://shopify/InventoryLevel/{shop.location_id(location)}?inventory_item_id={shops.ITEM_IDS + number}"


def payment_id(one: Transaction) -> str:
    """Return Shopify's own id of the payment."""
    return f"r{one.order.id:x}.{one.order.transactions.index(one) + 1}"


def receipt(one: Transaction) -> dict[str, Any]:
    """Return what the payment's provider answered."""
    if one.psp_reference is None:
        return {}
    return {"id": one.psp_reference, "object": "payment_intent", "payment_intent": one.psp_reference}


def _line(line: ShopLine, currency: str) -> dict[str, Any]:
    one = line.line
    return {
        "id": line.id,
        "admin_graphql_api_id": f"gid://shopify/LineItem/{line.id}",
        "variant_id": shops.VARIANT_IDS + line.item,
        "product_id": shops.PRODUCT_IDS + line.item,
        "sku": one.sku,
        "name": one.sku,
        "title": one.sku,
        "quantity": one.quantity,
        "current_quantity": line.current,
        "fulfillable_quantity": max(0, one.quantity - line.removed - one.shipped),
        "fulfillment_status": "fulfilled" if one.shipped >= one.quantity else "partial" if one.shipped else None,
        "price": amount(one.price_minor, currency),
        "price_set": _both(one.price_minor, currency),
        "requires_shipping": True,
        "taxable": True,
        "discount_allocations": [],
        "tax_lines": [],
    }


def _shipping(order: ShopOrder) -> list[dict[str, Any]]:
    if not order.extra.shipping_minor:
        return []
    price = order.extra.shipping_minor
    return [
        {
            "id": order.id + 1,
            "code": "standard",
            "title": "Standard",
            "price": amount(price, order.order.currency),
            "price_set": _both(price, order.order.currency),
            "is_removed": False,
            "discount_allocations": [],
            "tax_lines": [],
        }
    ]


def _address(order: ShopOrder) -> dict[str, Any]:
    return {
        "first_name": order.extra.first_name,
        "last_name": order.extra.last_name,
        "name": f"{order.extra.first_name} {order.extra.last_name}",
        "company": None,
        "address1": "1 Quay Road",
        "address2": None,
        "city": "Hamburg",
        "province": None,
        "province_code": None,
        "zip": "20457",
        "country": "Germany",
        "country_code": "DE",
        "phone": None,
    }


def _both(minor: int, currency: str) -> dict[str, Any]:
    one = {"amount": amount(minor, currency), "currency_code": currency}
    return {"shop_money": one, "presentment_money": one}
