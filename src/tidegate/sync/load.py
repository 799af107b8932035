"""Load and lock what a batch touches, in the one lock order. Reads only; the caller holds the transaction and the fence."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from asyncpg import Record

from tidegate.commerce import changes
from tidegate.commerce.commands import Priority
from tidegate.commerce.states import FulfillmentState, OrderState, PaymentState
from tidegate.inventory.ledger import Counters, Entry, LevelKey, available_changes
from tidegate.inventory.reserve import Claimant, Ending, Standing, claims_of
from tidegate.kernel.ids import new_id
from tidegate.orders.payments import TENDERS
from tidegate.orders.records import Capture, ChannelMoney, Line, Order, PspPayment, Refund
from tidegate.store.connections import Connection
from tidegate.sync import reservation_statements, statements
from tidegate.sync.catalogue import ArticleKey, Catalogue
from tidegate.sync.fold import ORDER_KIND, gate_key, hint_key, parse_reference
from tidegate.sync.gate import Stamp
from tidegate.sync.listings import load_listings
from tidegate.sync.policy import Policy
from tidegate.sync.records import GateKey, Prepared, Result, State, StateMoved
from tidegate.sync.reservations import standing_of
from tidegate.sync.urgent import Mark, Stock, part_of, quiet_of, urgent_marks


def articles_of(batch: Sequence[Prepared]) -> tuple[set[ArticleKey], set[tuple[UUID, str]]]:
    """Return the articles and the external locations that a batch names."""
    articles: set[ArticleKey] = set()
    locations: set[tuple[UUID, str]] = set()
    for prepared in batch:
        connection_id = prepared.event.connection_id
        for change in prepared.changes:
            if isinstance(change, changes.OrderSeen):
                articles.update((connection_id, line.variant_external_id, line.sku) for line in change.lines)
            elif isinstance(change, changes.StockMoved | changes.GoodsExpected):
                articles.add((connection_id, change.item_external_id, change.sku))
                locations.add((connection_id, change.location_external_id))
            elif isinstance(change, changes.VariantSeen):
                articles.add((connection_id, change.external_id, change.sku))
            elif isinstance(change, changes.LocationSeen):
                locations.add((connection_id, change.external_id))
    return articles, locations


async def load_state(
    conn: Connection,
    tenant_id: UUID,
    batch: Sequence[Prepared],
    catalogue: Catalogue,
    policy: Policy,
    *,
    is_order_awaited: bool = False,
    also: Collection[UUID] = (),
) -> State:
    """Return the state of everything that `batch` touches, and of the orders in `also`.

    `is_order_awaited` says that claims wait for orders. Orders that exist are locked, and the marks of the batch's items before them, then payments that exist, marks before these too. A batch of new
    orders whose payments nobody saw locks nothing here: what it has to do before it must wait for a hot article, it does
    before. Raises StateMoved when a payment was joined to an order meanwhile that is not locked.
    """
    state = State()
    wanted = _wanted(batch, policy)
    order_ids = wanted.order_ids | set(also)
    await _load_gates(conn, tenant_id, state, wanted.gates)
    hinted = {key for key in wanted.hinted if (key[0], ORDER_KIND, key[1]) in state.gates}
    if hinted:
        rows = await conn.fetch(statements.HINTED_MONEY, tenant_id, *_columns(hinted), list(TENDERS))
        state.money = {(row[0], row[1]): ChannelMoney(row[2], PaymentState(row[3]), row[4], row[5]) for row in rows}
    if wanted.orders:
        rows = await conn.fetch(statements.FIND_ORDERS, tenant_id, *_columns(wanted.orders))
        state.order_of = {(row[0], row[1]): row[2] for row in rows}
        order_ids.update(state.order_of.values())
    has_payments = bool(wanted.seen_payments)
    if wanted.seen_payments or wanted.named_payments:
        rows = await conn.fetch(
            statements.FIND_PAYMENTS, tenant_id, *_columns(wanted.seen_payments | wanted.named_payments)
        )
        order_ids.update(row["order_id"] for row in rows if row["order_id"] is not None)
        has_payments = has_payments or bool(rows)  # one that comes up from here on is noticed when ours is stored
    if wanted.read_payments and policy.provider is not None:
        rows = await conn.fetch(
            statements.FIND_NAMING, tenant_id, policy.provider, list(wanted.read_payments), list(policy.order_channels)
        )
        state.naming = {(policy.provider, row["psp_reference"]): row["order_id"] for row in rows}
        order_ids.update(state.naming.values())
    state.items = _items_of(batch, catalogue)
    await load_listings(conn, tenant_id, state, batch, catalogue)
    if wanted.windows:
        rows = await conn.fetch(statements.COUNT_PLACED, tenant_id, *_columns(sorted(wanted.windows)))
        state.counted = {(row[0], row[1], row[2]): row[3] for row in rows}
    if wanted.orders and (wanted.reservations or is_order_awaited):
        state.standing = await _read_named(conn, tenant_id, wanted.reservations, wanted.order_names)
        state.items.update(hold.item_id for each in state.standing.values() for hold in each.holds)
    if order_ids:
        lines = await conn.fetch(statements.LOAD_LINES, tenant_id, list(order_ids))
        await catalogue.load_bills(conn, {line["variant_id"] for line in lines})
        state.items.update(item_id for line in lines for item_id, _ in catalogue.bill(line["variant_id"]))
        await mark_dirty(conn, tenant_id, policy, state)
        await _load_orders(conn, tenant_id, state, sorted(order_ids))
    if has_payments or (policy.provider is not None and order_ids):
        await mark_dirty(conn, tenant_id, policy, state)  # marks come before payments, also where no order is known yet
        await _load_payments(conn, tenant_id, state, wanted.seen_payments, wanted.named_payments)
    if state.orders and (
        wanted.shipments or wanted.named_payments or state.naming or any(order.psp for order in state.orders.values())
    ):
        await _load_announced(conn, tenant_id, state)
    if wanted.shipments:
        rows = await conn.fetch(statements.FIND_FULFILLMENTS, tenant_id, *_columns(wanted.shipments))
        state.fulfillment_of = {(row[0], row[1]): row[2] for row in rows}
    return state


@dataclass(slots=True)
class _Wanted:
    """What a batch names: keys of gates, orders, shipments and payments, and ids of orders in references of ours."""

    gates: set[GateKey] = field(default_factory=set)
    orders: set[tuple[UUID, str]] = field(default_factory=set)
    order_names: set[tuple[UUID, str]] = field(default_factory=set)
    """What orders that are shown are called: by their channel, and by people."""
    reservations: set[str] = field(default_factory=set)
    """What orders that are shown call reservations."""
    shipments: set[tuple[UUID, str]] = field(default_factory=set)
    order_ids: set[UUID] = field(default_factory=set)
    seen_payments: set[tuple[UUID, str]] = field(default_factory=set)
    """Shown by their provider."""
    named_payments: set[tuple[UUID, str]] = field(default_factory=set)
    """Named by a channel's order."""
    read_payments: set[str] = field(default_factory=set)
    """Shown by the provider because we asked; an order that named one before that mattered may be stored."""
    windows: set[tuple[UUID, datetime, datetime]] = field(default_factory=set)
    """Windows in which a channel counted its orders."""
    hinted: set[tuple[UUID, str]] = field(default_factory=set)
    """Orders that a hint tells the version of, where it matters by which payments they are paid."""


