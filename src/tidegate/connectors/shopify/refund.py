"""Recording in the shop that money went back at the payment provider. It moves no money: the provider did that already."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from tidegate.commerce.commands import CreateRefund, Payload
from tidegate.commerce.money import Money
from tidegate.connectors.shopify import queries
from tidegate.connectors.shopify.errors import UserError, error_of_user_errors
from tidegate.connectors.shopify.graphql import Raw, call, gid
from tidegate.kernel.errors import RejectedError, TidegateError
from tidegate.sdk.connector import Done, Failed, FindOutcome, ItemOutcome, NotFound
from tidegate.sdk.http import Api

GATEWAY = "manual"
"""A transaction of this gateway is a note in the books: Shopify asks no provider to move money for it."""


class _Made(msgspec.Struct, rename="camel"):
    legacy_resource_id: str | int


class _Answer(msgspec.Struct, rename="camel"):
    refund: _Made | None
    user_errors: list[UserError]


async def create_refund(api: Api, payloads: Sequence[Payload], key: str) -> Sequence[ItemOutcome]:
    """Record one refund of an amount, without lines and without stock, our reference in its note."""
    command = _refund_of(*payloads)
    order_id = gid("Order", command.order_external_id)
    parent = await _manual_payment(api, order_id)
    amount: Decimal = Money(command.amount_minor, command.currency).to_decimal()
    transaction = {"orderId": order_id, "kind": "REFUND", "gateway": GATEWAY, "amount": format(amount, "f")}
    if parent is not None:
        transaction["parentId"] = parent
    note = " ".join(part for part in (command.reference, command.psp_reference, command.reason) if part)
    values = {"orderId": order_id, "note": note[:255], "notify": False, "transactions": [transaction]}
    answer: _Answer = await call(api, queries.REFUND, {"input": values, "key": key}, "refundCreate", _Answer)
    if answer.user_errors or answer.refund is None:
        errors = answer.user_errors or [UserError(message="nothing was recorded")]
        error = error_of_user_errors(errors)
        return [Failed(error=error if parent is not None else _not_recorded(error))]
    return [Done(external_id=str(answer.refund.legacy_resource_id))]


async def _manual_payment(api: Api, order_id: str) -> str | None:
    """Return the payment that the refund belongs to, if it was made outside of the shop too.

    A payment that the shop took by itself is never named: the shop would give its money back a second time.
    """
    order: Raw | None = await call(api, queries.PAYMENTS, {"id": order_id}, "order", Raw | None, changes_state=False)
    for one in (order or {}).get("transactions") or ():
        if one["manualPaymentGateway"] and one["kind"] in ("SALE", "CAPTURE") and one["status"] == "SUCCESS":
            return str(one["id"])
    return None


def _not_recorded(error: TidegateError) -> TidegateError:
    """Return the refusal of a record that hangs on no payment, which is a card payment's as a rule, in words that help.

    The payment itself is never named as the parent: the shop would ask its provider to give the money back once more.
    """
    if error.code != "refused_there":
        return error
    hint = (
        "the customer has the money already: write it into the order's notes, or record it by the gateway's own means; the "
        "shop's refund button would give it back twice. Then `tidegate commands cancel` this one"
    )
    return RejectedError(str(error), code="refund_not_recorded", hint=hint)


async def find_refund(api: Api, payload: Payload) -> FindOutcome:
    """Look for a refund of the order whose note holds our reference."""
    command = _refund_of(payload)
    variables = {"id": gid("Order", command.order_external_id)}
    order: Raw | None = await call(api, queries.REFUNDS, variables, "order", Raw | None, changes_state=False)
    for found in (order or {}).get("refunds") or ():
        if command.reference in (found["note"] or "").split():
            return Done(external_id=str(found["legacyResourceId"]))
    return NotFound()


def _refund_of(payload: Payload) -> CreateRefund:
    if not isinstance(payload, CreateRefund):
        raise TypeError(f"CreateRefund expected, not {type(payload).__name__}")
    return payload
