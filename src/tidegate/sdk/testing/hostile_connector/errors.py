"""What the remote's refusals mean, as a table over the default one."""

from __future__ import annotations

from typing import Any

import msgspec

from tidegate.kernel.errors import ConflictError, RejectedError, TidegateError
from tidegate.sdk.answers import ErrorRow, error_of_answer
from tidegate.sdk.http import Response

ROWS = (
    ErrorRow(vendor_code="insufficient_stock", error=ConflictError, code="insufficient_stock"),
    ErrorRow(
        vendor_code="quantity_exceeds_open",
        error=RejectedError,
        code="quantity_exceeds_open",
        hint="the shop has fewer open units than the shipment: somebody fulfilled or cancelled there by hand",
    ),
    ErrorRow(vendor_code="already_shipped", error=RejectedError, code="already_shipped"),
    ErrorRow(
        vendor_code="unknown_article",
        error=RejectedError,
        code="unknown_article",
        hint="create the article or correct its SKU, then retry the command",
    ),
    ErrorRow(vendor_code="item_rejected", error=RejectedError, code="item_rejected"),
)


def error_of(response: Response, *, changes_state: bool = True) -> TidegateError:
    """Return the error of an answer that is not the wanted one."""
    return error_of_answer(response, rows=ROWS, vendor_code=vendor_code_of(response), changes_state=changes_state)


def error_of_item(code: str) -> TidegateError:
    """Return the error of one refused item of a bulk call."""
    return error_of_answer(Response(status=200, headers={}, body=b""), rows=ROWS, vendor_code=code)


def vendor_code_of(response: Response) -> str | None:
    """Return the remote's own code out of an error body, None where there is none."""
    try:
        raw: Any = msgspec.json.decode(response.body)
        return str(raw["error"]["code"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
