"""The shop's own records over the books: products and variations, orders with notes and refunds. Pure but for the clock.

Times count seconds. Stock follows the orders: it is taken when an order is placed, comes back when one is cancelled, and
what REST writes is taken as it is, below zero too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tidegate.sandbox.books import Item, Line, Order, OutOfStock
from tidegate.sandbox.woocommerce.answers import Refusal
from tidegate.sandbox.woocommerce.checks import ORDER_STATUSES
from tidegate.sandbox.world import Place

LOCATION = "shop"
FIRST_ID = 10
VERSION = "10.9.1"
Body = dict[str, Any]
_TAKES_STOCK = frozenset(("processing", "on-hold", "completed"))
_UNKNOWN = "pending"
"""What a status that there is not becomes in a batch."""


@dataclass(kw_only=True)
class Article:
    """A product, or a variation of `parent`. A product with variations has no `item`."""

    id: int
    name: str
    parent: int = 0
    item: Item | None = None
    children: list[int] = field(default_factory=list)
    manage_stock: bool = True
    created: float
    modified: float


@dataclass(kw_only=True)
class ShopOrder:
    """An order as the shop keeps it, over the one in the books."""

    order: Order
    status: str
    email: str
    modified: float
    paid_at: float | None
    completed_at: float | None = None
    has_taken: bool = True
    """Its units are out of the stock."""
    shipping_minor: int = 0
    extra: Body = field(default_factory=dict)
    meta: list[Body] = field(default_factory=list)
    notes: list[Body] = field(default_factory=list)
    refunds: list[Body] = field(default_factory=list)
    line_ids: list[int] = field(default_factory=list)

    @property
    def id(self) -> int:
        """Its id, a number as WordPress has it."""
        return int(self.order.id)


class Shop:
    """One shop. `on_change(resource, event, id)` is told of everything that a webhook could be about."""

    def __init__(
        self, place: Place, variations: Mapping[str, Sequence[str]], on_change: Callable[[str, str, int], None]
    ) -> None:
        self.place = place
        self.currency = place.world.spec.currency
        self.articles: dict[int, Article] = {}
        self.orders: dict[int, ShopOrder] = {}
        self.by_sku: dict[str, Article] = {}
        self._on_change = on_change
        self._last_id = FIRST_ID - 1
        self._last_part = 0
        self._gone_since: dict[str, float] = {}
        place.stock_items((LOCATION,))
        of_parent = {sku: name for name, skus in variations.items() for sku in skus}
        parents: dict[str, Article] = {}
        now = place.now()
        for sku, item in place.books.items.items():
            parent = None
            if sku in of_parent:
                name = of_parent[sku]
                parent = parents.get(name)
                if parent is None:
                    parent = parents[name] = self._add_article(name, now)
            article = self._add_article(item.title, now, item=item, parent=parent.id if parent else 0)
            self.by_sku[sku] = article
            if parent is not None:
                parent.children.append(article.id)

    def _add_article(self, name: str, now: float, *, item: Item | None = None, parent: int = 0) -> Article:
        article = Article(id=self.next_id(), name=name, parent=parent, item=item, created=now, modified=now)
        self.articles[article.id] = article
        return article

    def next_id(self) -> int:
        """Return a fresh id: products, orders and refunds share one row of numbers."""
        self._last_id += 1
        return self._last_id

    def next_part(self) -> int:
        """Return a fresh id of a line, a note or a piece of meta data."""
        self._last_part += 1
        return self._last_part

    # --- stock -----------------------------------------------------------------------------------------------------
    def set_stock(self, article: Article, quantity: int, *, cause: str) -> None:
        """Set the number of an article, whatever it is."""
        if article.item is None:
            raise ValueError("a product with variations has no number")
        now = self.place.now()
        self.place.books.set_available(article.item.sku, LOCATION, quantity, cause=cause, now=now)
        if cause == "write":  # what a sale takes goes around the product: its time of change stays
            self.place.books.count("stock_set", f"{article.item.sku}@{LOCATION}", now=now)
            article.modified = now
            self._on_change("product", "updated", article.id)

    def _is_sold_on(self, sku: str, now: float, seconds: float) -> bool:
        level = self.place.books.items[sku].levels.get(LOCATION)
        if level is not None and level.available > 0:
            self._gone_since.pop(sku, None)
            return True
        return now - self._gone_since.setdefault(sku, now) < seconds

    def change_article(self, article: Article, body: Body) -> None:
        """Change an article as REST does. What is no number counts as 0, which only a batch lets through."""
        if isinstance(body.get("manage_stock"), bool):
            article.manage_stock = body["manage_stock"]
        if article.manage_stock and "stock_quantity" in body:
            quantity = body["stock_quantity"]
            self.set_stock(article, quantity if type(quantity) is int else 0, cause="write")

    # --- orders ----------------------------------------------------------------------------------------------------
    def buy(
        self,
        key: str,
        wanted: Sequence[tuple[str, int]],
        *,
        email: str,
        enforces: bool,
        sells_on_seconds: float = 0.0,
        status: str = "processing",
        extra: Body | None = None,
    ) -> ShopOrder | OutOfStock:
        """Place an order: at the checkout, or by REST, which sells what is not there.

        For `sells_on_seconds` after an article is gone it is sold all the same: people are on their way to pay.
        """
        books, now = self.place.books, self.place.now()
        if enforces and sells_on_seconds:
            enforces = not all(self._is_sold_on(sku, now, sells_on_seconds) for sku, _ in wanted)
        taken = books.take(wanted, (LOCATION,), enforces=enforces, now=now)
        if isinstance(taken, OutOfStock):
            return taken
        number = self.next_id()
        order = Order(
            id=str(number),
            key=key,
            number=number,
            placed_at=now,
            currency=self.currency,
            lines=[
                Line(sku=sku, quantity=units, price_minor=books.items[sku].price_minor, taken=dict(part))
                for (sku, units), part in zip(wanted, taken, strict=True)
            ],
        )
        books.add_order(order)
        more = extra or {}
        found = ShopOrder(
            order=order,
            status=status,
            email=email,
            modified=now,
            paid_at=now if status in ("processing", "completed") else None,
            shipping_minor=int(more.get("shipping_minor", 0)),
            extra=more,
            line_ids=[self.next_part() for _ in order.lines],
        )
        self.orders[number] = found
        self._on_change("order", "created", number)
        return found

    def change_order(self, found: ShopOrder, body: Body) -> None:
        """Change status and meta data. A status that there is not becomes `pending`, which only a batch lets through."""
        for meta in body.get("meta_data", ()):
            self._put_meta(found, meta)
        if "status" in body:
            self._set_status(found, body["status"] if body["status"] in ORDER_STATUSES else _UNKNOWN)
        self._touch(found)

    def add_note(self, found: ShopOrder, text: str, *, is_for_buyer: bool) -> Body:
        """Add a note. WooCommerce has no key for them: the same note twice is two notes."""
        now = self.place.now()
        note = {
            "id": self.next_part(),
            "author": "WooCommerce",
            "date_created": moment(now),
            "date_created_gmt": moment(now),
            "note": text,
            "customer_note": is_for_buyer,
        }
        found.notes.append(note)
        self.place.books.count("note", f"{found.id}:{text}", now=now)
        return note

    def refund(self, found: ShopOrder, body: Body) -> Body:
        """Give money back. Raises Refusal, with the 500 that WooCommerce has for it."""
        amount = minor(str(body.get("amount") or "0"))
        left = self.total_minor(found) - sum(refund["amount_minor"] for refund in found.refunds)
        if amount <= 0 or amount > left:
            raise Refusal(500, "woocommerce_rest_cannot_create_order_refund", "Invalid refund amount.")
        now = self.place.now()
        refund = {
            "id": self.next_id(),
            "amount_minor": amount,
            "reason": str(body.get("reason") or ""),
            "at": now,
            "moves_money": body.get("api_refund", True),
            "meta": [{"id": self.next_part(), **meta} for meta in body.get("meta_data", ())],
        }
        found.refunds.append(refund)
        keys = [str(meta.get("value")) for meta in body.get("meta_data", ())] or [str(refund["id"])]
        self.place.books.count("refund", f"{found.order.key}:{keys[0]}", amount=amount, now=now)
        if body.get("api_restock", True) and found.has_taken and amount == left:
            self._put_back(found, cause="refund")
        if amount == left:
            found.status = "refunded"
        self._touch(found)
        return refund

    def total_minor(self, found: ShopOrder) -> int:
        """Return what the order costs."""
        return found.order.total_minor + found.shipping_minor

    def _put_meta(self, found: ShopOrder, meta: Body) -> None:
        key = str(meta.get("key", ""))
        for known in found.meta:
            if known["key"] == key:
                known["value"] = meta.get("value")
                return
        found.meta.append({"id": self.next_part(), "key": key, "value": meta.get("value")})
        self.place.books.count("meta", f"{found.id}:{key}", now=self.place.now())

    def _set_status(self, found: ShopOrder, status: str) -> None:
        now = self.place.now()
        if status == found.status:
            return
        found.status = status
        if status in ("processing", "completed") and found.paid_at is None:
            found.paid_at = now
        if status == "completed":
            found.completed_at = now
            self.place.books.count("fulfillment", found.order.key, now=now)
            for line in found.order.lines:
                self.place.books.ship(line, LOCATION, line.quantity - line.shipped, now=now)
        if status in ("cancelled", "pending") and found.has_taken:
            self._put_back(found, cause="cancel")
        found.order.is_cancelled = status == "cancelled"
        if status in _TAKES_STOCK and not found.has_taken:
            wanted = [(line.sku, line.quantity) for line in found.order.lines]
            self.place.books.take(wanted, (LOCATION,), enforces=False, now=now)
            found.has_taken = True

    def _put_back(self, found: ShopOrder, *, cause: str) -> None:
        now = self.place.now()
        for line in found.order.lines:
            self.place.books.put_back(line, LOCATION, line.quantity, was_shipped=line.shipped > 0, cause=cause, now=now)
        found.has_taken = False

    def _touch(self, found: ShopOrder) -> None:
        found.modified = self.place.now()
        self._on_change("order", "updated", found.id)

    # --- as JSON ---------------------------------------------------------------------------------------------------
    def render_order(self, found: ShopOrder) -> Body:
        """Return an order as the API and its webhooks show it."""
        refunds = [
            {"id": one["id"], "reason": one["reason"], "total": f"-{major(one['amount_minor'])}", "total_tax": "0.00"}
            for one in found.refunds
        ]
        address = {
            "first_name": "Robin", "last_name": "Tester", "company": "", "address_1": "1 Test Street", "address_2": "",
            "city": "Berlin", "state": "", "postcode": "10115", "country": "DE", "phone": "",
        }  # fmt: skip
        created, shipping = moment(found.order.placed_at), major(found.shipping_minor)
        return {
            "id": found.id, "parent_id": 0, "status": found.status, "currency": self.currency, "version": VERSION,
            "prices_include_tax": False, "date_created": created, "date_modified": moment(found.modified),
            "discount_total": "0.00", "discount_tax": "0.00", "shipping_total": shipping, "shipping_tax": "0.00",
            "cart_tax": "0.00", "total": major(self.total_minor(found)), "total_tax": "0.00", "customer_id": 0,
            "order_key": f"wc_order_{found.id}", "billing": {**address, "email": found.email}, "shipping": address,
            "payment_method": found.extra.get("payment_method", "bacs"), "payment_method_title": "",
            "transaction_id": found.extra.get("transaction_id", ""), "created_via": "checkout", "customer_note": "",
            "date_completed": _moment(found.completed_at), "date_paid": _moment(found.paid_at), "number": str(found.id),
            "meta_data": [*found.extra.get("meta_data", ()), *found.meta],
            "line_items": [self._render_line(*pair) for pair in zip(found.line_ids, found.order.lines, strict=True)],
            "tax_lines": [], "fee_lines": [], "coupon_lines": [], "refunds": refunds,
            "shipping_lines": [{"id": 1, "method_id": "flat_rate", "instance_id": "1", "total": shipping}],
            "needs_payment": found.status == "pending", "date_created_gmt": created,
            "date_modified_gmt": moment(found.modified), "date_completed_gmt": _moment(found.completed_at),
            "date_paid_gmt": _moment(found.paid_at), "currency_symbol": "",
        }  # fmt: skip

    def _render_line(self, line_id: int, line: Line) -> Body:
        article = self.by_sku[line.sku]
        total = major(line.quantity * line.price_minor)
        return {
            "id": line_id, "name": article.name, "product_id": article.parent or article.id,
            "variation_id": article.id if article.parent else 0, "quantity": line.quantity, "tax_class": "",
            "subtotal": total, "subtotal_tax": "0.00", "total": total, "total_tax": "0.00", "taxes": [],
            "meta_data": [{"id": line_id, "key": "_reduced_stock", "value": str(line.quantity)}], "sku": line.sku,
            "global_unique_id": "", "price": line.price_minor / 100, "image": {"id": "", "src": ""}, "parent_name": None,
        }  # fmt: skip

    def render_article(self, article: Article) -> Body:
        """Return a product or a variation."""
        item = article.item
        counts = item is not None and article.manage_stock
        quantity = item.levels[LOCATION].available if item is not None and counts else None
        price = major(item.price_minor) if item is not None else ""
        kind = "variation" if article.parent else "variable" if item is None else "simple"
        times = {"date_created": moment(article.created), "date_modified": moment(article.modified)}
        return {
            "id": article.id, "name": article.name, "type": kind, "status": "publish", "parent_id": article.parent,
            "sku": item.sku if item is not None else "", "price": price, "regular_price": price, "sale_price": "",
            "global_unique_id": (item.barcode or "") if item is not None else "", "manage_stock": counts,
            "stock_quantity": quantity, "stock_status": "instock" if quantity is None or quantity > 0 else "outofstock",
            "backorders": "no", "backorders_allowed": False, "variations": list(article.children), "meta_data": [],
            **times, **{f"{name}_gmt": value for name, value in times.items()},
        }  # fmt: skip

    def render_refund(self, refund: Body) -> Body:
        """Return a refund."""
        return {
            "id": refund["id"], "date_created": moment(refund["at"]), "date_created_gmt": moment(refund["at"]),
            "amount": major(refund["amount_minor"]), "reason": refund["reason"], "refunded_by": 1,
            "refunded_payment": bool(refund["moves_money"]), "meta_data": refund["meta"], "line_items": [],
            "shipping_lines": [], "tax_lines": [], "fee_lines": [],
        }  # fmt: skip

    def products(self) -> Iterator[Article]:
        """Yield what `/products` lists: no variations."""
        return (article for article in self.articles.values() if not article.parent)

    def variations(self, parent: int | None = None) -> Iterator[Article]:
        """Yield variations, of one product or of all."""
        return (a for a in self.articles.values() if a.parent and parent in (None, a.parent))


def moment(seconds: float) -> str:
    """Return a time as WordPress writes it: whole seconds, no zone."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else moment(seconds)


def major(amount: int) -> str:
    """Return an amount with two decimals."""
    sign = "-" if amount < 0 else ""
    return f"{sign}{abs(amount) // 100}.{abs(amount) % 100:02d}"


def minor(text: str) -> int:
    """Return an amount in hundredths; 0 for what is no number."""
    whole, _, cents = text.partition(".")
    digits = whole.removeprefix("-")
    if not digits.isdigit() or not (cents or "0").isdigit():
        return 0
    amount = int(digits) * 100 + int((cents + "00")[:2])
    return -amount if text.startswith("-") else amount
