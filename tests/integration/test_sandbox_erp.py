"""The sandbox's ERP answers what the real one answered: the recorded requests of the connector are sent to it again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
import pytest
from tests.house.repository import PACKAGE

from tidegate.kernel.clock import SystemClock
from tidegate.sandbox.erp import build
from tidegate.sandbox.process import Sandbox
from tidegate.sandbox.world import WorldSpec

RECORDED = PACKAGE / "connectors" / "tryton" / "fixtures"
KEY = "key-of-the-test"
ITEMS = [
    {"sku": "MUG-01", "title": "Harbour mug", "price_minor": 990, "stock": 40, "barcode": "4006381333931"},
    {"sku": "LAMP-01", "title": "Lighthouse lamp", "price_minor": 4990, "stock": 8},
]
VARYING = {"create_date", "write_date", "number"}


@asynccontextmanager
async def erp(**options: Any) -> AsyncIterator[Erp]:
    """An ERP whose database is called as in the recordings."""
    raw = {
        "items": ITEMS,
        "platforms": {"erp": {"kind": "erp", "options": {"database": "rec_tryton", "rest_key": KEY, **options}}},
    }
    sandbox = Sandbox(msgspec.convert(raw, WorldSpec), {"erp": build}, SystemClock())
    said = await sandbox.open("127.0.0.1", 0)
    async with aiohttp.ClientSession() as http:
        try:
            yield Erp(said["platforms"]["erp"]["url"], said["control"], http)
        finally:
            await http.close()
            await sandbox.close()


class Erp:
    def __init__(self, url: str, control: str, http: aiohttp.ClientSession) -> None:
        self.url, self.control, self.http = url, control, http

    async def send(
        self, method: str, path: str, body: Any = None, *, key: str = KEY, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        sent = {"Authorization": f"Bearer {key}", **(headers or {})}
        async with self.http.request(method, self.url + path, json=body, headers=sent) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if answer.content_type == "application/json" else text

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        async with self.http.request(method, self.control + path, json=body) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def replay(self, name: str) -> None:
        """Send what was recorded, and compare each answer with the recorded one."""
        recording = json.loads((RECORDED / "exchanges" / name).read_text())
        for exchange in recording["exchanges"]:
            request, wanted = exchange["request"], exchange["answer"]
            status, body = await self.send(request["method"], request["path"], request.get("body"))
            place = f"{name}: {request['method']} {request['path'][:80]}"
            assert status == wanted.get("status", 200), f"{place}: {body}"
            assert without(body) == without(wanted["body"]), place


def without(value: Any) -> Any:
    """Leave out what depends on the day."""
    if isinstance(value, dict):
        return {name: without(part) for name, part in value.items() if name not in VARYING}
    return [without(part) for part in value] if isinstance(value, list) else value


def test_orders_are_answered_as_the_recorded_ones() -> None:
    """The whole life of an order as it was recorded from Tryton 8.2: created, repeated, found, shown."""

    async def play() -> None:
        async with erp() as tryton:
            for name in ("login", "inspect", "find_order_none", "create_order", "create_order_again", "find_order"):
                await tryton.replay(f"{name}.json")
            orders = (await tryton.ask("GET", "/books/erp/orders"))["orders"]
            assert [(order["key"], len(order["lines"])) for order in orders.values()] == [("ord_c0_first", 2)]
            items = (await tryton.ask("GET", "/books/erp/items"))["items"]
            assert items["MUG-01"]["levels"]["warehouse"] == {"available": 38, "committed": 2}

    asyncio.run(play())


@pytest.mark.parametrize("name", sorted(path.name for path in (RECORDED / "errors").glob("*.json")))
def test_refusals_have_the_recorded_form(name: str) -> None:
    """Each refusal that was recorded is given for the request that it was given for."""
    answer = json.loads((RECORDED / "errors" / name).read_text())["answer"]
    sale = "/rec_tryton/rest/model/sale.sale"

    async def play() -> None:
        async with erp() as tryton:
            await tryton.replay("create_order.json")
            requests: dict[str, tuple[Any, ...]] = {
                "button_of_another_state.json": ("POST", f"{sale}/1/cancel", {}),
                "no_such_button.json": ("POST", f"{sale}/1/no_such_button", {}),
                "no_such_record.json": ("POST", f"{sale}/999/quote", {}),
                "no_such_database.json": ("GET", "/other/rest/model/sale.sale", None),
                "no_such_model.json": ("GET", "/rec_tryton/rest/model/no.such.model", None),
                "no_such_field.json": ("POST", sale, {"nothing": 1}),
                "not_allowed.json": ("POST", "/rec_tryton/rest/model/product.template", {}),
                "key_refused.json": ("GET", f"{sale}?f=id", None),
                "web_id_taken.json": ("POST", sale, created()),
            }
            if name not in requests:
                pytest.skip("not a refusal that orders meet")
            method, path, body = requests[name]
            status, said = await tryton.send(method, path, body, key="wrong" if name == "key_refused.json" else KEY)
            if name == "not_allowed.json":
                assert status in {answer["status"], 500}
                return
            assert status == answer["status"]
            if "body" in answer:
                assert said == answer["body"]

    asyncio.run(play())


def created() -> Any:
    recording = json.loads((RECORDED / "exchanges" / "create_order.json").read_text())
    return next(
        exchange["request"]["body"]
        for exchange in recording["exchanges"]
        if exchange["request"]["method"] == "POST"
        and exchange["request"]["path"].partition("?")[0].endswith("sale.sale")
    )


def test_two_creations_at_once_make_one_sale() -> None:
    """(web shop, web id) is unique, whoever comes first."""

    async def play() -> None:
        async with erp() as tryton:
            answers = await asyncio.gather(
                *(tryton.send("POST", "/rec_tryton/rest/model/sale.sale?f=id", created()) for _ in range(8))
            )
            assert sorted(status for status, _ in answers) == [200] + [400] * 7
            assert (await tryton.ask("GET", "/books/erp"))["orders"] == 1

    asyncio.run(play())


def test_the_clerk_ships_what_is_there_and_the_feeds_show_it() -> None:
    """A shipment moves goods out of the warehouse, once, and names the sale's lines."""

    async def play() -> None:
        async with erp() as tryton:
            await tryton.replay("create_order.json")
            assert (await tryton.ask("POST", "/do/erp/ship", {}))["shipped"] is True
            assert (await tryton.ask("POST", "/do/erp/ship", {}))["shipped"] is False

            domain = quote("W1sic3RhdGUiLCI9IiwiZG9uZSJdXQ==")  # [["state", "=", "done"]]
            fields = "&f=".join(("id", "number", "reference", "outgoing_moves.origin", "outgoing_moves.product.code"))
            path = f"/rec_tryton/rest/model/stock.shipment.out?d={domain}&f={fields}"
            status, shipments = await tryton.send("GET", path)

            assert status == 200
            assert [shipment["reference"] for shipment in shipments] == ["TRACK-1"]
            assert {move["origin"] for move in shipments[0]["outgoing_moves"]} == {"sale.line,1", "sale.line,2"}
            items = (await tryton.ask("GET", "/books/erp/items"))["items"]
            assert items["LAMP-01"]["levels"]["warehouse"] == {"available": 7, "committed": 0}
            shown = (await tryton.ask("POST", "/do/erp/shipments", {}))["shipments"]
            assert [(one["web_id"], one["tracking"]) for one in shown] == [("ord_c0_first", "TRACK-1")]

    asyncio.run(play())


