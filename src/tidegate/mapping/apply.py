"""Applying a map to a payload. Pure, total, bounded: it gives another payload, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal, NoReturn

import msgspec
from msgspec.structs import replace

from tidegate.commerce.changes import Address
from tidegate.commerce.commands import CreateFulfillment, CreateOrder, OrderLineOut
from tidegate.commerce.money import Money
from tidegate.commerce.states import HELD_CODE
from tidegate.mapping.compile import FlowMap, Rule
from tidegate.mapping.expressions import Failure
from tidegate.mapping.paths import ADDRESS_PARTS, CUSTOMER_PARTS, LINE_PREFIX, TEXT_CHARS_MAX, Value, ValueType
from tidegate.mapping.tables import Table
from tidegate.mapping.transforms import to_text

Shaped = CreateOrder | CreateFulfillment
"""A payload that a map may shape."""
Facts = Mapping[str, str]
"""What a map may read besides the payload: `payment_method`, as the channel calls it."""
MAPPING_FAILED = "mapping_failed"
SKIPPED = "skipped_by_hook"


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """Why there is no payload. `fail`: somebody mends the map or the data. `hold`: a person decides. `skip`: it is not sent."""

    kind: Literal["fail", "hold", "skip"] = "fail"
    code: str
    reason: str


class _Stop(Exception):
    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.reason)
        self.refused = refused


def apply_map(
    flow_map: FlowMap, payload: Shaped, facts: Facts | None = None, *, is_approved: bool = False
) -> Shaped | Refused:
    """Return the payload as the map shapes it. A line whose SKU is another one now has no article id: look it up.

    `is_approved`: a person saw it; where a rule would hold it, the target keeps what it has.
    """
    try:
        if isinstance(payload, CreateOrder):
            return _apply_order(flow_map, payload, facts or {}, is_approved=is_approved)
        return _apply_shipment(flow_map, payload, is_approved=is_approved)
    except _Stop as stop:
        return stop.refused


# --- what rules read -----------------------------------------------------------------------------------------------
def order_values(order: CreateOrder, facts: Facts) -> dict[str, Value]:
    """Return what rules of an order may read, by path."""
    customer = order.private.customer
    values: dict[str, Value] = {
        "reference": order.reference,
        "number": order.number,
        "channel": order.channel,
        "placed_at": order.placed_at,
        "currency": order.currency,
        "total": Money(order.total_minor, order.currency).to_decimal(),
        "shipping_total": Money(order.shipping_minor, order.currency).to_decimal(),
        "discount": Money(order.discount_minor, order.currency).to_decimal(),
        "shipping_method": order.shipping_method,
        "payment_method": order.payment_method or facts.get("payment_method", ""),
        "note": order.note,
        "email": customer.email,
        "customer.ref": order.customer_ref,
    }
    for part, attribute in CUSTOMER_PARTS.items():
        values[f"customer.{part}"] = getattr(customer, attribute)
    for kind, address in (("shipping", order.private.shipping_address), ("billing", order.private.billing_address)):
        for part, attribute in ADDRESS_PARTS.items():
            values[f"{kind}.{part}"] = getattr(address, attribute)
    return values


def line_values(line: OrderLineOut, currency: str) -> dict[str, Value]:
    """Return what rules of a line may read besides what the order has."""
    return {
        "line.reference": line.reference,
        "line.sku": line.sku,
        "line.title": line.title,
        "line.quantity": line.quantity,
        "line.unit_price": Decimal(line.unit_price),
        "line.total": Money(line.total_minor, currency).to_decimal(),
        "line.tax_code": line.tax_code,
    }


def shipment_values(shipment: CreateFulfillment) -> dict[str, Value]:
    """Return what rules of a shipment may read."""
    return {
        "reference": shipment.reference,
        "order_id": shipment.order_external_id,
        "tracking": shipment.tracking,
        "carrier": shipment.carrier,
        "shipped_at": shipment.shipped_at,
    }


class _Bindings:
    """Values for rules, and the same for expressions: amounts and moments as texts. A text that is too long is left out."""

    def __init__(
        self, values: Mapping[str, Value], lines: Sequence[Mapping[str, Value]] = (), *, is_approved: bool = False
    ) -> None:
        self.values = values
        self.is_approved = is_approved
        self._lines = [_plain({name.removeprefix("line."): value for name, value in line.items()}) for line in lines]
        self._expressible: dict[str, Any] | None = None

    def expressible(self) -> dict[str, Any]:
        if self._expressible is None:
            self._expressible = {**_plain(self.values), "lines": self._lines}
        return self._expressible

    def with_line(self, line: Mapping[str, Value]) -> _Bindings:
        inner = _Bindings({**self.values, **line}, is_approved=self.is_approved)
        inner._lines = self._lines
        return inner


def _plain(values: Mapping[str, Value]) -> dict[str, Any]:
    plain = {name: value if isinstance(value, int) else to_text(value) for name, value in values.items()}
    return {name: value for name, value in plain.items() if isinstance(value, int) or len(value) <= TEXT_CHARS_MAX}


# --- rules ---------------------------------------------------------------------------------------------------------
def _results(flow_map: FlowMap, bindings: _Bindings, *, of_lines: bool, where: str = "") -> dict[str, str]:
    """Return the new texts by target."""
    found = {}
    for rules in flow_map.rules:
        if rules and rules[0].is_of_lines is of_lines:
            text = _first(rules, bindings, where)
            if text is not None:
                found[rules[0].path] = text
    return found


def _first(rules: Sequence[Rule], bindings: _Bindings, where: str) -> str | None:
    for rule in rules:
        if rule.condition is not None:
            verdict = rule.condition(bindings.expressible())
            if isinstance(verdict, Failure):
                _stop(rule, where, f"its condition failed: {verdict.reason}")
            if not isinstance(verdict, bool):
                _stop(rule, where, "its condition gave neither true nor false")
            if not verdict:
                continue
        return _evaluate(rule, bindings, where)
    return None


def _evaluate(rule: Rule, bindings: _Bindings, where: str) -> str | None:
    """Return the new text, None where the target keeps what it has. What is empty is missing, unless a table knows it."""
    value, missing = _origin(rule, bindings, where)
    for step in rule.steps:
        if isinstance(step, Table):
            key = to_text(value)
            found = step.find(key)
            if found is None:
                value, missing = "", f"the table has no {key[:80]!r}"
                break
            value = found
        elif value != "":
            try:
                value = step.run(str(value) if step.takes is ValueType.TEXT and isinstance(value, int) else value)
            except ValueError as error:
                _stop(rule, where, f"{step.name}: {error}")
    if value == "":
        return _missing(rule, where, missing, is_approved=bindings.is_approved)
    text = to_text(value)
    limit = min(rule.chars_max or TEXT_CHARS_MAX, TEXT_CHARS_MAX)
    if len(text) > limit:
        _stop(rule, where, f"it has {len(text)} characters, and {limit} are taken; add {{truncate: {limit}}}")
    return text


def _origin(rule: Rule, bindings: _Bindings, where: str) -> tuple[Value, str]:
    """Return the value to begin with, and the words for when it is empty."""
    if rule.const is not None:
        return rule.const, "it is empty"
    if rule.expression is not None:
        result = rule.expression(bindings.expressible())
        if isinstance(result, Failure):
            _stop(rule, where, f"its expression failed: {result.reason}")
        if isinstance(result, bool):
            _stop(rule, where, "its expression gave true or false, and a text is needed")
        return result, "the expression gave nothing"
    return bindings.values[rule.source or ""], f"{rule.source} is empty"


def _missing(rule: Rule, where: str, why: str, *, is_approved: bool) -> str | None:
    if rule.on_missing == "default":
        return rule.default
    if rule.on_missing == "skip" or (rule.on_missing == "hold" and is_approved):
        return None
    if rule.on_missing == "hold":
        raise _Stop(Refused(kind="hold", code=HELD_CODE, reason=f"{rule.path}{where}: {why}"[:500]))
    return _stop(rule, where, f"{why}; add it, or give the rule a default or on_missing")


def _stop(rule: Rule, where: str, why: str) -> NoReturn:
    raise _Stop(Refused(code=MAPPING_FAILED, reason=f"{rule.path}{where}: {why}"[:500]))


# --- payloads ------------------------------------------------------------------------------------------------------
def _apply_order(flow_map: FlowMap, order: CreateOrder, facts: Facts, *, is_approved: bool) -> CreateOrder:
    lines = [line_values(line, order.currency) for line in order.lines]
    bindings = _Bindings(order_values(order, facts), lines, is_approved=is_approved)
    texts = _results(flow_map, bindings, of_lines=False)
    shaped = fill_order(order, texts)
    if not any(rules and rules[0].is_of_lines for rules in flow_map.rules):
        return shaped
    new = []
    for line, values in zip(order.lines, lines, strict=True):
        found = _results(flow_map, bindings.with_line(values), of_lines=True, where=f" of {line.sku[:60]}")
        new.append(fill_line(line, {path.removeprefix(LINE_PREFIX): text for path, text in found.items()}))
    return replace(shaped, lines=tuple(new))


def _apply_shipment(flow_map: FlowMap, shipment: CreateFulfillment, *, is_approved: bool) -> CreateFulfillment:
    bindings = _Bindings(shipment_values(shipment), is_approved=is_approved)
    texts = _results(flow_map, bindings, of_lines=False)
    changes: dict[str, Any] = {path: text for path, text in texts.items() if not path.startswith("fields.")}
    fields = _fields(texts)
    return replace(shipment, **changes, **({"fields": {**shipment.fields, **fields}} if fields else {}))


_ATTRIBUTE_OF = {"customer.ref": "customer_ref", "shipping_method": "shipping_ref"}
"""Targets that are called differently in the payload: what the channel calls it stays beside them."""


def fill_order(order: CreateOrder, texts: Mapping[str, str]) -> CreateOrder:
    """Return the order with new texts at targets."""
    changes: dict[str, Any] = {}
    customer: dict[str, str] = {}
    addresses: dict[str, dict[str, str]] = {"shipping": {}, "billing": {}}
    for path, text in texts.items():
        head, _, part = path.partition(".")
        if path in _ATTRIBUTE_OF:
            changes[_ATTRIBUTE_OF[path]] = text
        elif head == "customer":
            customer[CUSTOMER_PARTS[part]] = text
        elif head in addresses:
            addresses[head][ADDRESS_PARTS[part]] = text
        elif head != "fields":
            changes[path] = text
    private = order.private
    if customer or any(addresses.values()):
        changes["private"] = replace(
            private,
            customer=replace(private.customer, **customer),
            shipping_address=_address(private.shipping_address, addresses["shipping"]),
            billing_address=_address(private.billing_address, addresses["billing"]),
        )
    fields = _fields(texts)
    if fields:
        changes["fields"] = {**order.fields, **fields}
    return replace(order, **changes)


def fill_line(line: OrderLineOut, texts: Mapping[str, str]) -> OrderLineOut:
    """Return the line with new texts; another SKU is another article, whose id is not known here."""
    changes: dict[str, Any] = {path: text for path, text in texts.items() if not path.startswith("fields.")}
    if changes.get("sku", line.sku) != line.sku:
        changes["item_external_id"] = ""
    fields = _fields(texts)
    return replace(line, **changes, **({"fields": {**line.fields, **fields}} if fields else {}))


def _fields(texts: Mapping[str, str]) -> dict[str, str]:
    return {path.removeprefix("fields."): text for path, text in texts.items() if path.startswith("fields.")}


def _address(address: Address, changes: Mapping[str, str]) -> Address:
    return replace(address, **changes) if changes else address
