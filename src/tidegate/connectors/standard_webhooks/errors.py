"""What a receiver's refusals mean. Only the status counts; any 2xx is done.

Whatever does not refuse what the request says is tried again by the schedule: a receiver that is being deployed answers 403,
404 or a redirect for a while, and goes on by itself. The endpoint's own state counts for the breaker (TransientError), a
request that was not taken does not (ConflictError). Content that was read and refused stays refused: no try changes it.
"""

from __future__ import annotations

from http import HTTPStatus

from tidegate.kernel.errors import ConfigurationError, ConflictError, TidegateError, TransientError
from tidegate.sdk.answers import ErrorRow, error_of_answer
from tidegate.sdk.http import Response

_REDIRECTS = tuple(
    ErrorRow(
        status=status,
        error=TransientError,
        code="redirected",
        hint="redirects are not followed: if it moved for good, write the address that it points to into tidegate.yaml",
    )
    for status in range(HTTPStatus.MULTIPLE_CHOICES, HTTPStatus.BAD_REQUEST)
)
ROWS = (
    ErrorRow(
        status=410,
        error=ConfigurationError,
        code="endpoint_gone",
        hint="the receiver asked to be sent nothing any more; switch it on there, or take it out of the flows, then connect again",
    ),
    ErrorRow(
        status=404,
        error=TransientError,
        code="endpoint_missing",
        hint="nothing takes events at this address: if it is not just being deployed, correct its url in tidegate.yaml",
    ),
    ErrorRow(
        status=405,
        error=TransientError,
        code="no_such_endpoint",
        hint="what answers at this address takes no POST: correct its url in tidegate.yaml",
    ),
    ErrorRow(
        status=403,
        error=TransientError,
        code="forbidden",
        hint="something there lets us not through; where it means our signature, give it our key (tidegate webhook keys)",
    ),
    ErrorRow(
        status=400,
        error=ConflictError,
        code="malformed",
        hint="the receiver could not use it; where it answers 400 to bad signatures, give it our key (tidegate webhook keys)",
    ),
    ErrorRow(
        status=402, error=TransientError, code="payment_required", hint="the receiver's plan is used up or unpaid"
    ),
    *_REDIRECTS,
)


def error_of(response: Response, *, changes_state: bool = True) -> TidegateError:
    """Return the error of an answer that is no 2xx."""
    return error_of_answer(response, rows=ROWS, changes_state=changes_state)
