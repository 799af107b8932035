"""Endpoints of Tryton: log-in and inspection. No retries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidegate.connectors.tryton.facts import facts_of
from tidegate.connectors.tryton.rest import DATABASE_DEFAULT, Raw, Rest, packed
from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.redaction import Secret
from tidegate.sdk.connector import Inspection, Location, Variant
from tidegate.sdk.http import Api, Session

BARCODE_TYPES = ("ean", "isbn")
COMPANY_DEFAULT = 1


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
