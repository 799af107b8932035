"""Orders by polling: what changed since the cursor, oldest change first, and single ones."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from tidegate.connectors.woocommerce.cursor import following, parse, query_of
from tidegate.connectors.woocommerce.refunds import with_origin
from tidegate.connectors.woocommerce.wire import Raw, id_of, read, read_or_none
from tidegate.kernel.errors import TransientError
from tidegate.sdk.connector import FeedItem, FeedPage
from tidegate.sdk.http import Api

FIELDS = (
    "id", "number", "status", "currency", "date_created_gmt", "date_modified_gmt", "date_paid_gmt", "date_completed_gmt",
    "total", "total_tax", "shipping_total", "shipping_tax", "customer_id", "billing", "shipping", "payment_method",
    "transaction_id", "meta_data", "line_items", "fee_lines", "shipping_lines", "refunds",
)  # fmt: skip
"""What the mapper reads. `payment_url`, `_links` and the like are left out."""
META_READ = frozenset(("_stripe_charge_captured", "_stripe_intent_id", "_intent_id"))
"""Of the order's meta data, which plugins fill with everything: what the mapper reads."""


async def read_orders(api: Api, cursor: str) -> FeedPage:
    """Read orders that changed since the cursor, oldest change first; see `cursor`.

    Orders that were seen are no news and cost nothing.
    """
    state = parse(cursor)
    found = await read(api, "/orders", list[Raw], {**query_of(state), "status": "any", "_fields": ",".join(FIELDS)})
    reached, has_more = following(state, [changed_at(order) for order in found])
    return FeedPage(
        items=tuple(_item(order) for order in found),
        cursor=msgspec.json.encode(reached).decode(),
        has_more=has_more,
    )


async def fetch_order(api: Api, external_id: str) -> FeedItem | None:
    """Read one order, None when the shop has none of this id (any more). Its refunds are read too, where it has any."""
    found = await read_or_none(api, f"/orders/{id_of(external_id)}", Raw, {"_fields": ",".join(FIELDS)})
    return _item(await with_origin(api, found)) if found is not None else None


def changed_at(entity: Raw) -> datetime:
    """Return when an entity changed last. Raises TransientError when it does not say so."""
    try:
        moment = msgspec.convert(entity.get("date_modified_gmt"), datetime)
    except msgspec.ValidationError as error:
        raise TransientError("an entity has no time of change", code="answer_unreadable") from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _item(order: Raw) -> FeedItem:
    kept = {name: order[name] for name in FIELDS if name in order}
    kept["line_items"] = [_without_looks(line) for line in kept.get("line_items") or []]
    kept["meta_data"] = [meta for meta in kept.get("meta_data") or [] if meta.get("key") in META_READ]
    return FeedItem(
        topic="order",
        external_id=str(order["id"]),
        ordering_key=f"order:{order['id']}",
        body=msgspec.json.encode(kept, order="sorted"),
    )


def _without_looks(line: Raw) -> Raw:
    """Leave out what belongs to the article and changes without the order: its picture, its present name's parent."""
    return {name: value for name, value in line.items() if name not in ("image", "parent_name", "meta_data")}
