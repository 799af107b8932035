"""The sandbox's WooCommerce, and the connector against it: the measured traps, and faults through which nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from tidegate.commerce.changes import Ignored, NeedsFetch, OrderSeen
from tidegate.commerce.commands import (
    CancelOrder,
    CreateFulfillment,
    CreateRefund,
    FulfillmentLineOut,
    Payload,
    SetInventory,
)
from tidegate.connectors.woocommerce import CONNECTOR
from tidegate.connectors.woocommerce.oauth import basic_session
from tidegate.connectors.woocommerce.webhooks import WEBHOOK, is_ping
from tidegate.connectors.woocommerce.wire import write
from tidegate.kernel.clock import SystemClock
from tidegate.kernel.errors import AuthenticationError, ConflictError, RejectedError, TidegateError
from tidegate.kernel.redaction import Secret
from tidegate.sandbox.process import Sandbox
from tidegate.sandbox.woocommerce import build
from tidegate.sandbox.world import WorldSpec
from tidegate.sdk.client import HttpApi
from tidegate.sdk.connector import Done, Failed, NotFound, RawEvent
from tidegate.sdk.health import digest_of_address
from tidegate.sdk.testing.conformance.fixtures import ExchangeFixture, load
from tidegate.sdk.testing.conformance.subject import load_subject

pytestmark = pytest.mark.asyncio

ITEMS = [
    {"sku": "VALVE-1", "title": "Brass valve", "stock": 40, "price_minor": 1990},
    {"sku": "SHIRT-S", "title": "S", "stock": 7, "price_minor": 2500},
    {"sku": "SHIRT-M", "title": "M", "stock": 8, "price_minor": 2500},
]
KEY, SECRET = "ck_0123456789abcdef0123456789abcdef01234567", "cs_0123456789abcdef0123456789abcdef01234567"
HOOK_SECRET = "whsec & &quot;quoted&quot; &amp;amp; secret"
ROOT = "/wp-json/wc/v3"


class ShopBed:
    """A running shop, a connector's way into it, and what its webhooks brought."""

    def __init__(self, said: Any, http: aiohttp.ClientSession, hooks: str) -> None:
        self.said, self.http, self.hooks = said, http, hooks
        self.url: str = said["platforms"]["woo"]["url"]
        self.heard: list[tuple[dict[str, str], bytes]] = []
        self.answer = 200
        self.api = self.make_api()

    def make_api(self, secret: str = SECRET) -> HttpApi:
        secrets = {"consumer_key": Secret(KEY), "consumer_secret": Secret(secret)}
        settings = {"base_url": self.url, "webhook_digest": digest_of_address(self.hooks)}
        return HttpApi(CONNECTOR, self.url, settings, secrets, allow=[ip_network("127.0.0.0/8")], clock=SystemClock())

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        async with self.http.request(method, self.said["control"] + path, json=body) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def buy(self, sku: str, quantity: int = 1, **more: Any) -> Any:
        lines = [{"sku": sku, "quantity": quantity}]
        return await self.ask("POST", "/orders", {"platform": "woo", "lines": lines, **more})

    async def faults(self, **shares: float) -> None:
        await self.ask("PUT", "/faults/woo", {"profile": shares})

    async def hear(self, wanted: Callable[[str], bool], count: int = 1) -> list[tuple[dict[str, str], bytes]]:
        """Wait until so many deliveries of a topic came."""
        for _ in range(8000):
            found = [one for one in self.heard if wanted(one[0].get("x-wc-webhook-topic", ""))]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.025)
        raise AssertionError(f"heard {[one[0].get('x-wc-webhook-topic') for one in self.heard]}")

    async def poll(self, cursor: str = "") -> tuple[dict[str, OrderSeen], str]:
        """Read the orders feed to its end; calls that fail are made again, as the engine does."""
        seen: dict[str, OrderSeen] = {}
        while True:
            current = cursor
            page = await patiently(lambda: CONNECTOR.feeds["orders"].read(self.api, current))  # noqa: B023 - awaited here
            for item in page.items:
                (change,) = CONNECTOR.normalize(RawEvent(source="poll", topic=item.topic, body=item.body))
                assert isinstance(change, OrderSeen)
                seen[change.external_id] = change
            cursor = page.cursor
            if not page.has_more:
                return seen, cursor

    async def subscribe(self) -> None:
        assert CONNECTOR.subscribe is not None
        await patiently(lambda: CONNECTOR.subscribe(self.api, self.hooks, Secret(HOOK_SECRET)))  # type: ignore[misc]


