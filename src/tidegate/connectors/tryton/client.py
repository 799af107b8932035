"""Endpoints of Tryton: log-in, inspection, orders and their cancellation. No retries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from typing import Any, TypeVar

from msgspec.structs import replace

from tidegate.commerce.commands import CancelOrder, CreateOrder, Payload
from tidegate.commerce.money import Money, currency_exponent
from tidegate.connectors.tryton.errors import DUPLICATE
from tidegate.connectors.tryton.facts import Facts, facts_of, record_id
from tidegate.connectors.tryton.rest import DATABASE_DEFAULT, Raw, Rest, decimal_value, packed
from tidegate.kernel.errors import ConfigurationError, OutcomeUnknownError, RejectedError
from tidegate.kernel.redaction import Secret
from tidegate.sdk.connector import (
    Done,
    Failed,
    FindOutcome,
    Inspection,
    ItemOutcome,
    Location,
    NotFound,
    Partly,
    Variant,
)
from tidegate.sdk.http import Api, Session

P = TypeVar("P", CreateOrder, CancelOrder)
SALE_FIELDS = ("id", "state", "lines.note")
STEPS = {"draft": "quote", "quotation": "confirm", "confirmed": "process"}
"""State of a sale -> the next button on the way to processing."""
CANCEL_STEPS = {"draft": "cancel", "quotation": "cancel", "confirmed": "draft"}
"""State of a sale -> the next button on the way to cancelled. There is none from processing."""
IN_HAND = ("processing", "done")
BARCODE_TYPES = ("ean", "isbn")
COMPANY_DEFAULT = 1
PRICE_DIGITS = Decimal("0.0001")
"""Digits of a unit price in Tryton's default configuration."""


# --- session, inspection -------------------------------------------------------------------------------------------
async def open_session(api: Api, secrets: Mapping[str, Secret], settings: Mapping[str, Any]) -> Session:
    """Use the key as it is, in the company that the options name. Raises AuthenticationError when the key is refused."""
    company = int(settings.get("company", COMPANY_DEFAULT))
    headers = {
        "Authorization": f"Bearer {secrets['rest_key'].reveal()}",
        "X-Tryton-Context": packed({"company": company}),
    }
    if not await Rest(api, headers).search("company.company", [["id", "=", company]], ["id"], records_max=1):
        raise ConfigurationError(
            f"the key's user does not see company {company}",
            code="record_missing",
            hint="name the company's id as option `company` of the connection, and give the user that company in Tryton",
        )
    return Session(headers=headers)


async def inspect(api: Api) -> Inspection:
    """Read the warehouses and every article that has a code; find the records that orders will need."""
    facts, rest = await facts_of(api), Rest(api)
    warehouses = await rest.search("stock.location", [["type", "=", "warehouse"]], ["name"])
    products = await rest.search(
        "product.product",
        [["code", "!=", None], ["type", "=", "goods"]],
        ["code", "rec_name", "identifiers.type", "identifiers.code"],
    )
    database = str(api.settings.get("database", DATABASE_DEFAULT))
    return Inspection(
        external_account=f"{api.settings.get('url', '')}/{database}#{facts.company}",
        account_name=database,
        version="8.2",
        locations=tuple(Location(external_id=str(found["id"]), name=str(found["name"])) for found in warehouses),
        variants=tuple(
            Variant(external_id=str(p["id"]), sku=str(p["code"]), title=str(p["rec_name"]), barcode=_barcode(p))
            for p in products
        ),
        findings=("web shop, customer, payment term and service articles for orders are there",),
    )


def _barcode(product: Raw) -> str:
    """Return the article's first identifier of a kind that is printed as a barcode, '' where it has none."""
    known = [one for one in product["identifiers"] or () if one["type"] in BARCODE_TYPES and one["code"]]
    return str(min(known, key=lambda one: int(one["id"]))["code"]) if known else ""


# --- orders --------------------------------------------------------------------------------------------------------
async def create_order(api: Api, payloads: Sequence[Payload], _key: str) -> Sequence[ItemOutcome]:
    """Create the sale under its web id, then quote, confirm and process it.

    Tryton keeps (web shop, web id) unique, so a repetition finds the first sale and only finishes it.
    """
    order = _one(payloads, CreateOrder)
    facts, rest = await facts_of(api), Rest(api)
    try:
        sale = await rest.create("sale.sale", _sale(order, await _named_records(rest, order, facts)), SALE_FIELDS)
    except RejectedError as error:
        if error.code != "duplicate_reference":
            raise
        found = await _find_sale(rest, facts, order.reference)
        if found is None:
            raise OutcomeUnknownError("refused as a duplicate, and yet not to be found", code=DUPLICATE) from error
        sale = found
    return [await _process(rest, sale)]


