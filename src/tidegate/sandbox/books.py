"""What a platform holds and what was done to it: articles with stock, orders, payments, and every effect by its key.

A test asks the books what was lost, doubled or oversold; nobody else's word counts. All in memory, all bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import msgspec

ITEMS_MAX = 200_000
ORDERS_MAX = 500_000
EFFECTS_MAX = 2_000_000
CHANGES_KEPT = 200_000


class BooksFull(Exception):
    """A platform holds as much as it may."""


class Level(msgspec.Struct):
    """An article at one location, in units: what can be sold, and what is sold and not shipped yet."""

    available: int = 0
    committed: int = 0


class Item(msgspec.Struct, kw_only=True):
    """An article. `sold` and `returned` are units since the start; `oversold` is how far sales went below zero."""

    sku: str
    title: str
    price_minor: int
    barcode: str | None = None
    levels: dict[str, Level]
    sold: int = 0
    returned: int = 0
    oversold: int = 0


class Line(msgspec.Struct, kw_only=True):
    """A line of an order. `taken` tells from which locations the units came."""

    sku: str
    quantity: int
    price_minor: int
    taken: dict[str, int]
    shipped: int = 0
    shipped_at: float | None = None
    """When units of it left last, by what this platform was told."""
    refunded: int = 0


class Order(msgspec.Struct, kw_only=True):
    """An order as its platform sees it. `key` is what the shopper called it, unique on the platform."""

    id: str
    key: str
    number: int
    placed_at: float
    currency: str
    lines: list[Line]
    is_cancelled: bool = False

    @property
    def total_minor(self) -> int:
        """Return what it costs."""
        return sum(line.quantity * line.price_minor for line in self.lines)


class Payment(msgspec.Struct, kw_only=True):
    """Money of one payment, in minor units."""

    id: str
    order_key: str | None
    currency: str
    authorised: int = 0
    captured: int = 0
    refunded: int = 0
    is_voided: bool = False


class Effect(msgspec.Struct):
    """How often something was done under one key, and how much in all."""

    times: int = 0
    amount: int = 0
    first_at: float = 0.0
    last_at: float = 0.0


class Change(msgspec.Struct):
    """A stock number became another one. `cause`: sale, cancel, refund, write, control. Numbered from 1, without gaps."""

    number: int
    at: float
    sku: str
    location: str
    available: int
    cause: str


class OutOfStock(msgspec.Struct):
    """There is not enough of `sku`: `available` units in all."""

    sku: str
    available: int


class Books:
    """The books of one platform. Times are seconds since 1970."""

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}
        self.orders: dict[str, Order] = {}
        self.payments: dict[str, Payment] = {}
        self.effects: dict[str, dict[str, Effect]] = {}
        self.changes: deque[Change] = deque(maxlen=CHANGES_KEPT)
        self.refused_sales = 0
        self._order_keys: dict[str, str] = {}
        self._effects_held = 0
        self._changes_made = 0

    def add_item(self, item: Item) -> None:
        """Take an article in; an article of that SKU must not be there yet."""
        if item.sku in self.items:
            raise ValueError(f"two articles are called {item.sku!r}")
        if len(self.items) >= ITEMS_MAX:
            raise BooksFull(f"more than {ITEMS_MAX} articles")
        self.items[item.sku] = item

    def add_order(self, order: Order) -> None:
        """Take an order in; its key must be new."""
        if order.key in self._order_keys:
            raise ValueError(f"an order {order.key!r} is there already")
        if len(self.orders) >= ORDERS_MAX:
            raise BooksFull(f"more than {ORDERS_MAX} orders")
        self.orders[order.id] = order
        self._order_keys[order.key] = order.id

    def order_by_key(self, key: str) -> Order | None:
        """Return the order that its shopper called so."""
        found = self._order_keys.get(key)
        return None if found is None else self.orders[found]

    def take(
        self, wanted: Sequence[tuple[str, int]], locations: Sequence[str], *, enforces: bool, now: float
    ) -> list[dict[str, int]] | OutOfStock:
        """Sell (SKU, units), all or nothing, from the locations in their order. Return per line where the units came from.

        Where the platform does not enforce its stock, what is missing is taken from the first location, which goes below
        zero; the article's `oversold` counts it.
        """
        plan: list[dict[str, int]] = []
        planned: dict[tuple[str, str], int] = {}
        for sku, quantity in wanted:
            item, taken, left = self.items[sku], {}, quantity
            for location in locations:
                level = item.levels.get(location)
                held = level.available - planned.get((sku, location), 0) if level is not None else 0
                units = max(0, min(held, left))
                if units:
                    taken[location] = units
                    left -= units
            if left and enforces:
                self.refused_sales += 1
                return OutOfStock(sku, quantity - left)
            if left:
                item.oversold += left
                taken[locations[0]] = taken.get(locations[0], 0) + left
            for location, units in taken.items():
                planned[sku, location] = planned.get((sku, location), 0) + units
            plan.append(taken)
        for (sku, location), units in planned.items():
            item = self.items[sku]
            item.sold += units
            level = item.levels.setdefault(location, Level())
            level.available -= units
            level.committed += units
            self._changed(item.sku, location, level.available, "sale", now)
        return plan

    def ship(self, line: Line, location: str, units: int, *, now: float) -> None:
        """Units of a line leave a location: what was promised goes, what can be sold stays as it is."""
        line.shipped += units
        line.shipped_at = now
        level = self.items[line.sku].levels.setdefault(location, Level())
        level.committed -= units

    def put_back(self, line: Line, location: str, units: int, *, was_shipped: bool, cause: str, now: float) -> None:
        """Units come back into stock: of a line that was not shipped, or as a return."""
        item = self.items[line.sku]
        item.returned += units
        level = item.levels.setdefault(location, Level())
        if not was_shipped:
            level.committed -= units
        self.set_available(line.sku, location, level.available + units, cause=cause, now=now)

    def set_available(self, sku: str, location: str, available: int, *, cause: str, now: float) -> Level:
        """Set what can be sold at a location."""
        level = self.items[sku].levels.setdefault(location, Level())
        level.available = available
        self._changed(sku, location, available, cause, now)
        return level

    def count(self, kind: str, key: str, *, amount: int = 1, now: float) -> Effect:
        """Count one effect under its key; `times` above 1 is a doubled one."""
        effects = self.effects.setdefault(kind, {})
        effect = effects.get(key)
        if effect is None:
            if self._effects_held >= EFFECTS_MAX:
                raise BooksFull(f"more than {EFFECTS_MAX} effects")
            self._effects_held += 1
            effect = effects[key] = Effect(first_at=now)
        effect.times += 1
        effect.amount += amount
        effect.last_at = now
        return effect

    def _changed(self, sku: str, location: str, available: int, cause: str, now: float) -> None:
        self._changes_made += 1
        self.changes.append(Change(self._changes_made, now, sku, location, available, cause))


class EffectSummary(msgspec.Struct):
    """Keys under which a kind of effect happened, and those under which it happened more than once."""

    keys: int
    times: int
    amount: int
    doubled: dict[str, int]


class BooksSummary(msgspec.Struct):
    """The books in numbers. `oversold` names the articles that were sold below zero, with the units."""

    items: int
    orders: int
    cancelled: int
    refused_sales: int
    units_sold: int
    units_shipped: int
    units_returned: int
    oversold: dict[str, int]
    authorised_minor: int
    captured_minor: int
    refunded_minor: int
    effects: dict[str, EffectSummary]


def summarise(books: Books) -> BooksSummary:
    """Return the books in numbers."""
    orders, items, payments = books.orders.values(), books.items.values(), books.payments.values()
    return BooksSummary(
        items=len(items),
        orders=len(orders),
        cancelled=sum(order.is_cancelled for order in orders),
        refused_sales=books.refused_sales,
        units_sold=sum(item.sold for item in items),
        units_shipped=sum(line.shipped for order in orders for line in order.lines),
        units_returned=sum(item.returned for item in items),
        oversold={item.sku: item.oversold for item in items if item.oversold},
        authorised_minor=sum(payment.authorised for payment in payments),
        captured_minor=sum(payment.captured for payment in payments),
        refunded_minor=sum(payment.refunded for payment in payments),
        effects={kind: _effect_summary(effects) for kind, effects in books.effects.items()},
    )


def _effect_summary(effects: Mapping[str, Effect]) -> EffectSummary:
    return EffectSummary(
        keys=len(effects),
        times=sum(effect.times for effect in effects.values()),
        amount=sum(effect.amount for effect in effects.values()),
        doubled={key: effect.times for key, effect in effects.items() if effect.times > 1},
    )
