"""The sandbox's Shopify behaves as the real one is documented to: refusals, cost, stock, money, webhooks, tokens."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.sandboxbed import Receiver, RunningSandbox, at_once, call, eventually, running
from tests.sandboxshop import CANCEL, FULFIL, REFUND, SECRET, SET, SUBSCRIBE, TOKEN, ShopHand, shop_world

from tidegate.commerce.commands import CancelOrder, CommandKind
from tidegate.connectors.shopify import CONNECTOR
from tidegate.kernel.clock import SystemClock
from tidegate.kernel.redaction import Secret
from tidegate.sdk.client import HttpApi
from tidegate.sdk.connector import Done, Failed, ItemOutcome


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[ShopHand]:
    with running(shop_world(), tmp_path) as sandbox:
        yield ShopHand(sandbox)


# --- what is refused -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{ shop { nothing } }", "undefinedField"),
        ("{ shop(id: 1) { id } }", "argumentNotAccepted"),
        ("{ order { id } }", "missingRequiredArguments"),
        ("{ orders { nodes { id } } }", "BAD_REQUEST"),
        ("{ orders(first: 2, last: 2) { nodes { id } } }", "BAD_REQUEST"),
        ("{ orders(first: 251) { nodes { id } } }", "BAD_REQUEST"),
        ('{ orders(first: 1, after: "%%%") { nodes { id } } }', "BAD_REQUEST"),
        ('{ order(id: "order-1") { id } }', "INVALID_VARIABLE"),
        ("query Two($id: ID!) { order(id: $id) { id } }", "INVALID_VARIABLE"),
        ("{ orders(first: 50) { nodes { lineItems(first: 50) { nodes { id } } } } }", "MAX_COST_EXCEEDED"),
        (
            'mutation { refundCreate(input: {orderId: "gid://shopify/Order/1"}) { userErrors { message } } }',
            "BAD_REQUEST",
        ),
        ('{ orders(first: 1, query: "mood:good") { nodes { id } } }', "SANDBOX_UNSUPPORTED"),
    ],
)
def test_what_the_api_refuses_is_refused(shop: ShopHand, query: str, code: str) -> None:
    """With the code that the real API uses."""
    assert shop.refused(query) == code


def test_a_number_without_its_expectation_is_refused(shop: ShopHand) -> None:
    """`changeFromQuantity` may be null and may not be left out, which no schema tells."""
    left_out = {**shop.item(1), "quantity": 3}
    assert shop.refused(SET, input=shop.set_input(left_out), key="a") == "BAD_REQUEST"
    assert shop.set(1, 3, None)["userErrors"] == []
    assert shop.level(1)["available"] == 3


def test_more_than_250_items_are_refused(shop: ShopHand) -> None:
    """Nothing of such a call happens."""
    one = {**shop.item(1), "quantity": 3, "changeFromQuantity": 100}
    assert shop.refused(SET, input=shop.set_input(*[one] * 251), key="a") == "MAX_INPUT_SIZE_EXCEEDED"
    assert shop.level(1)["available"] == 100


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"query": 1}', b'{"variables": {}}', b'{"query": "{ shop { id } }", "variables": []}']
)
def test_a_body_that_is_no_request_is_refused(shop: ShopHand, body: bytes) -> None:
    """400, and the server goes on."""
    url = f"{shop.sandbox.url('shop')}/admin/api/2026-10/graphql.json"
    assert call(url, "POST", body, {"X-Shopify-Access-Token": shop.token}).status == 400
    assert shop.level(1)["available"] == 100


# --- cost ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("query", "asked", "actual"),
    [
        ("{ shop { id name plan { shopifyPlus } } }", 2, 2),
        ("{ products(first: 10) { nodes { id } } }", 12, 7),
        ("{ products(first: 10) { edges { node { id } } pageInfo { hasNextPage } } }", 12, 7),
        ("{ products(first: 10) { nodes { variants(first: 5) { nodes { id inventoryItem { id } } } } } }", 132, 27),
        ('{ order(id: "gid://shopify/Order/9") { id customer { id } } }', 2, 0),
        ("{ a: shop { id } b: shop { id } }", 2, 2),
        (
            "{ ...Both } fragment Both on QueryRoot { shop { id } products(first: 3) { nodes { ... on Product { id } } } }",
            6,
            6,
        ),
    ],
)
def test_a_document_costs_what_the_rule_says(shop: ShopHand, query: str, asked: int, actual: int) -> None:
    """Objects 1, scalars 0, connections 2 and their size; afterwards what came."""
    cost = shop.send(query).json["extensions"]["cost"]
    assert (cost["requestedQueryCost"], cost["actualQueryCost"]) == (asked, actual)


def test_a_mutation_costs_ten(shop: ShopHand) -> None:
    """Whatever objects it shows."""
    one = {**shop.item(1), "quantity": 3, "changeFromQuantity": 100}
    cost = shop.send(SET, input=shop.set_input(one), key="a").json["extensions"]["cost"]
    assert (cost["requestedQueryCost"], cost["actualQueryCost"]) == (10, 10)


def test_an_empty_bucket_says_throttled_and_counts_the_violation(shop: ShopHand) -> None:
    """HTTP 200, THROTTLED, with the bucket as it stands; nothing happened."""
    shop.sandbox.ask("POST", "/eat", {"platform": "shop", "share": 1.0})
    while "errors" not in (answer := shop.send(SET, input=shop.set_input(), key="k").json):
        pass
    assert answer["errors"][0]["extensions"]["code"] == "THROTTLED"
    cost = answer["extensions"]["cost"]
    assert (cost["requestedQueryCost"], cost["actualQueryCost"]) == (10, None)
    assert cost["throttleStatus"]["currentlyAvailable"] < 10
    assert cost["throttleStatus"]["restoreRate"] == 100.0
    limit = shop.sandbox.ask("GET", "/limits/shop")["points"]
    assert limit["violations"] == 1
    assert limit["used"] <= limit["capacity"]


@pytest.mark.parametrize(("plan", "rate"), [("standard", 100.0), ("advanced", 200.0), ("plus", 1000.0)])
def test_the_plan_decides_the_rate(tmp_path: Path, plan: str, rate: float) -> None:
    """As published per plan."""
    with running(shop_world(options={"plan": plan}), tmp_path) as sandbox:
        status = ShopHand(sandbox).send("{ shop { id } }").json["extensions"]["cost"]["throttleStatus"]
        assert (status["restoreRate"], status["maximumAvailable"]) == (rate, rate * 20)


# --- stock -----------------------------------------------------------------------------------------------------------------
def test_a_number_is_set_only_where_it_is_what_was_expected(shop: ShopHand) -> None:
    """A stale call changes nothing, none of its items."""
    shop.buy("S1", 2)
    stale = {**shop.item(1), "quantity": 50, "changeFromQuantity": 100}
    fresh = {**shop.item(2), "quantity": 50, "changeFromQuantity": 100}
    answer = shop.ask(SET, input=shop.set_input(fresh, stale), key="a")["inventorySetQuantities"]
    assert [(error["code"], error["field"]) for error in answer["userErrors"]] == [
        ("CHANGE_FROM_QUANTITY_STALE", ["input", "quantities", "1", "changeFromQuantity"])
    ]
    assert answer["inventoryAdjustmentGroup"] is None
    assert (shop.level(1)["available"], shop.level(2)["available"]) == (98, 100)
    assert shop.set(1, 50, 98)["userErrors"] == []
    assert shop.level(1) == {"available": 50, "committed": 2, "on_hand": 52}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"inventoryItemId": "gid://shopify/InventoryItem/5"}, "INVALID_INVENTORY_ITEM"),
        ({"locationId": "gid://shopify/Location/5"}, "INVALID_LOCATION"),
        ({"quantity": 1_000_000_001}, "INVALID_QUANTITY_TOO_HIGH"),
    ],
)
def test_a_wrong_item_is_named(shop: ShopHand, change: dict[str, Any], code: str) -> None:
    """By its code, with the path to it."""
    one = {**shop.item(1), "quantity": 3, "changeFromQuantity": 100, **change}
    answer = shop.ask(SET, input=shop.set_input(one), key="a")["inventorySetQuantities"]
    assert [error["code"] for error in answer["userErrors"]] == [code]
    assert answer["userErrors"][0]["field"][:3] == ["input", "quantities", "0"]


def test_a_key_does_its_work_once(shop: ShopHand) -> None:
    """The same key and variables give the first answer; other variables are refused; a failed key stays failed."""
    first = shop.set(1, 50, 100, key="k1")
    assert shop.set(1, 50, 100, key="k1") == first
    assert shop.level(1)["available"] == 50
    mismatch = shop.set(1, 40, 50, key="k1")
    assert [error["code"] for error in mismatch["userErrors"]] == ["IDEMPOTENCY_KEY_PARAMETER_MISMATCH"]
    stale = shop.set(2, 1, 7, key="k2")
    again = shop.set(2, 1, 7, key="k2")
    assert [error["code"] for error in stale["userErrors"]] == ["CHANGE_FROM_QUANTITY_STALE"]
    assert [error["code"] for error in again["userErrors"]] == ["IDEMPOTENCY_PREVIOUS_ATTEMPT_FAILED"]
    effects = shop.sandbox.ask("GET", "/books/shop/effects")["effects"]["stock_set"]
    assert {key: effect["times"] for key, effect in effects.items()} == {"S1@Warehouse": 1}


def test_a_key_that_still_runs_is_told(tmp_path: Path) -> None:
    """While the first call is not answered, the second one is asked to try again."""
    with running(shop_world(options={"latency_seconds": 0.5}), tmp_path) as sandbox:
        shop = ShopHand(sandbox)

        def once(key: str) -> list[str]:
            return [error["code"] for error in shop.set(1, 50, None, key=key)["userErrors"]]

        assert sorted(at_once(once)) == [[], ["IDEMPOTENCY_CONCURRENT_REQUEST"]]


def test_the_shop_sells_only_what_it_has(shop: ShopHand) -> None:
    """Its own deduction: available goes down at once, what is sold is committed until it is shipped."""
    order = shop.buy("S1", 60)
    assert shop.sandbox.buy("shop", "S1", 60)["reason"] == "out_of_stock"
    assert shop.level(1) == {"available": 40, "committed": 60, "on_hand": 100}
    shop.fulfil(order)
    assert shop.level(1) == {"available": 40, "committed": 0, "on_hand": 40}


# --- orders ----------------------------------------------------------------------------------------------------------------
def test_an_order_is_shipped_once(shop: ShopHand) -> None:
    """With tracking; a second shipment of the same units is refused; a shipped order is not cancelled."""
    order = shop.buy("S1", 3)
    made = shop.fulfil(order, company="DHL", number="T-1", url="https://track.example/T-1")
    assert made["fulfillment"]["totalQuantity"] == 3
    assert made["fulfillment"]["trackingInfo"] == [
        {"company": "DHL", "number": "T-1", "url": "https://track.example/T-1"}
    ]
    assert "unfulfillable status" in shop.fulfil(order)["userErrors"][0]["message"]
    shown = shop.order(order)
    assert (shown["displayFulfillmentStatus"], shown["displayFinancialStatus"]) == ("FULFILLED", "PAID")
    assert shown["closedAt"] is not None
    assert shop.ask(CANCEL, id=order)["orderCancel"]["orderCancelUserErrors"][0]["code"] == "INVALID"


def test_an_order_is_shipped_in_parts(shop: ShopHand) -> None:
    """Units of a line by its id, never more than are left."""
    order = shop.buy("S1", 3)
    (one,) = shop.order(order)["fulfillmentOrders"]["nodes"]
    (line,) = one["lineItems"]["nodes"]

    def ship(units: int) -> Any:
        lines = [{"id": line["id"], "quantity": units}]
        wanted = {"fulfillmentOrderId": one["id"], "fulfillmentOrderLineItems": lines}
        return shop.ask(FULFIL, fulfillment={"lineItemsByFulfillmentOrder": [wanted]})["fulfillmentCreate"]

    assert ship(4)["userErrors"] != []
    assert ship(2)["userErrors"] == []
    assert shop.order(order)["displayFulfillmentStatus"] == "PARTIALLY_FULFILLED"
    assert ship(2)["userErrors"] != []
    assert ship(1)["userErrors"] == []
    assert shop.sandbox.ask("GET", "/books/shop")["units_shipped"] == 3


def test_money_goes_back_once_and_never_more_than_came(shop: ShopHand) -> None:
    """A refund under a used key is the first one; beyond what was paid is refused."""
    order = shop.buy("S1", 2)
    (sale,) = shop.order(order)["transactions"]
    line = shop.order(order)["lineItems"]["nodes"][0]["id"]

    def refund(amount: str, key: str, units: int = 0) -> Any:
        money = {"orderId": order, "parentId": sale["id"], "amount": amount, "kind": "REFUND", "gateway": "bogus"}
        lines = [
            {"lineItemId": line, "quantity": units, "restockType": "RETURN", "locationId": shop.item(1)["locationId"]}
        ]
        wanted = {"orderId": order, "note": "why", "transactions": [money], "refundLineItems": lines if units else []}
        return shop.ask(REFUND, input=wanted, key=key)["refundCreate"]

    first = refund("12.90", "r1", units=1)
    assert refund("12.90", "r1", units=1) == first
    assert first["refund"]["totalRefundedSet"]["shopMoney"]["amount"] == "12.90"
    assert "greater" in refund("12.91", "r2")["userErrors"][0]["message"]
    assert shop.order(order)["displayFinancialStatus"] == "PARTIALLY_REFUNDED"
    assert shop.level(1)["available"] == 99
    assert shop.sandbox.ask("GET", "/books/shop")["refunded_minor"] == 1290


def test_a_cancelled_order_gives_back_stock_and_money(shop: ShopHand) -> None:
    """Once; a second cancellation is refused."""
    order = shop.buy("S1", 2)
    assert shop.ask(CANCEL, id=order)["orderCancel"]["orderCancelUserErrors"] == []
    assert shop.ask(CANCEL, id=order)["orderCancel"]["orderCancelUserErrors"][0]["code"] == "INVALID"
    shown = shop.order(order)
    assert (shown["displayFinancialStatus"], shown["currentTotalPriceSet"]["shopMoney"]["amount"]) == (
        "REFUNDED",
        "0.00",
    )
    assert shop.level(1) == {"available": 100, "committed": 0, "on_hand": 100}


def test_the_connector_cancels_an_order_once_and_none_that_has_left(shop: ShopHand) -> None:
    """Paid back by the way that it came, and restocked; that it is cancelled already counts as done."""
    order, shipped = shop.buy("S1", 2), shop.buy("S2", 1)
    shop.fulfil(shipped)

    async def cancel(order_id: str) -> ItemOutcome:
        settings, secrets = {"store": "sandbox"}, {"access_token": Secret(TOKEN)}
        networks = [ip_network("127.0.0.0/8")]
        api = HttpApi(CONNECTOR, shop.sandbox.url("shop"), settings, secrets, allow=networks, clock=SystemClock())
        payload = CancelOrder(reference="ord_1", order_external_id=order_id.rpartition("/")[2], is_own=True)
        try:
            (outcome,) = await CONNECTOR.commands[CommandKind.ORDER_CANCEL].execute(api, [payload], "key")
        finally:
            await api.close()
        return outcome

    done = [asyncio.run(cancel(order)) for _ in range(2)]
    refused = asyncio.run(cancel(shipped))

    assert [each.detail for each in done if isinstance(each, Done)] == ["", "it was cancelled already"]
    assert isinstance(refused, Failed)
    assert shop.order(order)["displayFinancialStatus"] == "REFUNDED"
    assert (shop.level(1)["available"], shop.level(2)["available"]) == (100, 99)
    books = shop.sandbox.ask("GET", "/books/shop")
    assert (books["effects"]["cancel"]["keys"], books["effects"]["cancel"]["doubled"]) == (1, {})


def test_an_authorised_order_is_captured_within_its_authorisation(shop: ShopHand) -> None:
    """Not more than was authorised, in all."""
    order = shop.buy("S1", 1, extra={"payment": "authorized", "psp_reference": "pi_1"})
    (authorisation,) = shop.order(order)["transactions"]
    capture = """
    mutation Capture($input: OrderCaptureInput!) {
      orderCapture(input: $input) { transaction { id kind } userErrors { message } }
    }
    """

    def take(amount: str) -> Any:
        wanted = {"id": order, "parentTransactionId": authorisation["id"], "amount": amount}
        return shop.ask(capture, input=wanted)["orderCapture"]

    assert take("12.91")["userErrors"] != []
    assert take("12.90")["userErrors"] == []
    assert take("0.01")["userErrors"] != []
    assert shop.order(order)["displayFinancialStatus"] == "PAID"


def test_changed_orders_are_paged_and_searched(shop: ShopHand) -> None:
    """In order of change, every one once, over pages; a bound leaves out what is older."""
    orders = [shop.buy("S2") for _ in range(7)]
    shop.fulfil(orders[0])
    query = """
    query Changed($after: String, $query: String) {
      orders(first: 3, after: $after, query: $query, sortKey: UPDATED_AT) {
        pageInfo { hasNextPage endCursor }
        nodes { id }
      }
    }
    """
    seen: list[str] = []
    after = None
    while True:
        page = shop.ask(query, after=after, query="updated_at:>='2020-01-01T00:00:00Z'")["orders"]
        seen += [node["id"] for node in page["nodes"]]
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["pageInfo"]["endCursor"]
    assert seen == [*orders[1:], orders[0]]
    assert shop.ask(query, query="updated_at:>='2099-01-01T00:00:00Z'")["orders"]["nodes"] == []
    assert [node["id"] for node in shop.ask(query, query=f"id:{orders[2].rpartition('/')[2]}")["orders"]["nodes"]] == [
        orders[2]
    ]


def test_a_search_may_lag(tmp_path: Path) -> None:
    """A change stays out of searches for a while, though the order itself can be read."""
    with running(shop_world(options={"search_lag_seconds": 600}), tmp_path) as sandbox:
        shop = ShopHand(sandbox)
        order = shop.buy("S1")
        assert shop.ask("{ orders(first: 5, sortKey: UPDATED_AT) { nodes { id } } }")["orders"]["nodes"] == []
        assert shop.order(order)["name"] == "#1001"


# --- webhooks --------------------------------------------------------------------------------------------------------------
def test_events_are_told_signed_and_with_their_headers(shop: ShopHand) -> None:
    """The HMAC is over the raw body with the app's secret; each topic comes where it was subscribed."""
    with Receiver() as receiver:
        for topic in (
            "ORDERS_CREATE",
            "FULFILLMENTS_CREATE",
            "REFUNDS_CREATE",
            "INVENTORY_LEVELS_UPDATE",
            "ORDERS_CANCELLED",
        ):
            assert shop.ask(SUBSCRIBE, topic=topic, uri=receiver.url)["webhookSubscriptionCreate"]["userErrors"] == []
        shop.fulfil(shop.buy("S1"))
        shop.ask(CANCEL, id=shop.buy("S2"))
        eventually(lambda: len(receiver.arrived) >= 8, "webhooks are missing")
        topics = Counter(arrived.headers["x-shopify-topic"] for arrived in receiver.arrived)
        assert topics == {
            "orders/create": 2,
            "inventory_levels/update": 3,
            "fulfillments/create": 1,
            "orders/cancelled": 1,
            "refunds/create": 1,
        }
        for arrived in receiver.arrived:
            signature = hmac.new(SECRET.encode(), arrived.body, hashlib.sha256).digest()
            assert arrived.headers["x-shopify-hmac-sha256"] == base64.b64encode(signature).decode()
            assert arrived.headers["x-shopify-shop-domain"] == "sandbox.myshopify.com"
            assert arrived.headers["x-shopify-api-version"] == "2026-10"
        ids = [arrived.headers["x-shopify-webhook-id"] for arrived in receiver.arrived]
        assert len(set(ids)) == len(ids)


