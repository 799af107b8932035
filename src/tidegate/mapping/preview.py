"""Maps over events of the past: what they would make of them, field by field, against what was sent. Writes nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from tidegate.commerce.changes import OrderPrivate
from tidegate.commerce.commands import CreateFulfillment, CreateOrder
from tidegate.mapping.apply import Refused, Shaped, apply_map, line_values, order_values, shipment_values
from tidegate.mapping.compile import CompiledMaps
from tidegate.mapping.hook_host import HookHost
from tidegate.mapping.paths import Flow
from tidegate.mapping.transforms import to_text


class MapEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One order or shipment, as it was before a map, and as it was sent."""

    name: str
    """Number of the order, or our id of the shipment."""
    draft: CreateOrder | CreateFulfillment
    facts: Mapping[str, str] = {}
    sent: CreateOrder | CreateFulfillment | None = None
    """The frozen payload; None: it was not sent yet."""


class Capture(msgspec.Struct, frozen=True, kw_only=True):
    """Events in a file, for tests."""

    format: Literal[1] = 1
    flow: Flow
    events: tuple[MapEvent, ...]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One field that differs. None: it is not there."""

    path: str
    before: str | None
    after: str | None


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What a map makes of one event."""

    name: str
    was_sent: bool
    changes: tuple[Change, ...] = ()
    refused: Refused | None = None
    payload: CreateOrder | CreateFulfillment | None = None


async def preview_events(
    maps: CompiledMaps, flow: Flow, events: Sequence[MapEvent], *, host: HookHost | None
) -> list[Preview]:
    """Return what the map makes of each event, in their order. `host` runs its hooks; needed when it has some."""
    flow_map = maps.of(flow)
    found = []
    for event in events:
        result: Shaped | Refused = event.draft
        if flow_map.hooks and host is not None:
            result = await host.run(flow_map, event.draft, event.facts)
        if not isinstance(result, Refused):
            result = apply_map(flow_map, result, event.facts)
        found.append(_preview(event, result))
    return found


def _preview(event: MapEvent, result: Shaped | Refused) -> Preview:
    if isinstance(result, Refused):
        return Preview(name=event.name, was_sent=event.sent is not None, refused=result)
    changes = diff(event.sent if event.sent is not None else event.draft, result)
    return Preview(name=event.name, was_sent=event.sent is not None, changes=changes, payload=result)


# --- differences ---------------------------------------------------------------------------------------------------
def diff(before: Shaped, after: Shaped) -> tuple[Change, ...]:
    """Return the fields that differ, by path; lines are compared by their reference. Pure."""
    old, new = flatten(before), flatten(after)
    paths = [*old, *(path for path in new if path not in old)]
    return tuple(
        Change(path=path, before=old.get(path), after=new.get(path)) for path in paths if old.get(path) != new.get(path)
    )


def flatten(payload: Shaped) -> dict[str, str]:
    """Return every field that a map or a hook may fill or change: path -> text. What is empty is not there."""
    if isinstance(payload, CreateFulfillment):
        values = {name: to_text(value) for name, value in shipment_values(payload).items()}
        return _present({**values, **_fields("", payload.fields)})
    values = {name: to_text(value) for name, value in order_values(payload, {}).items() if name != "email"}
    values["shipping_method"] = payload.shipping_ref or payload.shipping_method
    values |= _fields("", payload.fields)
    for number, line in enumerate(payload.lines, start=1):
        texts = {
            name.removeprefix("line."): to_text(value) for name, value in line_values(line, payload.currency).items()
        }
        values |= {f"lines[{number}].{name}": text for name, text in texts.items()}
        values |= _fields(f"lines[{number}].", line.fields)
    return _present(values)


def _fields(prefix: str, fields: Mapping[str, str]) -> dict[str, str]:
    return {f"{prefix}fields.{name}": text for name, text in fields.items()}


def _present(values: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in values.items() if text != ""}


def is_within(path: str, wanted: Sequence[str]) -> bool:
    """Whether a path is one of these, or below one: `lines` holds `lines[2].sku`."""
    plain = re.sub(r"\[\d+\]", "", path)
    return any(plain == each or plain.startswith(f"{each}.") or path == each for each in wanted)


# --- what is private -----------------------------------------------------------------------------------------------
_KEPT = frozenset({"country_code", "region"})
"""Parts of an address that rules ask about and that name nobody."""


def redacted(event: MapEvent) -> MapEvent:
    """Return the event without what is known of a person: placeholders of the same kind, wherever the text stands."""
    texts: dict[str, str] = {}
    for payload in (event.draft, event.sent):
        if isinstance(payload, CreateOrder):
            texts |= private_texts(payload.private)
    replace = msgspec.structs.replace
    plain = msgspec.json.decode(msgspec.json.encode(event))
    return replace(msgspec.convert(_replaced(plain, texts), MapEvent), name=event.name)


def private_texts(private: OrderPrivate) -> dict[str, str]:
    """Return what is private of an order -> a placeholder."""
    found: dict[str, str] = {}
    for part in (private.customer, private.shipping_address, private.billing_address):
        for name in part.__struct_fields__:
            text = getattr(part, name)
            if text and name not in _KEPT:
                found[text] = _placeholder(name, text)
    return found


def _placeholder(name: str, text: str) -> str:
    match name:
        case "email":
            return "person@example.test"
        case "phone":
            return re.sub(r"\d", "0", text)
        case "postal_code":
            return text[:2] + re.sub(r"\w", "0", text[2:])
        case "external_id":
            return "1000001"
        case _:
            return f"({name.replace('_', ' ')})"


def _replaced(value: Any, texts: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(inner, texts) for key, inner in value.items()}
    if isinstance(value, list):
        return [_replaced(inner, texts) for inner in value]
    return hide(value, texts) if isinstance(value, str) else value


def hide(text: str, texts: Mapping[str, str]) -> str:
    """Return a text with every private one in it replaced; the longest first. Short ones only where they are all."""
    if text in texts:
        return texts[text]
    for private in sorted(texts, key=len, reverse=True):
        if len(private) >= 4:
            text = text.replace(private, texts[private])
    return text
