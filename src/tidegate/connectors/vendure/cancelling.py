"""Cancelling an order in the shop that nobody can serve. The shop frees its units; money it moves none: the payments flow does."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tidegate.commerce.commands import CancelOrder, Payload
from tidegate.connectors.vendure import queries
from tidegate.connectors.vendure.errors import error_of_code
from tidegate.connectors.vendure.graphql import call
from tidegate.kernel.errors import RejectedError
from tidegate.sdk.connector import Done, Failed, FindOutcome, ItemOutcome, NotFound
from tidegate.sdk.http import Api

CANCELLED = "Cancelled"
REASON = "nobody has the goods"
_SENT = frozenset(("PartiallyShipped", "Shipped", "PartiallyDelivered", "Delivered"))
"""The shop would cancel what was sent as well."""


class _Order(msgspec.Struct):
    id: str
    state: str


class _Result(msgspec.Struct, rename="camel"):
    id: str = ""
    state: str = ""
    error_code: str | None = None


async def cancel_order(api: Api, payloads: Sequence[Payload], _key: str) -> Sequence[ItemOutcome]:
    """Cancel one order as a whole with its shipping, unless it is. One of which anything was sent is left alone: people look at it."""
    (payload,) = payloads
    order = await _read(api, _command(payload))
    if order is None:
        return [Failed(error=RejectedError("the shop has no such order", code="not_found"))]
    if order.state == CANCELLED:
        return [Done(external_id=order.id, detail="it was cancelled already")]
    if order.state in _SENT:
        words = f"the order is {order.state} in the shop, which nobody cancels unasked"
        return [Failed(error=RejectedError(words, code="order_sent"))]
    variables = {"orderId": order.id, "reason": REASON, "cancelShipping": True}
    result = await call(api, queries.CANCEL, {"input": variables}, "cancelOrder", _Result)
    if result.error_code is not None:
        return [Failed(error=error_of_code(result.error_code))]
    return [Done(external_id=result.id, detail=result.state)]


async def find_cancelled(api: Api, payload: Payload) -> FindOutcome:
    """Look whether the order is cancelled."""
    order = await _read(api, _command(payload))
    return Done(external_id=order.id) if order is not None and order.state == CANCELLED else NotFound()


async def _read(api: Api, command: CancelOrder) -> _Order | None:
    variables = {"id": command.order_external_id}
    found: _Order | None = await call(api, queries.ORDER_STATE, variables, "order", _Order | None, changes_state=False)
    return found


def _command(payload: Payload) -> CancelOrder:
    if not isinstance(payload, CancelOrder):
        raise TypeError(f"CancelOrder expected, not {type(payload).__name__}")
    return payload
