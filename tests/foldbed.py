"""T2's pure part without a database: a catalogue that knows every SKU, and a book that carries the state from batch to batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID, uuid5

from tidegate.commerce.changes import CanonicalChange, OrderLineSeen, OrderSeen, ShipmentSeen, StockMoved
from tidegate.commerce.states import OrderState, PaymentState
from tidegate.eventlog.read import QueuedEvent
from tidegate.inventory.ledger import Counters, Entry, LevelKey, post
from tidegate.kernel.ids import new_id, public_id
from tidegate.orders.records import Order
from tidegate.sync.catalogue import Catalogue
from tidegate.sync.fold import Fold
from tidegate.sync.policy import Policy
from tidegate.sync.records import Outcome, Prepared, Result, State

TENANT = UUID(int=1)
SHOP, OTHER_SHOP, ERP = UUID(int=11), UUID(int=12), UUID(int=13)
MAIN, STORE = UUID(int=21), UUID(int=22)
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
PLACED_AT = datetime(2026, 11, 20, tzinfo=UTC)
POLICY = Policy(
    config_version=1,
    cell="c0",
    order_channels=frozenset({SHOP, OTHER_SHOP}),
    erp=ERP,
    orders_since=None,
    orders_mode="live",
    shipments_modes={SHOP: "live", OTHER_SHOP: "live"},
    stock_channels=(SHOP, OTHER_SHOP),
    stock_owner=ERP,
)
BILLS: Mapping[str, Mapping[str, int]] = {"A": {"A": 1}, "B": {"B": 1}, "KIT": {"A": 2, "B": 1}}


def variant_of(sku: str) -> UUID:
    """Return the variant of a SKU."""
    return uuid5(TENANT, f"variant {sku}")


def item_of(sku: str) -> UUID:
    """Return the inventory item of a SKU."""
    return uuid5(TENANT, f"item {sku}")


class Articles:
    """Answers like a resolved `Catalogue`."""

    def variant(self, key: tuple[UUID, str, str]) -> UUID:
        return variant_of(key[2])

    def bill(self, variant_id: UUID) -> list[tuple[UUID, int]]:
        (bill,) = (bill for sku, bill in BILLS.items() if variant_of(sku) == variant_id)
        return sorted((item_of(sku), units) for sku, units in bill.items())

    def sold_as(self, variant_id: UUID) -> list[tuple[UUID, int]]:
        (sku,) = (sku for sku in BILLS if variant_of(sku) == variant_id)
        return [(item_of(sku), 1)]

    def location(self, _connection_id: UUID, external_id: str) -> UUID:
        return STORE if external_id == "store" else MAIN

    def default_location(self) -> UUID:
        return MAIN


@dataclass
class Book:
    """What T2 would have stored: the state after each batch, everything that was posted, planned and decided."""

    policy: Policy = POLICY
    state: State = field(default_factory=State)
    stock: dict[LevelKey, Counters] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)

    def __post_init__(self) -> None:
        keys = [(item_of(sku), location) for sku in ("A", "B") for location in (MAIN, STORE)]
        self.stock = {key: Counters(0, 0, 0, 0, 0) for key in keys}

    def fold(self, *batch: tuple[UUID, CanonicalChange], source: str = "webhook", mapping: int = 1) -> list[Outcome]:
        """Fold one batch of (connection, change) and keep its state; return the outcomes."""
        return self.fold_prepared(
            [prepared(connection, change, source=source, mapping=mapping) for connection, change in batch]
        )

    def fold_prepared(self, batch: Sequence[Prepared]) -> list[Outcome]:
        """Fold one batch of events and keep its state; return the outcomes."""
        result = Fold(self.state, cast("Catalogue", Articles()), self.policy, NOW).run(batch)
        self.state.gates.update(result.new_gates)
        for order in self.state.orders.values():
            _store(order)
        self.entries += post(self.stock, result.postings)
        self.results.append(result)
        return [outcome for _, outcome in result.outcomes]

    def order(self, external_id: str = "1", connection: UUID = SHOP) -> Order:
        """Return an order of a channel."""
        return self.state.orders[self.state.order_of[connection, external_id]]

    def reference(self, external_id: str = "1") -> str:
        """Return the public id of an order."""
        return public_id("ord", "c0", self.order(external_id).order_id)

    def line_reference(self, line: str, external_id: str = "1") -> str:
        """Return the public id of an order's line."""
        return public_id("lin", "c0", self.order(external_id).lines[line].line_id)

    def planned(self, kind: str) -> list[tuple[UUID, UUID, int]]:
        """Return (connection, entity, version) of the commands of a kind, as often as they were planned."""
        commands = [command for result in self.results for command in (*result.commands, *result.cancels)]
        return [(c.connection_id, c.entity_id, c.version) for c in commands if c.kind == kind]

    def levels(self) -> dict[tuple[str, str], tuple[int, int]]:
        """Return (SKU, place) -> (on_hand, committed) where either is not 0."""
        names = {item_of("A"): "A", item_of("B"): "B", MAIN: "main", STORE: "store"}
        return {
            (names[item], names[place]): (level.on_hand, level.committed)
            for (item, place), level in self.stock.items()
            if level.on_hand or level.committed
        }

    def view(self) -> dict[str, Any]:
        """Return the state without ids of ours and without lines that say nothing any more."""
        orders = {}
        for (_, external_id), order_id in self.state.order_of.items():
            order = self.state.orders[order_id]
            lines = {
                line.external_id: (line.sku, line.position, line.current, line.shipped, line.unit_price)
                for line in order.lines.values()
                if line.current or line.shipped
            }
            orders[external_id] = (order.order_state, order.payment_state, order.fulfillment_state, order.number, lines)
        gates = {key[2]: (stamp.version, stamp.sequence) for key, stamp in self.state.gates.items()}
        return {"orders": orders, "levels": self.levels(), "gates": gates}

    def check(self) -> None:
        """Assert that counters are sums of entries, that no cause posted twice, and that open units stand committed."""
        causes = Counter(entry.posting.cause_key for entry in self.entries)
        assert not causes or max(causes.values()) == 1, causes.most_common(3)
        for key, level in self.stock.items():
            mine = [entry for entry in self.entries if entry.posting.key() == key]
            assert [entry.version for entry in mine] == list(range(1, level.version + 1))
            assert level.on_hand == sum(entry.posting.on_hand_delta for entry in mine)
            assert level.committed == sum(entry.committed_delta for entry in mine)
        promised: Counter[UUID] = Counter()
        for order in self.state.orders.values():
            for line in order.lines.values():
                assert line.committed_before == order.committed_units(line), "posted is not what stands committed"
                for item_id, units in Articles().bill(line.variant_id):
                    promised[item_id] += units * order.committed_units(line)
        standing: Counter[UUID] = Counter()
        for (item_id, _), level in self.stock.items():
            standing[item_id] += level.committed
        assert +standing == +promised


