"""The JSON Schema of `tidegate.yaml`, for editors: completion and red lines while typing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tidegate.commerce.commands import CommandKind
from tidegate.config.records import Config
from tidegate.mapping.schema import flow_schema, rule_definition, table_schema
from tidegate.sdk.connector import Connector

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_LISTS = (
    ("OrdersFlow", "from"),
    ("StockFlow", "to"),
    ("StockFlow", "oversell"),
    ("Network", "allow"),
    ("Routes", "critical"),
    ("Routes", "warning"),
    ("Routes", "info"),
)
_WINDOWS = ("OrdersFlow", "ShipmentsFlow", "PaymentsFlow", "StockFlow")
_BLACKOUTS = (*_WINDOWS, "Look")


def schema(connectors: Mapping[str, Connector] | None = None) -> dict[str, Any]:
    """Return the schema as a JSON-ready dict. With `connectors`, each one's settings are described too."""
    (reference,), definitions = msgspec.json.schema_components((Config,), ref_template="#/$defs/{name}")
    definitions["ConnectionConfig"] = _connection_schema(connectors)
    for struct, key in _LISTS:
        one_or_many = definitions[struct]["properties"][key]
        definitions[struct]["properties"][key] = {"anyOf": [one_or_many.get("items", {"type": "string"}), one_or_many]}
    patterns = definitions["Config"]["properties"]["groups"]["additionalProperties"]
    definitions["Config"]["properties"]["groups"]["additionalProperties"] = {"anyOf": [{"type": "string"}, patterns]}
    for struct in _BLACKOUTS:
        windows = definitions[struct]["properties"]["blackout"]
        definitions[struct]["properties"]["blackout"] = {"anyOf": [windows["items"], windows]}
    for struct in _WINDOWS:
        since = definitions[struct]["properties"]["since"]
        since.pop("format", None)
        definitions[struct]["properties"]["since"] = {"anyOf": [{"type": "string", "format": "date"}, since]}
    definitions["MapRule"] = rule_definition()
    flows = definitions["Maps"]["properties"]
    flows["orders"] = flow_schema("orders", _targets(connectors, CommandKind.ORDER_CREATE))
    flows["shipments"] = flow_schema("shipments", _targets(connectors, CommandKind.FULFILLMENT_CREATE))
    definitions["Config"]["properties"]["tables"] = table_schema()
    return {"$schema": _DIALECT, "title": "Tidegate configuration", **reference, "$defs": definitions}


def _targets(connectors: Mapping[str, Connector] | None, kind: CommandKind) -> set[str] | None:
    """Return what any connector takes from a map; None when connectors are not known."""
    if connectors is None:
        return None
    return {target.path for connector in connectors.values() for target in connector.targets.get(kind, ())}


def _connection_schema(connectors: Mapping[str, Connector] | None) -> dict[str, Any]:
    value = {"type": ["string", "number", "boolean"]}
    use: dict[str, Any] = {"type": "string", "description": "Name of the connector."}
    if connectors is None:
        return {"type": "object", "properties": {"use": use}, "required": ["use"], "additionalProperties": value}
    return {"type": "object", "oneOf": [_of_connector(connectors[name], value) for name in sorted(connectors)]}


def _of_connector(connector: Connector, value: dict[str, Any]) -> dict[str, Any]:
    settings = {field.name: {**value, "description": field.question} for field in connector.fields if not field.secret}
    url = {"type": "string", "description": "Where the system answers, for example http://127.0.0.1:3000"}
    return {
        "title": connector.title,
        "properties": {"use": {"const": connector.name}, "url": url, **settings},
        "required": ["use"],
        "additionalProperties": False,
    }
