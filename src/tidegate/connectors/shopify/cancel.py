"""Cancelling an order in the shop that nobody can serve: its units go back to the shop's stock, its money to the customer.

The shop does both itself: it releases what was authorised, and gives back what was paid by the way that it came.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tidegate.commerce.commands import CancelOrder, Payload
from tidegate.connectors.shopify import queries
from tidegate.connectors.shopify.errors import UserError, error_of_user_errors
from tidegate.connectors.shopify.graphql import Raw, call, gid, is_on
from tidegate.kernel.errors import RejectedError
from tidegate.sdk.connector import Done, Failed, FindOutcome, ItemOutcome, NotFound
from tidegate.sdk.http import Api


class _Answer(msgspec.Struct, rename="camel"):
    order_cancel_user_errors: list[UserError]


async def cancel_order(api: Api, payloads: Sequence[Payload], _key: str) -> Sequence[ItemOutcome]:
    """Have one order cancelled. The shop refuses a second time, and where goods have left: then it is looked which of both it was."""
    command = _cancel_of(*payloads)
    variables = {
        "id": gid("Order", command.order_external_id),
        "notify": is_on(api.settings, "notify_customer"),
        "note": f"not in stock ({command.reference})",
    }
    answer: _Answer = await call(api, queries.CANCEL, variables, "orderCancel", _Answer)
    if not answer.order_cancel_user_errors:
        return [Done(external_id=command.order_external_id)]
    error = error_of_user_errors(answer.order_cancel_user_errors)
    if isinstance(error, RejectedError) and await _is_cancelled(api, command):
        return [Done(external_id=command.order_external_id, detail="it was cancelled already")]
    return [Failed(error=error)]


async def find_cancelled(api: Api, payload: Payload) -> FindOutcome:
    """Look whether the order is cancelled."""
    command = _cancel_of(payload)
    return Done(external_id=command.order_external_id) if await _is_cancelled(api, command) else NotFound()


async def _is_cancelled(api: Api, command: CancelOrder) -> bool:
    variables = {"id": gid("Order", command.order_external_id)}
    order: Raw | None = await call(api, queries.CANCELLED, variables, "order", Raw | None, changes_state=False)
    return order is not None and order["cancelledAt"] is not None


def _cancel_of(payload: Payload) -> CancelOrder:
    if not isinstance(payload, CancelOrder):
        raise TypeError(f"CancelOrder expected, not {type(payload).__name__}")
    return payload