def test_a_subscription_is_made_once_and_only_where_it_can_be_reached(shop: ShopHand) -> None:
    """The second one of a topic and address is refused; so is an address outside of this machine."""
    with Receiver() as receiver:
        assert (
            shop.ask(SUBSCRIBE, topic="ORDERS_CREATE", uri=receiver.url)["webhookSubscriptionCreate"]["userErrors"]
            == []
        )
        again = shop.ask(SUBSCRIBE, topic="ORDERS_CREATE", uri=receiver.url)["webhookSubscriptionCreate"]
        assert "already been taken" in again["userErrors"][0]["message"]
        away = shop.ask(SUBSCRIBE, topic="ORDERS_CREATE", uri="https://example.com/")["webhookSubscriptionCreate"]
        assert "not reachable" in away["userErrors"][0]["message"]


def test_a_subscription_that_fails_eight_times_in_a_row_is_deleted(tmp_path: Path) -> None:
    """And what waited for it is withdrawn; a retry has the id of the first attempt."""
    with Receiver() as receiver, running({**shop_world(), "time_scale": 36_000.0}, tmp_path) as sandbox:
        shop = ShopHand(sandbox)
        receiver.answer = lambda _: 503
        shop.ask(SUBSCRIBE, topic="ORDERS_CREATE", uri=receiver.url)
        shop.buy("S1")
        eventually(
            lambda: sandbox.ask("GET", "/books/shop")["details"]["deleted_subscriptions"] == 1, "it is still there"
        )
        eventually(lambda: sandbox.ask("GET", "/deliveries/shop")["report"]["waiting"] == 0, "something waits")
        assert len(receiver.arrived) == 8
        assert len({arrived.headers["x-shopify-webhook-id"] for arrived in receiver.arrived}) == 1
        assert shop.ask("{ webhookSubscriptions(first: 5) { nodes { id } } }")["webhookSubscriptions"]["nodes"] == []


