"""Orders by polling: what changed since the cursor, oldest change first, and single ones."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from tidegate.connectors.woocommerce.cursor import TICK, following, query_of
from tidegate.connectors.woocommerce.mapper import COUNT_TOPIC, GONE_TOPIC, WINDOW_TOPIC
from tidegate.connectors.woocommerce.refunds import with_origin
from tidegate.connectors.woocommerce.wire import PAGE_MAX, Gone, Raw, id_of, read, read_or_gone, read_total
from tidegate.kernel.errors import TransientError
from tidegate.sdk.connector import FeedItem, FeedPage
from tidegate.sdk.http import Api
from tidegate.sdk.rounds import parse
from tidegate.sdk.timed import TimedApi
from tidegate.sdk.windows import parse_window

FIELDS = (
    "id", "number", "status", "currency", "date_created_gmt", "date_modified_gmt", "date_paid_gmt", "date_completed_gmt",
    "total", "total_tax", "shipping_total", "shipping_tax", "customer_id", "billing", "shipping", "payment_method",
    "transaction_id", "meta_data", "line_items", "fee_lines", "shipping_lines", "refunds",
)  # fmt: skip
"""What the mapper reads. `payment_url`, `_links` and the like are left out."""
META_READ = frozenset(("_stripe_charge_captured", "_stripe_intent_id", "_intent_id"))
"""Of the order's meta data, which plugins fill with everything: what the mapper reads."""


CONFIRMED_MAX = 5
"""Orders that a list left out and that are asked for one by one, per look."""


class _Listed(msgspec.Struct):
    id: int


async def read_orders(api: Api, cursor: str) -> FeedPage:
    """Read orders that changed since the cursor, oldest change first; see `cursor`.

    Orders that were seen are no news and cost nothing.
    """
    state = parse(cursor)
    timed = TimedApi(api)
    found = await read(timed, "/orders", list[Raw], {**query_of(state), "status": "any", "_fields": ",".join(FIELDS)})
    reached, has_more = following(state, [changed_at(order) for order in found], timed.answered_at)
    return FeedPage(
        items=tuple(_item(order) for order in found),
        cursor=msgspec.json.encode(reached).decode(),
        has_more=has_more,
    )


async def fetch_order(api: Api, external_id: str) -> FeedItem | None:
    """Read one order; its refunds are read too, where it has any.

    An order that the shop itself says it does not have (any more) comes back as a note of that. Any other 404, of a host
    or of a shop without permalinks, raises.
    """
    found = await read_or_gone(api, f"/orders/{id_of(external_id)}", Raw, {"_fields": ",".join(FIELDS)})
    return _gone(external_id, found.asked_at) if isinstance(found, Gone) else _item(await with_origin(api, found))


_PLACED = "pending,processing,on-hold,completed,cancelled,refunded,failed"
"""Statuses of orders that were placed; those of plugins are not counted."""
WINDOW_PAGES_MAX = 5


async def count_orders(api: Api, window: str) -> FeedPage:
    """Count the orders that were placed in a window; see `Feed.counts`. The shop tells it with any page."""
    count = await read_total(api, "/orders", {**_placed_in(window), "per_page": "1", "_fields": "id"})
    item = FeedItem(
        topic=COUNT_TOPIC,
        external_id="orders",
        ordering_key="order:window",
        body=msgspec.json.encode({"window": window, "count": count}, order="sorted"),
    )
    return FeedPage(items=(item,), cursor=window, has_more=False)


async def fetch_window(api: Api, window: str) -> FeedItem | None:
    """List the orders that were placed in a window, each with its version, None for none."""
    found: list[Raw] = []
    for page in range(1, WINDOW_PAGES_MAX + 1):
        query = {**_placed_in(window), "per_page": str(PAGE_MAX), "page": str(page), "orderby": "id", "order": "asc"}
        part = await read(api, "/orders", list[Raw], {**query, "_fields": "id,date_created_gmt,date_modified_gmt"})
        found += part
        if len(part) < PAGE_MAX:
            break
    if not found:
        return None
    return FeedItem(
        topic=WINDOW_TOPIC,
        external_id=window,
        ordering_key="order:window",
        body=msgspec.json.encode([{name: raw[name] for name in sorted(raw) if name in _LISTED} for raw in found]),
    )


_LISTED = frozenset(("id", "date_created_gmt", "date_modified_gmt"))


def _placed_in(window: str) -> dict[str, str]:
    """Return the query of a window: `after` and `before` leave their own second out."""
    since, until = parse_window(window)
    return {
        "after": _instant(since - TICK),
        "before": _instant(until),
        "dates_are_gmt": "true",
        "status": _PLACED,
    }


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").removesuffix("+00:00")


async def read_missing(api: Api, cursor: str) -> FeedPage:
    """Look whether orders of ours are still there, all with one request: a deletion is in no list, and its webhook may be lost.

    `cursor` holds their ids, see `Feed.open_orders`. One that the list leaves out is asked for by itself, because plugins and
    caches hide orders from lists too; what that says counts. The rest of many waits for the next round.
    """
    ids = msgspec.json.decode(cursor, type=list[str]) if cursor else []
    asked = {external_id: id_of(external_id) for external_id in ids}
    if not asked:
        return FeedPage(items=(), cursor="", has_more=False)
    include = ",".join(str(number) for number in asked.values())
    params = {"include": include, "per_page": str(PAGE_MAX), "status": "any", "_fields": "id"}
    there = {order.id for order in await read(api, "/orders", list[_Listed], params)}
    missing = [external_id for external_id, number in asked.items() if number not in there]
    found = [await fetch_order(api, external_id) for external_id in missing[:CONFIRMED_MAX]]
    return FeedPage(items=tuple(item for item in found if item is not None), cursor="", has_more=False)


def _gone(external_id: str, asked_at: datetime | None) -> FeedItem:
    body = {"id": int(external_id), "asked_at": asked_at}
    return FeedItem(
        topic=GONE_TOPIC,
        external_id=external_id,
        ordering_key=f"order:{external_id}",
        body=msgspec.json.encode(body, order="sorted"),
    )


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
    found = kept.get("meta_data") or []  # PHP makes an object of a list with a gap
    pieces = found.values() if isinstance(found, dict) else found
    kept["meta_data"] = [meta for meta in pieces if isinstance(meta, dict) and meta.get("key") in META_READ]
    return FeedItem(
        topic="order",
        external_id=str(order["id"]),
        ordering_key=f"order:{order['id']}",
        body=msgspec.json.encode(kept, order="sorted"),
    )


def _without_looks(line: Raw) -> Raw:
    """Leave out what belongs to the article and changes without the order: its picture, its present name's parent."""
    return {name: value for name, value in line.items() if name not in ("image", "parent_name", "meta_data")}