def _wanted(batch: Sequence[Prepared], policy: Policy) -> _Wanted:
    wanted = _Wanted()
    for prepared in batch:
        connection_id = prepared.event.connection_id
        for change in prepared.changes:
            if isinstance(change, changes.NeedsFetch):
                hinted = hint_key(connection_id, change)
                wanted.gates.update((hinted,) if hinted is not None else ())
                if hinted is not None and hinted[1] == ORDER_KIND and policy.asks_for_payments(connection_id):
                    wanted.hinted.add((connection_id, change.external_id))
                continue
            if isinstance(change, changes.OrdersCounted):
                wanted.windows.add((connection_id, change.since, change.until))
                continue
            if isinstance(change, changes.Ignored | changes.NeedsPerson):
                continue
            wanted.gates.add(gate_key(connection_id, change))
            _want(wanted, prepared, change, policy)
            reference = getattr(change, "order_reference", "")
            if (order_id := parse_reference(reference, "ord")) is not None:
                wanted.order_ids.add(order_id)
    return wanted


def _want(wanted: _Wanted, prepared: Prepared, change: changes.CanonicalChange, policy: Policy) -> None:
    """Note the entities that a change is about."""
    connection_id = prepared.event.connection_id
    match change:
        case changes.OrderSeen():
            wanted.orders.add((connection_id, change.external_id))
            wanted.order_names.update(((connection_id, change.external_id), (connection_id, change.number)))
            wanted.reservations.update(change.reservations)
            if policy.provider is not None:
                wanted.named_payments.update((policy.provider, name) for name in _payments_named(change))
        case changes.OrderGone():
            wanted.orders.add((connection_id, change.external_id))
        case changes.PaymentObserved():
            wanted.seen_payments.add((connection_id, change.external_id))
            if prepared.event.source == "fetch" and connection_id == policy.provider:
                wanted.read_payments.add(change.external_id)
        case changes.RefundSeen():
            wanted.seen_payments.add((connection_id, change.payment_external_id))
        case changes.ShipmentSeen():
            wanted.shipments.add((connection_id, change.external_id))
        case _:
            pass