def prepared(connection: UUID, *seen: CanonicalChange, source: str = "webhook", mapping: int = 1) -> Prepared:
    """Return an event of a connection with what its mapper made of it."""
    event = QueuedEvent(
        slot=1, tenant_id=TENANT, seq=1, event_id=new_id(), run=0, connection_id=connection, source=source,  # type: ignore[arg-type]
        topic="test", ordering_key="test", conflict=False, undecodable=None, external_id=None, occurred_at=None,
        envelope="{}", data_key_id=UUID(int=0), body=b"",
    )  # fmt: skip
    return Prepared(event, seen, "1", mapping)


def _store(order: Order) -> None:
    """Forget what only a batch knows, as storing and loading does."""
    order.is_new = order.is_changed = False
    order.was_cancelled = order.order_state is OrderState.CANCELLED
    order.private, order.payments = None, {}
    for line in order.lines.values():
        line.is_new = line.is_changed = False


def line_seen(external_id: str, sku: str, current: int, **changes: Any) -> OrderLineSeen:
    """Return a line as a shop shows it."""
    values: dict[str, Any] = {
        "external_id": external_id, "sku": sku, "variant_external_id": f"v-{sku}", "title": sku, "ordered": 5,
        "current": current, "unit_price": "10.00", "total_minor": 1000 * current,
    }  # fmt: skip
    return OrderLineSeen(**{**values, **changes})


def order_seen(version: int, lines: Sequence[OrderLineSeen], external_id: str = "1", **changes: Any) -> OrderSeen:
    """Return an order as a shop shows it: open and paid unless `changes` say otherwise."""
    values: dict[str, Any] = {
        "external_id": external_id, "number": f"N{external_id}", "version": version, "placed_at": PLACED_AT,
        "currency": "EUR", "order_state": OrderState.OPEN, "payment_state": PaymentState.PAID, "lines": tuple(lines),
        "total_minor": sum(line.total_minor for line in lines), "shipping_minor": 0,
    }  # fmt: skip
    return OrderSeen(**{**values, **changes})


def moved(move_id: str, sku: str, delta: int, *, kind: str = "receive", version: int = 1, **changes: Any) -> StockMoved:
    """Return a movement of goods."""
    values: dict[str, Any] = {
        "external_id": move_id, "sku": sku, "item_external_id": f"v-{sku}", "location_external_id": "main",
        "kind": kind, "quantity_delta": delta, "moved_at": NOW, "version": version,
    }  # fmt: skip
    return StockMoved(**{**values, **changes})


def shipped(shipment_id: str, reference: str, lines: Sequence[Any], **changes: Any) -> ShipmentSeen:
    """Return a shipment; lines are `ShipmentLine`s."""
    values: dict[str, Any] = {
        "external_id": shipment_id, "order_reference": reference, "lines": tuple(lines), "tracking": "T1",
        "shipped_at": NOW, "version": 1,
    }  # fmt: skip
    return ShipmentSeen(**{**values, **changes})


def observing(**changes: Any) -> Policy:
    """Return the policy with changes."""
    return replace(POLICY, **changes)