async def patiently(call: Callable[[], Awaitable[Any]], tries: int = 60) -> Any:
    """Call until it does not fail any more."""
    for number in range(tries):
        try:
            return await call()
        except TidegateError:
            if number == tries - 1:
                raise
    raise AssertionError


@asynccontextmanager
async def shop(options: dict[str, Any] | None = None, **faults: float) -> AsyncIterator[ShopBed]:
    raw = {
        "items": ITEMS,
        "platforms": {
            "woo": {
                "kind": "woocommerce",
                "faults": faults,
                "options": {
                    "variations": {"Shirt": ["SHIRT-S", "SHIRT-M"]},
                    "delivery_seconds": 0.05,
                    **(options or {}),
                },
            }
        },
    }
    sandbox = Sandbox(msgspec.convert(raw, WorldSpec), {"woocommerce": build}, SystemClock())
    said = await sandbox.open("127.0.0.1", 0)
    app = web.Application()
    runner = web.AppRunner(app)
    async with aiohttp.ClientSession() as http:
        beds: list[ShopBed] = []

        async def hear(request: web.Request) -> web.Response:
            beds[0].heard.append(
                ({name.lower(): value for name, value in request.headers.items()}, await request.read())
            )
            return web.Response(status=beds[0].answer)

        app.router.add_post("/in/c0/token", hear)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        bed = ShopBed(said, http, f"http://127.0.0.1:{runner.addresses[0][1]}/in/c0/token")
        beds.append(bed)
        try:
            yield bed
        finally:
            await bed.api.close()
            await sandbox.close()
            await runner.cleanup()


def number_of(article: str, quantity: int) -> SetInventory:
    return SetInventory(
        reference=f"inv_c0_{article}",
        sku="X",
        variant_external_id=article,
        location_external_id="shop",
        quantity=quantity,
    )


def shipment(reference: str, order: OrderSeen, units: dict[str, int], tracking: str = "TRK") -> CreateFulfillment:
    return CreateFulfillment(
        reference=reference,
        order_external_id=order.external_id,
        lines=tuple(FulfillmentLineOut(line_external_id=line, quantity=count) for line, count in units.items()),
        tracking=tracking,
        carrier="DHL",
        shipped_at=order.placed_at,
    )


def refund_of(order: OrderSeen, amount_minor: int) -> CreateRefund:
    return CreateRefund(
        reference=f"rfn_c0_{order.external_id}",
        order_reference="ord_c0_1",
        order_external_id=order.external_id,
        payment_external_id="pi_1",
        psp_reference=f"re_{order.external_id}",
        amount_minor=amount_minor,
        currency="EUR",
    )


async def fetched(bed: ShopBed, order: str) -> RawEvent:
    item = await CONNECTOR.fetch["order"](bed.api, order)
    assert item is not None
    return RawEvent(source="fetch", topic=item.topic, body=item.body)


async def execute(bed: ShopBed, kind: str, payloads: list[Payload]) -> Any:
    return await CONNECTOR.commands[kind].execute(bed.api, payloads, "key")  # type: ignore[index]


