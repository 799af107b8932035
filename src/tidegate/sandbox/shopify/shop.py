"""A shop's things: products, locations, orders with what becomes of them. Changes them, and says what it changed.

An article of the books is a product with one variant. Ids count up, so that a seed gives the same shop again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from tidegate.kernel.errors import ConfigurationError
from tidegate.sandbox.books import Item, Line, Order, OutOfStock, Payment
from tidegate.sandbox.world import Place, Purchase, Sale

ORDER_IDS = 5_000_000_000_000
LINE_IDS = 14_000_000_000_000
FULFILLMENT_ORDER_IDS = 6_000_000_000_000
FULFILLMENT_ORDER_LINE_IDS = 15_000_000_000_000
FULFILLMENT_IDS = 4_000_000_000_000
TRANSACTION_IDS = 7_100_000_000_000
REFUND_IDS = 900_000_000_000
PRODUCT_IDS = 8_000_000_000_000
VARIANT_IDS = 43_000_000_000_000
ITEM_IDS = 45_000_000_000_000
LOCATION_IDS = 70_000_000_000
CUSTOMER_IDS = 6_500_000_000_000
FIRST_NUMBER = 1001


class Options(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Options of a shop. Without `subscriptions` an app must ask for its webhooks by the API.

    `plan` decides the bucket. `serves` is the version that really runs whatever is asked for; `schema` the file of the
    official schema; `search_lag_seconds` is how long a change stays out of searches; `latency_seconds` how long each call
    takes; `bulk_seconds` how long a bulk operation takes, in the platform's time.
    """

    shop: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]*$")] = "sandbox"
    plan: str = "standard"
    locations: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=50)] = ("Warehouse",)
    access_token: str = "shpat_sandbox"  # noqa: S105 - not a secret: a sandbox's
    client_id: str = "sandbox-client"
    client_secret: str = "shpss_sandbox_0123456789abcdef0123456789"  # noqa: S105 - not a secret: a sandbox's
    refresh_token: str | None = None
    scopes: tuple[str, ...] = (
        "read_orders",
        "write_orders",
        "read_products",
        "read_locations",
        "read_inventory",
        "write_inventory",
        "read_fulfillments",
        "write_fulfillments",
        "read_merchant_managed_fulfillment_orders",
        "write_merchant_managed_fulfillment_orders",
        "read_customers",
    )
    serves: str | None = None
    schema: str | None = None
    search_lag_seconds: Annotated[float, msgspec.Meta(ge=0, le=600)] = 0.0
    latency_seconds: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0.0
    bulk_seconds: Annotated[float, msgspec.Meta(ge=0)] = 10.0


