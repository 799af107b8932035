"""A sale as Tryton takes it, and the records that it names. Pure but for the look-ups of what a map named."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from typing import Any

from msgspec.structs import replace

from tidegate.commerce.commands import CreateOrder
from tidegate.commerce.money import Money, currency_exponent
from tidegate.connectors.tryton.facts import Facts, record_id
from tidegate.connectors.tryton.rest import Raw, Rest, decimal_value
from tidegate.kernel.errors import RejectedError

PRICE_DIGITS = Decimal("0.0001")
"""Digits of a unit price in Tryton's default configuration."""


async def values_of(rest: Rest, order: CreateOrder, facts: Facts) -> Raw:
    """Return the values of an order's sale. Raises RejectedError for a record or a currency that Tryton does not have."""
    return _sale(order, await _named_records(rest, order, facts))


async def _named_records(rest: Rest, order: CreateOrder, facts: Facts) -> Facts:
    """Return the facts with the party and the payment term that a map named. Raises RejectedError for unknown ones."""
    changes: dict[str, int] = {}
    if order.customer_ref:
        domain = [["code", "=", order.customer_ref]]
        party = await _named(rest, "party.party", domain, ("addresses",), f"party with code {order.customer_ref}")
        if not party["addresses"]:
            raise RejectedError(f"the party {order.customer_ref} has no address in Tryton", code="address_missing")
        changes |= {"customer": int(party["id"]), "address": record_id(party["addresses"][0])}
    if order.payment_method:
        domain = [["name", "=", order.payment_method]]
        what = f"payment term called {order.payment_method}"
        term = await _named(rest, "account.invoice.payment_term", domain, (), what)
        changes["payment_term"] = int(term["id"])
    return replace(facts, **changes) if changes else facts


async def _named(rest: Rest, model: str, domain: list[Any], fields: tuple[str, ...], what: str) -> Raw:
    found = await rest.search(model, domain, ("id", *fields), records_max=1)
    if not found:
        hint = "create it there or mend the map, then: tidegate commands retry --rebuild"
        raise RejectedError(f"Tryton has no {what}", code="reference_unknown", hint=hint)
    return found[0]


def _sale(order: CreateOrder, facts: Facts) -> Raw:
    """Return the sale's values: gross prices, shipping as a service line, and the rest of the total as a discount line.

    It leaves from the warehouse that all of its lines name, else from the web shop's own: Tryton ships a sale from one.
    """
    if order.currency not in facts.currencies:
        raise RejectedError(f"Tryton has no currency {order.currency}", code="currency_unknown")
    lines = [_goods_line(line, facts) for line in order.lines]
    places = {line.location_external_id for line in order.lines}
    digits = currency_exponent(order.currency)
    goods = sum((_amount(line, digits) for line in lines), Decimal(0))
    shipping = Money(order.shipping_minor, order.currency).to_decimal()
    rest = Money(order.total_minor, order.currency).to_decimal() - goods - shipping
    if shipping:
        lines.append(_service_line(facts.shipping_product, facts.unit, shipping) | _described(order.shipping_ref))
    if rest:
        lines.append(_service_line(facts.discount_product, facts.unit, rest))
    return {
        "company": facts.company,
        "currency": facts.currencies[order.currency],
        "party": facts.customer,
        "invoice_address": facts.address,
        "shipment_address": facts.address,
        "payment_term": facts.payment_term,
        "warehouse": int(places.pop()) if len(places) == 1 and "" not in places else facts.warehouse,
        "invoice_method": "manual",  # people decide about invoices, and a shipped sale costs half as much
        "shipment_method": "order",
        "reference": order.number,
        "web_shop": facts.web_shop,
        "web_id": order.reference,
        "comment": _comment(order),
        "lines": [["create", lines]],
        **_described(order.fields.get("description", "")),
    }


def _goods_line(line: Any, facts: Facts) -> Raw:
    price = Decimal(line.unit_price).quantize(PRICE_DIGITS, ROUND_HALF_UP)
    return {
        "type": "line",
        "product": int(line.item_external_id),
        "unit": facts.unit,
        "quantity": float(line.quantity),
        "unit_price": decimal_value(price),
        "note": line.reference,
        **_described(line.fields.get("description", "")),
    }


def _described(text: str) -> Raw:
    return {"description": text} if text else {}


def _service_line(product: int, unit: int, amount: Decimal) -> Raw:
    return {
        "type": "line",
        "product": product,
        "unit": unit,
        "quantity": 1.0,
        "unit_price": decimal_value(amount.quantize(PRICE_DIGITS, ROUND_HALF_UP)),
    }


def _amount(line: Raw, digits: int) -> Decimal:
    """Return the amount of a line as Tryton rounds it: to the currency's digits, half to even."""
    amount = Decimal(line["unit_price"]["decimal"]) * Decimal(str(line["quantity"]))
    return amount.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_EVEN)


def _comment(order: CreateOrder) -> str:
    """Return where the goods go, for the people who pack: web orders share one party in the ERP."""
    address, customer = order.private.shipping_address, order.private.customer
    name = address.name or f"{customer.first_name} {customer.last_name}".strip()
    place = f"{address.postal_code} {address.city}".strip()
    parts = (
        order.note,
        name,
        address.company,
        address.street1,
        address.street2,
        place,
        address.country_code,
        customer.email,
    )
    return "\n".join(part for part in parts if part)
