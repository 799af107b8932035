"""What Shopify says no with: top-level errors with a code, and user errors of a mutation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphql import GraphQLError

DOCUMENTATION = "https://shopify.dev/docs/api/usage/rate-limits"
_CODES = (
    ("Cannot query field", "undefinedField"),
    ("Unknown argument", "argumentNotAccepted"),
    ("Unknown type", "undefinedType"),
    ("Unknown directive", "undefinedDirective"),
    ("Unknown fragment", "useAndDefineFragment"),
    ("is required, but it was not provided", "missingRequiredArguments"),
    ("required type", "missingRequiredInputObjectAttribute"),
    ("used in position expecting", "variableMismatch"),
    ("must have a selection of subfields", "selectionMismatch"),
    ("must not have a selection", "selectionMismatch"),
    ("is not defined by type", "argumentNotAccepted"),
    ("is never used", "variableNotUsed"),
    ("is not defined", "variableNotDefined"),
    ("can not be used here", "directiveCannotBeApplied"),
)
"""How the rules of the specification are called in Shopify's answers (GraphQL Ruby), by words of ours."""


class Refusal(GraphQLError):
    """The request is refused as a whole, with a code."""

    def __init__(self, message: str, code: str, **more: Any) -> None:
        super().__init__(message, extensions={"code": code, **more})


def told(error: GraphQLError) -> dict[str, Any]:
    """Return an error as it is written into an answer."""
    raw: dict[str, Any] = dict(error.formatted)
    if "code" not in raw.get("extensions", {}):
        raw["extensions"] = {"code": _code(error.message)}
    return raw


def told_variable(error: GraphQLError) -> dict[str, Any]:
    """Return an error of a variable's value."""
    return {**error.formatted, "extensions": {"code": "INVALID_VARIABLE", "value": None, "problems": []}}


def user_error(message: str, *field: str, code: str | None = None) -> dict[str, Any]:
    """Return one user error; `field` is the path to the input."""
    return {"message": message, "field": list(field) or None, "code": code}


def refuse_long_lists(value: Any, path: Sequence[str] = ()) -> None:
    """Raise where a list of the input has more than 250 elements. Source: Shopify API limits, input arguments."""
    if isinstance(value, dict):
        for name, inner in value.items():
            refuse_long_lists(inner, (*path, name))
    elif isinstance(value, list):
        if len(value) > INPUTS_MAX:
            raise Refusal(
                f"The input array size of {len(value)} is greater than the maximum allowed of {INPUTS_MAX}.",
                "MAX_INPUT_SIZE_EXCEEDED",
            )
        for inner in value:
            refuse_long_lists(inner, path)


INPUTS_MAX = 250


def _code(message: str) -> str:
    return next((code for words, code in _CODES if words in message), "argumentLiteralsIncompatible")
