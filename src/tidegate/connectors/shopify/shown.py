"""What a shop shows of its articles: the number at the connection's location, and the price.

A bulk operation tells all of them (`bulk`). Where none can be had, the articles are asked for page by page.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec

from tidegate.connectors.shopify import bulk, queries
from tidegate.connectors.shopify.graphql import Raw, call, gid, number_of
from tidegate.kernel.errors import ConfigurationError
from tidegate.sdk.connector import ShownArticle, ShownField, ShownPage, ShownValue
from tidegate.sdk.http import Api

NODES_PER_PAGE = 100
CHARGE = 503
"""Of a page that is asked for: 100 articles with four things each. A bulk operation costs about ten."""


class _Cursor(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the reading stands."""

    way: Literal["bulk", "pages"]
    currency: str
    with_tax: bool
    operation: str = ""
    polls: int = 0
    first_byte: int = 0
    after: str | None = None


class _Level(msgspec.Struct):
    quantities: list[dict[str, int]]


class _Item(msgspec.Struct, rename="camel"):
    tracked: bool
    inventory_level: _Level | None = None


class _Product(msgspec.Struct):
    id: str


class _Variant(msgspec.Struct, rename="camel"):
    id: str
    display_name: str
    price: str
    inventory_item: _Item
    sku: str | None = None
    product: _Product | None = None


_LINE = msgspec.json.Decoder(_Variant)


async def read_shown(api: Api, cursor: str) -> ShownPage:
    """Read the next part. The first call begins a bulk operation, which changes nothing in the shop."""
    if not cursor:
        return await _begin(api)
    state = msgspec.json.decode(cursor, type=_Cursor)
    return await (_read_bulk(api, state) if state.way == "bulk" else _read_nodes(api, state))


async def _begin(api: Api) -> ShownPage:
    shop: Raw = await call(api, queries.PRICING, {}, "shop", Raw, changes_state=False)
    begun = await bulk.start(api, queries.BULK_SHOWN.replace("LOCATION", gid("Location", _location(api))))
    state = _Cursor(way="pages", currency=shop["currencyCode"], with_tax=shop["taxesIncluded"])
    if begun is None:
        return _page((), state)
    state = msgspec.structs.replace(state, way="bulk", operation=begun.operation)
    return _page((), state, wait_seconds=bulk.POLL_SECONDS)


async def _read_bulk(api: Api, state: _Cursor) -> ShownPage:
    part = await bulk.read_part(api, bulk.Place(state.operation, state.polls, state.first_byte))
    if part is None:
        return _page((), _Cursor(way="pages", currency=state.currency, with_tax=state.with_tax))
    articles = _articles([bulk.decode(_LINE, line) for line in part.lines], state, _location(api))
    place = part.following
    following = (
        None if place is None else msgspec.structs.replace(state, polls=place.polls, first_byte=place.first_byte)
    )
    return _page(articles, following, wait_seconds=part.wait_seconds, observed_at=part.observed_at)


async def _read_nodes(api: Api, state: _Cursor) -> ShownPage:
    location = _location(api)
    variables = {"first": NODES_PER_PAGE, "after": state.after, "location": gid("Location", location)}
    page: Raw = await call(api, queries.SHOWN_PAGE, variables, "productVariants", Raw, changes_state=False)
    articles = _articles(msgspec.convert(page["nodes"], list[_Variant]), state, location)
    info = page["pageInfo"]
    return _page(articles, msgspec.structs.replace(state, after=info["endCursor"]) if info["hasNextPage"] else None)


def _articles(variants: Sequence[_Variant], state: _Cursor, location: str) -> tuple[ShownArticle, ...]:
    return tuple(
        ShownArticle(
            external_id=number_of(one.id),
            sku=one.sku or "",
            title=one.display_name.removesuffix(" - Default Title"),
            values=_values(one, state, location),
            parent_external_id=number_of(one.product.id) if one.product is not None else "",
        )
        for one in variants
    )


def _values(one: _Variant, state: _Cursor, location: str) -> tuple[ShownValue, ...]:
    field = ShownField.PRICE_WITH_TAX if state.with_tax else ShownField.PRICE
    price = ShownValue(field=field, value=Decimal(one.price), currency=state.currency)
    level = one.inventory_item.inventory_level
    if not one.inventory_item.tracked or level is None or not level.quantities:
        return (price,)
    units = Decimal(level.quantities[0]["quantity"])
    return (ShownValue(field=ShownField.STOCK, value=units, place=location), price)


def _page(
    articles: tuple[ShownArticle, ...],
    following: _Cursor | None,
    *,
    wait_seconds: float = 0.0,
    observed_at: datetime | None = None,
) -> ShownPage:
    return ShownPage(
        articles=articles,
        cursor="" if following is None else msgspec.json.encode(following).decode(),
        has_more=following is not None,
        wait_seconds=wait_seconds,
        observed_at=observed_at,
    )


def _location(api: Api) -> str:
    location = str(api.settings.get("location_external_id", ""))
    if not (location.isascii() and location.isdigit()):
        raise ConfigurationError(
            "the connection has no stock location", code="stock_location", hint="tidegate connect NAME --location ID"
        )
    return location
