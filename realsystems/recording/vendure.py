"""Record the Vendure connector's fixtures from a shop with the plugin: `python -m realsystems.recording.vendure`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from realsystems.recording.recorder import Recorder, without_credentials
from realsystems.vendure import VendureShop
from realsystems.vendure_driver import PlacedOrder
from realsystems.webhook_sink import WebhookSink, new_secret
from realsystems.worldpg import WorldPostgres
from tidegate.commerce.commands import CancelOrder, CreateFulfillment, FulfillmentLineOut, SetInventory
from tidegate.connectors import vendure
from tidegate.connectors.vendure import CONNECTOR, queries
from tidegate.connectors.vendure.errors import error_of
from tidegate.sdk.testing.conformance.fixtures import CallMade

SOURCE = "Vendure 3.7.3 with the plugin of this folder, local server"
TOKEN_HEADER = "vendure-auth-token"
USERNAME, PASSWORD = "tidegate@example.com", "recorded-password"
PERMISSIONS = (
    "ReadOrder", "UpdateOrder", "ReadCatalog", "UpdateCatalog", "ReadStockLocation", "ReadCustomer", "ReadSettings",
    "UpdateSettings",
)  # fmt: skip
"""What the README asks for, and nothing else."""
CREATE_COUNTRY = """mutation { createCountry(input: {code: "XX", translations: [], enabled: false}) { id } }"""
SHIPPED_AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


class KeepingSink(WebhookSink):
    """A sink that keeps headers and bytes of what it received."""

    def __init__(self) -> None:
        self.secret = new_secret()
        super().__init__(self.secret)
        self.received: list[tuple[dict[str, str], bytes]] = []

    def receive(self, headers: dict[str, str], body: bytes) -> int:
        self.received.append(({name.lower(): value for name, value in headers.items()}, body))
        return super().receive(headers, body)

    def wait_for_event(self, topic: str, order_id: str) -> tuple[dict[str, str], bytes]:
        """Return the newest delivery of a topic and order, waiting for it."""

        def is_meant(raw_event: dict[str, Any]) -> bool:
            return bool(raw_event["type"] == topic and raw_event["data"]["order"]["id"] == order_id)

        if not self.wait_for(lambda accepted: any(is_meant(delivery.raw_event) for delivery in accepted)):
            raise RuntimeError(f"no {topic} of order {order_id} came")
        index = max(i for i, delivery in enumerate(self.deliveries) if is_meant(delivery.raw_event))
        return self.received[index]


class Scenes:
    """The scenes, in the order of their play."""

    def __init__(self, shop: VendureShop, sink: KeepingSink, recorder: Recorder) -> None:
        self._shop = shop
        self._sink = sink
        self._recorder = recorder
        self._location_id = ""
        self._variant_ids: dict[str, str] = {}

    def prepare(self) -> None:
        """Fill the shop: two articles, a discount for large orders, an administrator with the README's permissions."""
        self._variant_ids = self._shop.seed_catalogue(
            [("MUG-01", "Harbour mug", 990, 40), ("LAMP-01", "Lighthouse lamp", 4990, 8)]
        )
        self._shop.admin(
            'mutation ($id: ID!) { updateProductVariants(input: [{id: $id, customFields: {ean: "4006381333931"}}]) { id } }',
            {"id": self._variant_ids["MUG-01"]},
        )
        self._location_id = str(self._shop.driver.locations()[0]["id"])
        self._shop.admin(
            "mutation ($input: CreatePromotionInput!) { createPromotion(input: $input) { __typename } }",
            {"input": _discount()},
        )
        role = self._shop.admin(
            "mutation ($input: CreateRoleInput!) { createRole(input: $input) { id } }",
            {"input": {"code": "tidegate", "description": "Tidegate", "permissions": PERMISSIONS}},
        )["createRole"]
        self._shop.admin(
            "mutation ($input: CreateAdministratorInput!) { createAdministrator(input: $input) { id } }",
            {"input": {**_administrator(), "roleIds": [role["id"]]}},
        )

    async def play(self) -> None:
        """Record everything."""
        await self.log_in()
        await self.connect()
        first, second = await self.orders()
        await self.fulfillments(first)
        await self.refund_and_cancel(first, second)
        await self.stock()
        self.refusals()

    # --- connecting --------------------------------------------------------------------------------------------
    async def log_in(self) -> None:
        await self._recorder.record("login", CallMade(do="open_session"))
        await self._recorder.record("login_refused", CallMade(do="open_session"), username="nobody@example.com")

    async def connect(self) -> None:
        await self._recorder.record("inspect", CallMade(do="inspect"))
        await self._recorder.record("check_webhook_absent", CallMade(do="check", name="webhook"))
        await self._recorder.record("shown", CallMade(do="shown"))
        await self._recorder.record("subscribe", CallMade(do="subscribe"))
        await self._recorder.record("check_webhook", CallMade(do="check", name="webhook"))
        await self._recorder.record("check_grants", CallMade(do="check", name="grants"))
        for subscription in self._shop.admin("{ tidegateSubscriptions { id } }")["tidegateSubscriptions"]:
            self._shop.admin("mutation ($id: ID!) { tidegateUnsubscribe(id: $id) }", {"id": subscription["id"]})
        self._sink.start()
        self._shop.admin(queries.SUBSCRIBE, {"url": self._sink.url, "secret": self._sink.secret})
        await self._recorder.record("feed_orders_empty", CallMade(do="feed", name="orders"))
        await self._recorder.record("fetch_order_gone", CallMade(do="fetch", name="order", external_id="999999"))

    # --- orders ------------------------------------------------------------------------------------------------
    async def orders(self) -> tuple[PlacedOrder, PlacedOrder]:
        first = self._place({"MUG-01": 3, "LAMP-01": 1}, "ada@example.com")
        second = self._place({"MUG-01": 2}, "grace@example.com", payment_method="invoice")
        self._keep("order_placed", "order.placed", first)
        self._keep("order_placed_on_invoice", "order.placed", second)
        page = await self._recorder.record("feed_orders", CallMade(do="feed", name="orders"))
        self._recorder.write_item("order_polled", "poll", page.items[0])
        self._shop.driver.settle_payment(self._payment_id(second))
        self._keep("payment_settled", "payment.updated", second, newer_than="order_placed_on_invoice")
        page = await self._recorder.record("feed_orders_next", CallMade(do="feed", name="orders", cursor=page.cursor))
        await self._recorder.record("feed_orders_again", CallMade(do="feed", name="orders", cursor=page.cursor))
        discounted = self._place({"LAMP-01": 3}, "alan@example.com")
        self._keep("order_discounted", "order.placed", discounted)
        item = await self._recorder.record("fetch_order", CallMade(do="fetch", name="order", external_id=discounted.id))
        self._recorder.write_item("order_fetched", "fetch", item)
        return first, second

    async def fulfillments(self, order: PlacedOrder) -> None:
        mugs, lamps = self._lines(order)
        command = _fulfillment("ful_c0_first", order, {mugs: 2})
        await self._recorder.find("find_fulfillment_none", command)
        await self._recorder.execute("create_fulfillment", command)
        await self._recorder.execute("create_fulfillment_again", command)
        await self._recorder.find("find_fulfillment", command)
        self._keep("fulfillment_created", "fulfillment.created", order, newer_than="order_placed")
        await self._recorder.execute("create_fulfillment_too_much", _fulfillment("ful_c0_too_much", order, {mugs: 2}))
        await self._recorder.execute(
            "create_fulfillment_unknown_lines", _fulfillment("ful_c0_unknown", order, {"999999": 1})
        )
        self._shop.driver.set_stock({"LAMP-01": 0})
        await self._recorder.execute("create_fulfillment_no_stock", _fulfillment("ful_c0_no_stock", order, {lamps: 1}))
        self._shop.driver.set_stock({"LAMP-01": 8})

    async def refund_and_cancel(self, first: PlacedOrder, second: PlacedOrder) -> None:
        self._shop.driver.refund(self._payment_id(first), 500)
        self._keep("refund_created", "refund.created", first, newer_than="fulfillment_created")
        lamps = self._lines(first)[1]
        self._shop.driver.cancel(first.id, [{"orderLineId": lamps, "quantity": 1}])
        self._keep("line_cancelled", "order.updated", first, newer_than="refund_created")
        await self._recorder.execute("cancel_order_sent", _cancel("ord_c0_first", first.id))
        command = _cancel("ord_c0_second", second.id)
        await self._recorder.find("find_cancelled_none", command)
        await self._recorder.execute("cancel_order", command)
        await self._recorder.execute("cancel_order_gone", _cancel("ord_c0_gone", "999999"))
        await self._recorder.find("find_cancelled", command)
        self._keep("order_cancelled", "order.cancelled", second, newer_than="payment_settled")

    # --- stock -------------------------------------------------------------------------------------------------
    async def stock(self) -> None:
        mug, lamp = self._variant_ids["MUG-01"], self._variant_ids["LAMP-01"]
        mugs = self._set("inv_c0_1", "MUG-01", mug, 25)
        await self._recorder.find("find_inventory_none", mugs)
        await self._recorder.execute(
            "set_inventory",
            mugs,
            self._set("inv_c0_2", "GONE-01", "999999", 3),
            self._set("inv_c0_3", "LAMP-01", lamp, 0),
        )
        await self._recorder.find("find_inventory", mugs)
        await self._recorder.execute("set_inventory_twice", mugs, self._set("inv_c0_4", "MUG-01", mug, 26))

    def _set(self, reference: str, sku: str, variant_id: str, quantity: int) -> SetInventory:
        return SetInventory(
            reference=reference,
            sku=sku,
            variant_external_id=variant_id,
            location_external_id=self._location_id,
            quantity=quantity,
        )

    # --- refusals ----------------------------------------------------------------------------------------------
    def refusals(self) -> None:
        """Record what the shop says to wrong sessions, documents, variables, ids and addresses."""
        send, write = self._recorder.send, self._recorder.write_error
        admin = "/admin-api"
        token = send(
            "POST", admin, json_body={"query": queries.LOGIN, "variables": {"username": USERNAME, "password": PASSWORD}}
        ).headers[TOKEN_HEADER]
        known = {"Authorization": f"Bearer {token}"}
        write("no_session", send("POST", admin, json_body={"query": queries.ABOUT}), error_of, changes_state=False)
        documents: dict[str, dict[str, Any]] = {
            "no_permission": {"query": CREATE_COUNTRY},
            "unknown_field": {"query": "{ tidegateNothing { id } }"},
            "missing_variable": {"query": queries.ORDER},
            "bad_variable": {"query": queries.SET_STOCK, "variables": {"input": [{"variantId": "1", "onHand": "x"}]}},
            "refused_input": {"query": queries.SUBSCRIBE, "variables": {"url": "ftp://shop.example", "secret": "x"}},
            "not_found": {"query": "mutation { settlePayment(id: 999999) { __typename } }"},
        }  # fmt: skip
        for name, document in documents.items():
            write(name, send("POST", admin, json_body=document, headers=known), error_of)
        write("wrong_address", send("POST", "/elsewhere", json_body={}, headers=known), error_of)
        too_large = {"query": "#" * 200_000}
        for name, changes_state in (("server_error_at_write", True), ("server_error_at_read", False)):
            answer = send("POST", admin, json_body=too_large, headers=known)
            write(name, answer, error_of, changes_state=changes_state)

    # --- the people --------------------------------------------------------------------------------------------
    def _place(self, lines: dict[str, int], email: str, **options: Any) -> PlacedOrder:
        placed = self._shop.place_order(lines, email, **options)
        assert isinstance(placed, PlacedOrder)
        return placed

    def _keep(self, name: str, topic: str, order: PlacedOrder, *, newer_than: str | None = None) -> None:
        headers, body = self._sink.wait_for_event(topic, order.id)
        self._recorder.write_delivery(name, headers, body, newer_than=newer_than)

    def _order(self, order: PlacedOrder) -> dict[str, Any]:
        return next(found for found in self._shop.orders() if found["id"] == order.id)

    def _payment_id(self, order: PlacedOrder) -> str:
        return str(self._order(order)["payments"][0]["id"])

    def _lines(self, order: PlacedOrder) -> list[str]:
        """Return the ids of the order's lines by SKU, mugs before lamps."""
        lines = sorted(self._order(order)["lines"], key=lambda line: line["productVariant"]["sku"], reverse=True)
        return [str(line["id"]) for line in lines]


