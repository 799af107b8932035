"""The JSON Schema of maps and tables, for editors. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tidegate.mapping.paths import HOOK_PLACES, LINE_SOURCES, ORDER_SOURCES, SHIPMENT_SOURCES, Flow
from tidegate.mapping.references import HOOK_REFERENCE
from tidegate.mapping.transforms import REGISTRY

_CODES = {"type": "object", "minProperties": 1, "additionalProperties": {"type": ["string", "integer"]}}


def rule_definition() -> dict[str, Any]:
    """Return the schema of a rule that is written with keys."""
    steps = [{"enum": sorted(REGISTRY)}, {"type": "object", "minProperties": 1, "maxProperties": 1}]
    properties = {
        "from": {
            "enum": sorted({*ORDER_SOURCES, *LINE_SOURCES, *SHIPMENT_SOURCES}),
            "description": "Path of the value.",
        },
        "value": {"type": "string", "description": "CEL expression that gives the value."},
        "const": {"type": "string", "description": "The value itself."},
        "transform": {"type": "array", "maxItems": 20, "items": {"anyOf": steps}},
        "table": {"anyOf": [{"type": "string", "description": "Name of a table."}, _CODES]},
        "when": {"type": "string", "description": "CEL condition; without it the rule always holds."},
        "default": {"type": "string", "description": "Taken when the value is missing."},
        "on_missing": {"enum": ["fail", "skip", "default", "hold"], "default": "fail"},
    }
    return {"type": "object", "minProperties": 1, "properties": properties, "additionalProperties": False}


def flow_schema(flow: Flow, targets: Iterable[str] | None) -> dict[str, Any]:
    """Return the schema of a flow's map; with `targets` only these may be filled."""
    one = [{"type": "string", "description": "CEL expression."}, {"$ref": "#/$defs/MapRule"}, _CODES]
    rule = {"anyOf": [*one, {"type": "array", "minItems": 1, "maxItems": 50, "items": {"anyOf": one}}]}
    hook = {
        "type": "string",
        "pattern": f"^{HOOK_REFERENCE.pattern}$".replace("?P<module>", "").replace("?P<function>", ""),
    }
    places = {place: {**hook, "description": "module:function"} for place in HOOK_PLACES[flow]}
    if targets is None:
        return {"type": "object", "properties": places, "additionalProperties": rule}
    return {
        "type": "object",
        "properties": {**dict.fromkeys(sorted(targets), rule), **places},
        "additionalProperties": False,
    }


def table_schema() -> dict[str, Any]:
    """Return the schema of a value table."""
    file = {
        "type": "object",
        "properties": {
            "csv": {"type": "string", "description": "File below the folder of tidegate.yaml."},
            "key": {"type": "string", "description": "Column of the keys; the first one by default."},
            "value": {"type": "string", "description": "Column of the values; the second one by default."},
            "rows": {"type": "boolean", "description": "Keep every row of a key, for hooks."},
        },
        "required": ["csv"],
        "additionalProperties": False,
    }
    return {"type": "object", "additionalProperties": {"anyOf": [file, _CODES]}}
