"""A hand on a sandbox's Shopify: documents in, data out."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tests.sandboxbed import Reply, RunningSandbox, call

TOKEN = "shpat_sandbox"
SECRET = "shpss_sandbox_0123456789abcdef0123456789"
ITEMS = [{"sku": f"S{number}", "title": f"Tea {number}", "stock": 100, "price_minor": 1290} for number in range(1, 6)]
SHARED = Path(os.environ.get("TIDEGATE_SHARED", Path(__file__).parents[1] / ".." / "shared"))
OFFICIAL = SHARED / "specs" / "shopify" / "admin_2026-10.json.gz"
"""Beside the checkout where the project keeps official descriptions; tests that need it skip where it is absent."""

SET = """
mutation Set($input: InventorySetQuantitiesInput!, $key: String!) {
  inventorySetQuantities(input: $input) @idempotent(key: $key) {
    inventoryAdjustmentGroup { id changes { name delta quantityAfterChange } }
    userErrors { code field message }
  }
}
"""
LEVEL = """
query Level($id: ID!, $location: ID!) {
  inventoryItem(id: $id) {
    inventoryLevel(locationId: $location) { quantities(names: ["available", "committed", "on_hand"]) { name quantity } }
  }
}
"""
ORDER = """
query Order($id: ID!) {
  order(id: $id) {
    name displayFinancialStatus displayFulfillmentStatus cancelledAt closedAt
    currentTotalPriceSet { shopMoney { amount } }
    lineItems(first: 10) { nodes { id quantity currentQuantity unfulfilledQuantity } }
    transactions(first: 10) { id kind status amountSet { shopMoney { amount } } }
    fulfillmentOrders(first: 10) {
      nodes { id status assignedLocation { name } lineItems(first: 10) { nodes { id remainingQuantity } } }
    }
  }
}
"""
FULFIL = """
mutation Fulfil($fulfillment: FulfillmentInput!) {
  fulfillmentCreate(fulfillment: $fulfillment) {
    fulfillment { id status totalQuantity trackingInfo { company number url } }
    userErrors { field message }
  }
}
"""
REFUND = """
mutation Refund($input: RefundInput!, $key: String!) {
  refundCreate(input: $input) @idempotent(key: $key) {
    refund { id note totalRefundedSet { shopMoney { amount } } }
    userErrors { field message }
  }
}
"""
CANCEL = """
mutation Cancel($id: ID!) {
  orderCancel(orderId: $id, reason: CUSTOMER, restock: true, notifyCustomer: false) {
    job { id done }
    orderCancelUserErrors { code field message }
  }
}
"""
SUBSCRIBE = """
mutation Subscribe($topic: WebhookSubscriptionTopic!, $uri: String!) {
  webhookSubscriptionCreate(topic: $topic, webhookSubscription: { uri: $uri, format: JSON }) {
    webhookSubscription { id topic uri }
    userErrors { field message }
  }
}
"""


def shop_world(**shop: Any) -> dict[str, Any]:
    return {"seed": 3, "time_scale": 3600.0, "items": ITEMS, "platforms": {"shop": {"kind": "shopify", **shop}}}


class ShopHand:
    """Speaks to the platform called `shop`."""

    def __init__(self, sandbox: RunningSandbox, token: str = TOKEN) -> None:
        self.sandbox, self.token = sandbox, token
        self._keys = itertools.count(1)

    def send(self, query: str, /, *, version: str = "2026-10", **variables: Any) -> Reply:
        return call(
            f"{self.sandbox.url('shop')}/admin/api/{version}/graphql.json",
            "POST",
            msgspec.json.encode({"query": query, "variables": variables}),
            {"X-Shopify-Access-Token": self.token, "Content-Type": "application/json"},
        )

    def ask(self, query: str, /, **variables: Any) -> Any:
        """Return the data of an answer without errors."""
        answer = self.send(query, **variables).json
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def refused(self, query: str, /, **variables: Any) -> str:
        """Return the code of the first error."""
        code: str = self.send(query, **variables).json["errors"][0]["extensions"]["code"]
        return code

    def buy(self, sku: str, quantity: int = 1, **more: Any) -> str:
        """Buy, and return the order's id."""
        sale = self.sandbox.buy("shop", sku, quantity, **more)
        assert sale["sold"], sale
        return f"gid://shopify/Order/{sale['id']}"

    def order(self, order_id: str) -> Any:
        return self.ask(ORDER, id=order_id)["order"]

    def item(self, number: int) -> dict[str, str]:
        """Return how stock of the article with this number is named in inputs."""
        return {
            "inventoryItemId": f"gid://shopify/InventoryItem/{45_000_000_000_000 + number}",
            "locationId": "gid://shopify/Location/70000000001",
        }

    def level(self, number: int) -> dict[str, int]:
        item = self.item(number)
        data = self.ask(LEVEL, id=item["inventoryItemId"], location=item["locationId"])
        return {one["name"]: one["quantity"] for one in data["inventoryItem"]["inventoryLevel"]["quantities"]}

    def set_input(self, *quantities: Mapping[str, Any]) -> dict[str, Any]:
        return {"name": "available", "reason": "correction", "quantities": list(quantities)}

    def set(self, number: int, quantity: int, expected: int | None, key: str | None = None) -> Any:
        one = {**self.item(number), "quantity": quantity, "changeFromQuantity": expected}
        data = self.ask(SET, input=self.set_input(one), key=key or f"auto-{next(self._keys)}")
        return data["inventorySetQuantities"]

    def fulfil(self, order_id: str, **tracking: Any) -> Any:
        """Ship what is open of an order's first location."""
        one = self.order(order_id)["fulfillmentOrders"]["nodes"][0]["id"]
        wanted = {"lineItemsByFulfillmentOrder": [{"fulfillmentOrderId": one}], "trackingInfo": tracking}
        return self.ask(FULFIL, fulfillment=wanted)["fulfillmentCreate"]
