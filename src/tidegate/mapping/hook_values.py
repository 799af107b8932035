"""Payloads as hooks see them, and what hooks return as payloads again. Pure; what comes back is believed in nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from tidegate.commerce.commands import CreateFulfillment, CreateOrder, OrderLineOut
from tidegate.commerce.money import Money, allocate, currency_exponent
from tidegate.mapping.apply import fill_line, fill_order
from tidegate.mapping.paths import ADDRESS_PARTS, CUSTOMER_PARTS, FIELD_TARGET, LINES_MAX, TEXT_CHARS_MAX

Text = Annotated[str, Meta(max_length=TEXT_CHARS_MAX)]
Amount = Annotated[str, Meta(pattern=r"^-?[0-9]{1,15}(\.[0-9]{1,6})?$")]
Units = Annotated[int, Meta(ge=1, le=1_000_000)]
Fields = Mapping[str, Text]


class _Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    reference: str
    sku: Annotated[str, Meta(min_length=1, max_length=200)]
    title: Text
    quantity: Units
    unit_price: Amount
    total: Amount
    tax_code: Text
    fields: Fields


class _Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    reference: str
    number: Text
    channel: str
    placed_at: str
    currency: str
    total: str
    shipping_total: str
    discount: str
    shipping_method: Text
    payment_method: Text
    note: Text
    customer: Mapping[str, Text]
    shipping: Mapping[str, Text]
    billing: Mapping[str, Text]
    fields: Fields
    lines: Annotated[tuple[_Line, ...], Meta(min_length=1, max_length=LINES_MAX)]


class HookResultError(Exception):
    """What a hook returned is not what it may return; says which value and why."""


FIXED = ("reference", "channel", "placed_at", "currency", "total", "shipping_total", "discount")
"""What hooks see of an order and may not change."""


def order_for_hooks(order: CreateOrder, facts: Mapping[str, str]) -> dict[str, Any]:
    """Return an order as JSON-like values; amounts are decimal texts."""
    private = order.private
    customer = {"ref": order.customer_ref}
    customer |= {part: getattr(private.customer, attribute) for part, attribute in CUSTOMER_PARTS.items()}
    return {
        "reference": order.reference,
        "number": order.number,
        "channel": order.channel,
        "placed_at": order.placed_at.isoformat(),
        "currency": order.currency,
        "total": _amount(order.total_minor, order.currency),
        "shipping_total": _amount(order.shipping_minor, order.currency),
        "discount": _amount(order.discount_minor, order.currency),
        "shipping_method": order.shipping_ref or order.shipping_method,
        "payment_method": order.payment_method or facts.get("payment_method", ""),
        "note": order.note,
        "customer": customer,
        "shipping": {part: getattr(private.shipping_address, name) for part, name in ADDRESS_PARTS.items()},
        "billing": {part: getattr(private.billing_address, name) for part, name in ADDRESS_PARTS.items()},
        "fields": dict(order.fields),
        "lines": [_line_for_hooks(line, order.currency) for line in order.lines],
    }


def _line_for_hooks(line: OrderLineOut, currency: str) -> dict[str, Any]:
    return {
        "reference": line.reference,
        "sku": line.sku,
        "title": line.title,
        "quantity": line.quantity,
        "unit_price": line.unit_price,
        "total": _amount(line.total_minor, currency),
        "tax_code": line.tax_code,
        "fields": dict(line.fields),
    }


def shipment_for_hooks(shipment: CreateFulfillment) -> dict[str, Any]:
    """Return a shipment as JSON-like values."""
    return {
        "reference": shipment.reference,
        "order_id": shipment.order_external_id,
        "tracking": shipment.tracking,
        "carrier": shipment.carrier,
        "shipped_at": shipment.shipped_at.isoformat(),
        "lines": [{"line_id": line.line_external_id, "quantity": line.quantity} for line in shipment.lines],
    }


def order_from_hooks(order: CreateOrder, facts: Mapping[str, str], returned: object) -> CreateOrder:
    """Return the order as hooks left it. Raises HookResultError, naming the field, for whatever they may not do."""
    before = order_for_hooks(order, facts)
    try:
        after = msgspec.convert(returned, _Order)
    except msgspec.ValidationError as error:
        raise HookResultError(_explain(str(error))) from error
    for name in FIXED:
        if getattr(after, name) != before[name]:
            raise HookResultError(f"{name!r} was changed, and hooks may not change it")
    texts = dict(_changed(before, after))
    return replace(fill_order(order, texts), lines=_lines(order, after.lines))


def _changed(before: Mapping[str, Any], after: _Order) -> Sequence[tuple[str, str]]:
    found = [
        (name, getattr(after, name))
        for name in ("number", "shipping_method", "payment_method", "note")
        if getattr(after, name) != before[name]
    ]
    for group in ("customer", "shipping", "billing"):
        values: Mapping[str, str] = getattr(after, group)
        if values.keys() != before[group].keys():
            odd = sorted(values.keys() ^ before[group].keys())
            raise HookResultError(f"{group!r} has other parts than before: {', '.join(odd)}")
        if group == "customer" and values["id"] != before[group]["id"]:
            raise HookResultError("'customer.id' was changed, and hooks may not change it")
        found += [(f"{group}.{part}", text) for part, text in values.items() if text != before[group][part]]
    return [*found, *_fields(after.fields, before["fields"])]


def _fields(after: Fields, before: Mapping[str, str]) -> list[tuple[str, str]]:
    for name in after:
        if not FIELD_TARGET.fullmatch(f"fields.{name}"):
            raise HookResultError(f"'fields.{name[:40]}' is no name of a field: use a-z, 0-9 and _")
    return [(f"fields.{name}", text) for name, text in after.items() if text != before.get(name)]


# --- lines ---------------------------------------------------------------------------------------------------------
def _lines(order: CreateOrder, returned: Sequence[_Line]) -> tuple[OrderLineOut, ...]:
    """Return the lines in the order of the hook. Lines may be changed and split; goods and money do not vanish."""
    known = {line.reference: line for line in order.lines}
    groups: dict[str, list[_Line]] = {}
    for part in returned:
        if part.reference not in known:
            raise HookResultError(f"a line has the reference {part.reference[:60]!r}, which is none of this order")
        groups.setdefault(part.reference, []).append(part)
    for line in order.lines:
        if line.reference not in groups and line.total_minor:
            total = _amount(line.total_minor, order.currency)
            raise HookResultError(f"the line of {line.sku} is gone, and it is worth {total}")
    parts = {name: iter(_parts(known[name], group, order.currency)) for name, group in groups.items()}
    return tuple(next(parts[part.reference]) for part in returned)


def _parts(line: OrderLineOut, parts: Sequence[_Line], currency: str) -> list[OrderLineOut]:
    own = Money(line.total_minor, currency).to_decimal()
    totals = [Decimal(part.total) for part in parts]
    if sum(totals) == own:
        minor = [_minor(total, currency, line.sku) for total in totals]
    elif len(parts) > 1 and all(total == own for total in totals):
        minor = allocate(line.total_minor, [part.quantity for part in parts])
    else:
        raise HookResultError(f"the parts of {line.sku} add up to {sum(totals)}, and the line is worth {own}")
    bearer = next((index for index, part in enumerate(parts) if part.quantity == line.quantity), 0)
    return [
        _part(line, part, total_minor, currency, "" if index == bearer else f"+{index + 1}")
        for index, (part, total_minor) in enumerate(zip(parts, minor, strict=True))
    ]


def _part(line: OrderLineOut, part: _Line, total_minor: int, currency: str, suffix: str) -> OrderLineOut:
    """Return one part; without a suffix it keeps the line's reference, so that what ships of it is counted on the line."""
    price = part.unit_price
    is_as_before = (part.quantity, total_minor) == (line.quantity, line.total_minor)
    if Decimal(price) == Decimal(line.unit_price):
        price = line.unit_price
        if not is_as_before:
            price = _unit_price(total_minor, part.quantity, currency)
    texts = {"sku": part.sku, "title": part.title, "tax_code": part.tax_code}
    changed = {name: text for name, text in texts.items() if text != getattr(line, name)}
    shaped = fill_line(line, {**changed, **dict(_fields(part.fields, line.fields))})
    reference = line.reference + suffix
    return replace(shaped, reference=reference, quantity=part.quantity, unit_price=price, total_minor=total_minor)


def _unit_price(total_minor: int, quantity: int, currency: str) -> str:
    """Return the price of a unit with at most six digits; what rounding leaves is in the total, which is exact."""
    price = Money(total_minor, currency).to_decimal() / quantity
    return format(round(price, 6).normalize() + Decimal(0), "f")


def _minor(total: Decimal, currency: str, sku: str) -> int:
    minor = total.scaleb(currency_exponent(currency))
    if minor != int(minor):
        raise HookResultError(f"the total {total} of a part of {sku} has more digits than {currency} has")
    return int(minor)


def _amount(minor: int, currency: str) -> str:
    return format(Money(minor, currency).to_decimal(), "f")


def _explain(text: str) -> str:
    """Return the message of a type check with the place in front, as authors write it."""
    found = re.search(r" - at `\$?\.?(.*)`$", text)
    if found is None:
        return f"the result {text[:1].lower()}{text[1:]}"[:300]
    return f"{found[1]!r} of the result: {text[: found.start()]}"[:300]
