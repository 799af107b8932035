"""The server of a WooCommerce shop: REST v3 over the shop's records."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Annotated, Any

import msgspec
from aiohttp import web

from tidegate.sandbox.books import BooksFull, OutOfStock
from tidegate.sandbox.limits import Bucket, InFlight
from tidegate.sandbox.woocommerce import checks
from tidegate.sandbox.woocommerce.access import Gate
from tidegate.sandbox.woocommerce.answers import Refusal, json_answer, of_fault, page, refused
from tidegate.sandbox.woocommerce.hooks import Hook, Hooks
from tidegate.sandbox.woocommerce.shop import VERSION, Article, Body, Shop, ShopOrder, moment
from tidegate.sandbox.world import CALL, Handles, Place, Purchase, Sale, World, new_app, read_options

ROOT = "/wp-json/wc/v3"
BATCH_MAX = 100
_PRODUCT_ORDERS = ("date", "id", "include", "title", "slug", "modified", "popularity", "rating", "price", "menu_order")
Seconds = Annotated[float, msgspec.Meta(ge=0.0, le=60.0)]


class Options(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Options of a shop; docs/reference/sandbox.md describes them."""

    consumer_key: str = "ck_0123456789abcdef0123456789abcdef01234567"
    consumer_secret: str = "cs_0123456789abcdef0123456789abcdef01234567"  # noqa: S105 - everybody knows it
    permissions: str = "read_write"
    delivery_seconds: Seconds = 0.1
    variations: dict[str, list[str]] = {}
    prices_include_tax: bool = False
    workers: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None
    host_per_second: Annotated[float, msgspec.Meta(gt=0.0, le=10_000.0)] | None = None
    work_seconds: Seconds = 0.0
    has_variations_list: bool = True
    sells_on_seconds: Seconds = 0.0
    """For so long after an article is gone people still pay for it: what is in a cart is not held."""


def build(world: World, name: str, options: Mapping[str, Any]) -> web.Application:  # noqa: ARG001 - read from the place
    """Make the server of a shop."""
    return _Server(world.places[name]).app