async def _process(rest: Rest, sale: Raw) -> ItemOutcome:
    state = await _press(rest, sale, STEPS)
    if state not in IN_HAND:
        return Failed(error=RejectedError(f"the sale is {state} and cannot be processed", code=f"sale_{state}"))
    return _done(sale)


async def _press(rest: Rest, sale: Raw, steps: Mapping[str, str]) -> str:
    """Press the buttons that are left and return the state that the sale ends in.

    After `confirm` Tryton processes the sale by itself, at once or through its queue; the answer is older than that, so
    the state is read again before anything else is pressed.
    """
    state, sale_id = str(sale["state"]), int(sale["id"])
    while state in steps:
        before = state
        try:
            state = str((await rest.press("sale.sale", sale_id, steps[before]))["state"])
            if state == "confirmed":
                state = await _state(rest, sale_id)
        except RejectedError:  # by a rule, or because an earlier call of ours is still running and was faster
            state = await _state(rest, sale_id)
            if state == before:
                raise
        if state == before:
            break
    return state


async def _state(rest: Rest, sale_id: int) -> str:
    return str((await rest.search("sale.sale", [["id", "=", sale_id]], ["state"]))[0]["state"])


def _done(sale: Raw) -> Done:
    lines = {line["note"]: str(line["id"]) for line in sale["lines"] if line["note"]}
    return Done(external_id=str(sale["id"]), bindings=lines)


async def find_order(api: Api, payload: Payload) -> FindOutcome:
    """Look for the sale by its web id; one that is not processed yet is half done."""
    sale = await _find_sale(Rest(api), await facts_of(api), _one([payload], CreateOrder).reference)
    if sale is None:
        return NotFound()
    return _done(sale) if sale["state"] in IN_HAND else Partly(detail=f"the sale is {sale['state']}")


async def cancel_order(api: Api, payloads: Sequence[Payload], _key: str) -> Sequence[ItemOutcome]:
    """Cancel a sale. One that is processing has shipments, which people cancel first."""
    command = _one(payloads, CancelOrder)
    rest = Rest(api)
    sale = await _find_sale(rest, await facts_of(api), command.reference)
    if sale is None:
        return [Failed(error=RejectedError("there is no sale with this web id", code="not_found"))]
    state = await _press(rest, sale, CANCEL_STEPS)
    if state == "cancelled":
        return [Done(external_id=str(sale["id"]))]
    hint = "cancel its shipments in Tryton, then cancel the sale there; or retry this command afterwards"
    return [Failed(error=RejectedError(f"the sale is {state}", code=f"sale_{state}", hint=hint))]


async def find_cancelled_order(api: Api, payload: Payload) -> FindOutcome:
    """Look whether the sale is cancelled."""
    sale = await _find_sale(Rest(api), await facts_of(api), _one([payload], CancelOrder).reference)
    return Done(external_id=str(sale["id"])) if sale and sale["state"] == "cancelled" else NotFound()


async def _find_sale(rest: Rest, facts: Facts, reference: str) -> Raw | None:
    domain = [["web_shop", "=", facts.web_shop], ["web_id", "=", reference]]
    found = await rest.search("sale.sale", domain, SALE_FIELDS, records_max=1)
    return found[0] if found else None


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


# --- the sale ------------------------------------------------------------------------------------------------------
def _sale(order: CreateOrder, facts: Facts) -> Raw:
    """Return the sale's values: gross prices, shipping as a service line, and the rest of the total as a discount line."""
    if order.currency not in facts.currencies:
        raise RejectedError(f"Tryton has no currency {order.currency}", code="currency_unknown")
    lines = [_goods_line(line, facts) for line in order.lines]
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
        "warehouse": facts.warehouse,
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


def _one(payloads: Sequence[Payload], kind: type[P]) -> P:
    (payload,) = payloads
    if not isinstance(payload, kind):
        raise TypeError(f"{kind.__name__} expected, not {type(payload).__name__}")
    return payload