def test_what_is_not_there_is_not_shipped_until_it_arrives() -> None:
    """A sale beyond stock stays open; received goods let it go."""

    async def play() -> None:
        async with erp() as tryton:
            await tryton.replay("create_order.json")
            await tryton.ask("POST", "/stock", {"platform": "erp", "sku": "LAMP-01", "quantity": 0})
            assert (await tryton.ask("POST", "/do/erp/ship", {}))["shipped"] is False
            await tryton.ask("POST", "/do/erp/receive", {"sku": "LAMP-01", "quantity": 3})
            assert (await tryton.ask("POST", "/do/erp/ship", {}))["shipped"] is True

    asyncio.run(play())


@pytest.mark.parametrize(
    "query",
    [
        "d=!!",
        "d=e30=",
        "d=W1siaWQiLCJ-IiwxXV0=",
        "d=" + "W1" * 500,
        "f=nothing",
        "o=W1sibm8iLCJBU0MiXV0=",
        "f=lines.nothing",
    ],
)
def test_garbage_is_answered_not_raised(query: str) -> None:
    """Domains, fields and orders that are none get Tryton's 500, and the server goes on."""

    async def play() -> None:
        async with erp() as tryton:
            await tryton.replay("create_order.json")
            status, _ = await tryton.send("GET", f"/rec_tryton/rest/model/sale.sale?{query}")
            assert status == 500
            assert (await tryton.send("GET", "/rec_tryton/rest/model/sale.sale?f=id"))[0] == 200

    asyncio.run(play())


def test_recordings_are_there() -> None:
    """The files that this page plays exist."""
    assert Path(RECORDED / "exchanges" / "create_order.json").is_file()