class Extra(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What a purchase at this shop may say beside its lines.

    `payment`: paid, authorized or pending. `psp_reference` is the payment's id at the provider, `gateway` its name.
    """

    payment: str = "paid"
    gateway: str = "bogus"
    psp_reference: str | None = None
    shipping_minor: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 0
    first_name: str = "Sam"
    last_name: str = "Shopper"
    note: str | None = None


@dataclass
class ShopLine:
    """A line of an order. `removed` units were cancelled or refunded without being shipped."""

    id: int
    line: Line
    item: int
    removed: int = 0
    refunded: int = 0

    @property
    def current(self) -> int:
        """Return how many units are left of it."""
        return self.line.quantity - self.removed - self.refunded


@dataclass
class FulfillmentLine:
    """Units of a line that one location has to ship."""

    id: int
    line: ShopLine
    total: int
    remaining: int


@dataclass
class FulfillmentOrder:
    """What one location has to ship of an order."""

    id: int
    order: ShopOrder
    location: str
    lines: list[FulfillmentLine]
    updated_at: float
    status: str = "OPEN"


@dataclass
class Fulfillment:
    """A shipment. `lines` are units of lines."""

    id: int
    order: ShopOrder
    location: str
    lines: list[tuple[ShopLine, int]]
    created_at: float
    updated_at: float
    number: int
    tracking: list[dict[str, str | None]] = field(default_factory=list)
    status: str = "SUCCESS"


@dataclass
class Transaction:
    """Money that moved, or was tried to. `kind` and `status` in the API's words."""

    id: int
    order: ShopOrder
    kind: str
    status: str
    amount_minor: int
    gateway: str
    created_at: float
    parent: Transaction | None = None
    psp_reference: str | None = None


@dataclass
class Refund:
    """Money and units that went back."""

    id: int
    order: ShopOrder
    note: str | None
    created_at: float
    lines: list[tuple[ShopLine, int, str, str | None]]
    transactions: list[Transaction]


@dataclass
class ShopOrder:
    """An order with everything that belongs to it."""

    id: int
    name: str
    order: Order
    email: str
    extra: Extra
    customer_id: int
    created_at: float
    updated_at: float
    lines: list[ShopLine]
    cancelled_at: float | None = None
    cancel_reason: str | None = None
    closed_at: float | None = None
    fulfillment_orders: list[FulfillmentOrder] = field(default_factory=list)
    fulfillments: list[Fulfillment] = field(default_factory=list)
    transactions: list[Transaction] = field(default_factory=list)
    refunds: list[Refund] = field(default_factory=list)

    @property
    def total_minor(self) -> int:
        """Return what was ordered, with shipping."""
        return self.order.total_minor + self.extra.shipping_minor

    @property
    def current_minor(self) -> int:
        """Return what is left of the total after what was taken out."""
        taken = sum((line.removed + line.refunded) * line.line.price_minor for line in self.lines)
        return self.total_minor - taken

    def moved(self, *kinds: str) -> int:
        """Return the successful amounts of these kinds of transaction."""
        return sum(one.amount_minor for one in self.transactions if one.kind in kinds and one.status == "SUCCESS")

    @property
    def received_minor(self) -> int:
        """Return what was paid, refunds not counted."""
        return self.moved("SALE", "CAPTURE")

    @property
    def financial_status(self) -> str:
        """Return it in the API's words."""
        received, refunded = self.received_minor, self.moved("REFUND")
        if received:
            if refunded >= received:
                return "REFUNDED"
            if refunded:
                return "PARTIALLY_REFUNDED"
            return "PAID" if received >= self.current_minor else "PARTIALLY_PAID"
        if self.moved("VOID"):
            return "VOIDED"
        return "AUTHORIZED" if self.moved("AUTHORIZATION") else "PENDING"

    @property
    def fulfillment_status(self) -> str:
        """Return it in the API's words."""
        wanted = sum(line.line.quantity - line.removed for line in self.lines)
        shipped = sum(line.line.shipped for line in self.lines)
        if shipped and shipped >= wanted:
            return "FULFILLED"
        return "PARTIALLY_FULFILLED" if shipped else "UNFULFILLED"


Tell = Callable[[str, Any], None]
"""Is told what happened: the topic (`orders/create`) and the thing."""


class Shop:
    """One shop over the books of its place."""

    def __init__(self, place: Place, options: Options, tell: Tell) -> None:
        self.place, self.options, self._tell = place, options, tell
        place.stock_items(options.locations)
        self.created_at = place.now()
        self.skus = list(place.books.items)
        self.numbers = {sku: number for number, sku in enumerate(self.skus, start=1)}
        self.orders: dict[int, ShopOrder] = {}
        self.by_change: dict[int, ShopOrder] = {}
        """Orders, the one that changed last at the end."""
        self.fulfillment_orders: dict[int, FulfillmentOrder] = {}
        self.fulfillments: dict[int, Fulfillment] = {}
        self.refunds: dict[int, Refund] = {}
        self.touched: dict[str, float] = {}
        """When an article's stock last changed."""
        self._ids: dict[int, int] = {}
        self._newest_change = 0.0

    # --- reading -----------------------------------------------------------------------------------------------------
    def item_of(self, number: int) -> Item | None:
        """Return the article with this number (1, 2, ...)."""
        return self.place.books.items[self.skus[number - 1]] if 1 <= number <= len(self.skus) else None

    def location_of(self, number: int) -> str | None:
        """Return the location with this id."""
        index = number - LOCATION_IDS - 1
        return self.options.locations[index] if 0 <= index < len(self.options.locations) else None

    def location_id(self, location: str) -> int:
        """Return the id of a location."""
        return LOCATION_IDS + 1 + self.options.locations.index(location)

    # --- shoppers ----------------------------------------------------------------------------------------------------
    def buy(self, purchase: Purchase, key: str) -> Sale | OutOfStock:
        """Check out: take the stock, make the order, and tell of it."""
        extra = msgspec.convert(purchase.extra, Extra)
        place, now = self.place, self.place.now()
        wanted = [(line.sku, line.quantity) for line in purchase.lines]
        taken = place.books.take(wanted, self.options.locations, enforces=place.spec.enforces_stock, now=now)
        if isinstance(taken, OutOfStock):
            return taken
        number = FIRST_NUMBER + len(self.orders)
        lines = [
            Line(sku=sku, quantity=units, price_minor=place.books.items[sku].price_minor, taken=where)
            for (sku, units), where in zip(wanted, taken, strict=True)
        ]
        order_id = self._id(ORDER_IDS)
        order = Order(
            id=str(order_id), key=key, number=number, placed_at=now, currency=place.world.spec.currency, lines=lines
        )
        place.books.add_order(order)
        made = ShopOrder(
            id=order_id,
            name=f"#{number}",
            order=order,
            email=purchase.email,
            extra=extra,
            customer_id=self._id(CUSTOMER_IDS),
            created_at=now,
            updated_at=now,
            lines=[ShopLine(self._id(LINE_IDS), line, self.numbers[line.sku]) for line in lines],
        )
        self.orders[order_id] = made
        self._plan_shipping(made, now)
        self._pay(made, now)
        self._touch(made)
        self._tell("orders/create", made)
        for transaction in made.transactions:
            self._tell("order_transactions/create", transaction)
        if made.financial_status == "PAID":
            self._tell("orders/paid", made)
        for sku in dict.fromkeys(sku for sku, _ in wanted):
            for location in {where for line in lines if line.sku == sku for where in line.taken}:
                self.stock_changed(sku, location)
        return Sale(sold=True, key=key, id=str(order_id), number=number)

    def _plan_shipping(self, order: ShopOrder, now: float) -> None:
        for location in self.options.locations:
            parts = [(line, line.line.taken.get(location, 0)) for line in order.lines]
            lines = [
                FulfillmentLine(self._id(FULFILLMENT_ORDER_LINE_IDS), line, units, units)
                for line, units in parts
                if units
            ]
            if lines:
                one = FulfillmentOrder(self._id(FULFILLMENT_ORDER_IDS), order, location, lines, now)
                order.fulfillment_orders.append(one)
                self.fulfillment_orders[one.id] = one

    def _pay(self, order: ShopOrder, now: float) -> None:
        extra, total = order.extra, order.total_minor
        payment = Payment(id=str(order.id), order_key=order.order.key, currency=order.order.currency)
        self.place.books.payments[payment.id] = payment
        if extra.payment == "pending":
            return
        kind = "AUTHORIZATION" if extra.payment == "authorized" else "SALE"
        payment.authorised = total
        payment.captured = total if kind == "SALE" else 0
        self._add_transaction(order, kind, total, now)

    def set_stock(self, sku: str, location: str | None, quantity: int) -> None:
        """Somebody counted."""
        where = location or self.options.locations[0]
        self.place.books.set_available(sku, where, quantity, cause="control", now=self.place.now())
        self.stock_changed(sku, where)

    def stock_changed(self, sku: str, location: str) -> None:
        """Note and tell that a number changed."""
        self.touched[sku] = self.place.now()
        self._tell("inventory_levels/update", (sku, location))

    # --- merchants and apps --------------------------------------------------------------------------------------------
    def fulfil(
        self, parts: Sequence[tuple[FulfillmentOrder, Mapping[int, int] | None]], tracking: list[dict[str, str | None]]
    ) -> Fulfillment:
        """Ship what is left of fulfillment orders, or so many units of their lines by id. They are of one order and place."""
        now, order = self.place.now(), parts[0][0].order
        shipped: list[tuple[ShopLine, int]] = []
        for one, units_by_line in parts:
            for line in one.lines:
                units = line.remaining if units_by_line is None else units_by_line.get(line.id, 0)
                if units:
                    line.remaining -= units
                    self.place.books.ship(line.line.line, one.location, units, now=now)
                    self.touched[line.line.line.sku] = now
                    shipped.append((line.line, units))
            one.status = "CLOSED" if not any(line.remaining for line in one.lines) else "IN_PROGRESS"
            one.updated_at = now
        fulfillment = Fulfillment(
            id=self._id(FULFILLMENT_IDS),
            order=order,
            location=parts[0][0].location,
            lines=shipped,
            created_at=now,
            updated_at=now,
            number=len(order.fulfillments) + 1,
            tracking=tracking,
        )
        order.fulfillments.append(fulfillment)
        self.fulfillments[fulfillment.id] = fulfillment
        units = sum(units for _, units in shipped)
        self.place.books.count("fulfillment", order.order.key, amount=units, now=now)
        if order.fulfillment_status == "FULFILLED" and order.financial_status == "PAID":
            order.closed_at = now
        self._touch(order)
        self._tell("fulfillments/create", fulfillment)
        is_whole = order.fulfillment_status == "FULFILLED"
        self._tell("orders/fulfilled" if is_whole else "orders/partially_fulfilled", order)
        self._tell("orders/updated", order)
        return fulfillment

    def set_tracking(self, fulfillment: Fulfillment, tracking: list[dict[str, str | None]]) -> None:
        """Give a shipment other tracking."""
        fulfillment.tracking = tracking
        fulfillment.updated_at = self.place.now()
        self.place.books.count("tracking", str(fulfillment.id), now=self.place.now())
        self._touch(fulfillment.order)
        self._tell("fulfillments/update", fulfillment)

    def refund(
        self,
        order: ShopOrder,
        lines: Sequence[tuple[ShopLine, int, str, str | None]],
        money: Sequence[tuple[Transaction, int]],
        note: str | None,
    ) -> Refund:
        """Refund units (with RETURN, CANCEL or NO_RESTOCK and a location) and money of transactions."""
        now = self.place.now()
        payment = self.place.books.payments[str(order.id)]
        made = []
        for parent, amount in money:
            transaction = self._add_transaction(order, "REFUND", amount, now, parent=parent)
            payment.refunded += amount
            made.append(transaction)
        for line, units, how, location in lines:
            was_shipped = line.line.shipped > line.refunded and how != "CANCEL"
            if was_shipped:
                line.refunded += units
            else:
                line.removed += units
                self._unplan(order, line, units)
            line.line.refunded += units
            where = location or next(iter(line.line.taken))
            if how in ("RETURN", "CANCEL"):
                self.place.books.put_back(line.line, where, units, was_shipped=was_shipped, cause="refund", now=now)
                self.stock_changed(line.line.sku, where)
            elif not was_shipped:
                self.place.books.items[line.line.sku].levels[where].committed -= units
        refund = Refund(self._id(REFUND_IDS), order, note, now, list(lines), made)
        order.refunds.append(refund)
        self.refunds[refund.id] = refund
        self.place.books.count("refund", order.order.key, amount=sum(one.amount_minor for one in made), now=now)
        self._touch(order)
        self._tell("refunds/create", refund)
        for transaction in made:
            self._tell("order_transactions/create", transaction)
        self._tell("orders/updated", order)
        return refund

    def cancel(self, order: ShopOrder, reason: str, *, restock: bool, note: str | None = None) -> None:
        """Cancel what is not shipped; an authorisation is voided, what was paid is refunded."""
        now = self.place.now()
        order.cancelled_at, order.cancel_reason, order.order.is_cancelled = now, reason, True
        lines = [
            (line, left, "CANCEL" if restock else "NO_RESTOCK", None)
            for line in order.lines
            if (left := line.line.quantity - line.line.shipped - line.removed) > 0
        ]
        open_minor = order.received_minor - order.moved("REFUND")
        paid = next(
            (one for one in order.transactions if one.kind in ("SALE", "CAPTURE") and one.status == "SUCCESS"), None
        )
        if lines or (paid is not None and open_minor):
            self.refund(order, lines, [(paid, open_minor)] if paid is not None and open_minor else [], note)
        authorised = next((one for one in order.transactions if one.kind == "AUTHORIZATION"), None)
        if authorised is not None and not order.received_minor:
            self._add_transaction(order, "VOID", authorised.amount_minor, now, parent=authorised)
            self.place.books.payments[str(order.id)].is_voided = True
        for one in order.fulfillment_orders:
            if one.status != "CLOSED":
                one.status, one.updated_at = "CANCELLED", now
        self.place.books.count("cancel", order.order.key, now=now)
        self._touch(order)
        self._tell("orders/cancelled", order)
        self._tell("orders/updated", order)

    def capture(self, order: ShopOrder, parent: Transaction, amount_minor: int) -> Transaction:
        """Take money of an authorisation."""
        now = self.place.now()
        transaction = self._add_transaction(order, "CAPTURE", amount_minor, now, parent=parent)
        self.place.books.payments[str(order.id)].captured += amount_minor
        self.place.books.count("capture", order.order.key, amount=amount_minor, now=now)
        self._touch(order)
        self._tell("order_transactions/create", transaction)
        if order.financial_status == "PAID":
            self._tell("orders/paid", order)
        self._tell("orders/updated", order)
        return transaction

    def _unplan(self, order: ShopOrder, line: ShopLine, units: int) -> None:
        """Take units of a line out of what has to be shipped."""
        for one in order.fulfillment_orders:
            for part in one.lines:
                if part.line is line and units:
                    gone = min(units, part.remaining)
                    part.remaining -= gone
                    units -= gone
            if one.status in ("OPEN", "IN_PROGRESS") and not any(part.remaining for part in one.lines):
                one.status = "CLOSED"

    def _add_transaction(
        self, order: ShopOrder, kind: str, amount_minor: int, now: float, *, parent: Transaction | None = None
    ) -> Transaction:
        number = self._id(TRANSACTION_IDS)
        reference = order.extra.psp_reference if kind != "REFUND" else None
        transaction = Transaction(
            number, order, kind, "SUCCESS", amount_minor, order.extra.gateway, now, parent, reference
        )
        order.transactions.append(transaction)
        return transaction

    def _touch(self, order: ShopOrder) -> None:
        """Note that an order changed: it is the newest now, even where the clock went back."""
        self._newest_change = order.updated_at = max(self._newest_change, self.place.now())
        self.by_change.pop(order.id, None)
        self.by_change[order.id] = order

    def _id(self, base: int) -> int:
        number = self._ids.get(base, base) + 1
        self._ids[base] = number
        return number


def check_options(options: Options, plans: Mapping[str, Any]) -> None:
    """Raise ConfigurationError for a plan that there is not."""
    if options.plan not in plans:
        raise ConfigurationError(f"there is no plan {options.plan!r}; there are {', '.join(sorted(plans))}")
