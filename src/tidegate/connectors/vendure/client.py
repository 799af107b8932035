"""Endpoints of a Vendure shop's Admin API: one function per call, no retries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from tidegate.commerce.commands import CreateFulfillment, Payload, SetInventory
from tidegate.connectors.vendure import queries
from tidegate.connectors.vendure.cursor import following, list_options
from tidegate.connectors.vendure.errors import error_of_code
from tidegate.connectors.vendure.graphql import Raw, call, read_field, send
from tidegate.kernel.errors import AuthenticationError, OutcomeUnknownError
from tidegate.kernel.redaction import Secret
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
    Subscription,
    Variant,
)
from tidegate.sdk.http import Api, Session
from tidegate.sdk.rounds import parse
from tidegate.sdk.timed import TimedApi

T = TypeVar("T")


class _SetResult(msgspec.Struct):
    outcome: str


class _Fulfillment(msgspec.Struct):
    id: str
    state: str = ""


class _FulfillResult(msgspec.Struct, rename="camel"):
    error_code: str | None = None
    fulfillment: _Fulfillment | None = None


# --- session, inspection, subscription -----------------------------------------------------------------------------
async def open_session(api: Api, secrets: Mapping[str, Secret], settings: Mapping[str, Any]) -> Session:
    """Log in with identifier and password. Raises AuthenticationError when they are refused."""
    username = secrets["username"].reveal() if "username" in secrets else str(settings.get("username", "superadmin"))
    variables = {"username": username, "password": secrets["password"].reveal()}
    response = await send(api, queries.LOGIN, variables, changes_state=False)
    login = read_field(response, "login", Raw, changes_state=False)
    token = response.headers.get("vendure-auth-token")
    if "errorCode" in login:
        raise error_of_code(str(login["errorCode"]), changes_state=False)
    if not token:
        raise AuthenticationError(
            "the shop gave no token", code="no_token", hint="add 'bearer' to authOptions.tokenMethod of the shop"
        )
    return Session(headers={"Authorization": f"Bearer {token}"})


async def inspect(api: Api) -> Inspection:
    """Read channel, stock locations and all variants."""
    response = await send(api, queries.ABOUT, {}, changes_state=False)
    channel = read_field(response, "activeChannel", Raw, changes_state=False)
    locations = read_field(response, "stockLocations", Raw, changes_state=False)["items"]
    variants: list[Variant] = []
    while True:
        page = await call(api, queries.VARIANTS, {"skip": len(variants)}, "productVariants", Raw, changes_state=False)
        variants += [
            Variant(external_id=v["id"], sku=v["sku"], title=v["name"], barcode=v["barcode"] or "")
            for v in page["items"]
        ]
        if not page["items"] or len(variants) >= page["totalItems"]:
            break
    return Inspection(
        external_account=f"{api.settings.get('url', '')}#{channel['code']}",
        account_name=str(channel["code"]),
        version="3",
        locations=tuple(Location(external_id=found["id"], name=found["name"]) for found in locations),
        variants=tuple(variants),
        findings=("the Tidegate plugin answers",),
    )


async def subscribe(api: Api, url: str, secret: Secret) -> Subscription:
    """Register the webhook address with the plugin; repeating it replaces the secret."""
    await call(api, queries.SUBSCRIBE, {"url": url, "secret": secret.reveal()}, "tidegateSubscribe", str)
    return Subscription(registered=True, explanation="the shop's plugin delivers its events to this address")


# --- reads ---------------------------------------------------------------------------------------------------------
async def read_orders(api: Api, cursor: str) -> FeedPage:
    """Read placed orders that changed since the cursor, oldest change first; see `cursor`.

    Orders that were seen are no news and cost nothing.
    """
    state = parse(cursor)
    timed = TimedApi(api)
    page = await call(timed, queries.ORDERS, {"options": list_options(state)}, "orders", Raw, changes_state=False)
    orders: list[Raw] = page["items"]
    reached, has_more = following(state, [_time(order["updatedAt"]) for order in orders], timed.answered_at)
    return FeedPage(
        items=tuple(_feed_item(order) for order in orders),
        cursor=msgspec.json.encode(reached).decode(),
        has_more=has_more,
    )


async def fetch_order(api: Api, external_id: str) -> FeedItem | None:
    """Read one order, None when the shop has none of this id."""
    order = await call(api, queries.ORDER, {"id": external_id}, "order", Raw | None, changes_state=False)
    return _feed_item(order) if order is not None else None


def _feed_item(raw: Raw) -> FeedItem:
    """Bring an order of the API into the shape of the plugin's snapshots, so that one mapper reads both.

    Parts are sorted by id, because the API promises no order and equal orders must give equal bytes.
    """
    order = dict(raw)
    order["lines"] = [
        {
            **{name: value for name, value in line.items() if name != "productVariant"},
            "variantId": line["productVariant"]["id"],
            "sku": line["productVariant"]["sku"],
            "name": line["productVariant"]["name"],
        }
        for line in _sorted(raw["lines"])
    ]
    payments = _sorted(raw.get("payments") or [])
    order["payments"] = [{name: p[name] for name in ("id", "state", "amount", "method")} for p in payments]
    order["refunds"] = _sorted([refund for payment in payments for refund in payment.get("refunds") or ()])
    shipping = raw.get("shippingLines") or []
    order["shippingLines"] = [{"methodCode": line["shippingMethod"]["code"]} for line in shipping]
    return FeedItem(
        topic="order",
        external_id=str(raw["id"]),
        ordering_key=f"order:{raw['id']}",
        body=msgspec.json.encode({"type": "order.read", "data": {"order": order}}, order="sorted"),
    )


def _sorted(parts: list[Raw]) -> list[Raw]:
    return sorted(parts, key=lambda part: (len(str(part["id"])), str(part["id"])))


# --- commands ------------------------------------------------------------------------------------------------------
async def create_fulfillment(api: Api, payloads: Sequence[Payload], _key: str) -> Sequence[ItemOutcome]:
    """Create one fulfillment and bring it to Shipped; the plugin answers a repeated reference with the first one's."""
    command = _one(payloads, CreateFulfillment)
    variables = {
        "orderId": command.order_external_id,
        "reference": command.reference,
        "lines": [{"orderLineId": line.line_external_id, "quantity": line.quantity} for line in command.lines],
        "method": command.carrier,
        "trackingCode": command.tracking,
    }
    result = await call(api, queries.FULFILL, {"input": variables}, "tidegateFulfillOrder", _FulfillResult)
    if result.fulfillment is None:
        return [Failed(error=error_of_code(result.error_code or "INTERNAL_SERVER_ERROR"))]
    return [Done(external_id=result.fulfillment.id, detail=result.fulfillment.state)]


