"""Articles: all of them when connecting, the changed ones by polls, and what the shop shows of stock and price.

WooCommerce keeps products and their variations apart. Variations of all products are read together (10.3 and newer), else
product by product.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from tidegate.connectors.woocommerce.cursor import following, query_of
from tidegate.connectors.woocommerce.mapper import PARENTS, PRODUCT_GONE_TOPIC, VARIANT_GONE_TOPIC, article_id
from tidegate.connectors.woocommerce.orders import changed_at
from tidegate.connectors.woocommerce.stock import place_of
from tidegate.connectors.woocommerce.wire import PAGE_MAX, Gone, Raw, read, read_or_gone, read_or_none
from tidegate.kernel.errors import ConfigurationError
from tidegate.sdk.connector import (
    FeedItem,
    FeedPage,
    ShownArticle,
    ShownField,
    ShownPage,
    ShownValue,
    Variant,
)
from tidegate.sdk.http import Api
from tidegate.sdk.rounds import parse
from tidegate.sdk.timed import TimedApi

SHOP = "shop"
"""External id of the one place that a shop has: WooCommerce counts an article once, not per location."""
FIELDS = (
    "id", "parent_id", "type", "status", "sku", "name", "global_unique_id", "date_modified_gmt", "manage_stock",
    "stock_quantity", "price", "variations",
)  # fmt: skip
NEWS_FIELDS = ("id", "parent_id", "type", "sku", "name", "date_modified_gmt")
"""Of an article that changed: without stock and price, which change with every sale."""


TRASH = "trash"
"""Status of what somebody deleted in the shop's own pages: it is sold no more, and can be restored."""
_FETCHED = ",".join((*NEWS_FIELDS, "status"))