# --- versions, tokens, bulk ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("asked", "status", "served"),
    [("2026-10", 200, "2026-10"), ("2026-01", 200, "2026-01"), ("2025-07", 200, "2026-01"), ("2031-13", 404, None)],
)
def test_an_expired_version_falls_forward(shop: ShopHand, asked: str, status: int, served: str | None) -> None:
    """The answer's header tells what ran."""
    reply = shop.send("{ shop { id } }", version=asked)
    assert (reply.status, reply.headers.get("x-shopify-api-version")) == (status, served)


def test_another_version_can_be_served(tmp_path: Path) -> None:
    """For who watches the header."""
    with running(shop_world(options={"serves": "2027-01"}), tmp_path) as sandbox:
        assert ShopHand(sandbox).send("{ shop { id } }").headers["x-shopify-api-version"] == "2027-01"


def test_a_wrong_token_is_refused(shop: ShopHand) -> None:
    """401."""
    assert ShopHand(shop.sandbox, token="shpat_other").send("{ shop { id } }").status == 401


def test_expiring_tokens_are_refreshed_and_rotated(tmp_path: Path) -> None:
    """The refresh token before the last one works until the last one is used; then it is dead."""
    options = {"refresh_token": "shprt_first"}
    with running({**shop_world(options=options), "time_scale": 1.0}, tmp_path) as sandbox:

        def refresh(token: str) -> Any:
            asked = {
                "grant_type": "refresh_token",
                "client_id": "sandbox-client",
                "client_secret": SECRET,
                "refresh_token": token,
            }
            url = f"{sandbox.url('shop')}/admin/oauth/access_token"
            return call(url, "POST", msgspec.json.encode(asked), {"Content-Type": "application/json"})

        assert ShopHand(sandbox).send("{ shop { id } }").status == 200
        sandbox.ask("POST", "/expire/shop", {})
        assert ShopHand(sandbox).send("{ shop { id } }").status == 401
        second = refresh("shprt_first").json
        assert second["expires_in"] == 3600
        assert ShopHand(sandbox, token=second["access_token"]).send("{ shop { id } }").status == 200
        retried = refresh("shprt_first").json
        third = refresh(retried["refresh_token"])
        assert third.status == 200
        assert refresh("shprt_first").status == 400
        assert refresh(third.json["refresh_token"]).status == 200


