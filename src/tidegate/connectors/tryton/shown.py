"""What Tryton shows of its articles: units per warehouse and list prices, page by page in the order of ids."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from tidegate.connectors.tryton.rest import Raw, Rest, packed
from tidegate.kernel.errors import ConfigurationError
from tidegate.sdk.connector import ShownArticle, ShownField, ShownPage, ShownValue
from tidegate.sdk.http import Api

ARTICLES_PER_PAGE = 200
COMPANY_DEFAULT = 1
_DIGITS = Decimal("0.000001")


class _Cursor(msgspec.Struct):
    """The last article read, and what does not change while reading."""

    after: int
    warehouses: list[int]
    currency: str


async def read_shown(api: Api, cursor: str) -> ShownPage:
    """Read a page of goods: one request per warehouse, the first of which also tells codes and prices."""
    state = msgspec.json.decode(cursor, type=_Cursor) if cursor else await _begin(api)
    window: list[Any] = [["code", "!=", None], ["type", "=", "goods"], ["id", ">", state.after]]
    first, *others = state.warehouses
    fields = ("code", "rec_name", "list_price_used", "quantity")
    found = await _in(api, first).search("product.product", window, fields, records_max=ARTICLES_PER_PAGE)
    counted = {first: found}
    for warehouse in others if found else ():
        page = [*window, ["id", "<=", found[-1]["id"]]]
        counted[warehouse] = await _in(api, warehouse).search("product.product", page, ("quantity",))
    units = {(warehouse, int(one["id"])): one["quantity"] for warehouse, some in counted.items() for one in some}
    has_more = len(found) == ARTICLES_PER_PAGE
    following = _Cursor(int(found[-1]["id"]) if found else state.after, state.warehouses, state.currency)
    return ShownPage(
        articles=tuple(_article(product, state, units, api) for product in found),
        cursor=msgspec.json.encode(following).decode(),
        has_more=has_more,
    )


async def _begin(api: Api) -> _Cursor:
    rest = Rest(api)
    warehouses = await rest.search("stock.location", [["type", "=", "warehouse"]], ["name"])
    if not warehouses:
        raise ConfigurationError("Tryton has no warehouse", code="record_missing", hint="make one in Tryton")
    companies = await rest.search("company.company", [["id", "=", _company(api)]], ["currency.code"])
    return _Cursor(0, [int(found["id"]) for found in warehouses], str(companies[0]["currency"]["code"]))


def _in(api: Api, warehouse: int) -> Rest:
    """Return the protocol with quantities counted in a warehouse: goods there now, its zones included."""
    context = {"company": _company(api), "locations": [warehouse], "with_childs": True}
    return Rest(api, {"X-Tryton-Context": packed(context)})


def _company(api: Api) -> int:
    return int(api.settings.get("company", COMPANY_DEFAULT))


def _article(product: Raw, state: _Cursor, units: dict[tuple[int, int], Any], api: Api) -> ShownArticle:
    product_id = int(product["id"])
    values = [
        ShownValue(field=ShownField.ON_HAND, value=_number(units[warehouse, product_id]), place=str(warehouse))
        for warehouse in state.warehouses
        if (warehouse, product_id) in units
    ]
    return ShownArticle(
        external_id=str(product_id),
        sku=str(product["code"]),
        title=str(product["rec_name"] or ""),
        values=(*values, *_prices(product, state.currency, api)),
    )


def _prices(product: Raw, currency: str, api: Api) -> Sequence[ShownValue]:
    raw = product["list_price_used"]
    if raw is None:
        return ()
    with_tax = str(api.settings.get("prices", "net")) == "gross"
    field = ShownField.PRICE_WITH_TAX if with_tax else ShownField.PRICE
    return (ShownValue(field=field, value=_number(raw), currency=currency),)


def _number(raw: Any) -> Decimal:
    """Return a number of Tryton's JSON: a decimal record, an integer or a float."""
    text = raw["decimal"] if isinstance(raw, dict) else raw
    return Decimal(format(Decimal(str(text)).quantize(_DIGITS).normalize(), "f"))
