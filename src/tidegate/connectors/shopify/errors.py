"""What Shopify's refusals mean. Many come as HTTP 200: GraphQL errors with a code, or user errors of a mutation.

A mutation with user errors has done nothing at all, also for those of its items that nothing is wrong with.
"""

from __future__ import annotations

from collections.abc import Sequence

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
from tidegate.sdk.answers import ErrorRow, error_of_answer, graphql_code_of
from tidegate.sdk.http import Response

STOCK_STALE = "stock_stale"
"""Code of a stock number that was refused because the shop shows another one than we expected."""
_SCOPES = "give the app the scopes that the connector's README lists, install it anew, and connect again"
_MENDED = "Shopify serves another API version than this Tidegate speaks: install a newer Tidegate"
_RECONNECT = "run `tidegate connect` again: the article or the location is another one there by now"

ROWS = (
    ErrorRow(
        status=402, error=ConfigurationError, code="shop_frozen", hint="the shop's plan is not paid: see its admin"
    ),
    ErrorRow(status=403, error=ConfigurationError, code="access_denied", hint=_SCOPES),
    ErrorRow(status=404, error=ConfigurationError, code="shop_unknown", hint="check `store`: NAME.myshopify.com"),
    ErrorRow(status=423, error=TransientError, code="shop_locked"),
    ErrorRow(status=430, error=RateLimitedError, code="security_rejection"),
    ErrorRow(vendor_code="THROTTLED", error=RateLimitedError, code="throttled"),
    ErrorRow(vendor_code="ACCESS_DENIED", error=ConfigurationError, code="access_denied", hint=_SCOPES),
    ErrorRow(vendor_code="SHOP_INACTIVE", error=ConfigurationError, code="shop_frozen"),
    ErrorRow(vendor_code="MAX_COST_EXCEEDED", error=RejectedError, code="max_cost_exceeded"),
    ErrorRow(vendor_code="INTERNAL_SERVER_ERROR", error=OutcomeUnknownError, code="shop_error"),
    ErrorRow(vendor_code="TIMEOUT", error=OutcomeUnknownError, code="shop_timeout"),
    ErrorRow(vendor_code="SERVICE_UNAVAILABLE", error=TransientError, code="shop_unavailable"),
    ErrorRow(vendor_code="BAD_REQUEST", error=RejectedError, code="bad_request"),
    ErrorRow(vendor_code="INVALID_VARIABLE", error=RejectedError, code="bad_input"),
    ErrorRow(vendor_code="undefinedField", error=ConfigurationError, code="schema_differs", hint=_MENDED),
    ErrorRow(vendor_code="undefinedType", error=ConfigurationError, code="schema_differs", hint=_MENDED),
    ErrorRow(vendor_code="undefinedDirective", error=ConfigurationError, code="schema_differs", hint=_MENDED),
    ErrorRow(vendor_code="argumentNotAccepted", error=ConfigurationError, code="schema_differs", hint=_MENDED),
    ErrorRow(vendor_code="missingRequiredArguments", error=ConfigurationError, code="schema_differs", hint=_MENDED),
    ErrorRow(vendor_code="argumentLiteralsIncompatible", error=ConfigurationError, code="schema_differs", hint=_MENDED),
    ErrorRow(vendor_code="variableMismatch", error=ConfigurationError, code="schema_differs", hint=_MENDED),
    # user errors
    ErrorRow(vendor_code="CHANGE_FROM_QUANTITY_STALE", error=ConflictError, code=STOCK_STALE),
    ErrorRow(vendor_code="COMPARE_QUANTITY_STALE", error=ConflictError, code=STOCK_STALE),
    ErrorRow(vendor_code="IDEMPOTENCY_CONCURRENT_REQUEST", error=OutcomeUnknownError, code="idempotency_running"),
    ErrorRow(
        vendor_code="IDEMPOTENCY_KEY_PARAMETER_MISMATCH",
        error=RejectedError,
        code="idempotency_mismatch",
        hint="the same key was used for something else: `commands retry --rebuild` takes a new one",
    ),
    ErrorRow(
        vendor_code="IDEMPOTENCY_PREVIOUS_ATTEMPT_FAILED",
        error=RejectedError,
        code="idempotency_failed",
        hint="nothing was done under this key: `commands retry --rebuild` takes a new one",
    ),
    ErrorRow(vendor_code="INVALID_INVENTORY_ITEM", error=RejectedError, code="article_unknown", hint=_RECONNECT),
    ErrorRow(vendor_code="INVALID_LOCATION", error=RejectedError, code="location_unknown", hint=_RECONNECT),
    ErrorRow(
        vendor_code="ITEM_NOT_STOCKED_AT_LOCATION",
        error=RejectedError,
        code="no_stock_level",
        hint="stock the article at this location in the shop's admin, or connect again with another --location",
    ),
    ErrorRow(
        vendor_code="NON_MUTABLE_INVENTORY_ITEM",
        error=RejectedError,
        code="stock_not_settable",
        hint="a bundle's stock follows its parts: ignore the article with `tidegate matches`",
    ),
    ErrorRow(vendor_code="NOT_FOUND", error=RejectedError, code="not_found"),
    ErrorRow(vendor_code="INTERNAL_ERROR", error=OutcomeUnknownError, code="shop_error"),
)