def test_a_bulk_operation_ends_in_a_file(shop: ShopHand) -> None:
    """Lines of JSON behind an address; children name their parent; five run at once."""
    query = '{ inventoryItems { edges { node { id sku inventoryLevels { edges { node { id quantities(names: [\\"available\\"]) { quantity } } } } } } } }'
    start = f'mutation {{ bulkOperationRunQuery(query: "{query}", groupObjects: false) {{ bulkOperation {{ id status }} userErrors {{ code message }} }} }}'
    begun = shop.ask(start)["bulkOperationRunQuery"]
    assert begun["bulkOperation"]["status"] == "CREATED"
    found: Any = None

    def is_done() -> bool:
        nonlocal found
        data = shop.ask(
            "query Bulk($id: ID!) { bulkOperation(id: $id) { status url objectCount rootObjectCount } }",
            id=begun["bulkOperation"]["id"],
        )
        found = data["bulkOperation"]
        return bool(found["status"] == "COMPLETED")

    eventually(is_done, "the bulk operation did not end")
    lines = [msgspec.json.decode(line) for line in call(found["url"]).body.splitlines()]
    assert (found["objectCount"], found["rootObjectCount"], len(lines)) == ("10", "5", 10)
    assert lines[1]["__parentId"] == lines[0]["id"]
    assert lines[1]["quantities"] == [{"quantity": 100}]


