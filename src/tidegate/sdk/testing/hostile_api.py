"""The hostile remote's API as a pure function: (world, request) -> answer. `/api/` is the platform, `/__` the test's hand.

Platform: bearer token from `POST /api/token {"key"}`; JSON everywhere; refusals are `{"error": {"code", ...}}`.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tidegate.sdk.testing import hostile_erp as erp
from tidegate.sdk.testing import hostile_shop as shop
from tidegate.sdk.testing.hostile_world import RefusalError, World

PAGE_LIMIT_MAX = 100
VERSION = "hostile 1.0"


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A request to the remote."""

    method: str
    path: str
    query: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    """Lower-case names."""
    body: Any = None
    """Decoded JSON, None without a body."""
    now: str
    """The remote's clock, ISO 8601."""
    rejected: frozenset[int] = frozenset()
    """Positions of a bulk call that are refused by order of a fault."""


class Answer(msgspec.Struct, frozen=True):
    """Status and JSON body."""

    status: int
    body: Any


Route = Callable[[World, Call, str], Answer]
"""(world, call, what stood for `*` in the path) -> answer."""


def answer(world: World, call: Call) -> Answer:
    """Carry out a call on the world and return the answer; changes the world unless the answer is a refusal."""
    try:
        if call.path.startswith("/api/") and call.path != "/api/token":
            _check_token(world, call)
        route, part = _find_route(call)
        return route(world, call, part)
    except RefusalError as refusal:
        return Answer(refusal.status, {"error": {"code": refusal.code, **refusal.extra}})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return Answer(400, {"error": {"code": "malformed", "detail": repr(error)}})


def _check_token(world: World, call: Call) -> None:
    scheme, _, token = call.headers.get("authorization", "").partition(" ")
    if scheme != "Bearer" or token not in world.tokens:
        raise RefusalError(401, "token_refused")


def _find_route(call: Call) -> tuple[Route, str]:
    parts = call.path.split("/")
    for position in (None, *range(2, len(parts))):
        pattern = [part if index != position else "*" for index, part in enumerate(parts)]
        route = _ROUTES.get((call.method, "/".join(pattern)))
        if route is not None:
            return route, "" if position is None else parts[position]
    raise RefusalError(404, "no_such_route")


def _put_settings(world: World, call: Call, _part: str) -> Answer:
    for name in _SETTINGS:
        setattr(world, name, call.body.get(name, getattr(world, name)))
    return Answer(200, {})


_SETTINGS = (
    "account", "api_key", "unique_references", "refuse_short_fulfillments", "subscriptions", "webhooks_enabled",
    "missing_topics", "rights", "calls_per_second", "key_expires_at",
)  # fmt: skip


def _put_articles(world: World, call: Call, _part: str) -> Answer:
    erp.put_articles(world, call.body, call.now)
    return Answer(200, msgspec.to_builtins(list(world.articles.values())))


def _expire_tokens(world: World, _call: Call, _part: str) -> Answer:
    world.tokens.clear()
    return Answer(200, {})


def _subscribe(world: World, call: Call, _part: str) -> Answer:
    known = call.body["url"] in world.subscriptions
    world.subscriptions[call.body["url"]] = call.body["secret"]
    return Answer(200 if known else 201, {"known": known})


def _subscriptions(world: World) -> dict[str, Any]:
    """Return what the platform tells of its webhooks; never a secret."""
    return {
        "items": [{"url": url, "enabled": world.webhooks_enabled} for url in world.subscriptions],
        "missing_topics": world.missing_topics,
        "waiting": len(world.events) - world.delivered,
    }


def _set_stock(world: World, call: Call, _part: str) -> Answer:
    key = call.headers.get("idempotency-key", "")
    return Answer(200, shop.set_stock(world, call.body, idempotency_key=key, rejected=call.rejected))


def _log_in(world: World, key: str) -> str:
    if key != world.api_key:
        raise RefusalError(401, "key_refused")
    world.logins += 1
    token = hashlib.sha256(f"{world.account}/{world.logins}".encode()).hexdigest()
    world.tokens.add(token)
    return token


def _about(world: World) -> dict[str, Any]:
    return {
        "account": world.account,
        "version": VERSION,
        "locations": [{"id": erp.WAREHOUSE, "name": "Warehouse 1"}],
        "articles": [
            {"id": a.article_id, "sku": a.sku, "title": a.title, "barcode": a.barcode} for a in world.articles.values()
        ],
    }


def _show_articles(world: World, *, after: str, limit: int) -> dict[str, Any]:
    """Return the counters and prices of the articles behind an id, in the order of ids."""
    ids = sorted(world.articles)
    start = bisect_right(ids, after)
    some = [world.articles[article_id] for article_id in ids[start : start + limit]]
    items = [
        {
            "id": article.article_id,
            "sku": article.sku,
            "title": article.title,
            "shop_on_hand": article.shop_on_hand,
            "erp_on_hand": article.erp_on_hand,
            "price_minor": article.price_minor,
            "product_id": article.product_id,
        }
        for article in some
    ]
    return {"items": items, "location": erp.WAREHOUSE, "currency": "EUR", "has_more": len(ids) > start + limit}