class _Server:
    def __init__(self, place: Place) -> None:
        self._place = place
        self._options = options = read_options(place, Options)
        self._home = f"http://{place.name}.invalid/"
        self._hooks = Hooks(place, lambda: self._home, self._render, options.delivery_seconds)
        self._shop = Shop(place, options.variations, self._hooks.tell)
        may_write = options.permissions != "read"
        self._gate = Gate(options.consumer_key, options.consumer_secret, may_write=may_write)
        self._host: Bucket | None = None
        self._workers: InFlight | None = None
        if options.host_per_second is not None:
            now = place.clock.monotonic()
            self._host = Bucket(max(1.0, options.host_per_second), options.host_per_second, now=now)
            place.limits["host"] = self._host
        if options.workers is not None:
            self._workers = place.limits["workers"] = InFlight(options.workers)
        self.app = new_app(
            Handles(
                refuse=of_fault,
                buy=self._buy,
                set_stock=self._count,
                actions={
                    "cancel": self._cancel,
                    "refund": self._refund_there,
                    "trash": self._trash,
                    "erase": self._erase,
                    "hold": self._hold,
                },
                details=self._details,
            )
        )
        self._routes()

    def _routes(self) -> None:
        add = self.app.router.add_route
        for method, path, handler in (
            ("GET", "/system_status", self._status),
            ("GET", "/data/currencies/current", self._currency),
            ("GET", "/settings/tax/woocommerce_prices_include_tax", self._tax_setting),
            ("GET", "/products", self._list_products),
            ("POST", "/products/batch", self._batch_products),
            ("GET", "/products/{id}", self._get_product),
            ("PUT", "/products/{id}", self._put_product),
            ("GET", "/products/{parent}/variations", self._list_variations_of),
            ("POST", "/products/{parent}/variations/batch", self._batch_variations),
            ("GET", "/products/{parent}/variations/{id}", self._get_product),
            ("PUT", "/products/{parent}/variations/{id}", self._put_product),
            ("GET", "/variations", self._list_variations),
            ("GET", "/orders", self._list_orders),
            ("POST", "/orders", self._post_order),
            ("POST", "/orders/batch", self._batch_orders),
            ("GET", "/orders/{id}", self._get_order),
            ("PUT", "/orders/{id}", self._put_order),
            ("GET", "/orders/{id}/notes", self._list_notes),
            ("POST", "/orders/{id}/notes", self._post_note),
            ("GET", "/orders/{id}/refunds", self._list_refunds),
            ("POST", "/orders/{id}/refunds", self._post_refund),
            ("GET", "/webhooks", self._list_hooks),
            ("POST", "/webhooks", self._post_hook),
            ("PUT", "/webhooks/{id}", self._put_hook),
            ("DELETE", "/webhooks/{id}", self._delete_hook),
        ):
            add(method, ROOT + path, self._guarded(f"{method} {path[1:]}", handler))
        add("*", "/{anything:.*}", self._nothing)

    def _guarded(
        self, operation: str, handler: Callable[[web.Request], Awaitable[web.Response] | web.Response]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return the handler behind the host's limits and the API's keys."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            call, clock = request[CALL], self._place.clock
            call.operation = operation
            if self._host is not None and (wait := self._host.take(1.0, clock.monotonic())):
                call.is_throttled = True
                return page(429, "Too Many Requests", retry_after=max(1, math.ceil(min(wait, 60.0))))
            if self._workers is not None and not self._workers.enter(clock.monotonic()):
                return page(503, "Service Temporarily Unavailable")
            try:
                if self._options.work_seconds:
                    await asyncio.sleep(self._options.work_seconds)
                url = f"http://{request.host}{request.path}"
                self._home = f"http://{request.host}/"
                self._gate.admit(request.method, url, request.query, self._place.now())
                answer = handler(request)
                return answer if isinstance(answer, web.Response) else await answer
            except Refusal as refusal:
                return refused(refusal)
            except BooksFull:
                return page(507, "Insufficient Storage")
            finally:
                if self._workers is not None:
                    self._workers.leave()

        return guarded

    async def _nothing(self, request: web.Request) -> web.Response:
        if not request.path.startswith("/wp-json/"):
            return page(404, "Not Found")
        return refused(Refusal(404, "rest_no_route", "No route was found matching the URL and request method."))

    # --- about the shop --------------------------------------------------------------------------------------------
    def _status(self, _request: web.Request) -> web.Response:
        status = {
            "environment": {
                "home_url": self._home.rstrip("/"), "store_id": f"sandbox-{self._place.name}", "version": VERSION,
                "wp_version": "6.7", "wp_cron": True,
            },
            "settings": {"currency": self._shop.currency, "force_ssl": False, "HPOS_enabled": True},
        }  # fmt: skip
        return json_answer(status)

    def _currency(self, _request: web.Request) -> web.Response:
        return json_answer({"code": self._shop.currency, "name": self._shop.currency, "symbol": ""})

    def _tax_setting(self, _request: web.Request) -> web.Response:
        value = "yes" if self._options.prices_include_tax else "no"
        return json_answer({"id": "woocommerce_prices_include_tax", "value": value, "group_id": "tax"})

    # --- articles --------------------------------------------------------------------------------------------------
    def _list_products(self, request: web.Request) -> web.Response:
        return self._list_articles(request, self._shop.products())

    def _list_variations(self, request: web.Request) -> web.Response:
        if not self._options.has_variations_list:
            raise Refusal(404, "rest_no_route", "No route was found matching the URL and request method.")
        return self._list_articles(request, self._shop.variations())

    def _list_variations_of(self, request: web.Request) -> web.Response:
        return self._list_articles(request, self._shop.variations(_number(request, "parent")))

    def _list_articles(self, request: web.Request, found: Iterable[Article]) -> web.Response:
        checks.check_list(request.query, _PRODUCT_ORDERS)
        rows = [(article.id, article.created, article.modified, article) for article in found]
        return _page_of(request, rows, self._shop.render_article)

    def _get_product(self, request: web.Request) -> web.Response:
        return json_answer(_only(request, self._shop.render_article(self._article(request))))

    async def _put_product(self, request: web.Request) -> web.Response:
        article, body = self._article(request), await _body(request)
        checks.check_article(body)
        self._shop.change_article(article, body)
        return json_answer(self._shop.render_article(article))

    async def _batch_products(self, request: web.Request) -> web.Response:
        return await self._batch(request, self._change_product, self._shop.render_article)

    async def _batch_variations(self, request: web.Request) -> web.Response:
        parent = _number(request, "parent")

        def change(body: Body) -> Article:
            article = self._shop.articles.get(_whole(body.get("id")))
            if article is None or article.parent != parent:
                raise Refusal(400, "woocommerce_rest_product_variation_invalid_id", "Invalid ID.")
            self._shop.change_article(article, body)
            return article

        return await self._batch(request, change, self._shop.render_article)

    def _change_product(self, body: Body) -> Article:
        article = self._shop.articles.get(_whole(body.get("id")))
        if article is None:
            raise Refusal(400, "woocommerce_rest_product_invalid_id", "Invalid ID.")
        if article.parent:
            raise Refusal(
                404, "woocommerce_rest_invalid_product_id", "To manipulate product variations you should use the "
                "/products/&lt;product_id&gt;/variations/&lt;id&gt; endpoint.",
            )  # fmt: skip
        self._shop.change_article(article, body)
        return article

    async def _batch(
        self, request: web.Request, change: Callable[[Body], Any], render: Callable[[Any], Body]
    ) -> web.Response:
        """Change many, each by itself; nothing is checked but that they are there, and no more than 100 are taken."""
        body = await _body(request)
        parts = [body.get(name) or [] for name in ("create", "update", "delete")]
        if sum(len(part) for part in parts if isinstance(part, list)) > BATCH_MAX:
            raise Refusal(
                413,
                "woocommerce_rest_request_entity_too_large",
                f"Unable to accept more than {BATCH_MAX} items for this request.",
            )
        update = parts[1] if isinstance(parts[1], list) else []
        request[CALL].items = len(update)
        answers = []
        for item in update:
            try:
                answers.append(render(change(item)))
            except Refusal as refusal:
                answers.append({"id": item.get("id"), "error": refusal.body()})
        return json_answer({"update": answers} if answers else {})

    def _article(self, request: web.Request) -> Article:
        article = self._shop.articles.get(_number(request, "id"))
        parent = int(request.match_info.get("parent", "0"))
        if article is None or article.parent != parent:
            kind = "product_variation" if parent else "product"
            raise Refusal(404, f"woocommerce_rest_{kind}_invalid_id", "Invalid ID.")
        return article

    # --- orders ----------------------------------------------------------------------------------------------------
    def _list_orders(self, request: web.Request) -> web.Response:
        checks.check_orders_list(request.query)
        wanted = request.query.get("status", "any").split(",")
        rows = [
            (found.id, found.order.placed_at, found.modified, found)
            for found in self._shop.orders.values()
            if found.status in wanted or ("any" in wanted and found.status != "trash")
        ]
        return _page_of(request, rows, self._shop.render_order)

    def _get_order(self, request: web.Request) -> web.Response:
        return json_answer(_only(request, self._shop.render_order(self._order(request))))

    async def _post_order(self, request: web.Request) -> web.Response:
        body = await _body(request)
        checks.check_order(body)
        wanted = []
        for line in body.get("line_items") or ():
            article = self._shop.articles.get(_whole(line.get("variation_id") or line.get("product_id")))
            if article is None or article.item is None:
                raise Refusal(400, "woocommerce_rest_required_product_reference", "Product ID or SKU is required.")
            wanted.append((article.item.sku, max(1, _whole(line.get("quantity", 1)))))
        status = "processing" if body.get("set_paid") else str(body.get("status") or "pending")
        found = self._shop.buy(
            f"rest-{self._shop.next_part()}", wanted, email="", enforces=False, status=status, extra={}
        )
        if isinstance(found, OutOfStock):
            raise Refusal(500, "internal_server_error", "unreachable")
        return json_answer(self._shop.render_order(found), status=201)

    async def _put_order(self, request: web.Request) -> web.Response:
        found, body = self._order(request), await _body(request)
        checks.check_order(body)
        self._shop.change_order(found, body)
        return json_answer(self._shop.render_order(found))

    async def _batch_orders(self, request: web.Request) -> web.Response:
        def change(body: Body) -> ShopOrder:
            found = self._shop.orders.get(_whole(body.get("id")))
            if found is None:
                raise Refusal(400, "woocommerce_rest_shop_order_invalid_id", "Invalid ID.")
            self._shop.change_order(found, body)
            return found

        return await self._batch(request, change, self._shop.render_order)

    def _list_notes(self, request: web.Request) -> web.Response:
        kind = request.query.get("type", "any")
        notes = self._order(request).notes
        return json_answer([note for note in notes if kind == "any" or note["customer_note"] == (kind == "customer")])

    async def _post_note(self, request: web.Request) -> web.Response:
        found, body = self._order(request), await _body(request)
        if not isinstance(body.get("note"), str) or not body["note"]:
            raise Refusal(400, "rest_missing_callback_param", "Missing parameter(s): note", params=["note"])
        note = self._shop.add_note(found, body["note"], is_for_buyer=bool(body.get("customer_note", False)))
        return json_answer(note, status=201)

    def _list_refunds(self, request: web.Request) -> web.Response:
        checks.check_list(request.query, ("date", "id", "include", "title", "slug", "modified"))
        rows = [(one["id"], one["at"], one["at"], one) for one in self._order(request).refunds]
        return _page_of(request, rows, self._shop.render_refund)

    async def _post_refund(self, request: web.Request) -> web.Response:
        found, body = self._order(request, missing=500), await _body(request)
        checks.check_refund(body)
        return json_answer(self._shop.render_refund(self._shop.refund(found, body)), status=201)

    def _order(self, request: web.Request, *, missing: int = 404) -> ShopOrder:
        found = self._shop.orders.get(_number(request, "id"))
        if found is None:
            code = "woocommerce_rest_shop_order_invalid_id" if missing != 500 else "woocommerce_rest_invalid_order_id"
            raise Refusal(missing, code, "Invalid ID.")
        return found

    # --- webhooks --------------------------------------------------------------------------------------------------
    def _list_hooks(self, request: web.Request) -> web.Response:
        checks.check_list(request.query, ("date", "id", "title"))
        rows = [(hook.id, hook.created, hook.created, hook) for hook in self._hooks.hooks.values()]
        return _page_of(request, rows, Hook.render)

    async def _post_hook(self, request: web.Request) -> web.Response:
        body = await _body(request)
        checks.check_hook(body, is_new=True)
        return json_answer(self._hooks.add(body).render(), status=201)

    async def _put_hook(self, request: web.Request) -> web.Response:
        hook, body = self._hook(request), await _body(request)
        checks.check_hook(body, is_new=False)
        self._hooks.change(hook, body)
        return json_answer(hook.render())

    def _delete_hook(self, request: web.Request) -> web.Response:
        hook = self._hook(request)
        if request.query.get("force") not in ("true", "1"):
            raise Refusal(501, "woocommerce_rest_trash_not_supported", "Webhooks do not support trashing.")
        del self._hooks.hooks[hook.id]
        return json_answer(hook.render())

    def _hook(self, request: web.Request) -> Hook:
        hook = self._hooks.hooks.get(_number(request, "id"))
        if hook is None:
            raise Refusal(404, "woocommerce_rest_shop_webhook_invalid_id", "ID is invalid.")
        return hook

    def _render(self, resource: str, number: int) -> Body:
        if resource == "order":
            return self._shop.render_order(self._shop.orders[number])
        return self._shop.render_article(self._shop.articles[number])

    # --- what happens there ----------------------------------------------------------------------------------------
    def _buy(self, purchase: Purchase, key: str) -> Sale | OutOfStock:
        found = self._shop.buy(
            key,
            [(line.sku, line.quantity) for line in purchase.lines],
            email=purchase.email,
            enforces=self._place.spec.enforces_stock,
            sells_on_seconds=self._options.sells_on_seconds,
            status=str(purchase.extra.get("status", "processing")),
            extra=purchase.extra,
        )
        if isinstance(found, OutOfStock):
            return found
        return Sale(sold=True, key=key, id=found.order.id, number=found.id)

    def _count(self, sku: str, _location: str | None, quantity: int) -> None:
        self._shop.set_stock(self._shop.by_sku[sku], quantity, cause="control")

    def _cancel(self, body: Mapping[str, Any]) -> Any:
        return self._to_status(body, "cancelled")

    def _hold(self, body: Mapping[str, Any]) -> Any:
        return self._to_status(body, "on-hold")

    def _trash(self, body: Mapping[str, Any]) -> Any:
        found = self._shop.orders[int(body["order"])]
        found.status, found.modified = "trash", self._place.now()
        self._hooks.tell("order", "deleted", found.id)
        return {"status": found.status}

    def _erase(self, body: Mapping[str, Any]) -> Any:
        """Delete an order for good, as a merchant or a clean-up plugin does: no stock comes back."""
        number = int(body["order"])
        del self._shop.orders[number]
        self._hooks.tell("order", "deleted", number)
        return {"id": number}

    def _refund_there(self, body: Mapping[str, Any]) -> Any:
        found = self._shop.orders[int(body["order"])]
        try:
            return self._shop.render_refund(self._shop.refund(found, {"api_restock": False, **body}))
        except Refusal as refusal:
            raise ValueError(str(refusal)) from refusal

    def _to_status(self, body: Mapping[str, Any], status: str) -> Any:
        found = self._shop.orders[int(body["order"])]
        self._shop.change_order(found, {"status": status})
        return {"status": found.status}

    def _details(self) -> Any:
        statuses: dict[str, int] = {}
        for found in self._shop.orders.values():
            statuses[found.status] = statuses.get(found.status, 0) + 1
        return {
            "statuses": statuses,
            "webhooks": {hook.topic: hook.status for hook in self._hooks.hooks.values()},
            "coalesced": self._hooks.coalesced,
            "switched_off": self._hooks.switched_off,
        }


Row = tuple[int, float, float, Any]
"""(id, created, modified, the thing)"""


def _page_of(request: web.Request, rows: list[Row], render: Callable[[Any], Body]) -> web.Response:
    """Return a page of a list. Its `next` link carries the nonce that is spent, as the real one does."""
    query = request.query
    for first, last, column in (("modified_after", "modified_before", 2), ("after", "before", 1)):
        after, before = query.get(first), query.get(last)
        rows = [
            row
            for row in rows
            if (after is None or moment(float(row[column])) > after[:19])
            and (before is None or moment(float(row[column])) < before[:19])
        ]
    if include := query.get("include"):
        named = {int(number) for number in include.split(",") if number.isdigit()}
        rows = [row for row in rows if row[0] in named]
    position = {"id": 0, "date": 1, "modified": 2}.get(query.get("orderby", "date"), 1)
    # by whole seconds: what shares one comes in no promised order
    rows.sort(key=lambda row: (int(row[position]), -row[0]), reverse=query.get("order", "desc") == "desc")
    size, number = int(query.get("per_page", 10)), int(query.get("page", 1))
    start = int(query["offset"]) if "offset" in query else (number - 1) * size
    pages = math.ceil(len(rows) / size)
    headers = {"X-WP-Total": str(len(rows)), "X-WP-TotalPages": str(pages)}
    if number < pages:
        following = request.url.update_query(page=str(number + 1))
        headers["Link"] = f'<{following}>; rel="next"'
    return json_answer([_only(request, render(row[3])) for row in rows[start : start + size]], headers=headers)


def _only(request: web.Request, thing: Body) -> Body:
    """Leave the fields that `_fields` names."""
    if not (wanted := request.query.get("_fields")):
        return thing
    names = {name.partition(".")[0] for name in wanted.split(",")}
    return {name: value for name, value in thing.items() if name in names}


async def _body(request: web.Request) -> Body:
    try:
        found = msgspec.json.decode(await request.read())
    except msgspec.DecodeError as error:
        raise Refusal(400, "rest_invalid_json", "Invalid JSON body passed.") from error
    if not isinstance(found, dict):
        raise Refusal(400, "rest_invalid_json", "Invalid JSON body passed.")
    return found


def _number(request: web.Request, name: str) -> int:
    text = request.match_info[name]
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Refusal(404, "rest_no_route", "No route was found matching the URL and request method.")
    return int(text)


def _whole(value: Any) -> int:
    return value if type(value) is int else int(value) if isinstance(value, str) and value.isdigit() else 0