class Shelf(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where reading all articles stands: pages of products, then of variations."""

    stage: str = "products"
    """products, variations (all together), or parents (product by product)."""
    page: int = 1
    parents: tuple[int, ...] = ()
    """Products with variations that are still to be read, in stage `parents`."""
    currency: str = ""
    with_tax: bool = False


class Facts(msgspec.Struct, frozen=True):
    """What prices mean in this shop."""

    currency: str
    with_tax: bool


async def read_facts(api: Api) -> Facts:
    """Return currency and kind of the shop's prices."""
    currency = await read(api, "/data/currencies/current", Raw)
    setting = await read(api, "/settings/tax/woocommerce_prices_include_tax", Raw)
    return Facts(currency=str(currency.get("code") or ""), with_tax=setting.get("value") == "yes")


# --- all of them ---------------------------------------------------------------------------------------------------
async def read_shown(api: Api, cursor: str) -> ShownPage:
    """Read a page of what the shop shows of its articles: products first, then variations."""
    if cursor:
        shelf = msgspec.json.decode(cursor, type=Shelf)
    else:
        facts = await read_facts(api)
        shelf = Shelf(currency=facts.currency, with_tax=facts.with_tax)
    found, following_shelf = await read_shelf(api, shelf)
    articles = tuple(_shown(raw, shelf) for raw in found if is_article(raw))
    return ShownPage(
        articles=articles,
        cursor=msgspec.json.encode(following_shelf or Shelf()).decode(),
        has_more=following_shelf is not None,
    )


async def read_shelf(api: Api, shelf: Shelf) -> tuple[list[Raw], Shelf | None]:
    """Return a page of raw articles and where to go on, None at the end.

    Pages go by id, so that an article which changes meanwhile stays where it is.
    """
    query = {"per_page": str(PAGE_MAX), "page": str(shelf.page), "orderby": "id", "order": "asc"}
    query["_fields"] = ",".join(FIELDS)
    if shelf.stage == "products":
        found = await read(api, "/products", list[Raw], query)
        parents = (*shelf.parents, *(int(raw["id"]) for raw in found if raw.get("variations")))
        if len(found) == PAGE_MAX:
            return found, msgspec.structs.replace(shelf, page=shelf.page + 1, parents=parents)
        following_shelf = msgspec.structs.replace(shelf, stage="variations", page=1, parents=parents)
        return found, following_shelf if parents else None
    if shelf.stage == "variations":
        together = await _read_variations(api, query)
        if together is None:
            return [], msgspec.structs.replace(shelf, stage="parents")
        more = msgspec.structs.replace(shelf, page=shelf.page + 1) if len(together) == PAGE_MAX else None
        return together, more
    if not shelf.parents:
        return [], None
    parent, *others = shelf.parents
    found = await read_or_none(api, f"/products/{parent}/variations", list[Raw], query) or []
    found = [{**raw, "parent_id": parent} for raw in found]
    if len(found) == PAGE_MAX:
        return found, msgspec.structs.replace(shelf, page=shelf.page + 1)
    return found, msgspec.structs.replace(shelf, page=1, parents=tuple(others)) if others else None


async def every_article(api: Api) -> AsyncIterator[Raw]:
    """Yield every article that is counted, each as the API shows it."""
    shelf: Shelf | None = Shelf()
    while shelf is not None:
        found, shelf = await read_shelf(api, shelf)
        for raw in found:
            if is_article(raw):
                yield raw


async def _read_variations(api: Api, query: Mapping[str, str]) -> list[Raw] | None:
    """Return a page of variations of all products, None where this shop is too old to tell them together."""
    try:
        return await read(api, "/variations", list[Raw], query)
    except ConfigurationError as error:
        if error.code != "no_such_endpoint":
            raise
        return None


def is_article(raw: Raw) -> bool:
    """Return whether a product is sold and counted itself."""
    return bool(raw.get("parent_id")) or str(raw.get("type", "simple")) not in PARENTS


def variant_of(raw: Raw) -> Variant:
    """Return an article as connecting shows it."""
    return Variant(
        external_id=_external_id(raw),
        sku=str(raw.get("sku") or ""),
        title=str(raw.get("name") or raw.get("sku") or raw["id"]),
        barcode=str(raw.get("global_unique_id") or ""),
        parent_external_id=str(raw.get("parent_id") or raw["id"]),
    )


def _external_id(raw: Raw) -> str:
    parent = int(raw.get("parent_id") or 0)
    return article_id(parent, int(raw["id"])) if parent else article_id(int(raw["id"]), 0)


def _shown(raw: Raw, shelf: Shelf) -> ShownArticle:
    values: list[ShownValue] = []
    quantity = raw.get("stock_quantity")
    if raw.get("manage_stock") is True and isinstance(quantity, (int, float)):
        values.append(ShownValue(field=ShownField.STOCK, value=Decimal(int(quantity)), place=SHOP))
    price = _decimal(raw.get("price"))
    if price is not None and shelf.currency:
        field = ShownField.PRICE_WITH_TAX if shelf.with_tax else ShownField.PRICE
        values.append(ShownValue(field=field, value=price, currency=shelf.currency))
    variant = variant_of(raw)
    return ShownArticle(
        external_id=variant.external_id,
        sku=variant.sku,
        title=variant.title,
        values=tuple(values),
        parent_external_id=variant.parent_external_id,
    )


def _decimal(text: Any) -> Decimal | None:
    """Return a price with at most 6 decimals; None for '', which is an article that cannot be bought."""
    try:
        price = round(Decimal(str(text)), 6) if text not in (None, "") else None
    except InvalidOperation:
        return None
    return price if price is not None and price.is_finite() else None


# --- news ----------------------------------------------------------------------------------------------------------
async def read_products(api: Api, cursor: str) -> FeedPage:
    """Read products that changed since the cursor, oldest change first."""
    return await _read_news(api, "/products", cursor)


async def read_variations(api: Api, cursor: str) -> FeedPage:
    """Read variations that changed since the cursor; none where the shop cannot tell them together."""
    try:
        return await _read_news(api, "/variations", cursor)
    except ConfigurationError as error:
        if error.code != "no_such_endpoint":
            raise
        return FeedPage(items=(), cursor=cursor, has_more=False)


async def fetch_variant(api: Api, external_id: str) -> FeedItem | None:
    """Read one article, or what says that the shop does not have it (any more), or has it in the trash.

    A 404 of a host, or of a shop without permalinks, raises.
    """
    product, variation = place_of(external_id)
    path = f"/products/{product}/variations/{variation}" if variation else f"/products/{product}"
    found = await read_or_gone(api, path, Raw, {"_fields": _FETCHED})
    if isinstance(found, Gone) or _is_gone(found):
        return _gone(VARIANT_GONE_TOPIC, external_id)
    if variation and _is_gone(await read_or_gone(api, f"/products/{product}", Raw, {"_fields": "id,status"})):
        return _gone(
            VARIANT_GONE_TOPIC, external_id
        )  # variations stay as they are when their product is put into the trash
    return _news({**found, "parent_id": product} if variation else found)


async def fetch_product(api: Api, external_id: str) -> FeedItem | None:
    """Read a product: the article that it is, or what says that it is gone with all that belongs to it.

    None for one whose variations are what is sold, while it is there: each of them is read by itself.
    """
    product, _ = place_of(external_id)
    found = await read_or_gone(api, f"/products/{product}", Raw, {"_fields": _FETCHED})
    if isinstance(found, Gone) or _is_gone(found):
        return _gone(PRODUCT_GONE_TOPIC, str(product))
    return _news(found) if is_article(found) else None


def _is_gone(found: Raw | Gone) -> bool:
    return isinstance(found, Gone) or found.get("status") == TRASH


def _gone(topic: str, external_id: str) -> FeedItem:
    return FeedItem(
        topic=topic,
        external_id=external_id,
        ordering_key=f"variant:{external_id}",
        body=msgspec.json.encode({"id": external_id}),
    )


async def _read_news(api: Api, path: str, cursor: str) -> FeedPage:
    state = parse(cursor)
    timed = TimedApi(api)
    found = await read(timed, path, list[Raw], {**query_of(state), "_fields": ",".join(NEWS_FIELDS)})
    reached, has_more = following(state, [changed_at(raw) for raw in found], timed.answered_at)
    return FeedPage(items=_all_news(found), cursor=msgspec.json.encode(reached).decode(), has_more=has_more)


def _all_news(found: Sequence[Raw]) -> tuple[FeedItem, ...]:
    return tuple(_news(raw) for raw in found)


def _news(raw: Raw) -> FeedItem:
    """Return the item, without the time of change: every number that we set moves it, and says nothing new."""
    external_id = _external_id(raw)
    kept = {name: raw[name] for name in NEWS_FIELDS if name in raw and name != "date_modified_gmt"}
    return FeedItem(
        topic="variant",
        external_id=external_id,
        ordering_key=f"variant:{external_id}",
        body=msgspec.json.encode(kept, order="sorted"),
    )
