"""What a connection has to know of the ERP's own records, read once per session: company, web shop, parties, services."""

from __future__ import annotations

import msgspec

from tidegate.connectors.tryton.rest import Raw, Rest
from tidegate.kernel.errors import ConfigurationError
from tidegate.sdk.http import Api

CUSTOMER_DEFAULT = "Web customers"
SHIPPING_SKU_DEFAULT = "SHIPPING"
DISCOUNT_SKU_DEFAULT = "DISCOUNT"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Ids of the records that every order needs."""

    company: int
    web_shop: int
    warehouse: int
    customer: int
    address: int
    payment_term: int | None
    unit: int
    shipping_product: int
    discount_product: int
    currencies: dict[str, int]


_KEY = "facts"


async def facts_of(api: Api) -> Facts:
    """Return the facts, read at first use of `api`. Raises ConfigurationError that names the missing record."""
    found: Facts | None = api.memory.get(_KEY)
    if found is None:
        found = api.memory[_KEY] = await _read(api)
    return found


async def _read(api: Api) -> Facts:
    rest, settings = Rest(api), api.settings
    shop = await _one(rest, "web.shop", _named(settings.get("web_shop")), ("company", "warehouses"), "a web shop")
    customer_name = str(settings.get("customer", CUSTOMER_DEFAULT))
    customer = await _one(
        rest, "party.party", [["name", "=", customer_name]], ("addresses",), "the party of web orders"
    )
    services = {
        sku: await _one(rest, "product.product", [["code", "=", sku]], ("default_uom",), f"the service {sku}")
        for sku in (
            str(settings.get("shipping_sku", SHIPPING_SKU_DEFAULT)),
            str(settings.get("discount_sku", DISCOUNT_SKU_DEFAULT)),
        )
    }
    shipping, discount = services.values()
    terms = await rest.search("account.invoice.payment_term", [], ["id"], records_max=1)
    currencies = await rest.search("currency.currency", [], ["code"])
    return Facts(
        company=record_id(shop["company"]),
        web_shop=record_id(shop["id"]),
        warehouse=_first(shop["warehouses"], "a warehouse of the web shop"),
        customer=record_id(customer["id"]),
        address=_first(customer["addresses"], "an address of the party of web orders"),
        payment_term=record_id(terms[0]["id"]) if terms else None,
        unit=record_id(shipping["default_uom"]),
        shipping_product=record_id(shipping["id"]),
        discount_product=record_id(discount["id"]),
        currencies={str(found["code"]): record_id(found["id"]) for found in currencies},
    )


def _named(name: object) -> list[list[object]]:
    return [["name", "=", name]] if name else []


async def _one(rest: Rest, model: str, domain: list[list[object]], fields: tuple[str, ...], what: str) -> Raw:
    found = await rest.search(model, domain, ["id", *fields], records_max=1)
    if not found:
        raise _missing(what, f"create it in Tryton ({model}), or name another one in the options of the connection")
    return found[0]


def _first(found: list[object], what: str) -> int:
    if not found:
        raise _missing(what, "add it in Tryton")
    return record_id(found[0])


def _missing(what: str, hint: str) -> ConfigurationError:
    return ConfigurationError(f"Tryton has no record for {what}", code="record_missing", hint=hint)


def record_id(value: object) -> int:
    """Return the id of a reference, which Tryton gives as a number or as a record."""
    return int(value["id"] if isinstance(value, dict) else str(value))