async def find_fulfillment(api: Api, payload: Payload) -> FindOutcome:
    """Look for a fulfillment of the order with our reference."""
    command = _one([payload], CreateFulfillment)
    order = await call(
        api, queries.FULFILLMENTS, {"id": command.order_external_id}, "order", Raw | None, changes_state=False
    )
    for found in (order or {}).get("fulfillments") or ():
        if (found.get("customFields") or {}).get("tidegateRef") == command.reference:
            return Done(external_id=str(found["id"]), detail=str(found["state"]))
    return NotFound()


async def set_inventory(api: Api, payloads: Sequence[Payload], _key: str) -> Sequence[ItemOutcome]:
    """Set stockOnHand of many variants in one call; each is set or refused by itself."""
    commands = [_one([payload], SetInventory) for payload in payloads]
    items = [
        {"variantId": c.variant_external_id, "locationId": c.location_external_id, "onHand": c.quantity}
        for c in commands
    ]
    results = await call(api, queries.SET_STOCK, {"input": items}, "tidegateSetStock", list[_SetResult])
    if len(results) != len(commands):
        raise OutcomeUnknownError("the answer has another number of items than the call", code="item_missing")
    return [Done() if one.outcome == "SET" else Failed(error=error_of_code(one.outcome)) for one in results]


async def find_inventory(api: Api, payload: Payload) -> FindOutcome:
    """Look whether the shop shows the number that was sent."""
    command = _one([payload], SetInventory)
    variant = await call(
        api, queries.STOCK, {"id": command.variant_external_id}, "productVariant", Raw | None, changes_state=False
    )
    for level in (variant or {}).get("stockLevels") or ():
        if level["stockLocationId"] == command.location_external_id and level["stockOnHand"] == command.quantity:
            return Done()
    return NotFound()


# --- payloads ----------------------------------------------------------------------------------------------------------
def _one(payloads: Sequence[Payload], kind: type[T]) -> T:
    (payload,) = payloads
    if not isinstance(payload, kind):
        raise TypeError(f"{kind.__name__} expected, not {type(payload).__name__}")
    return payload


def _time(text: str) -> datetime:
    return msgspec.convert(text, datetime)