def _payments_named(order: changes.OrderSeen) -> set[str]:
    return {seen.psp_reference for seen in order.payments if seen.psp_reference and seen.kind != "refund"}


async def mark_dirty(conn: Connection, tenant_id: UUID, policy: Policy, state: State) -> None:
    """Mark the state's items in every channel that is told stock numbers. Locks the marks until the transaction ends."""
    if state.items and policy.stock_channels and not state.is_marked:
        state.marks = await mark_items(conn, tenant_id, policy.stock_channels, state.items)
    state.is_marked = True


async def mark_items(conn: Connection, tenant_id: UUID, channels: Iterable[UUID], items: Iterable[UUID]) -> list[Mark]:
    """Mark items, and the kits that they are parts of, in channels; return the marks that may wait for company.

    The marks stay locked until the transaction ends.
    """
    priority = int(Priority.INVENTORY_CRITICAL)
    rows = await conn.fetch(statements.MARK_DIRTY, tenant_id, list(channels), sorted(items), priority)
    return [Mark(row[0], row[1], quiet_of(row[2], row[3]), part_of(row[4], row[5])) for row in rows]


async def follow_sales(conn: Connection, tenant_id: UUID, policy: Policy, result: Result) -> None:
    """Follow what channels show of items that they sold. Their marks are locked by `mark_dirty`."""
    rows = [(*key, units) for key, units in sorted(result.sold.items()) if units and key[0] in policy.stock_channels]
    if rows:
        await conn.execute(statements.FOLLOW_SALES, tenant_id, *_columns(rows))


async def hurry_numbers(
    conn: Connection, tenant_id: UUID, marks: Iterable[Mark], stock: Stock, entries: Iterable[Entry]
) -> None:
    """Have numbers told without waiting for company where the entries changed much for a channel. `marks` are locked."""
    late = urgent_marks(marks, stock.available, available_changes(entries, stock.counted))
    if late:
        priority = int(Priority.INVENTORY_CRITICAL)
        await conn.execute(statements.HURRY_MARKS, tenant_id, *_columns(late), priority)


async def lock_levels(conn: Connection, tenant_id: UUID, keys: set[LevelKey]) -> Stock:
    """Return the counters of levels, locked until the transaction ends; levels that do not exist yet are made."""
    if not keys:
        return Stock({}, {}, set(), await conn.fetchval(reservation_statements.IS_ORDER_AWAITED, tenant_id))
    columns = _columns(sorted(keys))
    if await conn.fetchval(statements.LOCK_LEVELS, tenant_id, *columns) < len(keys):
        await conn.execute(statements.ENSURE_LEVELS, tenant_id, *columns)
        await conn.execute(statements.LOCK_LEVELS, tenant_id, *columns)
    rows = await conn.fetch(statements.READ_BALANCES, tenant_id, *columns)
    return Stock(
        {(row[0], row[1]): Counters(row[2], row[3], row[4], row[5], row[6]) for row in rows},
        {row[0]: row[8] for row in rows},
        {(row[0], row[1]) for row in rows if row[7]},
        rows[0]["is_order_awaited"],
    )


async def read_claims(
    conn: Connection, tenant_id: UUID, claimants: Sequence[Claimant], stock: Stock
) -> list[tuple[Standing, Ending]]:
    """Return which reservations orders claim, as they stand now that their levels are locked.

    Raises StateMoved when one came up meanwhile that holds units elsewhere.
    """
    if not claimants:
        return []
    named = {name for each in claimants for name in each.references}
    if not named and not stock.is_order_awaited:
        return []
    names = {(each.connection_id, name) for each in claimants for name in each.names}
    standing = await _read_named(conn, tenant_id, named, names)
    claimed = claims_of(claimants, standing.values())
    if any((hold.item_id, hold.location_id) not in stock.levels for each, _ in claimed for hold in each.holds):
        raise StateMoved
    return claimed


async def _read_named(
    conn: Connection, tenant_id: UUID, references: Collection[str], order_names: Collection[tuple[UUID, str]]
) -> dict[UUID, Standing]:
    ids = sorted({found for text in references if (found := parse_reference(text, "res")) is not None})
    columns = _columns(sorted(order_names)) if order_names else [[], []]
    rows = await conn.fetch(reservation_statements.READ_NAMED, tenant_id, ids, sorted(references), *columns)
    return standing_of(rows)


async def _load_gates(conn: Connection, tenant_id: UUID, state: State, keys: set[GateKey]) -> None:
    if not keys:
        return
    rows = await conn.fetch(statements.LOAD_GATES, tenant_id, *_columns(keys))
    state.gates = {(row[0], row[1], row[2]): Stamp(row[3], row[4], row[5], row[6]) for row in rows}


