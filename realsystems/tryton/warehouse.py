"""The people who work with the ERP: they add articles, take goods in, count and ship."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from realsystems.tryton.rest import RawRecord, RestClient, decimal_value, parse_decimal

OPEN_SHIPMENT_STATES = ("waiting", "assigned", "picked", "packed", "shipped")
SHIPMENTS_PER_REQUEST = 40
"""The server takes request lines of 4,094 bytes, and a search stands in the request line."""
NEXT_BUTTON = {
    "waiting": "assign_try",
    "assigned": "pick",
    "picked": "pack",
    "packed": "do",
    "shipped": "do",
}
OPEN_SALE_STATES = ("quotation", "confirmed", "processing")


@dataclass(frozen=True, kw_only=True)
class Article:
    """An article to create: `quantity` pieces of it are put on the shelf."""

    sku: str
    name: str
    price: Decimal
    quantity: int


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a sale or a shipment; `reference` is the shop's line id where one was given."""

    sku: str
    quantity: int
    reference: str
    unit_price: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class Sale:
    """A sale as the ERP has it; `web_id` is the reference its creator gave, '' for a sale made by hand."""

    sale_id: int
    web_id: str
    number: str
    reference: str
    state: str
    shipment_state: str
    total: Decimal
    lines: tuple[Line, ...]


@dataclass(frozen=True, kw_only=True)
class Shipment:
    """A parcel to or on its way to a customer."""

    shipment_id: int
    number: str
    state: str
    tracking: str
    web_ids: tuple[str, ...]
    lines: tuple[Line, ...]


