"""Mutations: what apps do to a shop, with the refusals of the real API as user errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tidegate.sandbox.shopify import shop as shops
from tidegate.sandbox.shopify.amounts import instant, minor_of
from tidegate.sandbox.shopify.bulk import Bulks
from tidegate.sandbox.shopify.errors import Refusal, user_error
from tidegate.sandbox.shopify.hooks import SUBSCRIPTIONS_MAX, Hooks
from tidegate.sandbox.shopify.root import bulk_view, subscription_view
from tidegate.sandbox.shopify.shop import FulfillmentOrder, Shop, ShopLine, ShopOrder, Transaction
from tidegate.sandbox.shopify.views import View, Views, gid, number_of

QUANTITY_MAX = 1_000_000_000
DELTA_MAX = 2_000_000_000
REASONS = frozenset(
    {
        "correction",
        "cycle_count_available",
        "damaged",
        "movement_canceled",
        "movement_created",
        "movement_received",
        "movement_updated",
        "other",
        "promotion",
        "quality_control",
        "received",
        "reservation_created",
        "reservation_deleted",
        "reservation_updated",
        "restock",
        "safety_stock",
        "shrinkage",
    }
)
Mutation = Callable[..., dict[str, Any]]


class Mutations:
    """Mutations of one shop, by their names in the schema. Call `fields()`."""

    def __init__(self, shop: Shop, hooks: Hooks, bulks: Bulks) -> None:
        self._shop, self._hooks, self._bulks, self._views = shop, hooks, bulks, Views(shop)
        self._groups = 0

    def fields(self) -> Mapping[str, Mutation]:
        """Return the mutations."""
        return {
            "inventorySetQuantities": self._set_quantities,
            "inventoryAdjustQuantities": self._adjust_quantities,
            "inventoryActivate": self._activate,
            "fulfillmentCreate": self._fulfil,
            "fulfillmentTrackingInfoUpdate": self._track,
            "refundCreate": self._refund,
            "orderCancel": self._cancel,
            "orderCapture": self._capture,
            "webhookSubscriptionCreate": self._subscribe,
            "webhookSubscriptionUpdate": self._update_subscription,
            "webhookSubscriptionDelete": self._unsubscribe,
            "bulkOperationRunQuery": self._run_bulk,
            "bulkOperationCancel": self._cancel_bulk,
        }

    # --- stock -------------------------------------------------------------------------------------------------------
    def _set_quantities(self, input: Mapping[str, Any]) -> dict[str, Any]:  # noqa: A002 - as in the schema
        """Set numbers, all or nothing, where each is still what the caller says it is."""
        errors: list[dict[str, Any]] = []
        if input["name"] not in ("available", "on_hand"):
            errors.append(
                user_error("The quantity name must be available or on_hand.", "input", "name", code="INVALID_NAME")
            )
        if input["reason"] not in REASONS:
            errors.append(user_error("The specified reason is invalid.", "input", "reason", code="INVALID_REASON"))
        if not _is_reference(input.get("referenceDocumentUri")):
            words = "The specified reference document is invalid."
            errors.append(user_error(words, "input", "referenceDocumentUri", code="INVALID_REFERENCE_DOCUMENT"))
        plan: list[tuple[str, str, int]] = []
        seen: set[tuple[int, int]] = set()
        for place, one in enumerate(input["quantities"]):
            if "changeFromQuantity" not in one:
                raise Refusal(
                    "InventoryQuantityInput must include the following argument: changeFromQuantity.", "BAD_REQUEST"
                )
            path = ("input", "quantities", str(place))
            found = self._stock_at(one, path, errors)
            pair = (number_of(one["inventoryItemId"], "InventoryItem"), number_of(one["locationId"], "Location"))
            if pair in seen:
                words = "The combination of inventoryItemId and locationId must be unique."
                errors.append(user_error(words, *path, code="NO_DUPLICATE_INVENTORY_ITEM_ID_GROUP_ID_PAIR"))
            seen.add(pair)
            quantity = one["quantity"]
            if abs(quantity) > QUANTITY_MAX:
                code = "INVALID_QUANTITY_TOO_HIGH" if quantity > 0 else "INVALID_QUANTITY_TOO_LOW"
                errors.append(user_error("The quantity is out of bounds.", *path, "quantity", code=code))
            if found is None:
                continue
            sku, location = found
            level = self._shop.place.books.items[sku].levels[location]
            held = level.available + (level.committed if input["name"] == "on_hand" else 0)
            expected = one["changeFromQuantity"]
            if expected is not None and expected != held:
                words = "The changeFromQuantity argument no longer matches the persisted quantity."
                errors.append(user_error(words, *path, "changeFromQuantity", code="CHANGE_FROM_QUANTITY_STALE"))
            plan.append((sku, location, quantity - (level.committed if input["name"] == "on_hand" else 0)))
        if errors:
            return {"inventoryAdjustmentGroup": None, "userErrors": errors}
        return self._write(plan, "set", input)

    def _adjust_quantities(self, input: Mapping[str, Any]) -> dict[str, Any]:  # noqa: A002 - as in the schema
        """Change numbers by deltas, all or nothing."""
        errors: list[dict[str, Any]] = []
        if input["name"] != "available":
            words = "The sandbox keeps available only; the quantity name cannot be adjusted."
            errors.append(user_error(words, "input", "name", code="INVALID_QUANTITY_NAME"))
        if input["reason"] not in REASONS:
            errors.append(user_error("The specified reason is invalid.", "input", "reason", code="INVALID_REASON"))
        plan: list[tuple[str, str, int]] = []
        totals: dict[tuple[str, str], int] = {}
        for place, one in enumerate(input["changes"]):
            if "changeFromQuantity" not in one:
                raise Refusal(
                    "InventoryChangeInput must include the following argument: changeFromQuantity.", "BAD_REQUEST"
                )
            path = ("input", "changes", str(place))
            if one.get("ledgerDocumentUri") is not None:
                words = "A ledger document is not allowed for available."
                errors.append(user_error(words, *path, "ledgerDocumentUri", code="INVALID_AVAILABLE_DOCUMENT"))
            if abs(one["delta"]) > DELTA_MAX:
                code = "INVALID_QUANTITY_TOO_HIGH" if one["delta"] > 0 else "INVALID_QUANTITY_TOO_LOW"
                errors.append(user_error("The delta is out of bounds.", *path, "delta", code=code))
            found = self._stock_at(one, path, errors)
            if found is None:
                continue
            held = self._shop.place.books.items[found[0]].levels[found[1]].available + totals.get(found, 0)
            if one["changeFromQuantity"] is not None and one["changeFromQuantity"] != held:
                words = "The changeFromQuantity argument no longer matches the persisted quantity."
                errors.append(user_error(words, *path, "changeFromQuantity", code="CHANGE_FROM_QUANTITY_STALE"))
            totals[found] = totals.get(found, 0) + one["delta"]
            plan.append((*found, held + one["delta"]))
        if errors:
            return {"inventoryAdjustmentGroup": None, "userErrors": errors}
        return self._write(plan, "adjust", input)

    def _stock_at(
        self, one: Mapping[str, Any], path: tuple[str, ...], errors: list[dict[str, Any]]
    ) -> tuple[str, str] | None:
        item = self._shop.item_of(number_of(one["inventoryItemId"], "InventoryItem") - shops.ITEM_IDS)
        location = self._shop.location_of(number_of(one["locationId"], "Location"))
        if item is None:
            words = "The specified inventory item could not be found."
            errors.append(user_error(words, *path, "inventoryItemId", code="INVALID_INVENTORY_ITEM"))
        if location is None:
            words = "The specified location could not be found."
            errors.append(user_error(words, *path, "locationId", code="INVALID_LOCATION"))
        return None if item is None or location is None else (item.sku, location)

    def _write(self, plan: list[tuple[str, str, int]], kind: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
        place, now = self._shop.place, self._shop.place.now()
        changes: list[View] = []
        for sku, location, available in plan:
            level = place.books.items[sku].levels[location]
            delta, number = available - level.available, self._shop.numbers[sku]
            place.books.count(f"stock_{kind}", f"{sku}@{location}", amount=delta, now=now)
            if not delta:
                continue
            place.books.set_available(sku, location, available, cause="write", now=now)
            self._shop.stock_changed(sku, location)
            for name, after in (("available", available), ("on_hand", available + level.committed)):
                changes.append(
                    {
                        "name": name,
                        "delta": delta,
                        "quantityAfterChange": after,
                        "ledgerDocumentUri": None,
                        "item": lambda number=number: self._views.inventory_item(number),
                        "location": lambda location=location: self._views.location(location),
                    }
                )
        self._groups += 1
        group = {
            "__typename": "InventoryAdjustmentGroup",
            "id": gid("InventoryAdjustmentGroup", self._groups),
            "createdAt": instant(now),
            "reason": wanted["reason"],
            "referenceDocumentUri": wanted.get("referenceDocumentUri"),
            "changes": lambda **_: changes,
        }
        return {"inventoryAdjustmentGroup": group, "userErrors": []}

    def _activate(self, inventoryItemId: str, locationId: str, **_: Any) -> dict[str, Any]:  # noqa: N803 - as in the schema
        """Stock an article at a location: it is, at all of them."""
        errors: list[dict[str, Any]] = []
        found = self._stock_at({"inventoryItemId": inventoryItemId, "locationId": locationId}, (), errors)
        if found is None:
            return {"inventoryLevel": None, "userErrors": errors}
        return {"inventoryLevel": self._views.level(self._shop.numbers[found[0]], found[1]), "userErrors": []}

    # --- shipments ---------------------------------------------------------------------------------------------------
    def _fulfil(self, fulfillment: Mapping[str, Any], message: str | None = None) -> dict[str, Any]:  # noqa: ARG002
        """Ship units of fulfillment orders of one order at one location."""
        parts: list[tuple[FulfillmentOrder, Mapping[int, int] | None]] = []
        for wanted in fulfillment["lineItemsByFulfillmentOrder"]:
            one = self._shop.fulfillment_orders.get(number_of(wanted["fulfillmentOrderId"], "FulfillmentOrder"))
            if one is None:
                return _no_fulfillment("Fulfillment order does not exist.", "fulfillment")
            if one.status not in ("OPEN", "IN_PROGRESS"):
                words = f"Fulfillment order {one.id} has an unfulfillable status= {one.status.lower()}."
                return _no_fulfillment(words, "fulfillment")
            lines = wanted.get("fulfillmentOrderLineItems")
            units: dict[int, int] | None = None
            if lines:
                units = {}
                for line in lines:
                    number = number_of(line["id"], "FulfillmentOrderLineItem")
                    units[number] = units.get(number, 0) + line["quantity"]
                known = {line.id: line.remaining for line in one.lines}
                if any(number not in known for number in units):
                    return _no_fulfillment("Fulfillment order line item does not exist.", "fulfillment")
                if any(not 0 < count <= known[number] for number, count in units.items()):
                    return _no_fulfillment("Invalid fulfillment order line item quantity requested.", "fulfillment")
            parts.append((one, units))
        if not parts:
            return _no_fulfillment("Fulfillment orders can't be blank.", "fulfillment")
        if len({one.id for one, _ in parts}) < len(parts):
            return _no_fulfillment("A fulfillment order is named twice.", "fulfillment")
        if len({(one.order.id, one.location) for one, _ in parts}) > 1:
            return _no_fulfillment(
                "All fulfillment orders must have the same assigned location and order.", "fulfillment"
            )
        made = self._shop.fulfil(parts, _tracking(fulfillment.get("trackingInfo")))
        return {"fulfillment": self._views.fulfillment(made), "userErrors": []}

    def _track(
        self,
        fulfillmentId: str,  # noqa: N803 - as in the schema
        trackingInfoInput: Mapping[str, Any],  # noqa: N803 - as in the schema
        notifyCustomer: bool | None = None,  # noqa: N803, ARG002 - as in the schema
    ) -> dict[str, Any]:
        """Give a shipment other tracking."""
        one = self._shop.fulfillments.get(number_of(fulfillmentId, "Fulfillment"))
        if one is None:
            return _no_fulfillment("Fulfillment does not exist.", "fulfillmentId")
        self._shop.set_tracking(one, _tracking(trackingInfoInput))
        return {"fulfillment": self._views.fulfillment(one), "userErrors": []}

    # --- money -------------------------------------------------------------------------------------------------------
    def _refund(self, input: Mapping[str, Any]) -> dict[str, Any]:  # noqa: A002 - as in the schema
        """Give units and money back; never more than there is."""
        order = self._shop.orders.get(number_of(input["orderId"], "Order"))
        if order is None:
            return _no_refund("Order does not exist", "orderId")
        lines: list[tuple[ShopLine, int, str, str | None]] = []
        for place, wanted in enumerate(input.get("refundLineItems") or ()):
            line = self._line(order, wanted["lineItemId"])
            if line is None:
                return _no_refund("Refund line item does not exist", "refundLineItems", str(place), "lineItemId")
            asked = sum(units for known, units, _, _ in lines if known is line) + wanted["quantity"]
            if wanted["quantity"] < 1 or asked > line.current:
                words = "Refund line items quantity cannot refund more items than were purchased"
                return _no_refund(words, "refundLineItems", str(place), "quantity")
            how = wanted.get("restockType") or "NO_RESTOCK"
            if how == "LEGACY_RESTOCK":
                return _no_refund("Restock type is not supported", "refundLineItems", str(place), "restockType")
            location: str | None = None
            if how != "NO_RESTOCK":
                location = self._shop.location_of(number_of(wanted.get("locationId") or "0", "Location"))
                if location is None:
                    return _no_refund("Location must be given to restock", "refundLineItems", str(place), "locationId")
            lines.append((line, wanted["quantity"], how, location))
        money: list[tuple[Transaction, int]] = []
        for place, wanted in enumerate(input.get("transactions") or ()):
            refusal = self._refund_money(order, wanted, money, allow_more=bool(input.get("allowOverRefunding")))
            if refusal is not None:
                return _no_refund(refusal, "transactions", str(place))
        if not lines and not money:
            return _no_refund("Refund must have at least one line item or transaction", "input")
        made = self._shop.refund(order, lines, money, input.get("note"))
        return {"refund": self._views.refund(made), "order": self._views.order(order), "userErrors": []}

    def _refund_money(
        self,
        order: ShopOrder,
        wanted: Mapping[str, Any],
        money: list[tuple[Transaction, int]],
        *,
        allow_more: bool,
    ) -> str | None:
        """Add a transaction of a refund to `money`; return why not."""
        amount = minor_of(wanted["amount"], order.order.currency)
        if wanted["kind"] != "REFUND":
            return "Transaction kind must be refund"
        if number_of(wanted["orderId"], "Order") != order.id:
            return "Transaction belongs to another order"
        parent = self._transaction(order, wanted.get("parentId"), "SALE", "CAPTURE")
        if parent is None:
            return "Parent transaction is not a successful sale or capture of this order"
        gone = sum(one.amount_minor for one in order.transactions if one.kind == "REFUND" and one.parent is parent)
        gone += sum(minor for known, minor in money if known is parent)
        if amount < 1 or (gone + amount > parent.amount_minor and not allow_more):
            left = parent.amount_minor - gone
            return f"Refund amount cannot be greater than what is left to refund ({left} in the smallest unit)"
        money.append((parent, amount))
        return None

    def _capture(self, input: Mapping[str, Any]) -> dict[str, Any]:  # noqa: A002 - as in the schema
        """Take money of an authorisation; never more than was authorised."""
        order = self._shop.orders.get(number_of(input["id"], "Order"))
        if order is None:
            return {"transaction": None, "userErrors": [user_error("Order does not exist", "input", "id")]}
        amount = minor_of(input["amount"], order.order.currency)
        parent = self._transaction(order, input["parentTransactionId"], "AUTHORIZATION")
        if parent is None or order.moved("VOID"):
            words = "Parent transaction is not an open authorization"
            return {"transaction": None, "userErrors": [user_error(words, "input", "parentTransactionId")]}
        if amount < 1 or order.received_minor + amount > parent.amount_minor:
            words = "Amount is greater than what is left of the authorization"
            return {"transaction": None, "userErrors": [user_error(words, "input", "amount")]}
        return {"transaction": self._views.transaction(self._shop.capture(order, parent, amount)), "userErrors": []}

    def _cancel(
        self,
        orderId: str,  # noqa: N803 - as in the schema
        reason: str,
        restock: bool,
        staffNote: str | None = None,  # noqa: N803 - as in the schema
        **_: Any,
    ) -> dict[str, Any]:
        """Cancel an order that is not cancelled and not shipped."""
        order = self._shop.orders.get(number_of(orderId, "Order"))
        if order is None:
            return _no_cancel("Order does not exist", "orderId", code="NOT_FOUND")
        if order.cancelled_at is not None:
            return _no_cancel("Order has already been cancelled", "orderId", code="INVALID")
        if any(line.line.shipped for line in order.lines):
            return _no_cancel("Cannot cancel an order that has fulfillments", "orderId", code="INVALID")
        self._shop.cancel(order, reason, restock=restock, note=staffNote)
        return {"job": {"id": gid("Job", order.id), "done": True}, "orderCancelUserErrors": []}

    # --- webhooks and bulk -------------------------------------------------------------------------------------------
    def _subscribe(self, topic: str, webhookSubscription: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N803 - as in the schema
        """Subscribe a topic to an address, once."""
        uri = webhookSubscription.get("uri") or webhookSubscription.get("callbackUrl")
        refusal = "Address can't be blank" if not uri else self._hooks.refuse(uri)
        if refusal is None and self._hooks.find(topic, str(uri)) is not None:
            refusal = "Address for this topic has already been taken"
        if refusal is None and len(self._hooks.subscriptions) >= SUBSCRIPTIONS_MAX:
            refusal = "Too many subscriptions"
        if refusal is not None:
            errors = [user_error(refusal, "webhookSubscription", "callbackUrl")]
            return {"webhookSubscription": None, "userErrors": errors}
        _refuse_shapes(webhookSubscription)
        one = self._hooks.add(topic, str(uri))
        one.name = webhookSubscription.get("name")
        return {"webhookSubscription": subscription_view(one, self._bulks.version()), "userErrors": []}

    def _update_subscription(self, id: str, webhookSubscription: Mapping[str, Any]) -> dict[str, Any]:  # noqa: A002, N803
        """Change a subscription."""
        one = self._hooks.subscriptions.get(number_of(id, "WebhookSubscription"))
        if one is None:
            return {
                "webhookSubscription": None,
                "userErrors": [user_error("Webhook subscription does not exist", "id")],
            }
        uri = webhookSubscription.get("uri") or webhookSubscription.get("callbackUrl") or one.uri
        if (refusal := self._hooks.refuse(uri)) is not None:
            errors = [user_error(refusal, "webhookSubscription", "callbackUrl")]
            return {"webhookSubscription": None, "userErrors": errors}
        _refuse_shapes(webhookSubscription)
        one.uri, one.updated_at = uri, self._shop.place.now()
        one.name = webhookSubscription.get("name", one.name)
        return {"webhookSubscription": subscription_view(one, self._bulks.version()), "userErrors": []}

    def _unsubscribe(self, id: str) -> dict[str, Any]:  # noqa: A002 - as in the schema
        """Remove a subscription."""
        if self._hooks.remove(number_of(id, "WebhookSubscription")) is None:
            errors = [user_error("Webhook subscription does not exist", "id")]
            return {"deletedWebhookSubscriptionId": None, "userErrors": errors}
        return {"deletedWebhookSubscriptionId": id, "userErrors": []}

    def _run_bulk(self, query: str, **_: Any) -> dict[str, Any]:
        """Begin a bulk query."""
        started = self._bulks.start(query)
        if isinstance(started, tuple):
            code, words = started
            return {"bulkOperation": None, "userErrors": [user_error(words, "query", code=code)]}
        return {"bulkOperation": {**bulk_view(started), "status": "CREATED"}, "userErrors": []}

    def _cancel_bulk(self, id: str) -> dict[str, Any]:  # noqa: A002 - as in the schema
        """Stop a bulk query."""
        one = self._bulks.find(number_of(id, "BulkOperation"))
        if one is None:
            return {"bulkOperation": None, "userErrors": [user_error("Bulk operation does not exist", "id")]}
        self._bulks.cancel(one)
        return {"bulkOperation": bulk_view(one), "userErrors": []}

    def _line(self, order: ShopOrder, global_id: str) -> ShopLine | None:
        number = number_of(global_id, "LineItem")
        return next((line for line in order.lines if line.id == number), None)

    def _transaction(self, order: ShopOrder, global_id: str | None, *kinds: str) -> Transaction | None:
        number = number_of(global_id, "OrderTransaction") if global_id else 0
        for one in order.transactions:
            if one.id == number and one.kind in kinds and one.status == "SUCCESS":
                return one
        return None


def _refuse_shapes(wanted: Mapping[str, Any]) -> None:
    if wanted.get("filter") or wanted.get("includeFields") or wanted.get("format", "JSON") != "JSON":
        raise Refusal("the sandbox sends whole things as JSON: no filter, includeFields or XML", "SANDBOX_UNSUPPORTED")


def _tracking(wanted: Mapping[str, Any] | None) -> list[dict[str, str | None]]:
    if not wanted:
        return []
    numbers = wanted.get("numbers") or ([wanted["number"]] if wanted.get("number") else [])
    urls = wanted.get("urls") or ([wanted["url"]] if wanted.get("url") else [])
    count = max(len(numbers), len(urls))
    return [
        {
            "company": wanted.get("company"),
            "number": numbers[place] if place < len(numbers) else None,
            "url": urls[place] if place < len(urls) else None,
        }
        for place in range(count)
    ]


def _is_reference(uri: str | None) -> bool:
    """Tell whether a reference document may be named so: a URI, and none of Shopify's own."""
    return uri is None or ("://" in uri and not uri.startswith("gid://shopify/"))


def _no_fulfillment(words: str, *field: str) -> dict[str, Any]:
    return {"fulfillment": None, "userErrors": [user_error(words, *field)]}


def _no_refund(words: str, *field: str) -> dict[str, Any]:
    return {"refund": None, "order": None, "userErrors": [user_error(words, *field)]}


def _no_cancel(words: str, *field: str, code: str) -> dict[str, Any]:
    return {"job": None, "orderCancelUserErrors": [user_error(words, *field, code=code)]}
