"""The remote's endpoints: one function per call, no retries, no loops over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from tidegate.commerce.commands import CancelOrder, CreateFulfillment, CreateOrder, CreateRefund, Payload, SetInventory
from tidegate.kernel.errors import OutcomeUnknownError, RejectedError
from tidegate.kernel.redaction import Secret
from tidegate.sdk.answers import read_answer
from tidegate.sdk.connector import (
    Done,
    Failed,
    FeedItem,
    FeedPage,
    FindOutcome,
    Inspection,
    ItemOutcome,
    Location,
    NotFound,
    ShownArticle,
    ShownField,
    ShownPage,
    ShownValue,
    Subscription,
    Variant,
)
from tidegate.sdk.http import Api, Response, Session
from tidegate.sdk.testing.hostile_connector.errors import error_of, error_of_item, vendor_code_of
from tidegate.sdk.windows import parse_window

PAGE_LIMIT = 100

T = TypeVar("T")
P = TypeVar("P", CreateOrder, CancelOrder, CreateFulfillment, CreateRefund, SetInventory)
Raw = dict[str, Any]


class _Token(msgspec.Struct):
    token: str


class _Named(msgspec.Struct):
    id: str
    name: str = ""
    sku: str = ""
    title: str = ""
    barcode: str = ""


class _About(msgspec.Struct):
    account: str
    version: str
    locations: list[_Named]
    articles: list[_Named]


class _Shown(msgspec.Struct):
    id: str
    sku: str
    title: str
    shop_on_hand: int
    erp_on_hand: int
    price_minor: int
    product_id: str = ""


class _ShownArticles(msgspec.Struct):
    items: list[_Shown]
    location: str
    currency: str
    has_more: bool


class _Items(msgspec.Struct):
    items: list[Raw]
    has_more: bool = False


class _Made(msgspec.Struct):
    id: str
    lines: dict[str, str] = {}


class _Refused(msgspec.Struct):
    """A refusal that names what is already there."""

    error: _Made


class _StockResult(msgspec.Struct):
    article_id: str
    status: str
    code: str = ""


class _StockResults(msgspec.Struct):
    items: list[_StockResult]


# --- session, inspection, subscription -----------------------------------------------------------------------------
async def open_session(api: Api, secrets: Mapping[str, Secret], _settings: Mapping[str, Any]) -> Session:
    """Log in with the API key. Raises AuthenticationError when it is refused."""
    key = secrets["api_key"].reveal()
    response = await api.request("POST", "/api/token", json={"key": key}, changes_state=False)
    return Session(headers={"Authorization": f"Bearer {read_wanted(response, _Token, changes_state=False).token}"})


async def inspect(api: Api) -> Inspection:
    """Read account, location and articles."""
    response = await api.request("GET", "/api/about", changes_state=False)
    about = read_wanted(response, _About, changes_state=False)
    return Inspection(
        external_account=about.account,
        account_name=about.account,
        version=about.version,
        locations=tuple(Location(external_id=found.id, name=found.name) for found in about.locations),
        variants=tuple(Variant(external_id=a.id, sku=a.sku, title=a.title, barcode=a.barcode) for a in about.articles),
    )


async def subscribe(api: Api, url: str, secret: Secret) -> Subscription:
    """Register the webhook address; once is enough, twice changes nothing."""
    response = await api.request("POST", "/api/webhooks", json={"url": url, "secret": secret.reveal()})
    read_wanted(response, Raw)
    return Subscription(registered=True, explanation="the remote delivers its events to this address")


# --- reads ---------------------------------------------------------------------------------------------------------
async def read_orders(api: Api, cursor: str) -> FeedPage:
    """Read orders that changed after the cursor (a revision)."""
    return await _read_feed(api, "/api/shop/orders", cursor, topic="order.updated", entity="order")


async def read_moves(api: Api, cursor: str) -> FeedPage:
    """Read movements of goods after the cursor (a revision)."""
    return await _read_feed(api, "/api/erp/moves", cursor, topic="stock.moved", entity="move")


async def read_shipments(api: Api, cursor: str) -> FeedPage:
    """Read shipments after the cursor (a revision)."""
    return await _read_feed(api, "/api/erp/shipments", cursor, topic="shipment.created", entity="shipment")


async def fetch_order(api: Api, external_id: str) -> FeedItem | None:
    """Read one order, None when the shop has none of this id."""
    response = await api.request("GET", f"/api/shop/orders/{external_id}", changes_state=False)
    if response.status == 404:
        return None
    return _feed_item(read_wanted(response, Raw, changes_state=False), topic="order.updated", entity="order")


async def count_orders(api: Api, window: str) -> FeedPage:
    """Count the orders that were placed in a window."""
    found = await _placed_in(api, window)
    body = msgspec.json.encode({"type": "orders.counted", "counted": {"window": window, "count": len(found)}})
    item = FeedItem(topic="orders.counted", external_id="orders", ordering_key="orders:window", body=body)
    return FeedPage(items=(item,), cursor=window, has_more=False)


async def fetch_window(api: Api, window: str) -> FeedItem | None:
    """List the orders that were placed in a window, None for none."""
    found = await _placed_in(api, window)
    if not found:
        return None
    listed = [{name: raw[name] for name in ("order_id", "revision", "placed_at")} for raw in found]
    body = msgspec.json.encode({"type": "orders.listed", "listed": listed})
    return FeedItem(topic="orders.listed", external_id=window, ordering_key="orders:window", body=body)


async def _placed_in(api: Api, window: str) -> list[Raw]:
    since, until = parse_window(window)
    params = {"since": since.isoformat(), "until": until.isoformat()}
    response = await api.request("GET", "/api/shop/placed", params=params, changes_state=False)
    return read_wanted(response, _Items, changes_state=False).items


async def fetch_variant(api: Api, external_id: str) -> FeedItem | None:
    """Read one article, or what says that the remote has none of this id."""
    response = await api.request("GET", f"/api/articles/{external_id}", changes_state=False)
    is_gone = response.status == 404
    raw = {"article_id": external_id} if is_gone else read_wanted(response, Raw, changes_state=False)
    return _feed_item(raw, topic="article.gone" if is_gone else "article.updated", entity="article")


async def fetch_product(api: Api, external_id: str) -> FeedItem | None:
    """Read a product: what says that it is gone, None while it is there."""
    response = await api.request("GET", f"/api/products/{external_id}", changes_state=False)
    if response.status != 404:
        read_wanted(response, Raw, changes_state=False)
        return None
    return _feed_item({"product_id": external_id}, topic="product.gone", entity="product")


async def read_shown(api: Api, cursor: str) -> ShownPage:
    """Read what shop and ERP show of the articles behind the cursor (an article's id)."""
    params = {"after": cursor, "limit": str(PAGE_LIMIT)}
    response = await api.request("GET", "/api/articles", params=params, changes_state=False)
    page = read_wanted(response, _ShownArticles, changes_state=False)
    return ShownPage(
        articles=tuple(_shown_article(found, page.location, page.currency) for found in page.items),
        cursor=page.items[-1].id if page.items else cursor,
        has_more=page.has_more,
    )


def _shown_article(found: _Shown, place: str, currency: str) -> ShownArticle:
    field = ShownField
    price = Decimal(found.price_minor).scaleb(-2)
    values = (
        ShownValue(field=field.STOCK, value=Decimal(found.shop_on_hand), place=place),
        ShownValue(field=field.ON_HAND, value=Decimal(found.erp_on_hand), place=place),
        ShownValue(field=field.PRICE_WITH_TAX, value=price, currency=currency),
    )
    return ShownArticle(
        external_id=found.id, sku=found.sku, title=found.title, values=values, parent_external_id=found.product_id
    )


async def _read_feed(api: Api, path: str, cursor: str, *, topic: str, entity: str) -> FeedPage:
    params = {"after": cursor or "0", "limit": str(PAGE_LIMIT)}
    page = read_wanted(await api.request("GET", path, params=params, changes_state=False), _Items, changes_state=False)
    reached = max((int(item["revision"]) for item in page.items), default=int(cursor or "0"))
    return FeedPage(
        items=tuple(_feed_item(item, topic=topic, entity=entity) for item in page.items),
        cursor=str(reached),
        has_more=page.has_more,
    )


def _feed_item(raw: Raw, *, topic: str, entity: str) -> FeedItem:
    """Wrap a record like the webhook that announces it, so that one mapper reads both."""
    external_id = str(raw[f"{entity}_id"])
    owner = f"article:{raw['article_id']}" if entity == "move" else f"{entity}:{external_id}"
    body = msgspec.json.encode({"type": topic, entity: raw})
    return FeedItem(topic=topic, external_id=external_id, ordering_key=owner, body=body)


# --- commands ------------------------------------------------------------------------------------------------------
async def create_order(api: Api, payloads: Sequence[Payload], key: str) -> Sequence[ItemOutcome]:
    """Create one order under its reference."""
    order = _one(payloads, CreateOrder)
    lines = [
        {
            "reference": line.reference, "article_id": line.item_external_id, "sku": line.sku, "quantity": line.quantity,
            "location_id": line.location_external_id,
        }
        for line in order.lines
    ]  # fmt: skip
    mapped: Raw = {
        "customer_ref": order.customer_ref,
        "shipping_method": order.shipping_ref,
        "payment_method": order.payment_method,
        "note": order.note,
        "fields": order.fields,
    }
    body = {"reference": order.reference, "number": order.number, "lines": lines}
    body |= {name: value for name, value in mapped.items() if value}
    response = await api.request("POST", "/api/erp/orders", json=body, headers={"Idempotency-Key": key})
    made = _made_or_known(response)
    return [Done(external_id=made.id, bindings=made.lines)]


async def find_order(api: Api, payload: Payload) -> FindOutcome:
    """Look for an order by its reference."""
    found = await _find(api, "/api/erp/orders", _one([payload], CreateOrder).reference)
    if not found:
        return NotFound()
    order_id = str(found[0]["order_id"])
    bindings = {line["reference"]: f"{order_id}/{index}" for index, line in enumerate(found[0]["lines"], start=1)}
    return Done(external_id=order_id, bindings=bindings)


async def cancel_order(api: Api, payloads: Sequence[Payload], key: str) -> Sequence[ItemOutcome]:
    """Cancel one order, of the shop where it is its own; it is looked up by reference when its id is not known yet."""
    command = _one(payloads, CancelOrder)
    if command.is_own:
        path, headers = f"/api/shop/orders/{command.order_external_id}/cancel", {"Idempotency-Key": key}
        read_wanted(await api.request("POST", path, json={}, headers=headers), Raw)
        return [Done(external_id=command.order_external_id)]
    order_id = command.order_external_id
    if not order_id:
        found = await _find(api, "/api/erp/orders", command.reference)
        if not found:
            return [Failed(error=RejectedError("there is no order under this reference", code="not_found"))]
        order_id = str(found[0]["order_id"])
    path = f"/api/erp/orders/{order_id}/cancel"
    response = await api.request("POST", path, json={}, headers={"Idempotency-Key": key})
    read_wanted(response, Raw)
    return [Done(external_id=order_id)]


async def find_cancelled_order(api: Api, payload: Payload) -> FindOutcome:
    """Look whether the order is cancelled."""
    command = _one([payload], CancelOrder)
    if command.is_own:
        path = f"/api/shop/orders/{command.order_external_id}"
        order = read_wanted(await api.request("GET", path, changes_state=False), Raw, changes_state=False)
        return Done(external_id=command.order_external_id) if order["state"] == "cancelled" else NotFound()
    found = await _find(api, "/api/erp/orders", _one([payload], CancelOrder).reference)
    if found and found[0]["state"] == "cancelled":
        return Done(external_id=str(found[0]["order_id"]))
    return NotFound()


async def create_fulfillment(api: Api, payloads: Sequence[Payload], key: str) -> Sequence[ItemOutcome]:
    """Create one fulfillment under its reference."""
    command = _one(payloads, CreateFulfillment)
    body = {
        "reference": command.reference,
        "tracking": command.tracking,
        "carrier": command.carrier,
        "lines": [{"line_id": line.line_external_id, "quantity": line.quantity} for line in command.lines],
    }
    path = f"/api/shop/orders/{command.order_external_id}/fulfillments"
    response = await api.request("POST", path, json=body, headers={"Idempotency-Key": key})
    return [Done(external_id=_made_or_known(response).id)]


async def find_fulfillment(api: Api, payload: Payload) -> FindOutcome:
    """Look for a fulfillment by its reference."""
    found = await _find(api, "/api/shop/fulfillments", _one([payload], CreateFulfillment).reference)
    return Done(external_id=str(found[0]["fulfillment_id"])) if found else NotFound()


async def create_refund(api: Api, payloads: Sequence[Payload], key: str) -> Sequence[ItemOutcome]:
    """Record one refund under its reference; the shop moves no money."""
    command = _one(payloads, CreateRefund)
    body = {
        "reference": command.reference,
        "amount_minor": command.amount_minor,
        "psp_reference": command.psp_reference,
    }
    path = f"/api/shop/orders/{command.order_external_id}/refunds"
    response = await api.request("POST", path, json=body, headers={"Idempotency-Key": key})
    return [Done(external_id=_made_or_known(response).id)]


async def find_refund(api: Api, payload: Payload) -> FindOutcome:
    """Look for a refund by its reference."""
    found = await _find(api, "/api/shop/refunds", _one([payload], CreateRefund).reference)
    return Done(external_id=str(found[0]["refund_id"])) if found else NotFound()


async def set_inventory(api: Api, payloads: Sequence[Payload], key: str) -> Sequence[ItemOutcome]:
    """Set the stock numbers of many articles in one call; each is accepted or refused by itself."""
    items = [_one([payload], SetInventory) for payload in payloads]
    body = {"items": [{"article_id": item.variant_external_id, "quantity": item.quantity} for item in items]}
    response = await api.request("PUT", "/api/shop/stock", json=body, headers={"Idempotency-Key": key})
    results = {result.article_id: result for result in read_wanted(response, _StockResults).items}
    return [_stock_outcome(results.get(item.variant_external_id)) for item in items]


async def find_inventory(api: Api, payload: Payload) -> FindOutcome:
    """Look whether the shop shows the number that was sent."""
    command = _one([payload], SetInventory)
    found = await _find(api, "/api/shop/stock", command.variant_external_id, parameter="article_id")
    return Done() if found and found[0]["on_hand"] == command.quantity else NotFound()


def _stock_outcome(result: _StockResult | None) -> ItemOutcome:
    if result is None:
        return Failed(error=OutcomeUnknownError("the answer does not speak of this item", code="item_missing"))
    return Done() if result.status == "ok" else Failed(error=error_of_item(result.code))


# --- answers -------------------------------------------------------------------------------------------------------
async def _find(api: Api, path: str, wanted: str, *, parameter: str = "reference") -> list[Raw]:
    response = await api.request("GET", path, params={parameter: wanted}, changes_state=False)
    return read_wanted(response, _Items, changes_state=False).items


def read_wanted(response: Response, kind: type[T], *, changes_state: bool = True) -> T:
    """Return the body of a good answer as `kind`. Raises the error that any other answer stands for."""
    if response.status // 100 != 2:
        raise error_of(response, changes_state=changes_state)
    return read_answer(response, kind, changes_state=changes_state)


def _made_or_known(response: Response) -> _Made:
    """Return what was made; a refused repetition names what the first one made, which is as good."""
    if response.status == 409 and vendor_code_of(response) == "duplicate_reference":
        return read_answer(response, _Refused).error
    return read_wanted(response, _Made)


def _one(payloads: Sequence[Payload], kind: type[P]) -> P:
    (payload,) = payloads
    if not isinstance(payload, kind):
        raise TypeError(f"{kind.__name__} expected, not {type(payload).__name__}")
    return payload