# --- the connector against the shop ----------------------------------------------------------------------------------
async def test_connecting_shows_products_and_variations_of_new_and_old_shops() -> None:
    for is_new in (True, False):
        async with shop({"has_variations_list": is_new}) as bed:
            found = await CONNECTOR.inspect(bed.api)
            assert {variant.sku for variant in found.variants} == {"VALVE-1", "SHIRT-S", "SHIRT-M"}
            assert found.external_account == "sandbox-woo"
            assert CONNECTOR.shown is not None
            shown, cursor, has_more = {}, "", True
            while has_more:
                page = await CONNECTOR.shown.read(bed.api, cursor)
                shown |= {article.external_id: article for article in page.articles}
                cursor, has_more = page.cursor, page.has_more
            assert set(shown) == {variant.external_id for variant in found.variants}
            assert {article.sku: int(article.values[0].value) for article in shown.values()} == {
                "VALVE-1": 40,
                "SHIRT-S": 7,
                "SHIRT-M": 8,
            }


async def test_a_webhook_is_asked_for_life_signed_with_the_decoded_secret_and_carries_the_state_of_its_delivery() -> (
    None
):
    async with shop({"delivery_seconds": 0.5}) as bed:
        await bed.subscribe()
        pings = await bed.hear(lambda topic: topic == "", 4)
        assert all(is_ping(*one) for one in pings)
        status = ""
        for number in range(20):  # until one is cancelled before its delivery leaves
            sale = await bed.buy("VALVE-1", key=f"k{number}")
            await bed.ask("POST", "/do/woo/cancel", {"order": sale["id"]})
            headers, body = (await bed.hear(lambda topic: topic == "order.created", number + 1))[-1]
            WEBHOOK.verify(headers, body, [HOOK_SECRET], 0.0)
            if (status := json.loads(body)["status"]) == "cancelled":
                break
        assert status == "cancelled"


async def test_two_orders_of_one_second_share_a_delivery_id_and_are_two_events() -> None:
    async with shop() as bed:
        await bed.subscribe()
        for number in range(12):
            await bed.buy("VALVE-1", key=f"k{number}")
        deliveries = await bed.hear(lambda topic: topic == "order.created", 12)

        ids = {headers["x-wc-webhook-delivery-id"] for headers, _ in deliveries}
        keys = {WEBHOOK.read_keys(headers, body).sender_event_id for headers, body in deliveries}

        assert len(ids) < 12
        assert len(keys) == 12


async def test_a_webhook_that_fails_is_switched_off_without_a_retry_told_and_switched_on_again_and_polls_fill_the_gap() -> (
    None
):
    async with shop() as bed:
        await bed.subscribe()
        await bed.hear(lambda topic: topic == "", 4)
        _, cursor = await bed.poll()
        bed.answer = 503
        sold = [await bed.buy("VALVE-1", key=f"k{number}") for number in range(9)]
        assert CONNECTOR.checks.webhook is not None
        for _ in range(4000):
            health = await CONNECTOR.checks.webhook(bed.api, bed.hooks)
            if not health.enabled:
                break
            await asyncio.sleep(0.05)
        assert health.present
        assert not health.enabled
        bed.answer = 200

        page = await CONNECTOR.feeds["webhooks"].read(bed.api, "")
        seen, _ = await bed.poll(cursor)
        healed = await CONNECTOR.checks.webhook(bed.api, bed.hooks)
        bed.heard.clear()
        await bed.buy("VALVE-1", key="after")
        await bed.hear(lambda topic: topic == "order.created")

        told = [CONNECTOR.normalize(RawEvent(source="poll", topic="webhook", body=item.body))[0] for item in page.items]
        assert sorted(one.code for one in told if isinstance(one, Ignored)) == ["webhook_seen"] * 5 + [
            "webhook_switched_on"
        ]
        assert healed.enabled
        assert not healed.missing_topics
        assert set(seen) == {sale["id"] for sale in sold}
        created = [
            one for one in (await bed.ask("GET", "/deliveries/woo?last=50"))["last"] if one["topic"] == "order.created"
        ]
        assert all(one["attempt"] == 1 for one in created)