def error_of(response: Response, *, changes_state: bool = True) -> TidegateError:
    """Return the error of an answer that is not the wanted one. THROTTLED tells how long until its cost is there."""
    code = graphql_code_of(response)
    error = error_of_answer(response, rows=ROWS, vendor_code=code, changes_state=changes_state)
    if isinstance(error, RateLimitedError) and code == "THROTTLED":
        error.wait_seconds = wait_of(response)
    return error


def error_of_code(code: str, *, message: str | None = None) -> TidegateError:
    """Return the error of a user error by its code; one that we do not know is a refusal."""
    row = next((row for row in ROWS if row.vendor_code == code), None)
    text = message[:200] if message else None
    if row is None:
        return RejectedError(text, code="refused_there", context={"vendor_code": code[:80]})
    return row.error(text, code=row.code, hint=row.hint, context={"vendor_code": code})


class _Throttle(msgspec.Struct, rename="camel"):
    currently_available: float
    restore_rate: float
    maximum_available: float = 0.0


class _Cost(msgspec.Struct, rename="camel"):
    throttle_status: _Throttle
    requested_query_cost: float = 0.0
    actual_query_cost: float | None = None


class _Extensions(msgspec.Struct):
    cost: _Cost | None = None


class _Told(msgspec.Struct):
    extensions: _Extensions | None = None


_TOLD = msgspec.json.Decoder(_Told)


def cost_of(response: Response) -> _Cost | None:
    """Return what an answer says of its cost and of the bucket, None where it says nothing that can be read."""
    try:
        told = _TOLD.decode(response.body)
    except (ValueError, RecursionError):
        return None
    return told.extensions.cost if told.extensions is not None else None


def wait_of(response: Response) -> float | None:
    """Return the seconds until the bucket holds what the refused document asks for, None where the answer does not tell."""
    cost = cost_of(response)
    if cost is None or cost.throttle_status.restore_rate <= 0:
        return None
    lacking = cost.requested_query_cost - cost.throttle_status.currently_available
    return max(0.0, lacking / cost.throttle_status.restore_rate)


class UserError(msgspec.Struct):
    """One reason why a mutation did nothing."""

    message: str = ""
    code: str | None = None
    field: list[str] | None = None


def error_of_user_errors(errors: Sequence[UserError]) -> TidegateError:
    """Return the error of a mutation that is about one thing."""
    first = errors[0]
    if first.code is not None:
        return error_of_code(first.code, message=first.message)
    return RejectedError(first.message[:200] or None, code="refused_there")
