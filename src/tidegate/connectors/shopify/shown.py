"""What a shop shows of its articles: the number at the connection's location, and the price.

A bulk operation reads everything on Shopify's side, for no points, and leaves a file of one article per line, which is read
part by part. Where no bulk operation can be had, the articles are asked for page by page.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec

from tidegate.connectors.shopify import queries
from tidegate.connectors.shopify.errors import UserError
from tidegate.connectors.shopify.graphql import Raw, call, gid, number_of
from tidegate.kernel.errors import ConfigurationError, TransientError
from tidegate.sdk.connector import ShownArticle, ShownField, ShownPage, ShownValue
from tidegate.sdk.http import Api

ARTICLES_PER_PAGE = 1000
BYTES_PER_PAGE = 256 * 1024
LINE_BYTES_MAX = BYTES_PER_PAGE
NODES_PER_PAGE = 100
CHARGE = 503
"""Of a page that is asked for: 100 articles with four things each. A bulk operation costs about ten."""
POLL_SECONDS = 3.0
POLLS_MAX = 2400
"""Two hours: a bulk operation that is not done by then is given up for pages."""

_RUNNING = frozenset({"CREATED", "RUNNING", "CANCELING"})


class _Cursor(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the reading stands. The file's address is asked for each time: it opens the file to everybody."""

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


class _Variant(msgspec.Struct, rename="camel"):
    id: str
    display_name: str
    price: str
    inventory_item: _Item
    sku: str | None = None


class _Operation(msgspec.Struct):
    id: str
    status: str


class _Started(msgspec.Struct, rename="camel"):
    bulk_operation: _Operation | None
    user_errors: list[UserError]


class _Bulk(msgspec.Struct, rename="camel"):
    id: str
    status: str
    created_at: datetime
    url: str | None = None


_LINE = msgspec.json.Decoder(_Variant)


async def read_shown(api: Api, cursor: str) -> ShownPage:
    """Read the next part. The first call begins a bulk operation, which changes nothing in the shop."""
    if not cursor:
        return await _begin(api)
    state = msgspec.json.decode(cursor, type=_Cursor)
    return await (_read_bulk(api, state) if state.way == "bulk" else _read_nodes(api, state))


async def _begin(api: Api) -> ShownPage:
    shop: Raw = await call(api, queries.PRICING, {}, "shop", Raw, changes_state=False)
    query = queries.BULK_SHOWN.replace("LOCATION", gid("Location", _location(api)))
    started: _Started = await call(
        api, queries.RUN_BULK, {"query": query}, "bulkOperationRunQuery", _Started, changes_state=False
    )
    state = _Cursor(way="pages", currency=shop["currencyCode"], with_tax=shop["taxesIncluded"])
    if started.user_errors or started.bulk_operation is None:
        return _page((), state)
    state = msgspec.structs.replace(state, way="bulk", operation=started.bulk_operation.id)
    return _page((), state, wait_seconds=POLL_SECONDS)


async def _read_bulk(api: Api, state: _Cursor) -> ShownPage:
    """Wait for the file, then read its next part."""
    bulk: _Bulk | None = await call(
        api, queries.BULK, {"id": state.operation}, "bulkOperation", _Bulk | None, changes_state=False
    )
    if bulk is not None and bulk.status in _RUNNING and state.polls < POLLS_MAX:
        return _page((), msgspec.structs.replace(state, polls=state.polls + 1), wait_seconds=POLL_SECONDS)
    if bulk is None or bulk.status != "COMPLETED":
        return _page((), _Cursor(way="pages", currency=state.currency, with_tax=state.with_tax))
    if bulk.url is None:
        return _page((), None)  # nothing was found
    part = await api.download(bulk.url, first_byte=state.first_byte, bytes_max=BYTES_PER_PAGE)
    lines, used, is_end = split(part.body)
    articles = _articles([_decode(line) for line in lines], state, _location(api))
    following = None if is_end else msgspec.structs.replace(state, first_byte=state.first_byte + used)
    return _page(articles, following, observed_at=bulk.created_at)


def split(body: bytes) -> tuple[list[bytes], int, bool]:
    """Return the whole lines at the beginning of a part, how many bytes they are, and whether the file ends here. Pure.

    A part that is shorter than what was asked for is the last one. Raises TransientError for a line that is longer than a part.
    """
    is_last = len(body) < BYTES_PER_PAGE
    whole = body if is_last else body[: body.rfind(b"\n") + 1]
    if not whole and not is_last:
        raise TransientError("a line of the bulk operation's file is too long", code="bulk_file")
    lines = whole.splitlines(keepends=True)
    taken = lines[:ARTICLES_PER_PAGE]
    used = sum(len(line) for line in taken)
    return [line for line in taken if line.strip()], used, is_last and len(lines) == len(taken)


def _decode(line: bytes) -> _Variant:
    try:
        return _LINE.decode(line)
    except (ValueError, RecursionError) as error:
        raise TransientError("the bulk operation's file cannot be read", code="bulk_file") from error


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
