"""What Stripe's refusals mean. Source: docs.stripe.com/api/errors and /error-codes; stripe-python's retry rules."""

from __future__ import annotations

import msgspec

from tidegate.kernel.errors import (
    ConfigurationError,
    ConflictError,
    OutcomeUnknownError,
    RateLimitedError,
    RejectedError,
    TidegateError,
    TransientError,
)
from tidegate.sdk.answers import ErrorRow, error_of_answer, named_wait
from tidegate.sdk.decoding import decode_body
from tidegate.sdk.http import Response

_KEY_HINT = "connect again with a key that may do this; the README lists the permissions"
ROWS = (
    ErrorRow(vendor_code="idempotency_key_in_use", error=OutcomeUnknownError, code="still_running"),
    ErrorRow(
        vendor_code="idempotency_error",
        error=RejectedError,
        code="key_reused",
        hint="the same key was used with other parameters: send it anew with --rebuild",
    ),
    ErrorRow(vendor_code="lock_timeout", error=TransientError, code="locked"),
    ErrorRow(vendor_code="rate_limit", error=RateLimitedError, code="rate_limited"),
    ErrorRow(status=403, error=ConfigurationError, code="forbidden", hint=_KEY_HINT),
    ErrorRow(vendor_code="livemode_mismatch", error=ConfigurationError, code="wrong_mode", hint=_KEY_HINT),
    ErrorRow(vendor_code="testmode_charges_only", error=ConfigurationError, code="wrong_mode", hint=_KEY_HINT),
    ErrorRow(vendor_code="account_invalid", error=ConfigurationError, code="forbidden", hint=_KEY_HINT),
    ErrorRow(vendor_code="api_error", error=OutcomeUnknownError, code="server_error"),
    ErrorRow(vendor_code="resource_missing", error=RejectedError, code="not_found"),
    ErrorRow(vendor_code="charge_already_refunded", error=RejectedError, code="already_refunded"),
    ErrorRow(vendor_code="charge_disputed", error=RejectedError, code="disputed"),
    ErrorRow(vendor_code="amount_too_large", error=RejectedError, code="exceeds_payment"),
    ErrorRow(vendor_code="charge_expired_for_capture", error=RejectedError, code="authorisation_gone"),
    ErrorRow(vendor_code="payment_intent_unexpected_state", error=RejectedError, code="unexpected_state"),
    ErrorRow(vendor_code="card_error", error=RejectedError, code="card_declined"),
    ErrorRow(status=402, error=RejectedError, code="card_declined"),
    ErrorRow(vendor_code="invalid_request_error", status=400, error=RejectedError, code="malformed"),
    ErrorRow(status=424, error=TransientError, code="dependency_failed"),
)


class _Intent(msgspec.Struct):
    id: str = ""
    status: str = ""


class Refused(msgspec.Struct):
    """`error` of a refusal."""

    type: str = ""
    code: str | None = None
    decline_code: str | None = None
    param: str | None = None
    message: str | None = None
    payment_intent: _Intent | None = None


class _Body(msgspec.Struct):
    error: Refused


_DECODER = msgspec.json.Decoder(_Body)
_CODES = frozenset(row.vendor_code for row in ROWS if row.vendor_code is not None)


def refusal_of(response: Response) -> Refused:
    """Return what a refusal says; an empty one for a body of another shape."""
    try:
        return decode_body(_DECODER, response.body).error
    except ValueError:
        return Refused()


def error_of(response: Response, *, changes_state: bool = True) -> TidegateError | None:
    """Return the error that an answer stands for, None for a good one.

    `Stripe-Should-Retry` is Stripe's own word: `true` on a refusal means that nothing was done and that the same request may
    succeed; `false` that it never will. An outcome that is not known stays so: it is verified first in any case.
    """
    if response.status // 100 == 2:
        return None
    said = refusal_of(response)
    code = next((word for word in (said.code, said.type) if word in _CODES), said.code or said.type or None)
    context = {name: value for name, value in _context(said, response).items() if value}
    error = error_of_answer(
        response, rows=ROWS, vendor_code=code, message=_message(said), changes_state=changes_state, context=context
    )
    should_retry = response.headers.get("stripe-should-retry")
    if should_retry == "true" and isinstance(error, (RejectedError, ConflictError)):
        wait_seconds = named_wait(response)
        return TransientError(
            str(error), code=error.code, hint=error.hint, context=error.context, wait_seconds=wait_seconds
        )
    if should_retry == "false" and isinstance(error, (TransientError, ConflictError)):
        return RejectedError(str(error), code=error.code, hint=error.hint, context=error.context)
    return error


def _context(said: Refused, response: Response) -> dict[str, str]:
    return {
        "request": response.headers.get("request-id", "")[:80],
        "decline_code": (said.decline_code or "")[:40],
        "param": (said.param or "")[:60],
    }


def _message(said: Refused) -> str | None:
    """Return Stripe's sentence for people; it never holds a key (those are cut to their last letters)."""
    return said.message[:300] if said.message else None