class Warehouse:
    """What staff do in the ERP, through its REST protocol. Nothing is remembered between calls."""

    def __init__(self, client: RestClient, facts: Mapping[str, Any]) -> None:
        self._client = client
        self._facts = facts

    def add_articles(self, articles: Sequence[Article]) -> dict[str, int]:
        """Create the articles that are missing, with their stock, and return the product id of every SKU.

        Articles that exist already keep their stock.
        """
        known = self.products()
        missing = [article for article in articles if article.sku not in known]
        if missing:
            self._client.create_many("product.template", [self._template(one) for one in missing])
            known = self.products()
            self._count({known[one.sku]: one.quantity for one in missing if one.quantity})
        return {article.sku: known[article.sku] for article in articles}

    def products(self) -> dict[str, int]:
        """Return the product id of every SKU, services included."""
        found = self._client.search("product.product", [["code", "!=", None]], ["code"])
        return {record["code"]: record["id"] for record in found}

    def receive_goods(self, sku: str, quantity: int) -> int:
        """Take in a delivery of a supplier, from the truck to the shelf; return the shipment's id.

        Leaves two done moves, as a real delivery does: supplier to input zone, input zone to storage.
        """
        facts, product = self._facts, self.products()[sku]
        move = {
            "product": product,
            "unit": facts["unit"],
            "quantity": float(quantity),
            "from_location": facts["supplier_location"],
            "to_location": facts["input_location"],
            "company": facts["company"],
            "currency": facts["currency"],
            "unit_price": decimal_value(Decimal(1)),
        }
        shipment = self._client.create(
            "stock.shipment.in",
            {
                "company": facts["company"],
                "supplier": facts["supplier"],
                "warehouse": facts["warehouse"],
                "warehouse_input": facts["input_location"],
                "warehouse_storage": facts["storage_location"],
                "incoming_moves": [["create", [move]]],
            },
        )
        for button in ("receive", "do"):
            pressed = self._client.press("stock.shipment.in", shipment["id"], button)
        if pressed["state"] != "done":
            raise RuntimeError(f"goods receipt stays in state {pressed['state']}")
        return int(shipment["id"])

    def count(self, sku: str, quantity: int) -> None:
        """Set what lies on the shelf by an inventory: shrinkage, or finds."""
        self._count({self.products()[sku]: quantity})

    def open_shipments(self, limit: int | None = None) -> list[Shipment]:
        """Return the shipments to customers that are still to be made, oldest first."""
        return self._shipments(OPEN_SHIPMENT_STATES, limit)

    def shipments_done(self) -> list[Shipment]:
        """Return the shipments that left, oldest first."""
        return self._shipments(("done",), None)

    def ship(self, shipment_id: int, tracking: str, quantities: Mapping[str, int] | None = None) -> bool:
        """Pick, pack and hand over one shipment; False when stock does not suffice: it then waits.

        With `quantities` (pieces by SKU, at most what is ordered) only those leave, and the ERP makes
        another shipment for the rest. The tracking number goes into the shipment's reference, "the
        external identifier for the shipment": carriers are not modelled here. Safe to repeat after an
        interruption; nothing happens to a shipment that has left.
        """
        model = "stock.shipment.out"
        (shipment,) = self._client.search(model, [["id", "=", shipment_id]], ["state"])
        state = shipment["state"]
        if state == "waiting" and quantities is not None:
            self._pick_less(shipment_id, quantities)
        while state != "done":
            button = NEXT_BUTTON[state]
            if button == "do":
                self._client.write(model, shipment_id, {"reference": tracking})
            state = self._client.press(model, shipment_id, button)["state"]
            if button == "assign_try" and state != "assigned":
                self._client.press(model, shipment_id, "wait")  # gives back what was set aside
                return False
        return True

    def cancel_shipment(self, shipment_id: int) -> None:
        """Cancel a shipment that has not left; its sale then shows the shipment state `exception`."""
        self._client.press("stock.shipment.out", shipment_id, "cancel")

    def sales(self) -> list[Sale]:
        """Return all sales, oldest first."""
        fields = ("web_id", "number", "reference", "state", "shipment_state", "total_amount")
        line_fields = ("lines.product.code", "lines.quantity", "lines.unit_price", "lines.note")
        return [_read_sale(record) for record in self._client.search("sale.sale", [], (*fields, *line_fields))]

    def stock(self) -> dict[str, int]:
        """Return the pieces of every article that are in the warehouse, wherever inside it."""
        found = self._client.search(
            "product.product",
            [["type", "=", "goods"]],
            ["code", "quantity"],
            context={"locations": [self._facts["warehouse"]], "with_childs": True},
        )
        return {record["code"]: int(record["quantity"]) for record in found}

    def sellable(self) -> dict[str, int]:
        """Return the stock minus what open sales still need; negative where more was sold than is there."""
        sellable = defaultdict(int, self.stock())
        for sku, quantity in self._promised().items():
            sellable[sku] -= quantity
        return dict(sellable)

    def _promised(self) -> dict[str, int]:
        promised: dict[str, int] = defaultdict(int)
        unshipped = [
            ["sale.state", "in", list(OPEN_SALE_STATES)],
            ["sale.shipment_state", "!=", "sent"],
            ["product.type", "=", "goods"],
        ]
        fields = ("product.code", "quantity", "moves_progress")
        for record in self._client.search("sale.line", unshipped, fields):
            still = record["quantity"] * (1 - (record["moves_progress"] or 0.0))
            promised[record["product"]["code"]] += round(still)
        return promised

    def _pick_less(self, shipment_id: int, quantities: Mapping[str, int]) -> None:
        moves = self._client.search(
            "stock.move",
            [
                ["shipment", "=", f"stock.shipment.out,{shipment_id}"],
                ["to_location", "=", self._facts["output_location"]],
            ],
            ["product.code", "quantity"],
        )
        left = dict(quantities)
        for move in moves:
            sku = move["product"]["code"]
            picked = min(left.get(sku, 0), int(move["quantity"]))
            left[sku] = left.get(sku, 0) - picked
            self._client.write("stock.move", move["id"], {"quantity": float(picked)})

    def _shipments(self, states: Sequence[str], limit: int | None) -> list[Shipment]:
        shipments = self._client.search(
            "stock.shipment.out", [["state", "in", list(states)]], ["number", "state", "reference"], limit=limit
        )
        by_shipment: dict[int, list[RawRecord]] = defaultdict(list)
        for first in range(0, len(shipments), SHIPMENTS_PER_REQUEST):
            some = shipments[first : first + SHIPMENTS_PER_REQUEST]
            for move in self._outgoing_moves([record["id"] for record in some]):
                by_shipment[int(move["shipment"].rpartition(",")[2])].append(move)
        return [_read_shipment(record, by_shipment[record["id"]]) for record in shipments]

    def _outgoing_moves(self, shipment_ids: Sequence[int]) -> list[RawRecord]:
        names = [f"stock.shipment.out,{shipment_id}" for shipment_id in shipment_ids]
        return self._client.search(
            "stock.move",
            [["shipment", "in", names], ["to_location.type", "=", "customer"]],
            ["shipment", "product.code", "quantity", "origin", "sale.web_id", "sale.lines.note"],
        )

    def _count(self, quantities: Mapping[int, int]) -> None:
        facts = self._facts
        lines = [{"product": product, "quantity": float(pieces)} for product, pieces in quantities.items()]
        inventory = self._client.create(
            "stock.inventory",
            {"location": facts["storage_location"], "company": facts["company"], "lines": [["create", lines]]},
        )
        self._client.press("stock.inventory", inventory["id"], "confirm")

    def _template(self, article: Article) -> RawRecord:
        return {
            "name": article.name,
            "type": "goods",
            "salable": True,
            "default_uom": self._facts["unit"],
            "sale_uom": self._facts["unit"],
            "list_price": decimal_value(article.price),
            "account_category": self._facts["account_category"],
            "products": [["create", [{"suffix_code": article.sku}]]],
        }


def _read_sale(record: RawRecord) -> Sale:
    return Sale(
        sale_id=record["id"],
        web_id=record["web_id"] or "",
        number=record["number"] or "",
        reference=record["reference"] or "",
        state=record["state"],
        shipment_state=record["shipment_state"],
        total=parse_decimal(record["total_amount"]),
        lines=tuple(
            Line(
                sku=line["product"]["code"],
                quantity=int(line["quantity"]),
                reference=line["note"] or "",
                unit_price=parse_decimal(line["unit_price"]),
            )
            for line in record["lines"]
        ),
    )


def _read_shipment(record: RawRecord, moves: Sequence[RawRecord]) -> Shipment:
    references = {
        f"sale.line,{line['id']}": line["note"] or ""
        for move in moves
        if move["sale"]
        for line in move["sale"]["lines"]
    }
    return Shipment(
        shipment_id=record["id"],
        number=record["number"] or "",
        state=record["state"],
        tracking=record["reference"] or "",
        web_ids=tuple(sorted({move["sale"]["web_id"] for move in moves if move["sale"]})),
        lines=tuple(
            Line(
                sku=move["product"]["code"],
                quantity=int(move["quantity"]),
                reference=references.get(move["origin"], ""),
            )
            for move in moves
        ),
    )