def test_a_bulk_query_without_a_connection_is_refused(shop: ShopHand) -> None:
    """By a user error."""
    start = 'mutation { bulkOperationRunQuery(query: "{ shop { id } }", groupObjects: false) { bulkOperation { id } userErrors { code } } }'
    assert shop.ask(start)["bulkOperationRunQuery"]["userErrors"] == [{"code": "INVALID"}]


def test_a_lost_reply_is_found_under_its_key(shop: ShopHand) -> None:
    """It happened; asking again under the same key tells so and does nothing more."""
    shop.sandbox.ask("PUT", "/faults/shop", {"profile": {"lost_replies": 1.0}})
    with pytest.raises(Exception):  # noqa: B017, PT011 - the connection ends in one way or another
        shop.set(1, 50, 100, key="k")
    shop.sandbox.ask("PUT", "/faults/shop", {"profile": {}})
    assert shop.set(1, 50, 100, key="k")["userErrors"] == []
    assert shop.level(1)["available"] == 50
    assert shop.sandbox.ask("GET", "/books/shop")["details"]["replayed_keys"] == 1


def test_a_merchant_acts_by_hand(shop: ShopHand) -> None:
    """Cancellations and refunds in the shop's admin are asked for on the control API."""
    sandbox: RunningSandbox = shop.sandbox
    first, second = shop.buy("S1").rpartition("/")[2], shop.buy("S1").rpartition("/")[2]
    assert sandbox.ask("POST", "/do/shop/cancel", {"order": first}) == {"cancelled": first}
    sandbox.ask("POST", "/do/shop/refund", {"order": second, "amount_minor": 100})
    books = sandbox.ask("GET", "/books/shop")
    assert (books["cancelled"], books["refunded_minor"]) == (1, 1390)


