"""A shop's things as the Admin API shows them: a mapping of field to value, or to a function of the field's arguments.

A field that is in the schema and not here is refused loudly by the resolver: nothing is answered that is not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tidegate.sandbox.books import Item
from tidegate.sandbox.shopify import shop as shops
from tidegate.sandbox.shopify.amounts import amount, instant, money
from tidegate.sandbox.shopify.errors import Refusal
from tidegate.sandbox.shopify.payloads import level_gid, payment_id, receipt
from tidegate.sandbox.shopify.search import page
from tidegate.sandbox.shopify.shop import (
    Fulfillment,
    FulfillmentLine,
    FulfillmentOrder,
    Refund,
    Shop,
    ShopLine,
    ShopOrder,
    Transaction,
)

View = dict[str, Any]
STATES = ("available", "committed", "incoming", "on_hand", "reserved", "damaged", "safety_stock", "quality_control")
"""Names of quantities. on_hand is the sum of what is there; only available and committed are ever other than 0 here."""


def gid(kind: str, number: int | str) -> str:
    """Return a global id."""
    return f"gid://shopify/{kind}/{number}"


class Views:
    """Views of one shop. `is_bulk` leaves the size of connections open."""

    def __init__(self, shop: Shop, *, is_bulk: bool = False) -> None:
        self.shop, self._is_bulk = shop, is_bulk
        self._currency = shop.place.world.spec.currency

    # --- catalogue -----------------------------------------------------------------------------------------------------
    def shop_view(self) -> View:
        """Return the shop."""
        options = self.shop.options
        return {
            "__typename": "Shop",
            "id": gid("Shop", 1),
            "name": options.shop.replace("-", " ").title(),
            "myshopifyDomain": f"{options.shop}.myshopify.com",
            "currencyCode": self._currency,
            "ianaTimezone": "Etc/UTC",
            "email": f"owner@{options.shop}.example",
            "taxesIncluded": True,
            "plan": {
                "publicDisplayName": options.plan.title(),
                "shopifyPlus": options.plan in ("plus", "enterprise"),
                "partnerDevelopment": False,
            },
        }

    def location(self, name: str) -> View:
        """Return a location."""
        number = self.shop.location_id(name)
        return {
            "__typename": "Location",
            "id": gid("Location", number),
            "legacyResourceId": str(number),
            "name": name,
            "isActive": True,
            "fulfillsOnlineOrders": True,
            "shipsInventory": True,
            "createdAt": instant(self.shop.created_at),
            "updatedAt": instant(self.shop.created_at),
        }

    def product(self, number: int) -> View:
        """Return the product of an article."""
        item = self._item(number)
        return {
            "__typename": "Product",
            "id": gid("Product", shops.PRODUCT_IDS + number),
            "legacyResourceId": str(shops.PRODUCT_IDS + number),
            "title": item.title,
            "handle": item.sku.lower(),
            "status": "ACTIVE",
            "vendor": "Sandbox",
            "productType": "",
            "tags": [],
            "createdAt": instant(self.shop.created_at),
            "updatedAt": instant(self._changed(item)),
            "totalInventory": lambda: sum(level.available for level in item.levels.values()),
            "variants": self._connection([number], self.variant, lambda one: (shops.VARIANT_IDS + one,)),
        }

    def variant(self, number: int) -> View:
        """Return the variant of an article."""
        item = self._item(number)
        return {
            "__typename": "ProductVariant",
            "id": gid("ProductVariant", shops.VARIANT_IDS + number),
            "legacyResourceId": str(shops.VARIANT_IDS + number),
            "sku": item.sku,
            "title": "Default Title",
            "displayName": f"{item.title} - Default Title",
            "barcode": item.barcode,
            "price": amount(item.price_minor, self._currency),
            "position": 1,
            "taxable": True,
            "createdAt": instant(self.shop.created_at),
            "updatedAt": instant(self.shop.created_at),
            "inventoryQuantity": lambda: sum(level.available for level in item.levels.values()),
            "inventoryItem": lambda: self.inventory_item(number),
            "product": lambda: self.product(number),
        }

    def inventory_item(self, number: int) -> View:
        """Return the inventory item of an article."""
        item, locations = self._item(number), self.shop.options.locations
        return {
            "__typename": "InventoryItem",
            "id": gid("InventoryItem", shops.ITEM_IDS + number),
            "legacyResourceId": str(shops.ITEM_IDS + number),
            "sku": item.sku,
            "tracked": True,
            "requiresShipping": True,
            "createdAt": instant(self.shop.created_at),
            "updatedAt": instant(self._changed(item)),
            "locationsCount": {"count": len(locations), "precision": "EXACT"},
            "variant": lambda: self.variant(number),
            "inventoryLevel": lambda locationId, **_: self._level_at(number, locationId),  # noqa: N803 - as in the schema
            "inventoryLevels": self._connection(
                list(locations), lambda name: self.level(number, name), lambda name: (self.shop.location_id(name),)
            ),
        }

    def _level_at(self, number: int, location_gid: str) -> View | None:
        location = self.shop.location_of(number_of(location_gid, "Location"))
        return None if location is None else self.level(number, location)

    def level(self, number: int, location: str) -> View:
        """Return an article's numbers at a location."""
        item = self._item(number)
        changed = instant(self._changed(item))

        def quantities(names: list[str]) -> list[View]:
            level = item.levels[location]
            held = {
                "available": level.available,
                "committed": level.committed,
                "on_hand": level.available + level.committed,
            }
            if unknown := [name for name in names if name not in STATES]:
                raise Refusal(f"The specified inventory quantity name {unknown[0]!r} is not supported.", "BAD_REQUEST")
            return [
                {
                    "id": f"{gid('InventoryQuantity', shops.ITEM_IDS + number)}?name={name}",
                    "name": name,
                    "quantity": held.get(name, 0),
                    "updatedAt": changed,
                }
                for name in names
            ]

        return {
            "__typename": "InventoryLevel",
            "id": level_gid(self.shop, number, location),
            "isActive": True,
            "createdAt": instant(self.shop.created_at),
            "updatedAt": changed,
            "item": lambda: self.inventory_item(number),
            "location": lambda: self.location(location),
            "quantities": quantities,
        }

    # --- orders --------------------------------------------------------------------------------------------------------
    def order(self, order: ShopOrder) -> View:
        """Return an order."""
        refunded = order.moved("REFUND")
        address, subtotal = self._address(order), order.order.total_minor
        return {
            "__typename": "Order",
            "id": gid("Order", order.id),
            "legacyResourceId": str(order.id),
            "name": order.name,
            "email": order.email,
            "phone": None,
            "note": order.extra.note,
            "tags": [],
            "test": False,
            "confirmed": True,
            "sourceName": "web",
            "paymentGatewayNames": [order.extra.gateway],
            "createdAt": instant(order.created_at),
            "processedAt": instant(order.created_at),
            "updatedAt": instant(order.updated_at),
            "cancelledAt": instant(order.cancelled_at),
            "cancelReason": order.cancel_reason,
            "closedAt": instant(order.closed_at),
            "closed": order.closed_at is not None,
            "taxesIncluded": True,
            "currencyCode": self._currency,
            "presentmentCurrencyCode": self._currency,
            "displayFinancialStatus": order.financial_status,
            "displayFulfillmentStatus": order.fulfillment_status,
            "returnStatus": "NO_RETURN",
            "fullyPaid": order.received_minor >= order.current_minor,
            "capturable": order.financial_status == "AUTHORIZED",
            "totalPriceSet": self._money(order.total_minor),
            "currentTotalPriceSet": self._money(order.current_minor),
            "subtotalPriceSet": self._money(subtotal),
            "currentSubtotalPriceSet": self._money(order.current_minor - order.extra.shipping_minor),
            "totalTaxSet": self._money(0),
            "currentTotalTaxSet": self._money(0),
            "currentTotalDutiesSet": None,
            "totalTipReceivedSet": self._money(0),
            "totalDiscountsSet": self._money(0),
            "totalShippingPriceSet": self._money(order.extra.shipping_minor),
            "totalRefundedSet": self._money(refunded),
            "totalReceivedSet": self._money(order.received_minor),
            "totalOutstandingSet": self._money(max(0, order.current_minor - order.received_minor + refunded)),
            "customer": lambda: self._customer(order),
            "shippingAddress": address,
            "billingAddress": address,
            "shippingLines": self._connection(
                [order] if order.extra.shipping_minor else [], self._shipping_line, lambda one: (one.id,)
            ),
            "transactions": self._list(order.transactions, self.transaction),
            "refunds": self._list(order.refunds, self.refund),
            "lineItems": self._connection(order.lines, self.line, lambda one: (one.id,)),
            "fulfillments": self._list(order.fulfillments, self.fulfillment),
            "fulfillmentOrders": self._connection(
                order.fulfillment_orders, self.fulfillment_order, lambda one: (one.id,)
            ),
        }

    def line(self, line: ShopLine) -> View:
        """Return a line of an order."""
        one = line.line
        return {
            "__typename": "LineItem",
            "id": gid("LineItem", line.id),
            "sku": one.sku,
            "name": self._item(line.item).title,
            "title": self._item(line.item).title,
            "quantity": one.quantity,
            "currentQuantity": line.current,
            "unfulfilledQuantity": max(0, one.quantity - one.shipped - line.removed),
            "refundableQuantity": line.current,
            "nonFulfillableQuantity": line.removed,
            "requiresShipping": True,
            "taxable": True,
            "variant": lambda: self.variant(line.item),
            "product": lambda: self.product(line.item),
            "originalUnitPriceSet": self._money(one.price_minor),
            "discountedUnitPriceSet": self._money(one.price_minor),
            "originalTotalSet": self._money(one.price_minor * one.quantity),
            "discountedTotalSet": self._money(one.price_minor * one.quantity),
            "discountAllocations": [],
            "taxLines": [],
        }

    def transaction(self, one: Transaction) -> View:
        """Return a transaction."""
        return {
            "__typename": "OrderTransaction",
            "id": gid("OrderTransaction", one.id),
            "kind": one.kind,
            "status": one.status,
            "gateway": one.gateway,
            "formattedGateway": one.gateway.title(),
            "manualPaymentGateway": one.gateway == "manual",
            "paymentId": payment_id(one),
            "authorizationCode": one.psp_reference,
            "createdAt": instant(one.created_at),
            "processedAt": instant(one.created_at),
            "test": False,
            "errorCode": None,
            "amountSet": self._money(one.amount_minor),
            "receiptJson": receipt(one),
            "parentTransaction": lambda: self.transaction(one.parent) if one.parent else None,
            "order": lambda: self.order(one.order),
        }

    def refund(self, one: Refund) -> View:
        """Return a refund."""
        return {
            "__typename": "Refund",
            "id": gid("Refund", one.id),
            "legacyResourceId": str(one.id),
            "note": one.note,
            "createdAt": instant(one.created_at),
            "processedAt": instant(one.created_at),
            "updatedAt": instant(one.created_at),
            "totalRefundedSet": self._money(sum(transaction.amount_minor for transaction in one.transactions)),
            "order": lambda: self.order(one.order),
            "transactions": self._connection(one.transactions, self.transaction, lambda part: (part.id,)),
            "refundLineItems": self._connection(one.lines, self._refund_line, lambda part: (part[0].id,)),
        }

    def fulfillment_order(self, one: FulfillmentOrder) -> View:
        """Return what a location has to ship."""
        return {
            "__typename": "FulfillmentOrder",
            "id": gid("FulfillmentOrder", one.id),
            "status": one.status,
            "requestStatus": "UNSUBMITTED",
            "createdAt": instant(one.order.created_at),
            "updatedAt": instant(one.updated_at),
            "fulfillAt": instant(one.order.created_at),
            "orderId": gid("Order", one.order.id),
            "orderName": one.order.name,
            "order": lambda: self.order(one.order),
            "assignedLocation": lambda: {"name": one.location, "location": self.location(one.location)},
            "lineItems": self._connection(one.lines, self._fulfillment_order_line, lambda part: (part.id,)),
        }

    def fulfillment(self, one: Fulfillment) -> View:
        """Return a shipment."""

        def tracking(first: int | None = None) -> list[dict[str, str | None]]:
            return one.tracking[:first]

        return {
            "__typename": "Fulfillment",
            "id": gid("Fulfillment", one.id),
            "legacyResourceId": str(one.id),
            "name": f"{one.order.name}.{one.number}",
            "status": one.status,
            "displayStatus": "FULFILLED",
            "createdAt": instant(one.created_at),
            "updatedAt": instant(one.updated_at),
            "totalQuantity": sum(units for _, units in one.lines),
            "requiresShipping": True,
            "trackingInfo": tracking,
            "order": lambda: self.order(one.order),
            "location": lambda: self.location(one.location),
            "fulfillmentLineItems": self._connection(one.lines, self._fulfillment_line, lambda part: (part[0].id,)),
        }

    # --- parts ---------------------------------------------------------------------------------------------------------
    def _fulfillment_order_line(self, part: FulfillmentLine) -> View:
        return {
            "id": gid("FulfillmentOrderLineItem", part.id),
            "totalQuantity": part.total,
            "remainingQuantity": part.remaining,
            "sku": part.line.line.sku,
            "inventoryItemId": gid("InventoryItem", shops.ITEM_IDS + part.line.item),
            "lineItem": lambda: self.line(part.line),
        }

    def _fulfillment_line(self, part: tuple[ShopLine, int]) -> View:
        line, units = part
        return {"id": gid("FulfillmentLineItem", line.id), "quantity": units, "lineItem": lambda: self.line(line)}

    def _refund_line(self, part: tuple[ShopLine, int, str, str | None]) -> View:
        line, units, how, location = part
        return {
            "id": gid("RefundLineItem", line.id),
            "quantity": units,
            "restockType": how,
            "restocked": how != "NO_RESTOCK",
            "lineItem": lambda: self.line(line),
            "location": lambda: self.location(location) if location else None,
        }

    def _shipping_line(self, order: ShopOrder) -> View:
        price = self._money(order.extra.shipping_minor)
        return {
            "id": gid("ShippingLine", order.id + 1),
            "code": "standard",
            "title": "Standard",
            "isRemoved": False,
            "originalPriceSet": price,
            "discountedPriceSet": price,
            "discountAllocations": [],
            "taxLines": [],
        }

    def _customer(self, order: ShopOrder) -> View:
        return {
            "__typename": "Customer",
            "id": gid("Customer", order.customer_id),
            "legacyResourceId": str(order.customer_id),
            "firstName": order.extra.first_name,
            "lastName": order.extra.last_name,
            "displayName": f"{order.extra.first_name} {order.extra.last_name}",
            "email": order.email,
            "phone": None,
            "createdAt": instant(order.created_at),
            "updatedAt": instant(order.created_at),
        }

    def _address(self, order: ShopOrder) -> View:
        return {
            "id": gid("MailingAddress", order.customer_id),
            "firstName": order.extra.first_name,
            "lastName": order.extra.last_name,
            "name": f"{order.extra.first_name} {order.extra.last_name}",
            "company": None,
            "address1": "1 Quay Road",
            "address2": None,
            "city": "Hamburg",
            "province": None,
            "provinceCode": None,
            "zip": "20457",
            "country": "Germany",
            "countryCodeV2": "DE",
            "phone": None,
        }

    def _money(self, minor: int) -> View:
        return money(minor, self._currency)

    def _item(self, number: int) -> Item:
        item = self.shop.item_of(number)
        if item is None:
            raise KeyError(number)
        return item

    def _changed(self, item: Item) -> float:
        return self.shop.touched.get(item.sku, self.shop.created_at)

    def _connection(
        self, things: Sequence[Any], view: Callable[[Any], View], key: Callable[[Any], tuple[Any, ...]]
    ) -> Callable[..., View]:
        return lambda **arguments: page(things, arguments, key=key, view=view, is_bulk=self._is_bulk)

    def _list(self, things: Sequence[Any], view: Callable[[Any], View]) -> Callable[..., list[View]]:
        def some(first: int | None = None, **_: Any) -> list[View]:
            return [view(thing) for thing in things[:first]]

        return some


def number_of(global_id: Any, kind: str) -> int:
    """Return the number of a global id of this kind, 0 for an id of something else. Raises Refusal for no id at all."""
    text = str(global_id)
    prefix, _, rest = text.partition(f"/{kind}/")
    digits = rest.partition("?")[0]
    if prefix == "gid://shopify" and digits.isascii() and digits.isdigit():
        return int(digits)
    if text.startswith("gid://shopify/") or (text.isascii() and text.isdigit()):
        return int(text) if text.isdigit() else 0
    raise Refusal(f"Invalid global id '{text[:100]}'", "INVALID_VARIABLE")
