"""What a receiver's refusals mean. Only the status counts; any 2xx is done."""

from __future__ import annotations

from tidegate.kernel.errors import ConfigurationError, RejectedError, TidegateError
from tidegate.sdk.answers import ErrorRow, error_of_answer
from tidegate.sdk.http import Response

ROWS = (
    ErrorRow(
        status=404,
        error=ConfigurationError,
        code="endpoint_missing",
        hint="nothing takes events at this address; correct its url in tidegate.yaml and connect it again",
    ),
    ErrorRow(
        status=410,
        error=ConfigurationError,
        code="endpoint_gone",
        hint="the receiver asked to be sent nothing any more; switch it on there, or take it out of the flows, then connect again",
    ),
    ErrorRow(
        status=400,
        error=RejectedError,
        code="malformed",
        hint="the receiver could not use it; where it answers 400 to bad signatures, give it our key (tidegate webhook keys)",
    ),
)


def error_of(response: Response, *, changes_state: bool = True) -> TidegateError:
    """Return the error of an answer that is no 2xx."""
    return error_of_answer(response, rows=ROWS, changes_state=changes_state)
