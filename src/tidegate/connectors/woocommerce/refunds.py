"""Refunds: how the shop's own came about, and recording one that the payment provider has carried out.

An order names its refunds without saying whether their money moved; `orders/{id}/refunds` does. What Tidegate records there
never moves money (`api_refund` is false: it left at the provider already) and never moves stock (`api_restock` is false: the
stock is its owner's).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from tidegate.commerce.commands import CreateRefund, Payload
from tidegate.commerce.money import currency_exponent, money_from_decimal
from tidegate.connectors.woocommerce.wire import PAGE_MAX, Raw, id_of, read, write
from tidegate.kernel.errors import ConflictError, RejectedError
from tidegate.sdk.connector import Done, FindOutcome, ItemOutcome, NotFound
from tidegate.sdk.http import Api

META_KEY = "_tidegate_refund"
PROVIDER_META = ("_tidegate_psp_refund", "_stripe_refund_id", "_wcpay_refund_id")
"""Where a refund's id at the provider may stand: ours, and those of payment plugins."""


class _Meta(msgspec.Struct):
    key: str = ""
    value: Any = None


class Refund(msgspec.Struct):
    """A refund as the shop keeps it."""

    id: int
    amount: str
    reason: str | None = None
    refunded_payment: bool | None = None
    meta_data: list[_Meta] = []

    def meta(self, *keys: str) -> str:
        """Return the first of these pieces of meta data that holds text, '' when none does."""
        values = {meta.key: meta.value for meta in self.meta_data if isinstance(meta.value, str) and meta.value}
        return next((values[key] for key in keys if key in values), "")


class _Order(msgspec.Struct):
    id: int
    status: str
    currency: str
    total: str


async def list_refunds(api: Api, order: int) -> list[Refund]:
    """Return the refunds of an order."""
    params = {"per_page": str(PAGE_MAX), "_fields": "id,amount,reason,refunded_payment,meta_data"}
    return await read(api, f"/orders/{order}/refunds", list[Refund], params)


async def with_origin(api: Api, order: Raw) -> Raw:
    """Return an order whose refunds say whether the shop moved the money itself, and what they are called elsewhere."""
    if not order.get("refunds"):
        return order
    refunds = [
        {
            "id": refund.id,
            "total": f"-{refund.amount}",
            "refunded_payment": bool(refund.refunded_payment),
            "psp_reference": refund.meta(*PROVIDER_META),
            "reference": refund.meta(META_KEY),
        }
        for refund in sorted(await list_refunds(api, int(order["id"])), key=lambda refund: refund.id)
    ]
    return {**order, "refunds": refunds}


async def create_refund(api: Api, payloads: Sequence[Payload], _key: str) -> Sequence[ItemOutcome]:
    """Record in the shop that the provider gave money back, unless it is there already.

    A refund that the shop carried out itself, of the same amount and not known under another reference, is taken for the
    one that the provider reports. Raises ConflictError where more would be given back than was paid.
    """
    (payload,) = payloads
    command = _command(payload)
    number = id_of(command.order_external_id)
    order = await read(api, f"/orders/{number}", _Order, {"_fields": "id,status,currency,total"})
    if order.currency != command.currency:
        raise RejectedError(f"the order is in {order.currency}, not in {command.currency}", code="currency_differs")
    refunds = await list_refunds(api, number)
    known = _same(refunds, command)
    if known is not None:
        return [Done(external_id=str(known.id), detail="the shop has it already")]
    left = _minor(order.total, command) - sum(_minor(refund.amount, command) for refund in refunds)
    if command.amount_minor > left:
        raise ConflictError(
            "more would be given back than the order cost", code="refund_too_much", context={"left_minor": left}
        )
    words = "Chargeback at the payment provider" if command.kind == "dispute" else "Refunded at the payment provider"
    body: Raw = {
        "amount": format(Decimal(command.amount_minor).scaleb(-currency_exponent(command.currency)), "f"),
        "reason": f"{command.reason or words} ({command.reference})",
        "api_refund": False,
        "api_restock": False,
        "meta_data": [
            {"key": META_KEY, "value": command.reference},
            {"key": PROVIDER_META[0], "value": command.psp_reference},
        ],
    }
    made = await write(api, "POST", f"/orders/{number}/refunds", body, Refund)
    return [Done(external_id=str(made.id))]


async def find_refund(api: Api, payload: Payload) -> FindOutcome:
    """Look for our reference, or the provider's, among the order's refunds."""
    command = _command(payload)
    found = _same(await list_refunds(api, id_of(command.order_external_id)), command)
    return NotFound() if found is None else Done(external_id=str(found.id))


def _same(refunds: Sequence[Refund], command: CreateRefund) -> Refund | None:
    """Return the refund that is this one.

    The reference also stands in the reason: meta data is written after the refund was made, and may be missing when the
    shop stopped in between.
    """
    for refund in refunds:
        if refund.meta(META_KEY) == command.reference or f"({command.reference})" in (refund.reason or ""):
            return refund
    for refund in refunds:
        if command.psp_reference and refund.meta(*PROVIDER_META) == command.psp_reference:
            return refund
    for refund in refunds:
        is_unnamed = not refund.meta(META_KEY, *PROVIDER_META)
        if refund.refunded_payment and is_unnamed and _minor(refund.amount, command) == command.amount_minor:
            return refund
    return None


def _minor(text: str, command: CreateRefund) -> int:
    return abs(money_from_decimal(text or "0", command.currency).amount_minor)


def _command(payload: Payload) -> CreateRefund:
    if not isinstance(payload, CreateRefund):
        raise TypeError(f"CreateRefund expected, not {type(payload).__name__}")
    return payload
