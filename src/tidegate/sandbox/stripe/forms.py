"""Form bodies with bracket keys, held to what an operation takes. Pure.

Names of an operation's parameters are those of the published description (a test holds them to it); a value is decoded by its
kind: `int`, `bool`, `str`, `list`, `map` (of texts), `hash` (of anything). `!` marks what must be there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote_plus

from tidegate.sandbox.stripe.errors import Refusal, invalid, missing_parameter, unknown_parameter

PARAMETERS_MAX = 1_000
METADATA_KEYS_MAX = 50
METADATA_KEY_MAX = 40
METADATA_VALUE_MAX = 500
_LIST = "ending_before:str expand:list limit:int starting_after:str"
_PAYMENT = (
    "payment_details:hash payment_method:str payment_method_data:hash payment_method_options:hash receipt_email:str "
    "setup_future_usage:str shipping:hash"
)

OPERATIONS: Mapping[str, str] = {
    "GET /v1/account": "expand:list",
    "GET /v1/balance": "expand:list",
    "GET /v1/charges": f"created:range customer:str payment_intent:str transfer_group:str {_LIST}",
    "GET /v1/charges/{id}": "expand:list",
    "POST /v1/charges/{id}": (
        "customer:str description:str expand:list fraud_details:hash metadata:map receipt_email:str shipping:hash "
        "transfer_group:str"
    ),
    "GET /v1/checkout/sessions": (
        "created:range customer:str customer_account:str customer_details:hash payment_intent:str payment_link:str "
        f"status:str subscription:str {_LIST}"
    ),
    "GET /v1/checkout/sessions/{id}": "expand:list",
    "GET /v1/disputes": f"charge:str created:range payment_intent:str {_LIST}",
    "GET /v1/disputes/{id}": "expand:list",
    "POST /v1/disputes/{id}": ("evidence:hash expand:list intended_submission_method:str metadata:map submit:bool"),
    "POST /v1/disputes/{id}/close": "expand:list",
    "GET /v1/events": f"created:range delivery_success:bool type:str types:list {_LIST}",
    "GET /v1/events/{id}": "expand:list",
    "GET /v1/payment_intents": f"created:range customer:str customer_account:str {_LIST}",
    "GET /v1/payment_intents/{id}": "client_secret:str expand:list",
    "POST /v1/payment_intents": (
        "allowed_payment_method_types:list amount:int! amount_details:hash application_fee_amount:int "
        "automatic_payment_methods:hash capture_method:str confirm:bool confirmation_method:str confirmation_token:str "
        "currency:str! customer:str customer_account:str description:str error_on_requires_action:bool "
        "excluded_payment_method_types:list expand:list hooks:hash mandate:str mandate_data:hash metadata:map "
        "off_session:str on_behalf_of:str payment_method_configuration:str radar_options:hash return_url:str "
        "statement_descriptor:str statement_descriptor_suffix:str transfer_data:hash transfer_group:str "
        f"use_stripe_sdk:bool {_PAYMENT}"
    ),
    "POST /v1/payment_intents/{id}": (
        "allowed_payment_method_types:list amount:int amount_details:hash application_fee_amount:str capture_method:str "
        "currency:str customer:str customer_account:str description:str excluded_payment_method_types:list expand:list "
        "hooks:hash metadata:map payment_method_configuration:str statement_descriptor:str "
        f"statement_descriptor_suffix:str transfer_data:hash transfer_group:str {_PAYMENT}"
    ),
    "POST /v1/payment_intents/{id}/confirm": (
        "allowed_payment_method_types:list amount_details:hash amount_to_confirm:int capture_method:str "
        "confirmation_token:str error_on_requires_action:bool excluded_payment_method_types:list expand:list hooks:hash "
        f"mandate:str mandate_data:hash off_session:str radar_options:hash return_url:str use_stripe_sdk:bool {_PAYMENT}"
    ),
    "POST /v1/payment_intents/{id}/capture": (
        "amount_details:hash amount_to_capture:int application_fee_amount:int expand:list final_capture:bool hooks:hash "
        "metadata:map payment_details:hash statement_descriptor:str statement_descriptor_suffix:str transfer_data:hash"
    ),
    "POST /v1/payment_intents/{id}/cancel": "cancellation_reason:str expand:list",
    "GET /v1/refunds": f"charge:str created:range payment_intent:str {_LIST}",
    "GET /v1/refunds/{id}": "expand:list",
    "POST /v1/refunds": (
        "amount:int charge:str currency:str customer:str expand:list instructions_email:str metadata:map origin:str "
        "payment_intent:str reason:str refund_application_fee:bool reverse_transfer:bool"
    ),
    "POST /v1/refunds/{id}": "expand:list metadata:map",
    "GET /v1/webhook_endpoints": _LIST,
    "GET /v1/webhook_endpoints/{id}": "expand:list",
    "POST /v1/webhook_endpoints": (
        "api_version:str connect:bool description:str enabled_events:list! expand:list metadata:map url:str!"
    ),
    "POST /v1/webhook_endpoints/{id}": (
        "description:str disabled:bool enabled_events:list expand:list metadata:map url:str"
    ),
    "DELETE /v1/webhook_endpoints/{id}": "",
}
"""Method and path -> the parameters that it takes."""


def parameters_of(operation: str) -> dict[str, str]:
    """Return name -> kind of an operation's parameters, with `!` for required ones."""
    return dict(part.split(":") for part in OPERATIONS[operation].split())