def _show_article(world: World, article_id: str) -> dict[str, Any]:
    found = world.articles.get(article_id)
    if found is None:
        raise RefusalError(404, "unknown_article")
    return {"article_id": found.article_id, "sku": found.sku, "title": found.title, "product_id": found.product_id}


def _show_product(world: World, product_id: str) -> dict[str, Any]:
    parts = [each.article_id for each in world.articles.values() if each.product_id == product_id]
    if not parts:
        raise RefusalError(404, "unknown_product")
    return {"product_id": product_id, "articles": parts}


def _delete_articles(world: World, call: Call, _part: str) -> Answer:
    erp.delete_articles(world, call.body)
    return Answer(200, {})


def _limit(call: Call) -> int:
    return min(PAGE_LIMIT_MAX, int(call.query.get("limit", PAGE_LIMIT_MAX)))


def _page(call: Call) -> dict[str, int]:
    return {"after": int(call.query.get("after", "0")), "limit": _limit(call)}


def _read_after(records: list[Any], *, after: int, limit: int) -> dict[str, Any]:
    start = bisect_right(records, after, key=lambda record: record.revision)
    return {"items": msgspec.to_builtins(records[start : start + limit]), "has_more": len(records) > start + limit}


_ROUTES: dict[tuple[str, str], Route] = {
    ("POST", "/api/token"): lambda world, call, _: Answer(200, {"token": _log_in(world, call.body["key"])}),
    ("GET", "/api/about"): lambda world, _call, _: Answer(200, _about(world)),
    ("GET", "/api/articles"): lambda world, call, _: Answer(
        200, _show_articles(world, after=call.query.get("after", ""), limit=_limit(call))
    ),
    ("GET", "/api/articles/*"): lambda world, _call, part: Answer(200, _show_article(world, part)),
    ("GET", "/api/products/*"): lambda world, _call, part: Answer(200, _show_product(world, part)),
    ("POST", "/__articles/delete"): _delete_articles,
    ("POST", "/api/webhooks"): _subscribe,
    ("GET", "/api/webhooks"): lambda world, _call, _: Answer(200, _subscriptions(world)),
    ("GET", "/api/key"): lambda world, _call, _: Answer(
        200,
        {"rights": world.rights, "calls_per_second": world.calls_per_second, "expires_at": world.key_expires_at},
    ),
    ("GET", "/api/shop/orders"): lambda world, call, _: Answer(200, shop.read_orders(world, **_page(call))),
    ("GET", "/api/shop/placed"): lambda world, call, _: Answer(
        200, shop.read_placed(world, call.query["since"], call.query["until"])
    ),
    ("GET", "/api/shop/orders/*"): lambda world, _call, part: Answer(200, shop.read_order(world, part)),
    ("POST", "/api/shop/orders/*/fulfillments"): lambda world, call, part: Answer(
        *shop.create_fulfillment(world, part, call.body)
    ),
    ("POST", "/api/shop/orders/*/cancel"): lambda world, _call, part: Answer(*shop.cancel_order(world, part)),
    ("POST", "/api/shop/orders/*/refunds"): lambda world, call, part: Answer(
        *shop.create_refund(world, part, call.body)
    ),
    ("GET", "/api/shop/refunds"): lambda world, call, _: Answer(200, shop.find_refunds(world, call.query["reference"])),
    ("GET", "/api/shop/fulfillments"): lambda world, call, _: Answer(
        200, shop.find_fulfillments(world, call.query["reference"])
    ),
    ("GET", "/api/shop/stock"): lambda world, call, _: Answer(200, shop.read_stock(world, call.query["article_id"])),
    ("PUT", "/api/shop/stock"): _set_stock,
    ("POST", "/api/erp/orders"): lambda world, call, _: Answer(*erp.create_order(world, call.body)),
    ("GET", "/api/erp/orders"): lambda world, call, _: Answer(200, erp.find_orders(world, call.query["reference"])),
    ("POST", "/api/erp/orders/*/cancel"): lambda world, _call, part: Answer(*erp.cancel_order(world, part)),
    ("GET", "/api/erp/moves"): lambda world, call, _: Answer(200, _read_after(world.moves, **_page(call))),
    ("GET", "/api/erp/shipments"): lambda world, call, _: Answer(200, _read_after(world.shipments, **_page(call))),
    ("GET", "/__healthz"): lambda world, _call, _: Answer(200, {"account": world.account}),
    ("GET", "/__state"): lambda world, _call, _: Answer(200, msgspec.to_builtins(world)),
    ("PUT", "/__settings"): _put_settings,
    ("POST", "/__articles"): _put_articles,
    ("POST", "/__shop/orders"): lambda world, call, _: Answer(201, shop.place_order(world, call.body, call.now)),
    ("POST", "/__shop/orders/*"): lambda world, call, part: Answer(200, shop.change_order(world, part, call.body)),
    ("POST", "/__erp/moves"): lambda world, call, _: Answer(201, erp.add_moves(world, call.body, call.now)),
    ("POST", "/__erp/ship"): lambda world, call, _: Answer(201, erp.ship(world, call.body, call.now)),
    ("POST", "/__expire_tokens"): _expire_tokens,
    ("GET", "/__events"): lambda world, call, _: Answer(
        200, msgspec.to_builtins(world.events[int(call.query.get("after", "0")) :])
    ),
}
