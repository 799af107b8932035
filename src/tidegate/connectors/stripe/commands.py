"""Captures, releases and refunds, and how each is found again. One request each, under the call's idempotency key.

A payment is captured to its end once and released once, so a second try finds the state that it wants. Parts of a capture
and refunds could be doubled: they carry our reference as metadata, and that is what a read-back looks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from tidegate.commerce.commands import CapturePayment, CreateRefund, Payload, VoidPayment
from tidegate.connectors.stripe.amounts import to_stripe
from tidegate.connectors.stripe.client import PAGE_LIMIT, read_wanted
from tidegate.connectors.stripe.errors import error_of, refusal_of
from tidegate.connectors.stripe.forms import flatten
from tidegate.connectors.stripe.mapper import REFERENCE_KEY
from tidegate.kernel.errors import RejectedError
from tidegate.sdk.connector import Done, Failed, FindOutcome, ItemOutcome, NotFound
from tidegate.sdk.http import Api, Response

P = TypeVar("P", CapturePayment, VoidPayment, CreateRefund)
REFUND_PAGES_MAX = 20
"""Pages of a payment's refunds that a read-back looks at: 2,000 refunds of one payment."""
_MARK = "tidegate_"


class _Intent(msgspec.Struct):
    id: str
    status: str
    metadata: dict[str, Any] | None = None


class _Refund(msgspec.Struct):
    id: str
    metadata: dict[str, Any] | None = None


class _Refunds(msgspec.Struct):
    data: list[_Refund]
    has_more: bool = False


# --- captures --------------------------------------------------------------------------------------------------------
async def capture(api: Api, payloads: Sequence[Payload], key: str) -> Sequence[ItemOutcome]:
    """Capture money of one payment. One that is captured already is done: nothing more could be taken."""
    command = _one(payloads, CapturePayment)
    form: dict[str, Any] = {"amount_to_capture": _amount(command.amount_minor, command.currency)}
    if not command.is_final:
        form |= {"final_capture": False, "metadata": {mark_of(command.reference): command.amount_minor}}
    return [await _move(api, command.payment_external_id, "capture", form, key, wanted="succeeded")]


async def find_capture(api: Api, payload: Payload) -> FindOutcome:
    """Look whether the payment is captured: to its end, or the part of this reference."""
    command = _one([payload], CapturePayment)
    intent = await _intent(api, command.payment_external_id)
    if intent is None:
        return NotFound()
    is_done = intent.status == "succeeded" or mark_of(command.reference) in (intent.metadata or {})
    return Done(external_id=intent.id) if is_done else NotFound()


def mark_of(reference: str) -> str:
    """Return the key of a reference in a payment's metadata, which holds 40 characters."""
    return _MARK + reference.rpartition("_")[2]


# --- releases --------------------------------------------------------------------------------------------------------
async def void(api: Api, payloads: Sequence[Payload], key: str) -> Sequence[ItemOutcome]:
    """Release one payment. One that is released already is done."""
    command = _one(payloads, VoidPayment)
    return [await _move(api, command.payment_external_id, "cancel", {}, key, wanted="canceled")]


async def find_void(api: Api, payload: Payload) -> FindOutcome:
    """Look whether the payment is released."""
    intent = await _intent(api, _one([payload], VoidPayment).payment_external_id)
    return Done(external_id=intent.id) if intent is not None and intent.status == "canceled" else NotFound()


async def _move(api: Api, intent_id: str, step: str, form: dict[str, Any], key: str, *, wanted: str) -> ItemOutcome:
    """Take one step of a payment; a refusal because it is in the wanted state already is as good as done."""
    response = await api.request(
        "POST", f"/v1/payment_intents/{intent_id}/{step}", form=flatten(form), headers={"Idempotency-Key": key}
    )
    error = error_of(response)
    if error is None:
        return Done(external_id=read_wanted(response, _Intent).id)
    if error.code == "unexpected_state":
        return _from_state(response, intent_id, wanted)
    raise error


def _from_state(response: Response, intent_id: str, wanted: str) -> ItemOutcome:
    said = refusal_of(response)
    state = said.payment_intent.status if said.payment_intent is not None else ""
    if state == wanted:
        return Done(external_id=intent_id, detail=f"it was {wanted} already")
    code = {"canceled": "authorisation_gone", "succeeded": "captured_meanwhile"}.get(state, "unexpected_state")
    return Failed(error=RejectedError(said.message or f"the payment is {state}", code=code, context={"state": state}))


async def _intent(api: Api, intent_id: str) -> _Intent | None:
    response = await api.request("GET", f"/v1/payment_intents/{intent_id}", changes_state=False)
    return None if response.status == 404 else read_wanted(response, _Intent, changes_state=False)


# --- refunds ---------------------------------------------------------------------------------------------------------
async def refund(api: Api, payloads: Sequence[Payload], key: str) -> Sequence[ItemOutcome]:
    """Give money of one payment back, under our reference."""
    command = _one(payloads, CreateRefund)
    form = {
        "payment_intent": command.payment_external_id,
        "amount": _amount(command.amount_minor, command.currency),
        "metadata": {REFERENCE_KEY: command.reference, "tidegate_order": command.order_reference},
    }
    response = await api.request("POST", "/v1/refunds", form=flatten(form), headers={"Idempotency-Key": key})
    return [Done(external_id=read_wanted(response, _Refund).id)]


async def find_refund(api: Api, payload: Payload) -> FindOutcome:
    """Look for the refund among those of its payment."""
    command = _one([payload], CreateRefund)
    params = {"payment_intent": command.payment_external_id, "limit": str(PAGE_LIMIT)}
    for _ in range(REFUND_PAGES_MAX):
        response = await api.request("GET", "/v1/refunds", params=params, changes_state=False)
        page = read_wanted(response, _Refunds, changes_state=False)
        for found in page.data:
            if (found.metadata or {}).get(REFERENCE_KEY) == command.reference:
                return Done(external_id=found.id)
        if not page.has_more or not page.data:
            break
        params = {**params, "starting_after": page.data[-1].id}
    return NotFound()


def _amount(amount_minor: int, currency: str) -> int:
    """Return an amount in Stripe's units. Raises RejectedError for one that Stripe cannot take."""
    try:
        return to_stripe(amount_minor, currency)
    except ValueError as error:
        raise RejectedError(str(error), code="amount_impossible") from error


def _one(payloads: Sequence[Payload], kind: type[P]) -> P:
    (payload,) = payloads
    if not isinstance(payload, kind):
        raise TypeError(f"{kind.__name__} expected, not {type(payload).__name__}")
    return payload