def test_documents_made_to_tire_it_out_are_refused(shop: ShopHand) -> None:
    """Nested without end, fragments in a circle, fragments that double each other: an answer, at once."""
    deep = "{ shop { id } }" + " { a" * 3_000
    circle = "{ ...A } fragment A on QueryRoot { ...B } fragment B on QueryRoot { ...A }"
    doubling = "{ ...F0 } " + " ".join(
        f"fragment F{number} on QueryRoot {{ a{number}: shop {{ id }} ...F{number + 1} ...F{number + 1} }}"
        for number in range(30)
    )
    doubling += " fragment F30 on QueryRoot { shop { id } }"
    for query in (deep, circle, doubling):
        assert "errors" in shop.send(query).json
    bulk = "mutation Run($q: String!) { bulkOperationRunQuery(query: $q, groupObjects: false) { userErrors { code } } }"
    assert shop.ask(bulk, q=circle)["bulkOperationRunQuery"]["userErrors"] == [{"code": "INVALID"}]


def test_a_wrong_purchase_in_a_list_sells_nothing(shop: ShopHand) -> None:
    """All or none are looked at before the first is sold."""
    wanted = [{"platform": "shop", "lines": [{"sku": sku}]} for sku in ("S1", "none")]
    reply = call(
        f"{shop.sandbox.control}/orders", "POST", msgspec.json.encode(wanted), {"Content-Type": "application/json"}
    )
    assert reply.status == 422
    assert shop.level(1)["available"] == 100
