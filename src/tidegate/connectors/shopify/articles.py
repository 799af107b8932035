"""All articles of a shop, for connecting: a small shop's in one page, a larger one's by a bulk operation.

Where no bulk operation can be had, they are asked for page by page.
"""

from __future__ import annotations

import msgspec

from tidegate.connectors.shopify import bulk, queries
from tidegate.connectors.shopify.graphql import Raw, call, gid, number_of
from tidegate.connectors.shopify.mapper import PRODUCT_GONE_TOPIC, VARIANT_GONE_TOPIC, VARIANT_TOPIC
from tidegate.sdk.connector import ArticlesPage, FeedItem, Variant
from tidegate.sdk.http import Api

NODES_PER_PAGE = 100
CHARGE = 202
"""Of a page: 100 articles, each with the thing that is counted."""


FETCH_CHARGE = 4
"""Of one article, or one product."""


class _Item(msgspec.Struct):
    id: str


class _Product(msgspec.Struct):
    id: str


class _Variant(msgspec.Struct, rename="camel"):
    id: str
    display_name: str
    inventory_item: _Item
    sku: str | None = None
    barcode: str | None = None
    product: _Product | None = None


class _Cursor(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the reading stands: in the file of a bulk operation, or behind an article."""

    operation: str = ""
    polls: int = 0
    first_byte: int = 0
    after: str | None = None
    by_pages: bool = False


_LINE = msgspec.json.Decoder(_Variant)


async def read_articles(api: Api, cursor: str) -> ArticlesPage:
    """Read the next articles. An article of the first page may be told twice."""
    state = msgspec.json.decode(cursor, type=_Cursor) if cursor else _Cursor()
    return await (_read_bulk(api, state) if state.operation else _read_nodes(api, state))


async def _read_nodes(api: Api, state: _Cursor) -> ArticlesPage:
    variables = {"first": NODES_PER_PAGE, "after": state.after}
    page: Raw = await call(api, queries.VARIANTS, variables, "productVariants", Raw, changes_state=False)
    found = tuple(_variant(one) for one in msgspec.convert(page["nodes"], list[_Variant]))
    info = page["pageInfo"]
    if not info["hasNextPage"]:
        return _page(found, None)
    begun = None if state.by_pages else await bulk.start(api, queries.BULK_VARIANTS)
    if begun is None:
        return _page(found, _Cursor(after=info["endCursor"], by_pages=True))
    return _page((), _Cursor(operation=begun.operation), wait_seconds=bulk.POLL_SECONDS)


async def _read_bulk(api: Api, state: _Cursor) -> ArticlesPage:
    part = await bulk.read_part(api, bulk.Place(state.operation, state.polls, state.first_byte))
    if part is None:
        return _page((), _Cursor(by_pages=True))
    found = tuple(_variant(bulk.decode(_LINE, line)) for line in part.lines)
    place = part.following
    following = None if place is None else _Cursor(place.operation, place.polls, place.first_byte)
    return _page(found, following, wait_seconds=part.wait_seconds)


def _variant(one: _Variant) -> Variant:
    return Variant(
        external_id=number_of(one.id),
        sku=one.sku or "",
        title=one.display_name.removesuffix(" - Default Title"),
        barcode=one.barcode or "",
        counted_external_id=number_of(one.inventory_item.id),
        parent_external_id=number_of(one.product.id) if one.product is not None else "",
    )


async def fetch_variant(api: Api, external_id: str) -> FeedItem | None:
    """Read one article, or what says that the shop has none of this id."""
    variables = {"id": gid("ProductVariant", external_id)}
    found: Raw | None = await call(api, queries.VARIANT, variables, "productVariant", Raw | None, changes_state=False)
    if found is None:
        return _item(VARIANT_GONE_TOPIC, "variant", external_id, {"id": external_id})
    body = {
        "id": external_id,
        "sku": found["sku"],
        "title": found["displayName"].removesuffix(" - Default Title"),
        "updated_at": found["updatedAt"],
        "product_id": number_of(found["product"]["id"]),
        "counted_id": number_of(found["inventoryItem"]["id"]),
    }
    return _item(VARIANT_TOPIC, "variant", external_id, body)


async def fetch_product(api: Api, external_id: str) -> FeedItem | None:
    """Read a product: what says that the shop has none of this id, None while it is there."""
    variables = {"id": gid("Product", external_id)}
    found: Raw | None = await call(api, queries.PRODUCT, variables, "product", Raw | None, changes_state=False)
    return _item(PRODUCT_GONE_TOPIC, "product", external_id, {"id": external_id}) if found is None else None


def _item(topic: str, entity: str, external_id: str, body: Raw) -> FeedItem:
    return FeedItem(
        topic=topic,
        external_id=external_id,
        ordering_key=f"{entity}:{external_id}",
        body=msgspec.json.encode(body, order="sorted"),
    )


def _page(found: tuple[Variant, ...], following: _Cursor | None, *, wait_seconds: float = 0.0) -> ArticlesPage:
    return ArticlesPage(
        variants=found,
        cursor="" if following is None else msgspec.json.encode(following).decode(),
        has_more=following is not None,
        wait_seconds=wait_seconds,
    )
