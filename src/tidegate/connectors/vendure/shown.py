"""What a shop shows of its articles: the number at each stock location and the prices, page by page in the order of ids."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from tidegate.commerce.money import currency_exponent
from tidegate.connectors.vendure import queries
from tidegate.connectors.vendure.graphql import Raw, call
from tidegate.sdk.connector import ShownArticle, ShownField, ShownPage, ShownValue
from tidegate.sdk.http import Api

ARTICLES_PER_PAGE = 100


class _Cursor(msgspec.Struct, omit_defaults=True):
    """How many articles to skip. `last` is the one that must come first: a page begins with the end of the one before."""

    skip: int = 0
    last: str = ""


async def read_shown(api: Api, cursor: str) -> ShownPage:
    """Read a page of variants.

    The API pages by number, so an article that is deleted meanwhile would move another one out of sight. Each page
    therefore begins with the last article of the page before; where it does not, the reading goes back by a page.
    """
    state = msgspec.json.decode(cursor, type=_Cursor) if cursor else _Cursor()
    variables = {"skip": state.skip, "take": ARTICLES_PER_PAGE}
    page = await call(api, queries.SHOWN, variables, "productVariants", Raw, changes_state=False)
    items: list[Raw] = page["items"]
    if state.last and (not items or items[0]["id"] != state.last):
        following, has_more = _Cursor(max(0, state.skip - ARTICLES_PER_PAGE)), True
    else:
        has_more = len(items) == ARTICLES_PER_PAGE
        following = _Cursor(state.skip + len(items) - 1, items[-1]["id"]) if has_more else _Cursor()
    return ShownPage(
        articles=tuple(_article(item) for item in items),
        cursor=msgspec.json.encode(following).decode(),
        has_more=has_more,
    )


def _article(raw: Raw) -> ShownArticle:
    stock = [
        ShownValue(
            field=ShownField.STOCK, value=Decimal(int(level["stockOnHand"])), place=str(level["stockLocationId"])
        )
        for level in raw["stockLevels"]
    ]
    prices = [
        ShownValue(field=field, value=_amount(raw[name], raw["currencyCode"]), currency=raw["currencyCode"])
        for field, name in ((ShownField.PRICE, "price"), (ShownField.PRICE_WITH_TAX, "priceWithTax"))
    ]
    return ShownArticle(
        external_id=str(raw["id"]), sku=str(raw["sku"]), title=str(raw["name"]), values=(*stock, *prices)
    )


def _amount(minor: int, currency: str) -> Decimal:
    return Decimal(minor).scaleb(-currency_exponent(currency))