async def test_a_webhook_of_somebody_else_and_one_that_was_paused_are_left_alone() -> None:
    async with shop() as bed:
        await bed.subscribe()
        other = {"topic": "order.created", "delivery_url": f"{bed.hooks}-of-another", "status": "disabled"}
        await bed.api.request("POST", f"{ROOT}/webhooks", json=other)
        await bed.api.request("PUT", f"{ROOT}/webhooks/1", json={"status": "paused"})

        await CONNECTOR.feeds["webhooks"].read(bed.api, "")

        hooks = (
            await bed.api.request("GET", f"{ROOT}/webhooks", params={"per_page": "100"}, changes_state=False)
        ).json()
        assert {hook["id"]: hook["status"] for hook in hooks if hook["status"] != "active"} == {
            1: "paused",
            7: "disabled",
        }


async def test_an_order_that_was_deleted_without_a_word_is_missed_by_one_request() -> None:
    """No list shows it and its webhook is lost. One in the bin is told as it is; those that are there cost nothing."""
    async with shop() as bed:
        ids = [str((await bed.buy("VALVE-1"))["id"]) for _ in range(4)]
        await bed.ask("POST", "/do/woo/erase", {"order": int(ids[1])})
        await bed.ask("POST", "/do/woo/trash", {"order": int(ids[2])})
        look = CONNECTOR.feeds["missing"]

        nothing = await look.read(bed.api, "")
        page = await look.read(bed.api, json.dumps([*ids, "999999"]))

        assert nothing.items == ()
        told = {item.external_id: item.topic for item in page.items}
        assert told == {ids[1]: "order.gone", ids[2]: "order", "999999": "order.gone"}


async def test_numbers_are_set_each_by_itself_and_too_many_are_refused() -> None:
    async with shop() as bed:
        found = {variant.sku: variant.external_id for variant in (await CONNECTOR.inspect(bed.api)).variants}
        wanted = [number_of(found["VALVE-1"], 33), number_of(found["SHIRT-S"], 5), number_of("999", 1)]

        outcomes = await execute(bed, "inventory.set", [*wanted])

        assert [type(one) for one in outcomes] == [Done, Done, Failed]
        assert isinstance(outcomes[2].error, RejectedError)
        items = (await bed.ask("GET", "/books/woo/items"))["items"]
        assert items["VALVE-1"]["levels"]["shop"]["available"] == 33
        assert items["SHIRT-S"]["levels"]["shop"]["available"] == 5
        with pytest.raises(RejectedError) as caught:
            await execute(bed, "inventory.set", [number_of(found["VALVE-1"], 1)] * 101)
        assert caught.value.code == "batch_too_large"


async def test_a_partial_shipment_leaves_the_order_open_and_the_last_one_completes_it() -> None:
    async with shop() as bed:
        await bed.ask(
            "POST",
            "/orders",
            {"platform": "woo", "lines": [{"sku": "VALVE-1", "quantity": 3}, {"sku": "SHIRT-S", "quantity": 1}]},
        )
        (order,) = (await bed.poll())[0].values()
        first, second = order.lines
        part = shipment("ful_c0_1", order, {first.external_id: 2})
        rest = shipment("ful_c0_2", order, {first.external_id: 1, second.external_id: 1})

        await execute(bed, "fulfillment.create", [part])
        await execute(bed, "fulfillment.create", [part])  # again: nothing is doubled
        (after_part,) = (await bed.ask("GET", "/books/woo"))["details"]["statuses"]
        await execute(bed, "fulfillment.create", [rest])
        books = await bed.ask("GET", "/books/woo")

        assert after_part == "processing"
        assert books["details"]["statuses"] == {"completed": 1}
        assert books["units_shipped"] == 4
        assert books["effects"]["meta"]["doubled"] == {}
        assert books["effects"]["note"] == {"keys": 2, "times": 2, "amount": 2, "doubled": {}}


