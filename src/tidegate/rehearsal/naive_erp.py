"""How the naive script speaks to Tryton: look the articles up, post the sale, press its buttons."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
import msgspec


class Erp:
    """Tryton's REST protocol, as far as a sale takes it."""

    def __init__(self, settings: Mapping[str, Any], http: aiohttp.ClientSession) -> None:
        self._root = f"{settings['url']}/{settings.get('database', 'tryton')}/rest/model"
        self._headers = {"Authorization": f"Bearer {settings['rest_key']}"}
        self._shop = str(settings.get("web_shop", "Tidegate"))
        self._http = http
        self._products: dict[str, int] = {}
        self._records: dict[str, int] = {}

    async def create_order(self, reference: str, lines: Sequence[tuple[str, int]]) -> None:
        """Make a sale and have it processed."""
        if not self._records:
            await self._read_records()
        for sku, _ in lines:
            if sku not in self._products:
                found = await self._search("product.product", [["code", "=", sku]], "id")
                self._products[sku] = found[0]["id"]
        sale = await self._send(
            "POST",
            "sale.sale?f=id",
            {
                "company": 1,
                "currency": self._records["currency"],
                "party": self._records["party"],
                "invoice_address": self._records["address"],
                "shipment_address": self._records["address"],
                "warehouse": self._records["warehouse"],
                "invoice_method": "manual",
                "shipment_method": "order",
                "reference": reference,
                "lines": [["create", [self._line(sku, units) for sku, units in lines]]],
            },
        )
        await self._send("POST", f"sale.sale/{sale['id']}/quote?f=state", {})
        await self._send("POST", f"sale.sale/{sale['id']}/confirm?f=state", {})

    def _line(self, sku: str, units: int) -> dict[str, Any]:
        price = {"__class__": "Decimal", "decimal": "9.90"}
        return {
            "type": "line",
            "product": self._products[sku],
            "unit": 1,
            "quantity": float(units),
            "unit_price": price,
        }

    async def _read_records(self) -> None:
        shop = (await self._search("web.shop", [["name", "=", self._shop]], "id", "warehouses"))[0]
        party = (await self._search("party.party", [["id", "=", 2]], "id", "addresses"))[0]
        currency = (await self._search("currency.currency", [["code", "=", "EUR"]], "id"))[0]
        self._records = {
            "warehouse": shop["warehouses"][0],
            "party": party["id"],
            "address": party["addresses"][0],
            "currency": currency["id"],
        }

    async def _search(self, model: str, domain: Sequence[Any], *fields: str) -> Any:
        packed = base64.urlsafe_b64encode(msgspec.json.encode(domain)).decode()
        query = "&".join([f"d={packed}", *(f"f={field}" for field in fields)])
        return await self._send("GET", f"{model}?{query}", None)

    async def _send(self, method: str, path: str, body: Any) -> Any:
        async with self._http.request(method, f"{self._root}/{path}", json=body, headers=self._headers) as answer:
            return msgspec.json.decode(await answer.read())
