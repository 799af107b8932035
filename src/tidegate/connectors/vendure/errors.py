"""What Vendure's refusals mean. They come as HTTP 200: GraphQL errors with a code, or a result that names an error."""

from __future__ import annotations

from tidegate.kernel.errors import (
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    OutcomeUnknownError,
    RejectedError,
    TidegateError,
)
from tidegate.sdk.answers import ErrorRow, error_of_answer, graphql_code_of
from tidegate.sdk.http import Response

ROWS = (
    ErrorRow(vendor_code="FORBIDDEN", error=AuthenticationError, code="session_refused"),
    ErrorRow(vendor_code="UNAUTHORIZED", error=AuthenticationError, code="session_refused"),
    ErrorRow(vendor_code="INVALID_CREDENTIALS_ERROR", error=AuthenticationError, code="login_refused"),
    ErrorRow(vendor_code="NATIVE_AUTH_STRATEGY_ERROR", error=ConfigurationError, code="password_login_disabled"),
    ErrorRow(
        vendor_code="GRAPHQL_VALIDATION_FAILED",
        error=ConfigurationError,
        code="schema_differs",
        hint="install the Tidegate plugin in the shop, in the version that this Tidegate ships",
    ),
    ErrorRow(vendor_code="BAD_USER_INPUT", error=RejectedError, code="bad_input"),
    ErrorRow(vendor_code="USER_INPUT_ERROR", error=RejectedError, code="bad_input"),
    ErrorRow(vendor_code="ENTITY_NOT_FOUND", error=RejectedError, code="not_found"),
    ErrorRow(
        vendor_code="INSUFFICIENT_STOCK_ON_HAND_ERROR",
        error=ConflictError,
        code="insufficient_stock",
        hint="the shop shows fewer units than were shipped; the stock push that follows mends it",
    ),
    ErrorRow(
        vendor_code="ITEMS_ALREADY_FULFILLED_ERROR",
        error=RejectedError,
        code="already_fulfilled",
        hint="somebody fulfilled these units in the shop by hand; compare both and cancel this command",
    ),
    ErrorRow(vendor_code="TIDEGATE_ORDER_LINES_UNKNOWN", error=RejectedError, code="lines_unknown"),
    ErrorRow(vendor_code="FULFILLMENT_STATE_TRANSITION_ERROR", error=ConflictError, code="state_transition"),
    ErrorRow(vendor_code="CREATE_FULFILLMENT_ERROR", error=ConflictError, code="fulfillment_refused"),
    ErrorRow(vendor_code="ORDER_STATE_TRANSITION_ERROR", error=ConflictError, code="state_transition"),
    ErrorRow(vendor_code="CANCEL_ACTIVE_ORDER_ERROR", error=RejectedError, code="order_not_placed"),
    ErrorRow(vendor_code="EMPTY_ORDER_LINE_SELECTION_ERROR", error=RejectedError, code="no_lines_left"),
    ErrorRow(vendor_code="STALE", error=ConflictError, code="stale_stock"),
    ErrorRow(
        vendor_code="UNKNOWN",
        error=RejectedError,
        code="no_stock_level",
        hint="the variant has no stock level at this location; connect the shop again to choose the location",
    ),
    ErrorRow(vendor_code="INTERNAL_SERVER_ERROR", error=OutcomeUnknownError, code="shop_error"),
)


def error_of(response: Response, *, changes_state: bool = True) -> TidegateError:
    """Return the error of an answer that is not the wanted one."""
    return error_of_answer(response, rows=ROWS, vendor_code=graphql_code_of(response), changes_state=changes_state)


def refuses_session(response: Response) -> bool:
    """Return whether the shop does not know the session (any more): it then did nothing."""
    return graphql_code_of(response) in ("FORBIDDEN", "UNAUTHORIZED") if b'"errors"' in response.body else False


def error_of_code(code: str, *, changes_state: bool = True) -> TidegateError:
    """Return the error of a refusal that stands inside a result."""
    answer = Response(status=200, headers={}, body=b"")
    return error_of_answer(answer, rows=ROWS, vendor_code=code, changes_state=changes_state)