def _cancel(reference: str, order_id: str) -> CancelOrder:
    return CancelOrder(reference=reference, order_external_id=order_id, is_own=True)


def _fulfillment(reference: str, order: PlacedOrder, lines: dict[str, int]) -> CreateFulfillment:
    return CreateFulfillment(
        reference=reference,
        order_external_id=order.id,
        lines=tuple(FulfillmentLineOut(line_external_id=line, quantity=units) for line, units in lines.items()),
        tracking="TRACK-1",
        carrier="Harbour Post",
        shipped_at=SHIPPED_AT,
    )


def _discount() -> dict[str, Any]:
    condition = [{"name": "amount", "value": "10000"}, {"name": "taxInclusive", "value": "true"}]
    return {
        "enabled": True,
        "translations": [{"languageCode": "en", "name": "Ten percent off large orders"}],
        "conditions": [{"code": "minimum_order_amount", "arguments": condition}],
        "actions": [{"code": "order_percentage_discount", "arguments": [{"name": "discount", "value": "10"}]}],
    }


def _administrator() -> dict[str, str]:
    return {"emailAddress": USERNAME, "firstName": "Tide", "lastName": "Gate", "password": PASSWORD}


async def main() -> None:
    """Start a fresh shop, record it, stop it."""
    shop = VendureShop("rec_shop", world=WorldPostgres())
    shop.start(fresh=True)
    sink = KeepingSink()
    folder = Path(vendure.__file__).parent
    recorder = Recorder(
        CONNECTOR,
        folder,
        base_url=shop.base_url,
        settings={"url": "https://shop.example.com", "username": USERNAME},
        secrets={"password": PASSWORD},
        source=SOURCE,
        kept_headers=("content-type", TOKEN_HEADER),
    )
    try:
        recorder.clear()
        scenes = Scenes(shop, sink, recorder)
        scenes.prepare()
        await scenes.play()
    finally:
        sink.stop()
        shop.stop()
    for path in (folder / "fixtures" / "exchanges").glob("*.json"):
        without_credentials(path, header=TOKEN_HEADER, variable="password")


if __name__ == "__main__":
    asyncio.run(main())
