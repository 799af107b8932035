"""The ERP's records and what happens to them: sales, their shipments, every movement of goods. No I/O.

Stock is kept twice, as in life: as movements (what is in `stock.move`) and as numbers in the books, which a sale promises and
a shipment takes out.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tidegate.sandbox.books import Books, Line, Order

Row = dict[str, Any]

COMPANY, WEB_SHOP, CUSTOMER, ADDRESS, TERM, CURRENCY, UNIT = 1, 1, 2, 2, 1, 1, 1
SHIPPING, DISCOUNT, FIRST_GOODS = 1, 2, 3
INPUT, OUTPUT, STORAGE, LOST_FOUND, WAREHOUSE, SUPPLIER, CUSTOMERS = 1, 2, 3, 4, 5, 6, 7
LOCATION = "warehouse"
"""Name of the one place in the books."""
PRICE_DIGITS = 4

RELATIONS: dict[str, dict[str, str]] = {
    "company.company": {"currency": "currency.currency"},
    "web.shop": {"company": "company.company", "warehouses": "stock.location"},
    "party.party": {"addresses": "party.address"},
    "party.address": {"party": "party.party"},
    "product.product": {"default_uom": "product.uom", "identifiers": "product.identifier"},
    "product.uom": {},
    "product.identifier": {},
    "account.invoice.payment_term": {},
    "currency.currency": {},
    "stock.location": {"parent": "stock.location"},
    "sale.sale": {"lines": "sale.line", "web_shop": "web.shop", "party": "party.party", "company": "company.company"},
    "sale.line": {"sale": "sale.sale", "product": "product.product"},
    "stock.move": {"product": "product.product", "from_location": "stock.location", "to_location": "stock.location"},
    "stock.shipment.out": {"outgoing_moves": "stock.move", "inventory_moves": "stock.move"},
}
"""Model -> its fields that name other records, and of which model they are."""

_BUTTONS = {
    "quote": ({"draft"}, "quotation"),
    "confirm": ({"quotation"}, "confirmed"),
    "process": ({"confirmed"}, "processing"),
    "draft": ({"quotation", "confirmed", "cancelled"}, "draft"),
    "cancel": ({"draft", "quotation"}, "cancelled"),
}
"""Button of a sale -> (states it can be pressed in, state afterwards)."""
_SALE_FIELDS = {
    "company", "currency", "party", "invoice_address", "shipment_address", "payment_term", "warehouse", "invoice_method",
    "shipment_method", "reference", "web_shop", "web_id", "comment", "lines", "description",
}  # fmt: skip
_LINE_FIELDS = {"type", "product", "unit", "quantity", "unit_price", "note", "description"}


class RuleBroken(Exception):
    """A rule of the ERP says no: 400 with these words."""


class Unknown(Exception):
    """A field or a model that there is not: 500 with its name."""


class Warehouse:
    """Everything the ERP knows. `now` gives seconds since 1970."""

    def __init__(self, books: Books, now: Callable[[], float], *, web_shop: str, customer: str) -> None:
        self._books = books
        self._now = now
        self._newest = datetime(2000, 1, 1)  # noqa: DTZ001 - as Tryton has it
        self.rows: dict[str, dict[int, Row]] = {model: {} for model in RELATIONS}
        self.done: dict[str, list[tuple[datetime, int]]] = {"stock.move": [], "stock.shipment.out": []}
        """Model -> (write date, id) of what is done, in that order."""
        self._sales: dict[str, int] = {}
        self._skus: dict[str, int] = {}
        self._waiting: deque[int] = deque()
        self._found(web_shop, customer)

    # --- reading ---------------------------------------------------------------------------------------------------
    def sale_of(self, web_id: str) -> Row | None:
        """Return the sale with this web id."""
        found = self._sales.get(web_id)
        return None if found is None else self.rows["sale.sale"][found]

    def done_since(self, model: str, moment: datetime) -> Iterator[Row]:
        """Yield what is done from `moment` on, oldest change first."""
        done = self.done[model]
        for _, key in done[bisect_left(done, (moment, 0)) :]:
            yield self.rows[model][key]

    def units(self, product: int) -> float:
        """Return the units of a product on the shelf."""
        sku = self.rows["product.product"][product]["code"]
        item = self._books.items.get(sku)
        if item is None:
            return 0.0
        return float(sum(level.available + level.committed for level in item.levels.values()))

    @property
    def waiting(self) -> int:
        """Shipments that wait for somebody to pack them."""
        return len(self._waiting)

    # --- sales -----------------------------------------------------------------------------------------------------
    def create_sale(self, values: Row) -> Row:
        """Make a sale. Raises RuleBroken for what a rule forbids, Unknown for a field that there is not."""
        for name in values:
            if name not in _SALE_FIELDS:
                raise Unknown(name)
        self._check_sale(values)
        lines = _created(values.get("lines"))
        for line in lines:
            self._check_line(line)
        web_id = values.get("web_id")
        if web_id and web_id in self._sales:
            raise RuleBroken("The web ID on the sale must be unique per shop.")
        moment = self._tick()
        sale = self._add(
            "sale.sale",
            {**{name: values.get(name) for name in _SALE_FIELDS}, "state": "draft", "lines": [], "create_date": moment},
        )
        sale["write_date"] = moment
        for line in lines:
            row = self._add("sale.line", {**{name: line.get(name) for name in _LINE_FIELDS}, "sale": sale["id"]})
            sale["lines"].append(row["id"])
        if web_id:
            self._sales[web_id] = sale["id"]
        self._book(sale)
        return sale

    def press(self, sale_id: int, button: str) -> Row | None:
        """Press a button of a sale; None when there is no such button. Raises KeyError, RuleBroken."""
        if button not in _BUTTONS:
            return None
        sale = self.rows["sale.sale"][sale_id]
        states, after = _BUTTONS[button]
        if sale["state"] not in states:
            raise RuleBroken(f'You can not call "{button}" on "{sale_id} [{sale["reference"] or ""}]" of "Sale".')
        answer = {**sale, "state": after}
        sale["state"] = after
        sale["write_date"] = self._tick()
        if button == "confirm":
            self._process(sale)  # as Tryton's queue does right after: the answer is older than that
        elif button == "process":
            self._process(sale)
            answer["state"] = "processing"
        self._order(sale).is_cancelled = after == "cancelled"
        return answer

    def _process(self, sale: Row) -> None:
        sale["state"] = "processing"
        goods = [line for line in self._lines(sale) if self._is_goods(line)]
        if not goods:
            sale["state"] = "done"
            return
        order, units = self._order(sale), {line["id"]: int(line["quantity"]) for line in goods}
        wanted = [(self._sku(line["product"]), units[line["id"]]) for line in goods]
        taken = self._books.take(wanted, (LOCATION,), enforces=False, now=self._now())
        for line, places in zip(order.lines, taken if isinstance(taken, list) else [], strict=False):
            line.taken.update(places)
        outgoing = [
            self._move(line["product"], units[line["id"]], OUTPUT, CUSTOMERS, f"sale.line,{line['id']}")
            for line in goods
        ]
        inner = [
            self._move(move["product"], int(move["internal_quantity"]), STORAGE, OUTPUT, f"stock.move,{move['id']}")
            for move in outgoing
        ]
        shipment = self._add(
            "stock.shipment.out",
            {
                "number": None, "reference": None, "state": "waiting", "create_date": self._tick(), "write_date": None,
                "outgoing_moves": [move["id"] for move in outgoing], "inventory_moves": [move["id"] for move in inner],
                "sale": sale["id"],
            },
        )  # fmt: skip
        shipment["number"] = str(shipment["id"])
        self._waiting.append(shipment["id"])

    # --- the warehouse ---------------------------------------------------------------------------------------------
    def ship_next(self) -> Row | None:
        """Ship the oldest shipment that everything is there for; None when there is none."""
        for _ in range(len(self._waiting)):
            key = self._waiting.popleft()
            shipment = self.rows["stock.shipment.out"][key]
            if self._can_ship(shipment):
                self._ship(shipment)
                return shipment
            self._waiting.append(key)
        return None

    def receive(self, sku: str, units: int, *, now: float) -> None:
        """Take goods in from a supplier. Raises KeyError for an unknown article."""
        self._done_move(self._skus[sku], units, SUPPLIER, STORAGE, None)
        level = self._books.items[sku].levels[LOCATION]
        self._books.set_available(sku, LOCATION, level.available + units, cause="control", now=now)

    def count(self, sku: str, units: int, *, now: float) -> None:
        """Somebody counted the shelf: what differs is moved from or to lost and found. Raises KeyError."""
        level = self._books.items[sku].levels[LOCATION]
        difference = units - level.available - level.committed
        if difference:
            ends = (LOST_FOUND, STORAGE) if difference > 0 else (STORAGE, LOST_FOUND)
            self._done_move(self._skus[sku], abs(difference), *ends, "stock.inventory.line,0")
            self._books.set_available(sku, LOCATION, level.available + difference, cause="control", now=now)

    def _can_ship(self, shipment: Row) -> bool:
        moves = self.rows["stock.move"]
        wanted: dict[int, float] = {}
        for key in shipment["inventory_moves"]:
            move = moves[key]
            wanted[move["product"]] = wanted.get(move["product"], 0.0) + move["internal_quantity"]
        return all(self.units(product) >= units for product, units in wanted.items())

    def _ship(self, shipment: Row) -> None:
        sale = self.rows["sale.sale"][shipment["sale"]]
        order = self._order(sale)
        self._finish("stock.move", shipment["inventory_moves"])
        self._finish("stock.move", shipment["outgoing_moves"])
        shipment["reference"] = f"TRACK-{shipment['id']}"
        shipment["state"] = "done"
        self._finish("stock.shipment.out", [shipment["id"]])
        now = self._now()
        for line in order.lines:
            if line.quantity > line.shipped:
                self._books.ship(line, LOCATION, line.quantity - line.shipped, now=now)
        sale["state"] = "done"
        self._books.count("shipment", order.key, now=now)

    # --- records ---------------------------------------------------------------------------------------------------
    def _add(self, model: str, row: Row) -> Row:
        rows = self.rows[model]
        made = {"id": len(rows) + 1, "__name__": model, **row}
        rows[made["id"]] = made
        return made

    def _move(self, product: int, units: int, begin: int, end: int, origin: str | None) -> Row:
        moment = self._tick()
        return self._add(
            "stock.move",
            {
                "product": product, "quantity": float(units), "internal_quantity": float(units), "from_location": begin,
                "to_location": end, "origin": origin, "state": "draft", "create_date": moment, "write_date": None,
            },
        )  # fmt: skip

    def _done_move(self, product: int, units: int, begin: int, end: int, origin: str | None) -> None:
        self._finish("stock.move", [self._move(product, units, begin, end, origin)["id"]])

    def _finish(self, model: str, keys: Sequence[int]) -> None:
        moment = self._tick()
        for key in sorted(keys):
            row = self.rows[model][key]
            row["state"], row["write_date"] = "done", moment
            self.done[model].append((moment, key))

    def _tick(self) -> datetime:
        """Return the moment of a transaction; each is later than the one before."""
        moment = datetime.fromtimestamp(self._now(), UTC).replace(tzinfo=None)
        self._newest = max(moment, self._newest + timedelta(microseconds=1))
        return self._newest

    def _check_sale(self, values: Row) -> None:
        wanted = {
            "company": COMPANY, "currency": CURRENCY, "web_shop": WEB_SHOP, "warehouse": WAREHOUSE, "party": CUSTOMER,
            "invoice_address": ADDRESS, "shipment_address": ADDRESS, "payment_term": TERM,
        }  # fmt: skip
        for name, record in wanted.items():
            value = values.get(name)
            if value is None and name in {"payment_term", "web_shop"}:
                continue
            if value != record:
                raise RuleBroken(f'The value "{value}" for field "{name}" in "Sale" is not valid.')

    def _check_line(self, line: Row) -> None:
        for name in line:
            if name not in _LINE_FIELDS:
                raise Unknown(name)
        if line.get("product") not in self.rows["product.product"]:
            raise RuleBroken(f'The value "{line.get("product")}" for field "Product" in "Sale Line" is not valid.')
        price = line.get("unit_price")
        text = price.get("decimal") if isinstance(price, dict) else None
        if not isinstance(text, str) or len(text.partition(".")[2]) > PRICE_DIGITS:
            raise RuleBroken(
                'The number of digits in the value for field "Unit Price" in "Sale Line" exceeds the limit of "4".'
            )
        units = line.get("quantity")
        if not isinstance(units, int | float) or isinstance(units, bool) or units <= 0 or units != int(units):
            raise RuleBroken(f'The value "{units}" for field "Quantity" in "Sale Line" is not valid.')

    def _book(self, sale: Row) -> None:
        """Write a sale into the books, goods only; its key is the web id, which there is once."""
        now = self._now()
        goods = [line for line in self._lines(sale) if self._is_goods(line)]
        order = Order(
            id=str(sale["id"]),
            key=sale["web_id"] or f"{sale['reference'] or 'sale'}#{sale['id']}",
            number=sale["id"],
            placed_at=now,
            currency="EUR",
            lines=[
                Line(
                    sku=self._sku(line["product"]),
                    quantity=int(line["quantity"]),
                    price_minor=round(float(line["unit_price"]["decimal"]) * 100),
                    taken={},
                )
                for line in goods
            ],
        )
        self._books.add_order(order)
        self._books.count("sale", sale["reference"] or order.key, now=now)

    def _order(self, sale: Row) -> Order:
        return self._books.orders[str(sale["id"])]

    def _lines(self, sale: Row) -> list[Row]:
        return [self.rows["sale.line"][key] for key in sale["lines"]]

    def _is_goods(self, line: Row) -> bool:
        return bool(self.rows["product.product"][line["product"]]["type"] == "goods")

    def _sku(self, product: int) -> str:
        return str(self.rows["product.product"][product]["code"])

    def _found(self, web_shop: str, customer: str) -> None:
        """Make the records that a company has before its first sale, and count what is on the shelf."""
        self._add("currency.currency", {"code": "EUR", "name": "Euro"})
        self._add("company.company", {"currency": CURRENCY, "rec_name": "Sandbox"})
        self._add("product.uom", {"name": "Unit"})
        self._add("account.invoice.payment_term", {"name": "On receipt"})
        self._add("party.party", {"name": "Sandbox", "code": "1", "addresses": [1]})
        self._add("party.party", {"name": customer, "code": "2", "addresses": [ADDRESS]})
        self._add("party.address", {"party": 1})
        self._add("party.address", {"party": CUSTOMER})
        for name, kind, parent in (
            ("Input Zone", "storage", WAREHOUSE),
            ("Output Zone", "storage", WAREHOUSE),
            ("Storage Zone", "storage", WAREHOUSE),
            ("Lost and Found", "lost_found", None),
            ("Warehouse", "warehouse", None),
            ("Supplier", "supplier", None),
            ("Customer", "customer", None),
        ):
            self._add("stock.location", {"name": name, "type": kind, "parent": parent, "active": True})
        self._add("web.shop", {"name": web_shop, "type": "custom", "company": COMPANY, "warehouses": [WAREHOUSE]})
        for code, name in (("SHIPPING", "Shipping"), ("DISCOUNT", "Discount")):
            self._add_product(code, name, "service", 0, None)
        for number, item in enumerate(self._books.items.values(), 1):
            product = self._add_product(item.sku, item.title, "goods", item.price_minor, item.barcode)
            self._skus[item.sku] = product["id"]
            units = item.levels[LOCATION].available
            if units > 0:
                self._done_move(product["id"], units, LOST_FOUND, STORAGE, f"stock.inventory.line,{number}")

    def _add_product(self, code: str, name: str, kind: str, price_minor: int, barcode: str | None) -> Row:
        identifiers = []
        if barcode:
            identifiers = [self._add("product.identifier", {"type": "ean", "code": barcode})["id"]]
        return self._add(
            "product.product",
            {
                "code": code, "rec_name": f"[{code}] {name}", "name": name, "type": kind, "default_uom": UNIT,
                "list_price_used": {"__class__": "Decimal", "decimal": f"{price_minor / 100:.2f}"},
                "identifiers": identifiers, "quantity": 0.0,
            },
        )  # fmt: skip


def _created(lines: Any) -> list[Row]:
    """Return the lines of `[["create", [...]]]`, the way to make records with their parent."""
    if not isinstance(lines, list):
        return []
    return [line for part in lines if isinstance(part, list) and part[:1] == ["create"] for line in part[1]]
