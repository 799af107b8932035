"""The books of the hostile remote: a shop and an ERP in one, pure state without any I/O.

Every effect is counted by kind and reference, so that a test can ask "how often did this really happen?". With
`unique_references` off, the remote creates doubles when it is told to twice, as many real systems do.
"""

from __future__ import annotations

from typing import Any

import msgspec


class RefusalError(Exception):
    """The remote says no: `status`, a stable `code` and extra fields of the answer."""

    def __init__(self, status: int, code: str, **extra: Any) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.extra = extra


class Article(msgspec.Struct):
    """One article with the shop's counters and the ERP's stock."""

    article_id: str
    sku: str
    title: str
    price_minor: int = 1000
    shop_on_hand: int = 0
    shop_allocated: int = 0
    """Units in the shop's open orders; the shop may sell shop_on_hand - shop_allocated."""
    erp_on_hand: int = 0
    barcode: str = ""
    product_id: str = ""
    """The product that it is part of, '' where it is none's."""


class ShopLine(msgspec.Struct):
    """A line of a shop order."""

    line_id: str
    article_id: str
    sku: str
    title: str
    ordered: int
    current: int
    unit_price_minor: int
    fulfilled: int = 0


class ShopOrder(msgspec.Struct):
    """An order in the shop. `revision` is world-wide and grows with every change."""

    order_id: str
    number: str
    revision: int
    placed_at: str
    currency: str
    state: str
    payment_state: str
    lines: list[ShopLine]
    customer: dict[str, str]
    address: dict[str, str]
    shipping_minor: int = 0
    payments: list[ShopPayment] = []


class ShopPayment(msgspec.Struct):
    """A transaction of an order: money that came, or went back."""

    payment_id: str
    kind: str
    state: str
    amount_minor: int
    method: str = "card"
    psp_reference: str = ""
    """Its id at the payment provider."""
    reference: str = ""
    """Of a refund that we made."""


class ShopFulfillment(msgspec.Struct):
    """A fulfillment in the shop."""

    fulfillment_id: str
    order_id: str
    reference: str
    tracking: str
    carrier: str
    revision: int
    lines: list[dict[str, Any]]


class ErpLine(msgspec.Struct):
    """A line of an ERP order; `reference` is the sender's line id."""

    reference: str
    article_id: str
    sku: str
    quantity: int
    shipped: int = 0
    location_id: str = ""
    """Where it is to leave from; '': nobody said."""


class ErpOrder(msgspec.Struct):
    """An order in the ERP; `reference` is the sender's order id."""

    order_id: str
    reference: str
    number: str
    state: str
    lines: list[ErpLine]


class Move(msgspec.Struct):
    """A movement of goods in the ERP; `revision` orders them."""

    move_id: str
    revision: int
    kind: str
    article_id: str
    sku: str
    location_id: str
    quantity_delta: int
    order_reference: str
    line_reference: str
    moved_at: str


class Shipment(msgspec.Struct):
    """A shipment that left the ERP's warehouse."""

    shipment_id: str
    revision: int
    order_reference: str
    tracking: str
    carrier: str
    shipped_at: str
    lines: list[dict[str, Any]]


class Event(msgspec.Struct):
    """A webhook event; `body` is what is signed and delivered."""

    event_id: str
    topic: str
    body: dict[str, Any]


class StockSet(msgspec.Struct):
    """One accepted setting of a shop's stock number."""

    article_id: str
    quantity: int
    idempotency_key: str


def article_id_of(sku: str) -> str:
    """Return the id under which shop and ERP know a SKU."""
    return f"art-{sku}"


class World(msgspec.Struct):
    """The whole state; encode it with msgspec to dump or copy it."""

    account: str = "hostile"
    api_key: str = "hostile-api-key"
    unique_references: bool = True
    refuse_short_fulfillments: bool = True
    """Refuse a fulfillment when shop_on_hand is below its units, as strict shops do."""
    revision: int = 0
    tokens: set[str] = set()
    logins: int = 0
    articles: dict[str, Article] = {}
    shop_orders: dict[str, ShopOrder] = {}
    fulfillments: dict[str, ShopFulfillment] = {}
    erp_orders: dict[str, ErpOrder] = {}
    references: dict[str, list[str]] = {}
    """'<kind>/<reference>' -> ids made under it."""
    moves: list[Move] = []
    shipments: list[Shipment] = []
    events: list[Event] = []
    delivered: int = 0
    """How many of `events` were handed to the webhook sender."""
    stock_sets: list[StockSet] = []
    spoiled_keys: set[str] = set()
    """Idempotency keys that are answered with a kept failure."""
    subscriptions: dict[str, str] = {}
    """Webhook address -> signing secret."""
    webhooks_enabled: bool = True
    """False: the platform switched the subscriptions off and delivers nothing."""
    missing_topics: tuple[str, ...] = ()
    """Topics that the platform does not deliver."""
    rights: tuple[str, ...] = ("orders", "stock", "webhooks")
    """What the API key may do, as the platform tells."""
    calls_per_second: float | None = None
    """A limit that the platform announces; it does not enforce it."""
    key_expires_at: str | None = None
    """ISO 8601."""
    asked: dict[str, dict[str, int]] = {}
    """Command kind -> reference -> how often the remote was asked, effect or not."""
    effects: dict[str, dict[str, int]] = {}
    """Command kind -> reference (article id for inventory.set) -> how often it really happened."""
    requests: dict[str, int] = {}
    """'METHOD /path' with ids left out -> requests that arrived."""
    faults_used: dict[str, int] = {}

    def next_revision(self) -> int:
        """Return the next number of the world-wide order of changes."""
        self.revision += 1
        return self.revision

    def count(self, ledger: dict[str, dict[str, int]], kind: str, reference: str) -> None:
        """Add one to `ledger[kind][reference]`."""
        counters = ledger.setdefault(kind, {})
        counters[reference] = counters.get(reference, 0) + 1

    def made_under(self, kind: str, reference: str) -> list[str]:
        """Return the ids of what exists under a reference; append to register another one."""
        return self.references.setdefault(f"{kind}/{reference}", [])

    def article_of_sku(self, sku: str) -> Article:
        """Return the article of a SKU. Raises RefusalError 422 when there is none."""
        return self.article(article_id_of(sku))

    def article(self, article_id: str) -> Article:
        """Return an article by id. Raises RefusalError 422 when there is none."""
        found = self.articles.get(article_id)
        if found is None:
            raise RefusalError(422, "unknown_article", article_id=article_id)
        return found

    def emit(self, topic: str, **fields: Any) -> None:
        """Record a webhook event of the present revision."""
        event_id = f"evt-{self.account}-{len(self.events) + 1}"
        self.events.append(Event(event_id, topic, {"id": event_id, "type": topic, **fields}))
