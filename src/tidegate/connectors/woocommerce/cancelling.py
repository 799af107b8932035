"""Cancelling an order in the shop that nobody can serve. The shop puts its units back; money it moves none: the payments flow does."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tidegate.commerce.commands import CancelOrder, Payload
from tidegate.connectors.woocommerce.wire import id_of, read, write
from tidegate.kernel.errors import RejectedError
from tidegate.sdk.connector import Done, Failed, FindOutcome, ItemOutcome, NotFound
from tidegate.sdk.http import Api

CANCELLED = "cancelled"
_OPEN = frozenset(("pending", "processing", "on-hold"))


class _Order(msgspec.Struct):
    id: int
    status: str


async def cancel_order(api: Api, payloads: Sequence[Payload], _key: str) -> Sequence[ItemOutcome]:
    """Set one order to cancelled, unless it is. One that is completed, refunded or failed is left alone: people look at it."""
    (payload,) = payloads
    command = _command(payload)
    path = f"/orders/{id_of(command.order_external_id)}"
    order = await read(api, path, _Order, {"_fields": "id,status"})
    if order.status == CANCELLED:
        return [Done(external_id=str(order.id), detail="it was cancelled already")]
    if order.status not in _OPEN:
        words = f"the order is {order.status} in the shop, which nobody cancels unasked"
        return [Failed(error=RejectedError(words, code=f"order_{order.status}"[:40]))]
    order = await write(api, "PUT", path, {"status": CANCELLED}, _Order)
    return [Done(external_id=str(order.id), detail=order.status)]


async def find_cancelled(api: Api, payload: Payload) -> FindOutcome:
    """Look whether the order is cancelled."""
    command = _command(payload)
    order = await read(api, f"/orders/{id_of(command.order_external_id)}", _Order, {"_fields": "id,status"})
    return Done(external_id=str(order.id)) if order.status == CANCELLED else NotFound()


def _command(payload: Payload) -> CancelOrder:
    if not isinstance(payload, CancelOrder):
        raise TypeError(f"CancelOrder expected, not {type(payload).__name__}")
    return payload
