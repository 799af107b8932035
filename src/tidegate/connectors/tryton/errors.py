"""What Tryton's refusals mean. A refused rule is 400 with a JSON message; other errors may be HTML pages."""

from __future__ import annotations

from tidegate.kernel.errors import (
    ConfigurationError,
    OutcomeUnknownError,
    RejectedError,
    TidegateError,
    TransientError,
)
from tidegate.sdk.answers import ErrorRow, error_of_answer
from tidegate.sdk.http import Response

DUPLICATE = "duplicate"

ROWS = (
    ErrorRow(vendor_code=DUPLICATE, error=RejectedError, code="duplicate_reference"),
    ErrorRow(
        status=403,
        error=ConfigurationError,
        code="forbidden",
        hint="give the key's user the groups that the connector's README lists, and activate the modules that it names",
    ),
    ErrorRow(
        status=404,
        error=ConfigurationError,
        code="not_found",
        hint="check the database's name, and that the modules sale, stock and web_shop are activated",
    ),
    ErrorRow(status=400, error=RejectedError, code="refused_by_rule"),
    ErrorRow(status=409, error=TransientError, code="locked"),
    ErrorRow(status=500, error=OutcomeUnknownError, code="server_error"),
)


def error_of(response: Response, *, changes_state: bool = True) -> TidegateError:
    """Return the error of an answer that is not the wanted one, with Tryton's own words."""
    return error_of_answer(
        response,
        rows=ROWS,
        vendor_code=vendor_code_of(response),
        message=_message(response) if changes_state else None,  # reads break no rules, and a log-in shows no words
        changes_state=changes_state,
    )


def vendor_code_of(response: Response) -> str | None:
    """Return `duplicate` for the refusal of a second sale with one web id, else None: Tryton has no codes."""
    if response.status == 400 and b"unique per shop" in response.body:
        return DUPLICATE
    return None


def _message(response: Response) -> str | None:
    """Return a rule's words; they name fields and articles, and are cut."""
    if response.status != 400:
        return None
    return response.body[:200].decode("utf-8", "replace")