# --- through faults -------------------------------------------------------------------------------------------------
async def test_no_order_is_lost_when_no_webhook_ever_comes_and_calls_fail() -> None:
    async with shop(dropped=1.0, broken=0.1, lost_replies=0.1, garbage=0.1, throttled=0.05) as bed:
        await bed.subscribe()
        sold, cursor, seen = set(), "", {}
        for number in range(30):
            sold.add((await bed.buy("VALVE-1", key=f"k{number}"))["id"])
            if number % 7 == 0:
                news, cursor = await bed.poll(cursor)
                seen |= news
        news, cursor = await bed.poll(cursor)
        seen |= news

        assert set(seen) == sold
        assert not [one for one in bed.heard if "x-wc-webhook-topic" in one[0]]
        assert (await bed.ask("GET", "/faults/woo"))["fired"]["dropped"] > 0


async def test_more_orders_of_one_second_than_a_page_holds_are_all_read() -> None:
    async with shop() as bed:
        purchases = [
            {"platform": "woo", "lines": [{"sku": "VALVE-1", "quantity": 1}], "key": f"k{n}"} for n in range(350)
        ]
        await bed.ask("POST", "/stock", {"platform": "woo", "sku": "VALVE-1", "quantity": 1000})
        sales = await bed.ask("POST", "/orders", purchases)

        seen, cursor = await bed.poll()
        again, _ = await bed.poll(cursor)

        assert set(seen) == {sale["id"] for sale in sales}
        assert set(again) == set(seen), "the overlap reads them once more, and they are no news"


async def test_shipments_through_lost_replies_and_failures_are_recorded_once_and_told_once() -> None:
    """As the engine does: after an answer that says nothing it looks, and sends again only what is not there."""
    async with shop() as bed:
        await bed.ask("POST", "/stock", {"platform": "woo", "sku": "VALVE-1", "quantity": 1000})
        for number in range(25):
            await bed.buy("VALVE-1", key=f"k{number}")
        orders, _ = await bed.poll()
        await bed.faults(lost_replies=0.15, broken=0.1, broken_after=0.1, garbage=0.1)
        spec = CONNECTOR.commands["fulfillment.create"]  # type: ignore[index]
        assert spec.find is not None
        for order in orders.values():
            command = shipment(f"ful_c0_{order.external_id}", order, {order.lines[0].external_id: 1})
            for _ in range(60):
                try:
                    await spec.execute(bed.api, [command], "key")
                    break
                except TidegateError:
                    looked = await patiently(lambda: spec.find(bed.api, command))  # type: ignore[misc]  # noqa: B023
                    if isinstance(looked, Done):
                        break
            else:
                raise AssertionError("never done")
        await bed.faults()
        books = await bed.ask("GET", "/books/woo")

        assert books["details"]["statuses"] == {"completed": 25}
        assert books["effects"]["fulfillment"]["doubled"] == {}
        assert books["effects"]["meta"]["doubled"] == {}
        assert books["effects"]["note"]["doubled"] == {}
        assert books["effects"]["note"]["keys"] == 25


async def test_refunds_of_the_provider_are_recorded_once_and_move_neither_money_nor_stock() -> None:
    async with shop() as bed:
        for number in range(10):
            await bed.buy("VALVE-1", 2, key=f"k{number}")
        orders, _ = await bed.poll()
        await bed.faults(lost_replies=0.2, broken=0.1, broken_after=0.1, garbage=0.1)
        spec = CONNECTOR.commands["refund.create"]  # type: ignore[index]
        assert spec.find is not None
        for order in orders.values():
            command = refund_of(order, 500)
            for _ in range(60):
                try:
                    await spec.execute(bed.api, [command], "key")
                    break
                except TidegateError:
                    if isinstance(await patiently(lambda: spec.find(bed.api, command)), Done):  # type: ignore[misc]  # noqa: B023
                        break
            else:
                raise AssertionError("never done")
        await bed.faults()
        books = await bed.ask("GET", "/books/woo")
        seen = CONNECTOR.normalize(await fetched(bed, next(iter(orders))))

        assert books["effects"]["refund"]["doubled"] == {}
        assert (books["effects"]["refund"]["keys"], books["units_returned"]) == (10, 0)
        assert isinstance(seen[0], OrderSeen)
        (refund,) = [one for one in seen[0].payments if one.kind == "refund"]
        assert (refund.amount_minor, refund.psp_reference) == (500, "")
        assert refund.reference.startswith("rfn_")


