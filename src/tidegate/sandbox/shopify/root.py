"""Queries: what the root of the Admin API answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tidegate.sandbox.shopify import shop as shops
from tidegate.sandbox.shopify.amounts import instant
from tidegate.sandbox.shopify.bulk import BulkOperation, Bulks
from tidegate.sandbox.shopify.errors import Refusal
from tidegate.sandbox.shopify.hooks import Hooks, Subscription
from tidegate.sandbox.shopify.search import Term, matcher, moment_of, page, parse_search
from tidegate.sandbox.shopify.shop import Shop, ShopOrder
from tidegate.sandbox.shopify.versions import HANDLES, is_supported
from tidegate.sandbox.shopify.views import View, Views, gid, number_of

COUNT_MAX = 10_000


class Root:
    """Root fields of queries, by their names in the schema. Call `fields()`."""

    def __init__(self, shop: Shop, hooks: Hooks, bulks: Bulks, *, is_bulk: bool = False) -> None:
        self._shop, self._hooks, self._bulks, self._is_bulk = shop, hooks, bulks, is_bulk
        self._views = Views(shop, is_bulk=is_bulk)

    def fields(self) -> View:
        """Return the root."""
        views = self._views
        return {
            "shop": views.shop_view,
            "locations": self._locations,
            "location": lambda id=None: self._node(id or gid("Location", shops.LOCATION_IDS + 1), "Location"),  # noqa: A006
            "currentAppInstallation": self._installation,
            "publicApiVersions": lambda: [
                {"handle": handle, "supported": is_supported(handle), "displayName": name} for handle, name in HANDLES
            ],
            "product": lambda id: self._node(id, "Product"),  # noqa: A006
            "productVariant": lambda id: self._node(id, "ProductVariant"),  # noqa: A006
            "inventoryItem": lambda id: self._node(id, "InventoryItem"),  # noqa: A006
            "inventoryLevel": lambda id: self._node(id, "InventoryLevel"),  # noqa: A006
            "order": lambda id: self._node(id, "Order"),  # noqa: A006
            "fulfillmentOrder": lambda id: self._node(id, "FulfillmentOrder"),  # noqa: A006
            "fulfillment": lambda id: self._node(id, "Fulfillment"),  # noqa: A006
            "refund": lambda id: self._node(id, "Refund"),  # noqa: A006
            "bulkOperation": lambda id: self._node(id, "BulkOperation"),  # noqa: A006
            "webhookSubscription": lambda id: self._node(id, "WebhookSubscription"),  # noqa: A006
            "node": self._any_node,
            "nodes": lambda ids: [self._any_node(one) for one in ids],
            "products": self._articles(views.product, shops.PRODUCT_IDS),
            "productVariants": self._articles(views.variant, shops.VARIANT_IDS),
            "inventoryItems": self._articles(views.inventory_item, shops.ITEM_IDS),
            "orders": self._orders,
            "ordersCount": self._orders_count,
            "webhookSubscriptions": self._subscriptions,
            "bulkOperations": lambda **arguments: page(
                self._bulks.operations.values(), arguments, key=lambda one: (one.id,), view=bulk_view
            ),
        }

    # --- single things -------------------------------------------------------------------------------------------------
    def _any_node(self, id: str) -> View | None:  # noqa: A002 - as in the schema
        kind = id.removeprefix("gid://shopify/").partition("/")[0]
        if kind not in self._nodes():
            number_of(id, kind)
            return None
        return self._node(id, kind)

    def _node(self, global_id: str, kind: str) -> View | None:
        return self._nodes()[kind](number_of(global_id, kind), global_id)

    def _nodes(self) -> Mapping[str, Callable[[int, str], View | None]]:
        shop, views = self._shop, self._views
        return {
            "Location": lambda number, _: _of(shop.location_of(number), views.location),
            "Product": lambda number, _: self._article(number - shops.PRODUCT_IDS, views.product),
            "ProductVariant": lambda number, _: self._article(number - shops.VARIANT_IDS, views.variant),
            "InventoryItem": lambda number, _: self._article(number - shops.ITEM_IDS, views.inventory_item),
            "InventoryLevel": self._level,
            "Order": lambda number, _: _of(shop.orders.get(number), views.order),
            "FulfillmentOrder": lambda number, _: _of(shop.fulfillment_orders.get(number), views.fulfillment_order),
            "Fulfillment": lambda number, _: _of(shop.fulfillments.get(number), views.fulfillment),
            "Refund": lambda number, _: _of(shop.refunds.get(number), views.refund),
            "BulkOperation": lambda number, _: _of(self._bulks.find(number), bulk_view),
            "WebhookSubscription": lambda number, _: _of(
                self._hooks.subscriptions.get(number), lambda one: subscription_view(one, self._bulks.version())
            ),
        }

    def _article(self, number: int, view: Callable[[int], View]) -> View | None:
        return None if self._shop.item_of(number) is None else view(number)

    def _level(self, number: int, global_id: str) -> View | None:
        location = self._shop.location_of(number)
        digits = global_id.partition("inventory_item_id=")[2]
        article = int(digits) - shops.ITEM_IDS if digits.isascii() and digits.isdigit() else 0
        if location is None or self._shop.item_of(article) is None:
            return None
        return self._views.level(article, location)

    def _installation(self) -> View:
        scopes = self._shop.options.scopes
        return {
            "__typename": "AppInstallation",
            "id": gid("AppInstallation", 1),
            "accessScopes": [{"handle": scope, "description": scope.replace("_", " ")} for scope in scopes],
            "app": {
                "id": gid("App", 1),
                "title": "Sandbox app",
                "handle": "sandbox-app",
                "apiKey": self._shop.options.client_id,
            },
        }

    # --- lists ---------------------------------------------------------------------------------------------------------
    def _locations(self, **arguments: Any) -> View:
        return page(
            self._shop.options.locations,
            arguments,
            key=lambda name: (self._shop.location_id(name),),
            view=self._views.location,
            is_bulk=self._is_bulk,
        )

    def _articles(self, view: Callable[[int], View], ids: int) -> Callable[..., View]:
        def articles(**arguments: Any) -> View:
            terms = parse_search(arguments.get("query"))
            books = self._shop.place.books.items
            matches = matcher(
                terms,
                {
                    "id": lambda number: ids + number,
                    "sku": lambda number: self._shop.skus[number - 1],
                    "title": lambda number: books[self._shop.skus[number - 1]].title,
                    "barcode": lambda number: books[self._shop.skus[number - 1]].barcode or "",
                    "status": lambda _: "ACTIVE",
                    "updated_at": lambda number: int(
                        self._shop.touched.get(self._shop.skus[number - 1], self._shop.created_at)
                    ),
                },
            )
            numbers = range(1, len(self._shop.skus) + 1)
            found = [number for number in numbers if matches(number)] if terms else numbers
            return page(found, arguments, key=lambda number: (ids + number,), view=view, is_bulk=self._is_bulk)

        return articles

    def _orders(self, **arguments: Any) -> View:
        sort = arguments.get("sortKey") or "PROCESSED_AT"
        found = self._found_orders(arguments.get("query"), newest_first=sort == "UPDATED_AT")
        if sort == "UPDATED_AT":
            return self._order_page(found, arguments, lambda order: (order.updated_at, order.id))
        if sort not in ("PROCESSED_AT", "CREATED_AT", "ID", "ORDER_NUMBER"):
            raise Refusal(f"the sandbox cannot sort orders by {sort}", "SANDBOX_UNSUPPORTED")
        return self._order_page(found, arguments, lambda order: (order.id,))

    def _order_page(
        self, found: Sequence[ShopOrder], arguments: Mapping[str, Any], key: Callable[[ShopOrder], tuple[Any, ...]]
    ) -> View:
        return page(found, arguments, key=key, view=self._views.order, is_bulk=self._is_bulk)

    def _found_orders(self, query: str | None, *, newest_first: bool) -> list[ShopOrder]:
        """Return the orders that a search finds, in order of change or of their ids."""
        terms, shop = parse_search(query), self._shop
        matches = matcher(terms, _ORDER_FIELDS)
        visible = shop.place.now() - shop.options.search_lag_seconds if shop.options.search_lag_seconds else None
        if not newest_first:
            return [
                one for one in shop.orders.values() if matches(one) and (visible is None or one.updated_at <= visible)
            ]
        bound = _lower_bound(terms)
        found: list[ShopOrder] = []
        for order in reversed(shop.by_change.values()):
            if bound is not None and int(order.updated_at) < bound:
                break
            if matches(order) and (visible is None or order.updated_at <= visible):
                found.append(order)
        found.reverse()
        return found

    def _orders_count(self, query: str | None = None, limit: int | None = COUNT_MAX) -> View:
        count = len(self._found_orders(query, newest_first=False))
        most = COUNT_MAX if limit is None else limit
        return {"count": min(count, most), "precision": "EXACT" if count <= most else "AT_LEAST"}

    def _subscriptions(self, **arguments: Any) -> View:
        topics, uri = arguments.get("topics"), arguments.get("uri")
        found = [
            one
            for one in self._hooks.subscriptions.values()
            if (not topics or one.topic in topics) and (uri is None or one.uri == uri)
        ]
        version = self._bulks.version()
        return page(found, arguments, key=lambda one: (one.id,), view=lambda one: subscription_view(one, version))


_ORDER_FIELDS: Mapping[str, Callable[[ShopOrder], Any]] = {
    "id": lambda order: order.id,
    "name": lambda order: order.name,
    "updated_at": lambda order: int(order.updated_at),
    "created_at": lambda order: int(order.created_at),
    "processed_at": lambda order: int(order.created_at),
    "email": lambda order: order.email,
    "financial_status": lambda order: order.financial_status.lower(),
    "fulfillment_status": lambda order: order.fulfillment_status.lower(),
    "status": lambda order: "cancelled" if order.cancelled_at else "closed" if order.closed_at else "open",
}


def _lower_bound(terms: Sequence[Term]) -> float | None:
    """Return the moment before which no order can match."""
    bounds = [
        moment_of(term.value)
        for term in terms
        if term.name == "updated_at" and term.compare in (">=", ">") and not term.is_negated
    ]
    return max(bounds, default=None)


def _of(thing: Any, view: Callable[[Any], View]) -> View | None:
    return None if thing is None else view(thing)


def subscription_view(one: Subscription, version: str) -> View:
    """Return a subscription."""
    return {
        "__typename": "WebhookSubscription",
        "id": gid("WebhookSubscription", one.id),
        "legacyResourceId": str(one.id),
        "topic": one.topic,
        "uri": one.uri,
        "callbackUrl": one.uri,
        "format": one.format,
        "filter": one.filter,
        "name": one.name,
        "includeFields": list(one.include_fields),
        "metafieldNamespaces": [],
        "apiVersion": {"handle": version, "supported": True, "displayName": version},
        "createdAt": instant(one.created_at),
        "updatedAt": instant(one.updated_at),
    }


def bulk_view(one: BulkOperation) -> View:
    """Return a bulk operation."""
    return {
        "__typename": "BulkOperation",
        "id": gid("BulkOperation", one.id),
        "type": "QUERY",
        "status": one.status,
        "errorCode": None,
        "query": one.query,
        "objectCount": str(one.objects if one.status == "COMPLETED" else 0),
        "rootObjectCount": str(one.roots if one.status == "COMPLETED" else 0),
        "fileSize": str(len(one.result)) if one.status == "COMPLETED" else None,
        "url": one.url if one.status == "COMPLETED" and one.objects else None,
        "partialDataUrl": None,
        "createdAt": instant(one.created_at),
        "completedAt": instant(one.completed_at) if one.status in ("COMPLETED", "CANCELED") else None,
    }