def decode_form(text: str) -> dict[str, Any]:
    """Return a form as nested values: texts, lists and mappings. Raises Refusal for brackets that do not fit."""
    found: dict[str, Any] = {}
    pairs = [pair for pair in text.split("&") if pair]
    if len(pairs) > PARAMETERS_MAX:
        raise Refusal("Too many parameters.", is_validation=True)
    for pair in pairs:
        raw_name, _, raw_value = pair.partition("=")
        name, value = unquote_plus(raw_name), unquote_plus(raw_value)
        _put(found, _path_of(name), value, name)
    return {name: _listed(value) for name, value in found.items()}


def take(operation: str, form: Mapping[str, Any]) -> dict[str, Any]:
    """Return a form's values by their kinds. Raises Refusal for what is unknown, missing or of another kind."""
    kinds, values = parameters_of(operation), {}
    for name, value in form.items():
        kind = kinds.get(name)
        if kind is None:
            raise unknown_parameter(name)
        values[name] = _read(kind.rstrip("!"), name, value)
    for name, kind in kinds.items():
        if kind.endswith("!") and values.get(name) in (None, "", []):
            raise missing_parameter(name)
    return values


def _path_of(name: str) -> list[str]:
    """Return the parts of `a[b][]`: a, b and an empty one."""
    head, bracket, rest = name.partition("[")
    if not bracket:
        return [name]
    if not rest.endswith("]") or not head:
        raise Refusal(f"Invalid parameter name: {name[:100]}", param=name[:100], is_validation=True)
    return [head, *rest[:-1].split("][")]


def _put(found: dict[str, Any], path: Sequence[str], value: str, name: str) -> None:
    holder = found
    for place, part in enumerate(path):
        key = part or f"\0{len(holder)}"
        if place == len(path) - 1:
            if isinstance(holder.get(key), dict):
                raise invalid("value", value, name)
            holder[key] = value
            return
        inner = holder.setdefault(key, {})
        if not isinstance(inner, dict):
            raise invalid("value", value, name)
        holder = inner


def _listed(value: Any) -> Any:
    """Return mappings whose keys are `[]`, or 0, 1, ... as lists."""
    if not isinstance(value, dict):
        return value
    inner = {key: _listed(one) for key, one in value.items()}
    if inner and all(key.startswith("\0") or key.isdigit() for key in inner):
        return list(inner.values())
    return inner


def _read(kind: str, name: str, value: Any) -> Any:
    match kind:
        case "str":
            if not isinstance(value, str):
                raise invalid("string", _shown(value), name)
            return value
        case "int":
            return _integer(name, value)
        case "bool":
            if value not in ("true", "false"):
                raise invalid("boolean", _shown(value), name)
            return value == "true"
        case "list":
            if value == "":
                return []
            if not isinstance(value, list):
                raise invalid("array", _shown(value), name)
            return value
        case "map":
            return _metadata(name, value)
        case "range":
            return _range(name, value)
        case _:
            if value != "" and not isinstance(value, dict):
                raise invalid("object", _shown(value), name)
            return value or {}


def _integer(name: str, value: Any) -> int:
    text = value if isinstance(value, str) else ""
    if not text.removeprefix("-").isdigit() or not text.isascii() or len(text) > 18:
        raise invalid("integer", _shown(value), name, code="parameter_invalid_integer")
    return int(text)


def _range(name: str, value: Any) -> dict[str, int]:
    if isinstance(value, str):
        return {"eq": _integer(name, value)}
    if not isinstance(value, dict) or set(value) - {"gt", "gte", "lt", "lte"}:
        raise invalid("object", _shown(value), name)
    return {bound: _integer(f"{name}[{bound}]", one) for bound, one in value.items()}


def _metadata(name: str, value: Any) -> dict[str, str]:
    if value == "":
        return {}
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise invalid("object", _shown(value), name)
    if len(value) > METADATA_KEYS_MAX:
        raise Refusal(f"Metadata can have up to {METADATA_KEYS_MAX} keys.", param=name, is_validation=True)
    for key, one in value.items():
        if len(key) > METADATA_KEY_MAX or len(one) > METADATA_VALUE_MAX:
            words = f"Metadata keys have up to {METADATA_KEY_MAX} characters, values up to {METADATA_VALUE_MAX}."
            raise Refusal(words, param=f"{name}[{key[:60]}]", is_validation=True)
    return value


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else "{...}" if isinstance(value, dict) else "[...]"