async def test_a_refund_that_the_shop_made_itself_is_not_recorded_again() -> None:
    async with shop() as bed:
        await bed.buy("VALVE-1", 2)
        (order,) = (await bed.poll())[0].values()
        await bed.ask("POST", "/do/woo/refund", {"order": order.external_id, "amount": "5.00", "api_refund": True})

        (hint,) = [
            CONNECTOR.normalize(RawEvent(source="poll", topic=item.topic, body=item.body))[0]
            for item in (await CONNECTOR.feeds["orders"].read(bed.api, "")).items
        ]
        (seen,) = CONNECTOR.normalize(await fetched(bed, order.external_id))
        (known,) = await execute(bed, "refund.create", [refund_of(order, 500)])
        with pytest.raises(ConflictError):
            await execute(bed, "refund.create", [refund_of(order, 99_999)])

        assert hint == NeedsFetch(topic="order", external_id=order.external_id)
        assert isinstance(seen, OrderSeen)
        assert [one.psp_reference for one in seen.payments if one.kind == "refund"] == [
            f"woocommerce:{known.external_id}"
        ]
        assert (await bed.ask("GET", "/books/woo"))["effects"]["refund"]["times"] == 1


# --- the shop itself ------------------------------------------------------------------------------------------------
async def test_rest_sells_what_is_not_there_and_a_batch_takes_any_status() -> None:
    async with shop() as bed:
        product = (await CONNECTOR.inspect(bed.api)).variants[0].external_id
        made = await bed.api.request(
            "POST",
            f"{ROOT}/orders",
            json={"status": "processing", "line_items": [{"product_id": int(product), "quantity": 500}]},
        )
        order = made.json()["id"]
        single = await bed.api.request("PUT", f"{ROOT}/orders/{order}", json={"status": "nonsense"})
        batch = await bed.api.request(
            "POST", f"{ROOT}/orders/batch", json={"update": [{"id": order, "status": "nonsense"}]}
        )

        assert made.status == 201
        assert (await bed.ask("GET", "/books/woo"))["oversold"] == {"VALVE-1": 460}
        assert (single.status, single.json()["code"]) == (400, "rest_invalid_param")
        assert batch.json()["update"][0]["status"] == "pending"


async def test_the_checkout_sells_only_what_is_there() -> None:
    async with shop() as bed:
        assert not (await bed.buy("SHIRT-S", 8))["sold"]
        assert (await bed.buy("SHIRT-S", 7))["sold"]


async def test_keys_are_needed_a_nonce_is_spent_and_basic_is_for_https() -> None:
    async with shop() as bed:
        stranger = bed.make_api("cs_wrong")
        with pytest.raises(AuthenticationError):
            await CONNECTOR.inspect(stranger)
        await stranger.close()
        async with bed.http.get(f"{bed.url}{ROOT}/orders", headers=dict(basic_session(KEY, SECRET).headers)) as answer:
            assert answer.status == 401
            assert (await answer.json())["code"] == "woocommerce_rest_cannot_view"
        for number in range(3):
            await bed.buy("VALVE-1", key=f"k{number}")
        first = await bed.api.request("GET", f"{ROOT}/orders", params={"per_page": "1"}, changes_state=False)
        following = first.headers["link"].partition(">")[0].lstrip("<")
        async with bed.http.get(following) as answer:
            assert answer.status == 401, "the link to the next page carries what is spent"
        assert first.headers["x-wp-total"] == "3"


