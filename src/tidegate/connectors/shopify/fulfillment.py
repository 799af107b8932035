"""Telling the shop that goods left: a fulfillment over the order's open fulfillment orders.

Shopify keeps no reference of ours with a fulfillment. It is found again by its tracking number, and by its lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from tidegate.commerce.commands import CreateFulfillment, Payload
from tidegate.connectors.shopify import queries
from tidegate.connectors.shopify.errors import UserError, error_of_user_errors
from tidegate.connectors.shopify.graphql import Raw, call, gid, is_on, number_of
from tidegate.kernel.errors import ConflictError, RejectedError
from tidegate.sdk.connector import Done, Failed, FindOutcome, ItemOutcome, NotFound
from tidegate.sdk.http import Api

CLOCKS = timedelta(minutes=10)
"""How much the warehouse's clock may be ahead of the shop's."""
_OPEN = frozenset({"OPEN", "IN_PROGRESS"})
_GONE = frozenset({"CANCELLED", "ERROR", "FAILURE"})


class _Made(msgspec.Struct, rename="camel"):
    legacy_resource_id: str | int
    status: str = ""


class _Answer(msgspec.Struct, rename="camel"):
    fulfillment: _Made | None
    user_errors: list[UserError]


async def create_fulfillment(api: Api, payloads: Sequence[Payload], _key: str) -> Sequence[ItemOutcome]:
    """Create one fulfillment of what is open; the customer is told by the shop where it says so itself."""
    command = _fulfillment_of(*payloads)
    orders = await _fulfillment_orders(api, command.order_external_id)
    if orders is None:
        return [Failed(error=RejectedError("the shop has no order of this id", code="not_found"))]
    parts = share_out(command, orders)
    if isinstance(parts, ItemOutcome):
        return [parts]
    tracking = {"number": command.tracking, "company": command.carrier}
    fulfillment = {
        "lineItemsByFulfillmentOrder": parts,
        "notifyCustomer": is_on(api.settings, "notify_customer"),
        "trackingInfo": {name: value for name, value in tracking.items() if value},
    }
    variables = {"fulfillment": fulfillment, "message": command.reference}
    answer: _Answer = await call(api, queries.FULFIL, variables, "fulfillmentCreate", _Answer)
    if answer.user_errors or answer.fulfillment is None:
        errors = answer.user_errors or [UserError(message="nothing was made")]
        return [Failed(error=error_of_user_errors(errors))]
    return [Done(external_id=str(answer.fulfillment.legacy_resource_id), detail=answer.fulfillment.status.lower())]


async def find_fulfillment(api: Api, payload: Payload) -> FindOutcome:
    """Look for a fulfillment of exactly these lines, with this tracking number, or made since the goods left."""
    command = _fulfillment_of(payload)
    order: Raw | None = await call(
        api,
        queries.FULFILLMENTS,
        {"id": gid("Order", command.order_external_id)},
        "order",
        Raw | None,
        changes_state=False,
    )
    for found in (order or {}).get("fulfillments") or ():
        if found["status"] not in _GONE and _is_ours(found, command):
            return Done(external_id=str(found["legacyResourceId"]), detail=str(found["status"]).lower())
    return NotFound()


def share_out(command: CreateFulfillment, orders: Sequence[Raw]) -> list[Raw] | ItemOutcome:
    """Return what to fulfil of which fulfillment order, or why that cannot be. Pure.

    Units of a line are taken from the fulfillment orders in the shop's order. What is on hold or scheduled waits.
    """
    wanted = {line.line_external_id: 0 for line in command.lines}
    for line in command.lines:
        wanted[line.line_external_id] += line.quantity
    parts: list[Raw] = []
    held = False
    for order in orders:
        taken = []
        for item in order["lineItems"]["nodes"]:
            line_id = number_of(item["lineItem"]["id"])
            units = min(wanted.get(line_id, 0), int(item["remainingQuantity"]))
            if units <= 0:
                continue
            if order["status"] not in _OPEN:
                held = held or order["status"] in ("ON_HOLD", "SCHEDULED")
                continue
            wanted[line_id] -= units
            taken.append({"id": item["id"], "quantity": units})
        if taken:
            parts.append({"fulfillmentOrderId": order["id"], "fulfillmentOrderLineItems": taken})
    left = sum(wanted.values())
    if not left:
        return parts
    if held:
        words = f"{left} units are on hold or scheduled in the shop"
        return Failed(
            error=ConflictError(words, code="fulfillment_on_hold", hint="release the hold in the shop's admin")
        )
    words = f"{left} units are not open any more in the shop"
    hint = "somebody fulfilled or cancelled them there by hand; compare both and cancel this command"
    return Failed(error=RejectedError(words, code="already_fulfilled", hint=hint))


async def _fulfillment_orders(api: Api, order_external_id: str) -> list[Raw] | None:
    """Return the order's fulfillment orders, None where there is no such order."""
    found: list[Raw] = []
    after: str | None = None
    while True:
        variables = {"id": gid("Order", order_external_id), "after": after}
        order: Raw | None = await call(
            api, queries.FULFILLMENT_ORDERS, variables, "order", Raw | None, changes_state=False
        )
        if order is None:
            return None
        page = order["fulfillmentOrders"]
        found += page["nodes"]
        if not page["pageInfo"]["hasNextPage"]:
            return found
        after = page["pageInfo"]["endCursor"]


def _is_ours(found: Mapping[str, Any], command: CreateFulfillment) -> bool:
    numbers = {info["number"] for info in found["trackingInfo"] if info["number"]}
    lines = found["fulfillmentLineItems"]
    if not lines["pageInfo"]["hasNextPage"] and _units(lines["nodes"]) != _wanted(command):
        return False
    if command.tracking:
        return command.tracking in numbers
    made_at = msgspec.convert(found["createdAt"], datetime)
    return not numbers and made_at >= command.shipped_at - CLOCKS


def _units(nodes: Sequence[Raw]) -> dict[str, int]:
    units: dict[str, int] = {}
    for node in nodes:
        line_id = number_of(node["lineItem"]["id"])
        units[line_id] = units.get(line_id, 0) + int(node["quantity"] or 0)
    return units


def _wanted(command: CreateFulfillment) -> dict[str, int]:
    wanted: dict[str, int] = {}
    for line in command.lines:
        wanted[line.line_external_id] = wanted.get(line.line_external_id, 0) + line.quantity
    return wanted


def _fulfillment_of(payload: Payload) -> CreateFulfillment:
    if not isinstance(payload, CreateFulfillment):
        raise TypeError(f"CreateFulfillment expected, not {type(payload).__name__}")
    return payload
