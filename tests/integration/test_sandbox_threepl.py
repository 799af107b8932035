"""The sandbox's 3PL and till: signed events both ways, each taken once, stock and orders kept."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from tidegate.kernel.clock import SystemClock
from tidegate.sandbox.process import Sandbox
from tidegate.sandbox.threepl import build, build_till
from tidegate.sandbox.threepl.server import SECRET_DEFAULT, VERIFY_DEFAULT
from tidegate.sandbox.threepl.signed import is_signed, sign
from tidegate.sandbox.world import WorldSpec
from tidegate.sdk.signatures import StandardWebhooks, sign_standard_webhooks

ITEMS = [{"sku": "MUG", "stock": 10, "price_minor": 990}, {"sku": "LAMP", "stock": 3, "price_minor": 4990}]
ORDER = {"id": "ord_1", "number": "1", "lines": [{"id": "lin_1", "sku": "MUG", "quantity": 2}]}


class Partners:
    def __init__(self, said: Any, http: aiohttp.ClientSession) -> None:
        self.said, self.http = said, http
        self.heard: list[tuple[dict[str, str], bytes]] = []

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        async with self.http.request(method, self.said["control"] + path, json=body) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def send(
        self,
        platform: str,
        kind: str,
        data: Any,
        message_id: str,
        *,
        secret: str = VERIFY_DEFAULT,
        at: float | None = None,
    ) -> tuple[int, Any]:
        body = msgspec.json.encode({"type": kind, "timestamp": "2026-11-27T09:00:00Z", "data": data})
        headers = sign(secret, message_id, int(at if at is not None else time.time()), body)
        async with self.http.post(self.said["platforms"][platform]["url"], data=body, headers=headers) as answer:
            return answer.status, await answer.json()

    async def hear(self, kind: str, count: int = 1) -> list[Any]:
        """Wait until so many events of a kind were heard; return them, each id once."""
        for _ in range(4000):
            known = {headers["webhook-id"]: json.loads(body) for headers, body in self.heard}
            found = [event["data"] for event in known.values() if event["type"] == kind]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.05)
        raise AssertionError(f"heard {self.heard}")


@asynccontextmanager
async def partners(**faults: float) -> AsyncIterator[Partners]:
    raw = {
        "items": ITEMS,
        "time_scale": 1000.0,
        "platforms": {
            "wms": {"kind": "threepl", "faults": faults},
            "pos": {"kind": "till", "faults": faults},
        },
    }
    sandbox = Sandbox(msgspec.convert(raw, WorldSpec), {"threepl": build, "till": build_till}, SystemClock())
    said = await sandbox.open("127.0.0.1", 0)
    async with aiohttp.ClientSession() as http:
        found = Partners(said, http)

        async def hear(request: web.Request) -> web.Response:
            found.heard.append((dict(request.headers), await request.read()))
            return web.Response(status=503 if len(found.heard) == 1 else 204)

        app = web.Application()
        app.router.add_post("/in", hear)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        address = f"http://127.0.0.1:{runner.addresses[0][1]}/in"
        for name in ("wms", "pos"):
            await found.ask("POST", f"/do/{name}/subscribe", {"url": address})
        try:
            yield found
        finally:
            await sandbox.close()
            await runner.cleanup()


def test_a_3pl_takes_an_order_once_ships_it_and_says_so() -> None:
    """The shelf is announced, the order is taken once however often it comes, and its shipment is told until it is heard."""

    async def play() -> None:
        async with partners() as there:
            announced = await there.hear("stock.changed", 2)
            assert {(event["sku"], event["delta"], event["kind"]) for event in announced} == {
                ("MUG", 10, "receive"),
                ("LAMP", 3, "receive"),
            }
            first = await there.send("wms", "order.create", ORDER, "cal_1")
            again = await there.send("wms", "order.create", ORDER, "cal_1")
            other = await there.send("wms", "order.create", ORDER, "cal_2")
            assert (first, again[0], other) == ((200, {"id": "wms-1"}), 200, (200, {"id": "wms-1"}))
            assert (await there.ask("POST", "/do/wms/ship", {})) == {"shipped": True}
            assert (await there.ask("POST", "/do/wms/ship", {})) == {"shipped": False}
            (shipment,) = await there.hear("shipment.shipped")
            assert (shipment["order"], shipment["moves_stock"]) == ("ord_1", True)
            assert shipment["lines"] == [{"sku": "MUG", "quantity": 2, "line": "lin_1"}]
            books = await there.ask("GET", "/books/wms")
            assert (books["orders"], books["units_shipped"]) == (1, 2)
            assert books["effects"]["order.create"]["doubled"] == {"ord_1": 2}

    asyncio.run(play())


def test_what_it_sends_is_signed_as_the_specification_says() -> None:
    """Our own verifier, which was proven against the official vectors, accepts it."""

    async def play() -> None:
        async with partners() as there:
            await there.hear("stock.changed", 2)
            headers, body = there.heard[-1]
            lowered = {name.lower(): value for name, value in headers.items()}
            StandardWebhooks()(lowered, body, [SECRET_DEFAULT], time.time())

    asyncio.run(play())


def test_it_accepts_what_we_sign() -> None:
    """And the other way round."""
    body, now = b'{"type":"x"}', time.time()
    signature = sign_standard_webhooks(VERIFY_DEFAULT, "cal_1", int(now), body)
    headers = {"webhook-id": "cal_1", "webhook-timestamp": str(int(now)), "webhook-signature": signature}
    assert is_signed(VERIFY_DEFAULT, headers, body, now)
    assert not is_signed(VERIFY_DEFAULT, headers, body + b" ", now)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"secret": SECRET_DEFAULT}, 401),
        ({"at": 0.0}, 401),
        ({"at": 9e11}, 401),
        ({"data": {"id": "x", "lines": []}}, 400),
        ({"data": {"id": "x", "lines": [{"id": "1", "sku": "NONE", "quantity": 1}]}}, 400),
        ({"data": {"id": "x", "lines": [{"id": "1", "sku": "MUG", "quantity": -1}]}}, 400),
        ({"data": "x"}, 400),
        ({"kind": "order.cancel", "data": {"id": "nobody"}}, 400),
        (
            {"kind": "fulfillment.create", "data": {"id": "f", "order": "x", "lines": [{"line": "x", "quantity": 1}]}},
            400,
        ),
        ({"kind": "something.else"}, 200),
    ],
)
def test_what_is_wrong_is_refused_and_changes_nothing(changes: dict[str, Any], status: int) -> None:
    """A bad signature, an old or a future one, an unknown article, garbage."""

    async def play() -> None:
        async with partners() as there:
            kind, data = changes.get("kind", "order.create"), changes.get("data", ORDER)
            rest = {name: value for name, value in changes.items() if name in {"secret", "at"}}
            assert (await there.send("wms", kind, data, "cal_1", **rest))[0] == status
            assert (await there.ask("GET", "/books/wms"))["orders"] == 0

    asyncio.run(play())


def test_a_till_sells_what_it_was_told() -> None:
    """Its sale is told once it is heard; numbers and shipments that it is told count."""

    async def play() -> None:
        async with partners() as there:
            status, _ = await there.send("pos", "inventory.set", {"items": [{"sku": "LAMP", "quantity": 1}]}, "cal_1")
            assert status == 200
            wanted = {"platform": "pos", "lines": [{"sku": "LAMP"}], "key": "k1"}
            assert (await there.ask("POST", "/orders", wanted))["sold"] is True
            assert (await there.ask("POST", "/orders", {**wanted, "key": "k2"}))["sold"] is False
            (order,) = await there.hear("order.paid")
            assert (order["id"], order["total"], order["lines"][0]["unit_price"]) == ("pos-1", "49.90", "49.90")
            line = {"line": order["lines"][0]["id"], "quantity": 1}
            shipped = {"id": "ful_1", "order": "pos-1", "lines": [line], "tracking": "T"}
            assert (await there.send("pos", "fulfillment.create", shipped, "cal_2"))[0] == 200
            assert (await there.send("pos", "fulfillment.create", shipped, "cal_2"))[0] == 200
            (closed,) = await there.hear("order.updated")
            assert (closed["state"], closed["version"]) == ("closed", 2)
            assert (await there.ask("GET", "/books/pos"))["units_shipped"] == 1
            causes = [change["cause"] for change in (await there.ask("GET", "/books/pos/changes"))["changes"]]
            assert causes == ["write", "sale"]

    asyncio.run(play())


def test_a_cancelled_order_does_not_leave() -> None:
    """Its units are back on the shelf; cancelling twice is as once."""

    async def play() -> None:
        async with partners() as there:
            await there.send("wms", "order.create", ORDER, "cal_1")
            assert (await there.send("wms", "order.cancel", {"id": "ord_1"}, "cal_2"))[0] == 200
            assert (await there.send("wms", "order.cancel", {"id": "ord_1"}, "cal_3"))[0] == 200
            assert (await there.ask("POST", "/do/wms/ship", {})) == {"shipped": False}
            items = (await there.ask("GET", "/books/wms/items"))["items"]
            assert items["MUG"]["levels"]["main"] == {"available": 10, "committed": 0}

    asyncio.run(play())


def test_a_lost_reply_is_an_effect_and_repeated_as_a_duplicate() -> None:
    """The id of the event says that it was taken."""

    async def play() -> None:
        async with partners() as there:
            await there.ask("PUT", "/faults/wms", {"profile": {"lost_replies": 1.0}})
            with pytest.raises(aiohttp.ClientError):
                await there.send("wms", "order.create", ORDER, "cal_1")
            await there.ask("PUT", "/faults/wms", {"profile": {}})
            assert await there.send("wms", "order.create", ORDER, "cal_1") == (200, {"duplicate": True})
            assert (await there.ask("GET", "/books/wms"))["orders"] == 1

    asyncio.run(play())