def _items_of(batch: Sequence[Prepared], catalogue: Catalogue) -> set[UUID]:
    """Return the items that the batch's own changes name."""
    articles: set[ArticleKey] = set()
    for prepared in batch:
        connection_id = prepared.event.connection_id
        for change in prepared.changes:
            if isinstance(change, changes.OrderSeen):
                articles.update((connection_id, line.variant_external_id, line.sku) for line in change.lines)
            elif isinstance(change, changes.StockMoved):
                articles.add((connection_id, change.item_external_id, change.sku))
    return {item_id for key in articles for item_id, _ in catalogue.bill(catalogue.variant(key))}


async def _load_orders(conn: Connection, tenant_id: UUID, state: State, order_ids: list[UUID]) -> None:
    for row in await conn.fetch(statements.LOCK_ORDERS, tenant_id, order_ids):
        order = Order(
            order_id=row[0], connection_id=row[1], external_id=row[2], number=row[3], version=row[4],
            order_state=OrderState(row[5]), payment_state=PaymentState(row[6]),
            fulfillment_state=FulfillmentState(row[7]), currency=row[8], total_minor=row[9], shipping_minor=row[10],
            discount_minor=row[11], tax_minor=row[12], totals_mismatch=row[13], shipping_method=row[14],
            placed_at=row[15], was_cancelled=row[5] == "cancelled",
            channel_payment_state=PaymentState(row[16]) if row[16] is not None else None, is_called_off=row[17],
        )  # fmt: skip
        state.orders[order.order_id] = order
    for row in await conn.fetch(statements.LOAD_LINES, tenant_id, order_ids):
        order = state.orders[row[0]]
        line = _line(row)
        line.committed_before = order.committed_units(line)
        line.held_before = order.held_units(line)
        order.lines[line.external_id] = line


async def _load_payments(
    conn: Connection,
    tenant_id: UUID,
    state: State,
    seen: set[tuple[UUID, str]],
    named: set[tuple[UUID, str]],
) -> None:
    """Lock the payments that the provider shows, that orders of the batch name, and that its orders have.

    Those that nobody has heard of are made before, all together and in one order: who makes one while it holds others may be
    waited for by somebody who makes another one.
    """
    keys = sorted(seen | named)
    if keys:
        rows = [(*key, new_id()) for key in keys]
        await conn.execute(statements.ENSURE_PAYMENTS, tenant_id, *_columns(rows))
    elif not state.orders:
        return
    columns = _columns(keys) if keys else [[], []]
    for row in await conn.fetch(statements.LOCK_PAYMENTS, tenant_id, *columns, list(state.orders)):
        payment = PspPayment(**{name: row[name] for name in _PAYMENT_FIELDS})
        state.payments[payment.connection_id, payment.external_id] = payment
        if payment.order_id is None:
            state.loose_refunds[payment.payment_id] = []
        elif payment.order_id in state.orders:
            state.orders[payment.order_id].psp.append(payment)
        else:
            raise StateMoved
    if not state.payments:
        return
    if any(payment.claimed_minor for payment in state.payments.values()):
        for row in await conn.fetch(statements.LOAD_CAPTURES, tenant_id, list(state.orders)):
            state.orders[row["order_id"]].captures.append(Capture(**dict(row)))
    for row in await conn.fetch(statements.LOAD_REFUNDS, tenant_id, list(state.orders), list(state.loose_refunds)):
        refund = Refund(**dict(row))
        if refund.order_id is not None:
            state.orders[refund.order_id].refunds.append(refund)
        elif refund.payment_id is not None:
            state.loose_refunds[refund.payment_id].append(refund)


_PAYMENT_FIELDS = (
    "payment_id", "connection_id", "external_id", "order_id", "number", "state", "currency", "amount_minor",
    "capturable_minor", "captured_minor", "refunded_minor", "multi_capture", "method", "expires_at", "claimed_minor",
    "refunding_minor",
)  # fmt: skip


async def _load_announced(conn: Connection, tenant_id: UUID, state: State) -> None:
    """Fill in how many units of each line are in fulfillments already."""
    rows = await conn.fetch(statements.ANNOUNCED_UNITS, tenant_id, list(state.orders))
    units: dict[UUID, int] = {row[0]: row[1] for row in rows}
    for order in state.orders.values():
        for line in order.lines.values():
            line.announced = units.get(line.line_id, 0)


def _line(row: Record) -> Line:
    return Line(
        line_id=row[1], external_id=row[2], position=row[3], variant_id=row[4], sku=row[5], title=row[6],
        ordered=row[7], current=row[8], shipped=row[9], fulfilled=row[10], unit_price=row[11], total_minor=row[12],
        location_id=row[13],
    )  # fmt: skip


def _columns(keys: Collection[tuple[Any, ...]]) -> list[list[object]]:
    """Turn keys into one list per column."""
    return [list(column) for column in zip(*keys, strict=True)]
