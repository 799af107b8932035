"""Store what a folded batch changed, one statement per table, what others wait for last and in the one lock order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import cast
from uuid import UUID

import msgspec

from tidegate import __version__
from tidegate.commerce.commands import DEADLINE_SECONDS, PRIORITY_OF, CommandKind, Priority
from tidegate.inventory.ledger import Entry
from tidegate.kernel.ids import new_id
from tidegate.orders.records import Order
from tidegate.store.connections import Connection
from tidegate.sync import statements
from tidegate.sync.plan import PlannedCommand
from tidegate.sync.records import NewFulfillment, Outcome, Prepared, Result, State, StateMoved

COMMAND_CHANNEL = "tidegate_command"
"""NOTIFY channel that wakes the lanes."""
WOKEN_MAX = 200
"""A payload has at most 8,000 bytes; with more connections it names none."""
ACTOR = "tidegate"
COPIED_FROM = 400
"""More new rows than this go by COPY, table by table: half the cost of a row on both sides of the wire. Fewer go together,
because then it is the round trips that cost."""
_GATE_COLUMNS = 7
_HOUR_ZERO = datetime(1970, 1, 1, tzinfo=UTC)
FLOW_OF_MONEY = (CommandKind.PAYMENT_CAPTURE, CommandKind.PAYMENT_VOID, CommandKind.REFUND_CREATE)
"""Planned again with every change of their order, under the same keys."""
COUNTED = ("applied", "superseded", "ignored", "quarantined")
SealOrder = Callable[[UUID, bytes], tuple[UUID, bytes]]
"""(order_id, plaintext) -> (data key id, sealed private part)"""


@dataclass(frozen=True)
class Writer:
    """Stores results of one tenant."""

    tenant_id: UUID
    name: str
    """Of this process in the conservation counters."""
    seal_order: SealOrder
    config_version: int
    now: datetime

    async def store_rows(self, conn: Connection, state: State, result: Result) -> None:
        """Write what nobody else waits for: orders with all that is theirs, gates, new commands, outcomes, the queue.

        A new row is seen by nobody and an order is locked already, so hot articles stay free meanwhile.
        """
        orders = [state.orders[order_id] for order_id in sorted(result.changed_orders)]
        commands = self._command_rows([command for command in result.commands if _is_first(command, state)])
        new = {
            "order": self._new_orders(orders),
            "order_line": self._new_lines(orders),
            "event_outcome": self._outcome_rows(result),
            "command_key": [(self.tenant_id, *row[1:5], row[0]) for row in commands],
            "command": [(self.tenant_id, *row) for row in commands],
        }
        await self._store(conn, new, result)
        await self._orders(conn, orders)
        await self._fulfillments(conn, result.fulfillments)
        await self._expected(conn, result)
        if result.counts:
            await conn.execute(statements.SAVE_COUNTS, self.tenant_id, *_columns(result.counts))
        await self._park(conn, result)
        suspects = [p.event.event_id for p, _ in result.outcomes if p.crashes]
        if suspects:
            await conn.execute(statements.FORGET_CRASHES, self.tenant_id, suspects)

    async def store_entries(self, conn: Connection, entries: list[Entry]) -> None:
        """Write ledger entries; see the function of this name."""
        await store_entries(conn, self.tenant_id, entries)

    async def store_payments(self, conn: Connection, state: State) -> None:
        """Write payments, captures and refunds. Payments that exist are locked.

        Raises StateMoved when somebody else made one of the new ones meanwhile: it says more than is known here.
        """
        await self._new_payments(conn, state)
        changed = [
            (p.payment_id, p.order_id, p.number, p.state, p.currency, p.amount_minor, p.capturable_minor,
             p.captured_minor, p.refunded_minor, p.multi_capture, p.method, p.expires_at, p.claimed_minor,
             p.refunding_minor)
            for p in sorted(state.payments.values(), key=lambda each: each.payment_id) if p.is_changed and not p.is_new
        ]  # fmt: skip
        if changed:
            await conn.execute(statements.SAVE_PSP_PAYMENTS, self.tenant_id, *_columns(changed))
        captures = [
            (c.order_id, c.number, c.capture_id, c.payment_id, c.amount_minor, c.is_final, c.state)
            for o in state.orders.values() for c in o.captures if c.is_new
        ]  # fmt: skip
        if captures:
            await conn.execute(statements.SAVE_CAPTURES, self.tenant_id, *_columns(captures))
        known = [refund for order in state.orders.values() for refund in order.refunds]
        known += [refund for refunds in state.loose_refunds.values() for refund in refunds]
        refunds = [
            (r.refund_id, r.order_id, r.number, r.payment_id, r.origin, r.kind, r.amount_minor, r.currency, r.state,
             r.carry, r.code, r.channel_ref, r.psp_ref, r.reason)
            for r in known if r.is_new or r.is_changed
        ]  # fmt: skip
        if refunds:
            await conn.execute(statements.SAVE_REFUNDS, self.tenant_id, *_columns(refunds))

    async def _new_payments(self, conn: Connection, state: State) -> None:
        fresh = sorted((p for p in state.payments.values() if p.is_new), key=lambda each: each.external_id)
        if not fresh:
            return
        rows = [(p.payment_id, p.connection_id, p.external_id, p.order_id, p.number) for p in fresh]
        stored = await conn.fetch(statements.SAVE_NEW_PAYMENTS, self.tenant_id, *_columns(rows))
        if len(stored) < len(fresh):
            raise StateMoved

    async def store_commands(
        self,
        conn: Connection,
        state: State,
        result: Result,
        *,
        stock_channels: Sequence[UUID],
        changed: Sequence[UUID] = (),
    ) -> str | None:
        """Write commands that may meet older ones; last in the lock order. Return which lanes to wake, as `wake_up_call`.

        `stock_channels` are those that are told stock numbers; of `changed` ones articles were deleted or bound.
        """
        repeated = [command for command in result.commands if not _is_first(command, state)]
        repeated += await self._cancels(conn, result.cancels)
        repeated += result.call_offs
        if repeated:
            rows = await self._behind_open_ones(conn, self._command_rows(repeated))
            await conn.execute(statements.SAVE_COMMANDS, self.tenant_id, *_columns(rows))
        await self._fetches(conn, result)
        touches_stock = bool(result.postings or result.fulfillments)
        return wake_up_call(
            [*result.commands, *repeated],
            [*(f.connection_id for f in result.fetches), *changed],
            stock_channels if touches_stock else (),
        )

    async def _store(self, conn: Connection, new: Mapping[str, Sequence[tuple[object, ...]]], result: Result) -> None:
        """Insert new rows, save gates, take the events out of the queue and count what became of them.

        A small batch does it in one round trip, a large one table by table, with COPY.
        """
        gates = [(*key, *stamp) for key, stamp in result.new_gates.items()]
        taken = _columns([(p.event.slot, p.event.seq) for p, _ in result.outcomes])
        counts = _columns_of(count_outcomes(result.outcomes), 1 + 1 + len(COUNTED))
        if sum(map(len, new.values())) <= COPIED_FROM:
            values = [
                column
                for table, columns in statements.NEW_ROWS.items()
                for column in _columns_of(new[table], len(columns))[1:]
            ]
            values += _columns_of(gates, _GATE_COLUMNS)
            await conn.execute(statements.STORE_TOGETHER, self.tenant_id, *values, *taken, self.name, *counts)
            return
        for table, columns in statements.NEW_ROWS.items():
            if new[table]:
                await conn.copy_records_to_table(table, records=new[table], columns=list(columns))
        await conn.execute(statements.SAVE_GATES, self.tenant_id, *_columns_of(gates, _GATE_COLUMNS))
        await conn.execute(statements.TAKE_AND_COUNT, self.tenant_id, *taken, self.name, *counts)

    def _new_orders(self, orders: list[Order]) -> list[tuple[object, ...]]:
        return [(self.tenant_id, *self._order_row(o)) for o in orders if o.private is not None and o.is_new]

    def _new_lines(self, orders: list[Order]) -> list[tuple[object, ...]]:
        return [
            (self.tenant_id, o.order_id, x.line_id, x.external_id, x.position, x.variant_id, x.sku, x.title, x.ordered,
             x.current, x.shipped, Decimal(x.unit_price), x.total_minor, x.location_id)
            for o in orders for x in o.lines.values() if x.is_new
        ]  # fmt: skip

    def _outcome_rows(self, result: Result) -> list[tuple[object, ...]]:
        return [
            (self.tenant_id, p.event.event_id, p.event.run, o.outcome, o.code, o.reason, o.entity_kind, o.entity_id,
             p.connector_version, str(p.mapping_version), __version__, self.config_version)
            for p, o in result.outcomes if o.outcome != "parked"
        ]  # fmt: skip

    async def _orders(self, conn: Connection, orders: list[Order]) -> None:
        """Change orders and lines that are not new, and write what channels say of payments."""
        whole = [order for order in orders if order.private is not None]
        touched = [order for order in orders if order.private is None]
        changed = [self._order_row(order) for order in whole if not order.is_new]
        if changed:
            await conn.execute(statements.SAVE_ORDERS, self.tenant_id, *_columns(changed))
        if touched:
            states = [
                (o.order_id, o.version, o.fulfillment_state, o.payment_state, o.channel_payment_state) for o in touched
            ]
            await conn.execute(statements.TOUCH_ORDERS, self.tenant_id, *_columns(states))
        await self._lines(conn, orders)
        payments = [
            (o.order_id, p.external_id, p.kind, p.state, p.amount_minor, o.currency, p.method, p.psp_reference)
            for o in whole
            for p in o.payments.values()
        ]
        if payments:
            await conn.execute(statements.SAVE_PAYMENTS, self.tenant_id, *_columns(payments))

    def _order_row(self, o: Order) -> tuple[object, ...]:
        key_id, sealed = self.seal_order(o.order_id, msgspec.json.encode(o.private))
        return (
            o.order_id, o.connection_id, o.external_id, o.number, o.version, o.order_state, o.payment_state,
            o.fulfillment_state, o.currency, o.total_minor, o.shipping_minor, o.discount_minor, o.tax_minor,
            o.totals_mismatch, o.shipping_method, o.placed_at, o.channel_payment_state, key_id, sealed,
        )  # fmt: skip

    async def _lines(self, conn: Connection, orders: list[Order]) -> None:
        """Change what may change of lines that are not new."""
        changed = [
            (o.order_id, x.line_id, x.position, x.current, x.shipped, x.unit_price, x.total_minor)
            for o in orders
            for x in o.lines.values()
            if x.is_changed and not x.is_new
        ]
        if changed:
            await conn.execute(statements.SAVE_LINES, self.tenant_id, *_columns(changed))

    async def _fulfillments(self, conn: Connection, fulfillments: list[NewFulfillment]) -> None:
        if not fulfillments:
            return
        rows = [
            (f.fulfillment_id, f.order_id, f.source_id, f.shipment.external_id, f.shipment.tracking,
             f.shipment.carrier, f.shipment.shipped_at)
            for f in fulfillments
        ]  # fmt: skip
        await conn.execute(statements.SAVE_FULFILLMENTS, self.tenant_id, *_columns(rows))
        lines = [(f.fulfillment_id, line_id, units) for f in fulfillments for line_id, units in f.units.items()]
        await conn.execute(statements.SAVE_FULFILLMENT_LINES, self.tenant_id, *_columns(lines))

    async def _expected(self, conn: Connection, result: Result) -> None:
        """Replace what each source said of what is on its way, sorted by key: batches of one source may meet here."""
        if not result.expected:
            return
        await conn.execute(statements.DROP_EXPECTED, self.tenant_id, *_columns(sorted(result.expected)))
        rows = [
            (connection_id, reference, *expected)
            for (connection_id, reference), found in sorted(result.expected.items())
            for expected in found
            if expected.units
        ]
        if rows:
            await conn.execute(statements.ADD_EXPECTED, self.tenant_id, *_columns(rows), ACTOR)

    async def _cancels(self, conn: Connection, cancels: list[PlannedCommand]) -> list[PlannedCommand]:
        """Return the cancels that must be sent: those whose create was planned and is not still unsent."""
        if not cancels:
            return []
        order_ids = sorted(cancel.entity_id for cancel in cancels)
        planned = {row[0] for row in await conn.fetch(statements.PLANNED_CREATES, self.tenant_id, order_ids)}
        annihilated = {row[0] for row in await conn.fetch(statements.ANNIHILATE_CREATES, self.tenant_id, order_ids)}
        return [cancel for cancel in cancels if cancel.entity_id in planned - annihilated]

    def _command_rows(self, commands: list[PlannedCommand]) -> list[tuple[object, ...]]:
        return [
            (new_id(), c.connection_id, c.kind, c.entity_id, c.version, c.target_key, PRIORITY_OF[c.kind],
             self.now + timedelta(seconds=DEADLINE_SECONDS[c.kind]), c.cause_event_id, str(c.state), c.code, c.reason,
             self.now + c.wait if c.wait is not None else None)
            for c in commands
        ]  # fmt: skip

    async def _behind_open_ones(self, conn: Connection, rows: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
        """Return command rows whose ids are larger than that of any open command of their target: ids are the queue."""
        targets = sorted({(cast("UUID", row[1]), str(row[5])) for row in rows})
        found = await conn.fetch(statements.NEWEST_OPEN, self.tenant_id, *_columns(targets))
        newest: dict[tuple[object, object], UUID] = {(row[0], row[1]): row[2] for row in found}
        behind = []
        for row in rows:
            command_id, last = cast("UUID", row[0]), newest.get((row[1], row[5]))
            if last is not None and command_id <= last:
                command_id = UUID(int=last.int + 1)
            newest[row[1], row[5]] = command_id
            behind.append((command_id, *row[1:]))
        return behind

    async def _fetches(self, conn: Connection, result: Result) -> None:
        if result.fetches:
            rows = [
                (f.connection_id, f.topic, f.external_id, f.event_id, f.wait.total_seconds(), f.hints_max)
                for f in result.fetches
            ]
            hints_max = min(f.hints_max for f in result.fetches)
            await conn.execute(statements.REQUEST_FETCHES, self.tenant_id, *_columns(rows), hints_max)

        if result.shown:
            await conn.execute(statements.FORGET_FETCHES, self.tenant_id, *_columns(result.shown))

    async def _park(self, conn: Connection, result: Result) -> None:
        rows: list[tuple[object, ...]] = [
            (park.prepared.event.event_id, park.prepared.event.run, park.prepared.event.slot,
             park.prepared.event.connection_id, park.prepared.event.ordering_key, "parked", park.code, park.reason,
             park.until)
            for park in result.parks
        ]  # fmt: skip
        rows += [
            (p.event.event_id, p.event.run, p.event.slot, p.event.connection_id, p.event.ordering_key, "quarantined",
             o.code, o.reason or o.code, None)
            for p, o in result.outcomes if o.outcome == "quarantined"
        ]  # fmt: skip
        settled = [
            p.event.event_id for p, o in result.outcomes if p.event.run and o.outcome not in ("parked", "quarantined")
        ]
        if rows:
            await conn.execute(statements.PARK, self.tenant_id, *_columns(rows))
        if settled:
            await conn.execute(statements.UNPARK, self.tenant_id, settled)


def wake_up_call(commands: Iterable[PlannedCommand], read: Iterable[UUID], told: Iterable[UUID]) -> str | None:
    """Return the payload that wakes the lanes with something to do, None when there is nothing. Pure.

    Connections, comma separated; `!` before one means that what is waiting there is urgent: it is to be looked at at once.
    '' wakes all of them.
    """
    commands = list(commands)
    urgent = {c.connection_id for c in commands if PRIORITY_OF[c.kind] <= Priority.FULFILLMENT}
    others = {c.connection_id for c in commands} | {*read, *told}
    names = [f"!{each}" for each in sorted(urgent)] + [str(each) for each in sorted(others - urgent)]
    if not names:
        return None
    return ",".join(names) if len(names) <= WOKEN_MAX else ""


async def store_entries(conn: Connection, tenant_id: UUID, entries: Iterable[Entry]) -> None:
    """Write ledger entries; their levels are locked. The newest of a level says what the level holds."""
    rows = [
        (tenant_id, p.item_id, p.location_id, e.version, p.kind, p.on_hand_delta, e.unavailable_delta,
         e.committed_delta, e.reserved_delta, e.on_hand_after, e.unavailable_after, e.committed_after, e.reserved_after,
         p.cause_key, p.event_id, p.order_line_id, p.reservation_id, ACTOR)
        for e in entries for p in (e.posting,)
    ]  # fmt: skip
    if len(rows) > COPIED_FROM:
        await conn.copy_records_to_table("stock_entry", records=rows, columns=list(statements.ENTRY_COLUMNS))
    elif rows:
        await conn.execute(statements.INSERT_ENTRIES, tenant_id, *_columns(rows)[1:])


def _is_first(command: PlannedCommand, state: State) -> bool:
    """Return whether the command's entity is new in this batch, so that nobody can have planned it before."""
    if command.kind is CommandKind.FULFILLMENT_CREATE:
        return True
    if command.kind is CommandKind.EVENT_SEND or command.kind in FLOW_OF_MONEY:
        return False
    return state.orders[command.entity_id].is_new


