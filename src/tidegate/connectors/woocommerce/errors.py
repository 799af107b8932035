"""What a WooCommerce shop's refusals mean: `{"code", "message", "data": {"status", "params"}}`, or a page of its host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tidegate.kernel.errors import (
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    RejectedError,
    TidegateError,
)
from tidegate.sdk.answers import ErrorRow, error_of_answer
from tidegate.sdk.http import Response

_KEY_HINT = "give Tidegate a key with permission Read/Write, of a user who may manage WooCommerce"
_NO_API_HINT = (
    "is the address that of the shop's front page? Permalinks must not be 'Plain' (Settings > Permalinks), and no plugin "
    "may close the REST API"
)

ROWS = (
    ErrorRow(vendor_code="woocommerce_rest_authentication_error", error=AuthenticationError, code="unauthorized"),
    ErrorRow(
        vendor_code="woocommerce_rest_authentication_missing_parameter", error=AuthenticationError, code="unauthorized"
    ),
    *(
        ErrorRow(
            vendor_code=f"woocommerce_rest_cannot_{verb}", error=ConfigurationError, code="forbidden", hint=_KEY_HINT
        )
        for verb in ("view", "create", "edit", "delete", "batch")
    ),
    ErrorRow(vendor_code="rest_forbidden", error=ConfigurationError, code="forbidden", hint=_KEY_HINT),
    ErrorRow(
        vendor_code="woocommerce_rest_request_entity_too_large",
        error=RejectedError,
        code="batch_too_large",
        hint="the shop takes fewer items in a call than usual; raise its filter woocommerce_rest_batch_items_limit to 100",
    ),
    ErrorRow(
        status=404,
        vendor_code="rest_no_route",
        error=ConfigurationError,
        code="no_such_endpoint",
        hint="the shop's WooCommerce is too old for this call, or the REST API is closed",
    ),
    ErrorRow(vendor_code="product_invalid_sku", error=ConflictError, code="sku_taken"),
    ErrorRow(vendor_code="rest_invalid_param", error=RejectedError, code="bad_input"),
    ErrorRow(vendor_code="rest_missing_callback_param", error=RejectedError, code="bad_input"),
    ErrorRow(vendor_code="rest_invalid_json", error=RejectedError, code="malformed"),
)
_HOST_ROWS = (
    ErrorRow(
        status=403,
        error=ConfigurationError,
        code="blocked_by_host",
        hint="the firewall in front of the shop answered, not WooCommerce: let this machine's address pass there",
    ),
    ErrorRow(status=404, error=ConfigurationError, code="no_rest_api", hint=_NO_API_HINT),
    ErrorRow(status=406, error=ConfigurationError, code="blocked_by_host"),
    ErrorRow(status=413, error=RejectedError, code="too_large"),
)
"""For answers that WooCommerce did not write."""
_GONE_SUFFIXES = ("_invalid_id", "_invalid_product_id", "rest_invalid_order_id")


def error_of(response: Response, *, changes_state: bool = True) -> TidegateError:
    """Return the error of an answer that is not the wanted one."""
    refusal = _refusal_of(response)
    rows = ROWS if refusal is not None else _HOST_ROWS
    return _error(response, refusal or {}, rows=rows, changes_state=changes_state)


def is_invalid_id(response: Response) -> bool:
    """Return whether WooCommerce itself says that it has nothing under this id; a page of its host never does."""
    return str((_refusal_of(response) or {}).get("code", "")).endswith(_GONE_SUFFIXES)


def error_of_item(refusal: Any) -> TidegateError:
    """Return the error of one item of a batch: the `error` that stands where the item would."""
    known = refusal if isinstance(refusal, dict) else {}
    data = known.get("data")
    status = data.get("status") if isinstance(data, dict) else None
    answer = Response(status=status if type(status) is int else 400, headers={}, body=b"")
    return _error(answer, known, rows=ROWS, changes_state=True)


def _error(
    response: Response, refusal: Mapping[str, Any], *, rows: tuple[ErrorRow, ...], changes_state: bool
) -> TidegateError:
    code = refusal.get("code")
    vendor_code = code if isinstance(code, str) else None
    if vendor_code is not None and vendor_code.endswith(_GONE_SUFFIXES):
        rows = (ErrorRow(vendor_code=vendor_code, error=RejectedError, code="not_found"), *rows)
    fields = _named_fields(refusal)
    return error_of_answer(
        response,
        rows=rows,
        vendor_code=vendor_code,
        message=f"the shop refused {', '.join(fields)}" if fields else None,
        changes_state=changes_state,
        context={"fields": fields} if fields else None,
    )


def _named_fields(refusal: Mapping[str, Any]) -> list[str]:
    """Return the names of the parameters that were refused; their texts may quote what was sent."""
    data = refusal.get("data")
    params = data.get("params") if isinstance(data, dict) else None
    names = params if isinstance(params, (dict, list)) else ()
    return sorted(str(name)[:40] for name in names if str(name).replace("_", "").isalnum())[:10]


def _refusal_of(response: Response) -> dict[str, Any] | None:
    """Return WooCommerce's own refusal, None where something else answered."""
    try:
        raw = msgspec.json.decode(response.body)
    except (ValueError, RecursionError):
        return None
    return raw if isinstance(raw, dict) and isinstance(raw.get("code"), str) else None