async def test_bad_parameters_are_refused_in_the_words_of_the_real_one() -> None:
    async with shop() as bed:
        for path, params in (
            ("/orders", {"per_page": "1000"}),
            ("/orders", {"orderby": "total"}),
            ("/products", {"modified_after": "x"}),
        ):
            answer = await bed.api.request("GET", ROOT + path, params=params, changes_state=False)
            assert (answer.status, answer.json()["code"]) == (400, "rest_invalid_param")
        missing = await bed.api.request("GET", f"{ROOT}/orders/999999", changes_state=False)
        assert missing.json()["code"] == "woocommerce_rest_shop_order_invalid_id"
        nothing = await bed.api.request("GET", f"{ROOT}/nothing", changes_state=False)
        assert nothing.json()["code"] == "rest_no_route"


async def test_a_host_says_too_many_and_counts_it() -> None:
    async with shop({"host_per_second": 5.0}) as bed:
        results = await asyncio.gather(
            *(CONNECTOR.fetch["order"](bed.api, "1") for _ in range(12)), return_exceptions=True
        )

        assert any(type(one).__name__ == "RateLimitedError" for one in results)
        assert (await bed.ask("GET", "/limits/woo"))["host"]["violations"] >= 1


async def test_what_the_shop_shows_has_the_fields_that_were_recorded_from_a_real_one() -> None:
    """The sandbox may know less, and never anything else than what the mapper and the recordings know."""
    recorded = load(load_subject("tidegate.connectors.woocommerce").folder / "fixtures" / "exchanges", ExchangeFixture)
    order = next(one for one in recorded if one.name == "feed_orders.json").exchanges[0].answer.body[0]
    async with shop() as bed:
        await bed.buy("VALVE-1")
        answer = await bed.api.request("GET", f"{ROOT}/orders", changes_state=False)
        found = answer.json()[0]

    assert order.keys() <= found.keys()
    for name, value in order.items():
        assert isinstance(found[name], type(value)) or value is None or found[name] is None, name


async def test_nothing_is_found_of_what_was_never_done() -> None:
    async with shop() as bed:
        await bed.buy("VALVE-1")
        (order,) = (await bed.poll())[0].values()
        find = CONNECTOR.commands["fulfillment.create"].find  # type: ignore[index]
        assert find is not None

        assert await find(bed.api, shipment("ful_c0_9", order, {order.lines[0].external_id: 1})) == NotFound()


async def test_orders_that_nobody_can_serve_are_cancelled_once_through_lost_replies_and_what_has_left_is_not() -> None:
    async with shop() as bed:
        for number in range(6):
            await bed.buy("VALVE-1", 2, key=f"k{number}")
        orders, _ = await bed.poll()
        spec = CONNECTOR.commands["order.cancel"]  # type: ignore[index]
        assert spec.find is not None
        commands = [CancelOrder(reference=f"ord_{one}", order_external_id=one, is_own=True) for one in sorted(orders)]
        assert await spec.find(bed.api, commands[0]) == NotFound()
        await write(bed.api, "PUT", f"/orders/{commands[-1].order_external_id}", {"status": "completed"}, dict)
        await bed.faults(lost_replies=0.3, broken=0.1, broken_after=0.1, garbage=0.1)
        for command in commands[:-1]:
            for _ in range(60):
                try:
                    await spec.execute(bed.api, [command], "key")
                except TidegateError:
                    if not isinstance(await patiently(lambda: spec.find(bed.api, command)), Done):  # type: ignore[misc]  # noqa: B023
                        continue
                break
            else:
                raise AssertionError("never done")
        await bed.faults()
        (refused,) = await spec.execute(bed.api, commands[-1:], "key")
        books = await bed.ask("GET", "/books/woo")
        (seen,) = CONNECTOR.normalize(await fetched(bed, commands[0].order_external_id))

    assert isinstance(refused, Failed)
    assert refused.error.code == "order_completed"
    assert books["units_returned"] == 10, "each order's units came back once"
    assert isinstance(seen, OrderSeen)
    assert seen.order_state == "cancelled"