def count_outcomes(outcomes: Iterable[tuple[Prepared, Outcome]]) -> list[tuple[object, ...]]:
    """Return rows (connection, hour of receipt, applied, superseded, ignored, quarantined), sorted by key.

    A replay is no receipt, so its outcomes are not counted; neither is an event that is parked: it is still pending.
    A thin event is spent when its fetch is asked for, and counts as superseded by what the fetch will bring.
    """
    counter: Counter[tuple[UUID, int, str]] = Counter()
    for prepared, outcome in outcomes:
        name = "superseded" if outcome.outcome == "needs_fetch" else outcome.outcome
        if prepared.event.run == 0 and name in COUNTED:
            counter[prepared.event.connection_id, hour_of(prepared.event.event_id), name] += 1
    keys = sorted({(connection_id, hour) for connection_id, hour, _ in counter})
    return [
        (connection_id, _HOUR_ZERO + timedelta(hours=hour), *(counter[connection_id, hour, name] for name in COUNTED))
        for connection_id, hour in keys
    ]


def hour_of(event_id: UUID) -> int:
    """Return the hour of receipt, counted since 1970: an event's id is a UUIDv7 and begins with milliseconds."""
    return (event_id.int >> 80) // 3_600_000


def _columns(rows: Sequence[tuple[object, ...]]) -> list[list[object]]:
    """Turn rows into one list per column, as unnest wants them."""
    return [list(column) for column in zip(*rows, strict=True)]


def _columns_of(rows: Sequence[tuple[object, ...]], width: int) -> list[list[object]]:
    """Turn rows, or none, into one list for each of `width` columns."""
    return _columns(rows) if rows else [[] for _ in range(width)]
