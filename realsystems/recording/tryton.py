"""Record the Tryton connector's fixtures from an ERP of its own: `python -m realsystems.recording.tryton`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from realsystems.recording.recorder import Recorder
from realsystems.tryton import Article, TrytonErp
from realsystems.worldpg import WorldPostgres
from tidegate.commerce.changes import Address, Customer, OrderPrivate
from tidegate.commerce.commands import CancelOrder, CreateOrder, OrderLineOut
from tidegate.connectors import tryton
from tidegate.connectors.tryton import CONNECTOR
from tidegate.connectors.tryton.errors import error_of
from tidegate.connectors.tryton.rest import packed
from tidegate.sdk.connector import FeedItem, FeedPage, RawEvent
from tidegate.sdk.testing.conformance.fixtures import CallMade

SOURCE = "Tryton 8.2 with the modules sale, stock and web_shop, local server"
DATABASE = "rec_tryton"
MODELS = f"/{DATABASE}/rest/model"
SALE = "sale.sale"
PLACED_AT = datetime(2026, 11, 23, 8, 15, tzinfo=UTC)
PRIVATE = OrderPrivate(
    customer=Customer(email="ada@example.com", first_name="Ada", last_name="Tester"),
    shipping_address=Address(
        name="Ada Tester", street1="1 Test Street", city="Berlin", postal_code="10115", country_code="DE"
    ),
)


class Scenes:
    """The scenes, in the order of their play."""

    def __init__(self, erp: TrytonErp, world: WorldPostgres, recorder: Recorder) -> None:
        self._erp = erp
        self._world = world
        self._recorder = recorder
        self._products: dict[str, int] = {}

    async def play(self) -> None:
        """Record everything."""
        await self.log_in()
        for feed in ("moves", "shipments"):
            await self._recorder.record(f"feed_{feed}_empty", CallMade(do="feed", name=feed))
        self._products = self._erp.warehouse.add_articles(
            [
                Article(sku="MUG-01", name="Harbour mug", price=Decimal("9.90"), quantity=40),
                Article(sku="LAMP-01", name="Lighthouse lamp", price=Decimal("49.90"), quantity=8),
            ]
        )
        self._give_barcode("MUG-01", "4006381333931")
        await self._recorder.record("inspect", CallMade(do="inspect"))
        await self._recorder.record("check_grants", CallMade(do="check", name="grants"))
        await self._recorder.record("shown", CallMade(do="shown"))
        await self.orders()
        await self.cancellations()
        await self.goods()
        self.refusals()
        # Last: a server process that meets this company first shows the user no records afterwards.
        await self._recorder.record("login_no_such_company", CallMade(do="open_session"), company="77")

    def _give_barcode(self, sku: str, code: str) -> None:
        self._erp.client.create("product.identifier", {"product": self._products[sku], "type": "ean", "code": code})

    async def log_in(self) -> None:
        await self._recorder.record("login", CallMade(do="open_session"))
        query = f"?d={packed([['id', '=', 1]])}"
        refused = self._recorder.send(
            "GET", f"{MODELS}/company.company{query}", headers={"Authorization": "Bearer wrong"}
        )
        self._recorder.write_error("key_refused", refused, error_of, changes_state=False)
        self._recorder.write_refused_login("login_refused", refused, error_of, like="login")

    # --- orders ------------------------------------------------------------------------------------------------
    async def orders(self) -> None:
        order = self._order("ord_c0_first", {"MUG-01": 2, "LAMP-01": 1}, discount_minor=300)
        await self._recorder.find("find_order_none", order)
        await self._recorder.execute("create_order", order)
        await self._recorder.execute("create_order_again", order)
        await self._recorder.find("find_order", order)
        half = self._order("ord_c0_half", {"MUG-01": 3})
        await self._leave_as_draft(half)
        await self._recorder.find("find_order_half_done", half)
        await self._recorder.execute("create_order_finish", half)
        await self._recorder.execute("create_order_unknown_article", self._order("ord_c0_gone", {"GONE-01": 1}))
        await self._recorder.execute(
            "create_order_unknown_currency", self._order("ord_c0_yen", {"MUG-01": 1}, currency="JPY")
        )

    async def cancellations(self) -> None:
        draft = self._order("ord_c0_draft", {"MUG-01": 1})
        await self._leave_as_draft(draft)
        await self._recorder.find("find_cancelled_order_none", _cancel(draft))
        await self._recorder.execute("cancel_order", _cancel(draft))
        await self._recorder.find("find_cancelled_order", _cancel(draft))
        await self._recorder.execute("create_order_cancelled", draft)
        await self._recorder.execute("cancel_order_processing", _cancel(self._order("ord_c0_first", {})))
        await self._recorder.execute("cancel_order_unknown", _cancel(self._order("ord_c0_never", {})))

    async def _leave_as_draft(self, order: CreateOrder) -> None:
        """Create the sale by its first request alone, as when the connection breaks right afterwards."""
        values = self._recorder.sent_bodies("create_order")[0] | {"web_id": order.reference, "reference": order.number}
        lines = [line for line in values["lines"][0][1] if line.get("note")][:1]
        lines[0] |= {"note": order.lines[0].reference, "quantity": float(order.lines[0].quantity)}
        self._erp.client.create(SALE, {**values, "lines": [["create", lines]]})

    def _order(self, reference: str, lines: dict[str, int], **changes: Any) -> CreateOrder:
        prices = {"MUG-01": 990, "LAMP-01": 4990, "GONE-01": 100}
        outgoing = tuple(
            OrderLineOut(
                reference=reference.replace("ord_", "oln_") + f"_{sku}",
                sku=sku,
                item_external_id=str(self._products.get(sku, 999_999)),
                title=sku,
                quantity=units,
                unit_price=f"{prices[sku] / 100:.6f}",
                total_minor=prices[sku] * units,
            )
            for sku, units in lines.items()
        )
        goods = sum(line.total_minor for line in outgoing)
        discount = changes.get("discount_minor", 0)
        values: dict[str, Any] = {
            "reference": reference,
            "number": f"#{reference[-5:]}",
            "channel": "shop_a",
            "placed_at": PLACED_AT,
            "currency": "EUR",
            "lines": outgoing,
            "shipping_minor": 490,
            "shipping_method": "parcel",
            "discount_minor": 0,
            "total_minor": goods + 490 - discount,
            "private": PRIVATE,
        }
        return CreateOrder(**{**values, **changes})

    # --- goods -------------------------------------------------------------------------------------------------
    async def goods(self) -> None:
        """Take in, ship whole and in parts, move inside, count; read both feeds in between."""
        warehouse = self._erp.warehouse
        warehouse.receive_goods("MUG-01", 12)
        whole, parted = warehouse.open_shipments()
        assert warehouse.ship(whole.shipment_id, "TRACK-1")
        assert warehouse.ship(parted.shipment_id, "TRACK-2", {"MUG-01": 2})
        moves = await self._feed("feed_moves", "moves")
        shipments = await self._feed("feed_shipments", "shipments")
        self._write_moves(moves)
        self._write("shipment_two_lines", shipments, str(whole.shipment_id))
        self._write("shipment_partial", shipments, str(parted.shipment_id))
        self._move_inside("MUG-01", 5)
        warehouse.count("LAMP-01", 6)
        (rest,) = warehouse.open_shipments()
        assert warehouse.ship(rest.shipment_id, "TRACK-3")
        self._erp.client.write("stock.shipment.out", whole.shipment_id, {"reference": "TRACK-1B"})
        later = await self._feed("feed_moves_next", "moves", moves.cursor)
        shipments = await self._feed("feed_shipments_next", "shipments", shipments.cursor)
        self._write_moves(later, moves, suffix="_later")
        self._write("shipment_tracked_anew", shipments, str(whole.shipment_id), newer_than="shipment_two_lines")
        await self._feed("feed_moves_again", "moves", later.cursor)
        await self._feed("feed_shipments_again", "shipments", shipments.cursor)

    async def _feed(self, name: str, feed: str, cursor: str = "") -> FeedPage:
        page: FeedPage = await self._recorder.record(name, CallMade(do="feed", name=feed, cursor=cursor))
        return page

    def _write_moves(self, page: FeedPage, known: FeedPage | None = None, *, suffix: str = "") -> None:
        """Write one event per kind of movement, the newest of each, of those that are not in the `known` page."""
        newest: dict[str, FeedItem] = {}
        seen = known.items if known else ()
        for item in (one for one in page.items if one not in seen):
            for change in CONNECTOR.normalize(_raw(item)):
                newest[getattr(change, "kind", "inside")] = item
        for kind, item in newest.items():
            self._recorder.write_item(f"move_{kind}{suffix}", "poll", item)

    def _write(self, name: str, page: FeedPage, external_id: str, **options: Any) -> None:
        (item,) = [item for item in page.items if item.external_id == external_id]
        self._recorder.write_item(name, "poll", item, **options)

    def _move_inside(self, sku: str, quantity: int) -> None:
        facts, client = self._erp.facts, self._erp.client
        shelf = client.create(
            "stock.location", {"name": "Second shelf", "type": "storage", "parent": facts["storage_location"]}
        )["id"]
        ends = {"company": facts["company"], "from_location": facts["storage_location"], "to_location": shelf}
        move = {**ends, "product": self._products[sku], "unit": facts["unit"], "quantity": float(quantity)}
        model = "stock.shipment.internal"
        shipment = client.create(model, {**ends, "moves": [["create", [move]]]})
        for button in ("wait", "assign_try", "do"):
            state = client.press(model, shipment["id"], button)["state"]
        assert state == "done"

    # --- refusals ----------------------------------------------------------------------------------------------
    def refusals(self) -> None:
        """Record what the ERP says to wrong names, values, rights and states."""
        known = {
            "Authorization": f"Bearer {self._erp.rest_key}",
            "X-Tryton-Context": packed({"company": self._erp.facts["company"]}),
        }
        values = self._recorder.sent_bodies("create_order")[0]
        cases: dict[str, tuple[str, str, Any, bool]] = {
            "no_such_database": ("GET", "/elsewhere/rest/model/company.company", None, False),
            "no_such_record": ("POST", f"{MODELS}/{SALE}/999999/quote?f=state", {}, True),
            "no_such_button": ("POST", f"{MODELS}/{SALE}/1/nothing?f=state", {}, True),
            "no_such_model": ("GET", f"{MODELS}/no.such.model", None, False),
            "no_such_field": ("POST", f"{MODELS}/{SALE}", {"nothing": 1}, True),
            "not_allowed": ("POST", f"{MODELS}/product.template", {"name": "Mine"}, True),
            "button_of_another_state": ("POST", f"{MODELS}/{SALE}/1/cancel?f=state", {}, True),
            "web_id_taken": ("POST", f"{MODELS}/{SALE}", values, True),
        }
        for name, (method, path, body, changes_state) in cases.items():
            answer = self._recorder.send(method, path, json_body=body, headers=known)
            self._recorder.write_error(name, answer, error_of, changes_state=changes_state)


def _cancel(order: CreateOrder) -> CancelOrder:
    return CancelOrder(reference=order.reference, order_external_id="")


def _raw(item: FeedItem) -> RawEvent:
    return RawEvent(source="poll", topic=item.topic, body=item.body)


async def main() -> None:
    """Start an ERP with a fresh database, record it, stop it."""
    world = WorldPostgres()
    world.start()
    erp = TrytonErp(world, database=DATABASE)
    erp.install()
    erp.stop()
    world.drop_database(DATABASE)
    erp.start()
    recorder = Recorder(
        CONNECTOR,
        Path(tryton.__file__).parent,
        base_url=erp.base_url,
        settings={
            "url": "https://erp.example.com",
            "database": DATABASE,
            **{
                field.name: field.default for field in CONNECTOR.fields if not field.secret and field.name != "database"
            },
        },
        secrets={"rest_key": erp.rest_key},
        source=SOURCE,
        kept_headers=("content-type",),
    )
    try:
        recorder.clear()
        await Scenes(erp, world, recorder).play()
    finally:
        erp.stop()


if __name__ == "__main__":
    asyncio.run(main())
