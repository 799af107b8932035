"""Reading answers the same way in every connector: typed bodies, and one table from refusals to recovery classes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

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
from tidegate.sdk.failures import read_date, read_retry_after
from tidegate.sdk.http import Response

T = TypeVar("T")
_IDENTIFIER = re.compile(r"[A-Za-z0-9_.\-]{1,80}")


@dataclass(frozen=True, kw_only=True)
class ErrorRow:
    """One line of a connector's table. None matches anything; the first row that matches wins."""

    status: int | None = None
    vendor_code: str | None = None
    """The platform's own code, as the connector reads it out of the body."""
    error: type[TidegateError]
    code: str
    """Ours: stable, snake_case."""
    hint: str | None = None


DEFAULT_ROWS: tuple[ErrorRow, ...] = (
    ErrorRow(status=400, error=RejectedError, code="malformed"),
    ErrorRow(status=402, error=RejectedError, code="payment_required"),
    ErrorRow(
        status=403,
        error=ConfigurationError,
        code="forbidden",
        hint="give the credential the scopes that the connector's README lists",
    ),
    ErrorRow(status=404, error=RejectedError, code="not_found"),
    ErrorRow(status=405, error=ConfigurationError, code="no_such_endpoint"),
    ErrorRow(status=408, error=OutcomeUnknownError, code="answer_timeout"),
    ErrorRow(status=409, error=ConflictError, code="conflict"),
    ErrorRow(status=410, error=RejectedError, code="gone"),
    ErrorRow(status=412, error=ConflictError, code="precondition_failed"),
    ErrorRow(status=413, error=RejectedError, code="too_large"),
    ErrorRow(status=415, error=RejectedError, code="malformed"),
    ErrorRow(status=422, error=RejectedError, code="rejected"),
    ErrorRow(status=423, error=TransientError, code="locked"),
    ErrorRow(status=425, error=TransientError, code="too_early"),
)
"""What plain HTTP says, for what a connector's own rows leave open."""


def error_of_answer(
    response: Response,
    *,
    rows: Sequence[ErrorRow] = (),
    vendor_code: str | None = None,
    message: str | None = None,
    changes_state: bool = True,
    context: Mapping[str, Any] | None = None,
) -> TidegateError:
    """Return the error of a refused request: the connector's rows first, then `DEFAULT_ROWS`.

    A redirect is a ConfigurationError (the base URL is another one); a status that nobody knows is OutcomeUnknownError
    for a write, TransientError for a read. A row that says OutcomeUnknownError means TransientError for a read.
    """
    details: dict[str, Any] = {"status": response.status, **(context or {})}
    if vendor_code is not None and _IDENTIFIER.fullmatch(vendor_code):  # free text could hold anything
        details["vendor_code"] = vendor_code
    for row in (*rows, *DEFAULT_ROWS):
        if row.status in (None, response.status) and row.vendor_code in (None, vendor_code):
            kind = TransientError if row.error is OutcomeUnknownError and not changes_state else row.error
            told = {"wait_seconds": named_wait(response)} if issubclass(kind, _WAITING) else {}
            return kind(message, code=row.code, hint=row.hint, context=details, **told)
    if 300 <= response.status < 400:
        hint = "the other side answers with a redirect: configure the address that it points to"
        return ConfigurationError(message, code="redirected", hint=hint, context=details)
    return _unusable(changes_state)("the answer is of no known shape", code="answer_unreadable", context=details)


def read_answer(response: Response, kind: type[T], *, changes_state: bool = True) -> T:
    """Return the body of a 2xx answer as `kind` (a msgspec Struct or plain types).

    Raises, for a body that is no JSON or of another shape, OutcomeUnknownError (write) or TransientError (read): a proxy's
    page or a half answer does not tell whether it was done.
    """
    try:
        return msgspec.json.decode(response.body, type=kind)
    except (ValueError, RecursionError):
        failure = _unusable(changes_state)(
            "the answer cannot be read", code="answer_unreadable", context={"status": response.status}
        )
    raise failure


_WAITING = (TransientError, OutcomeUnknownError, RateLimitedError)


def named_wait(response: Response) -> float | None:
    """Return the seconds that an answer asks to wait (Retry-After), None where it does not; a date counts from the answer's."""
    return read_retry_after(response.headers.get("retry-after"), now=read_date(response.headers.get("date")))


def graphql_code_of(response: Response) -> str | None:
    """Return the code of the first GraphQL error (`errors[0].extensions.code`), None where there is none."""
    try:
        raw: Any = msgspec.json.decode(response.body)
        return str(raw["errors"][0]["extensions"]["code"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return None


def _unusable(changes_state: bool) -> type[OutcomeUnknownError] | type[TransientError]:
    return OutcomeUnknownError if changes_state else TransientError
