"""Payloads from committed state. Called inside T2s, after the rows were locked; what cannot be built is a value, no error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from tidegate.commerce.changes import OrderPrivate
from tidegate.commerce.commands import (
    CancelOrder,
    CommandKind,
    CreateFulfillment,
    CreateOrder,
    FulfillmentLineOut,
    OrderLineOut,
    Payload,
    Priority,
    SetInventory,
)
from tidegate.commerce.significance import NUMBER_MAX, NUMBER_MIN, Quiet, Reason, judge, quiet
from tidegate.commerce.states import CommandState, may_leave
from tidegate.commerce.stock import ChannelOpen, Level, StockNumber, channel_quantity
from tidegate.dispatch.numbers import read_numbers
from tidegate.dispatch.payments import KINDS as MONEY_KINDS
from tidegate.dispatch.payments import build_payment
from tidegate.dispatch.records import ConnectionRow, DirtyMark, PendingCommand, Unbuildable
from tidegate.dispatch.safety import Safety, SafetyRules
from tidegate.dispatch.statements import LOCK_DIRTY, TOUCHED_ITEMS
from tidegate.kernel.ids import public_id
from tidegate.store.connections import Connection
from tidegate.vault.bodies import BodyCipher

LOCK_ORDERS = """
SELECT o.order_id, o.number, o.connection_id, c.name AS channel, o.external_id, o.placed_at, o.currency, o.shipping_minor,
       o.shipping_method, o.discount_minor, o.total_minor, o.order_state, o.payment_state, o.data_key_id,
       o.private, o.called_off_at
FROM "order" o JOIN connection c ON c.tenant_id = o.tenant_id AND c.connection_id = o.connection_id
WHERE o.tenant_id = $1 AND o.order_id = ANY($2::uuid[]) ORDER BY o.order_id FOR SHARE OF o
"""
READ_ORDERS = LOCK_ORDERS.replace("FOR SHARE OF o", "")
PAYMENT_METHODS = """
SELECT DISTINCT ON (order_id) order_id, method
FROM payment WHERE tenant_id = $1 AND order_id = ANY($2::uuid[]) AND kind IN ('sale', 'capture', 'authorise')
ORDER BY order_id, kind = 'authorise', external_id DESC
"""
ARTICLES_OF_SKUS = """
SELECT v.sku, b.external_id
FROM variant v JOIN binding b ON b.tenant_id = $1 AND b.connection_id = $2 AND b.kind = 'variant'
                             AND b.internal_id = v.variant_id
WHERE v.tenant_id = $1 AND v.sku = ANY($3::text[])
"""
# What the target calls the order, and its lines; an order without any has one row all the same. `place`: what it calls the location of a
# line, where that is not the one at which orders stand by themselves.
ORDER_LINES = """
SELECT want.order_id, there.external_id AS there, l.line_id, l.sku, l.title, l.current, l.unit_price::text AS unit_price,
       l.total_minor, b.external_id AS bound, place.external_id AS place
FROM unnest($3::uuid[]) AS want(order_id)
LEFT JOIN binding there ON there.tenant_id = $1 AND there.connection_id = $2 AND there.kind = 'order'
                       AND there.internal_id = want.order_id
LEFT JOIN order_line l ON l.tenant_id = $1 AND l.order_id = want.order_id
LEFT JOIN binding b ON b.tenant_id = $1 AND b.connection_id = $2 AND b.kind = 'variant' AND b.internal_id = l.variant_id
LEFT JOIN binding place ON place.tenant_id = $1 AND place.connection_id = $2 AND place.kind = 'location'
                       AND place.internal_id = l.location_id
                       AND l.location_id <> (SELECT location_id FROM location WHERE tenant_id = $1 AND active ORDER BY location_id LIMIT 1)
ORDER BY want.order_id, l.position, l.line_id
"""
BOUND_ORDERS = """
SELECT internal_id, external_id FROM binding
WHERE tenant_id = $1 AND connection_id = $2 AND kind = 'order' AND internal_id = ANY($3::uuid[])
"""
OWN_ORDER = """
SELECT external_id, order_state, called_off_at FROM "order" WHERE tenant_id = $1 AND connection_id = $2 AND order_id = $3 FOR SHARE
"""
# Of an order whose row is locked: whoever stores a shipment of it waits.
HAS_LEFT = """
SELECT EXISTS (SELECT FROM order_line WHERE tenant_id = $1 AND order_id = $2 AND shipped + fulfilled > 0)
    OR EXISTS (SELECT FROM fulfillment WHERE tenant_id = $1 AND order_id = $2 AND state <> 'cancelled')
"""
WAS_SENT = """
SELECT EXISTS (SELECT FROM command WHERE tenant_id = $1 AND connection_id = $2 AND entity_id = $3
                 AND kind = 'order.create' AND call_id IS NOT NULL)
"""
FULFILLMENT = """
SELECT f.order_id, o.external_id AS order_external_id, f.tracking, f.carrier, f.shipped_at, f.state
FROM fulfillment f JOIN "order" o ON o.tenant_id = $1 AND o.order_id = f.order_id
WHERE f.tenant_id = $1 AND f.fulfillment_id = $2 FOR SHARE OF o
"""
READ_FULFILLMENT = FULFILLMENT.replace("FOR SHARE OF o", "")
FULFILLMENT_LINES = """
SELECT l.external_id, fl.quantity
FROM fulfillment_line fl JOIN order_line l ON l.tenant_id = $1 AND l.order_id = $3 AND l.line_id = fl.line_id
WHERE fl.tenant_id = $1 AND fl.fulfillment_id = $2 ORDER BY l.position, l.line_id
"""


class Stale(msgspec.Struct, frozen=True):
    """What hooks were asked about is not true any more: they are asked again."""


Shape = Callable[["Drafted"], "CreateOrder | CreateFulfillment | Unbuildable | Stale"]
"""What a map makes of a drafted payload. Pure."""


class StockNumberRow(msgspec.Struct, frozen=True, kw_only=True):
    """The number of one item for one channel, from committed stock."""

    item_id: UUID
    sku: str
    variant_external_id: str | None
    """None: the channel does not sell it."""
    quantity: int
    """In units of the item."""
    units_per_variant: int
    push_version: int
    acked_quantity: int | None
    tries: int
    counted_external_id: str = ""
    is_unexplained: bool = False
    """Units are gone, or came back, in this channel, and no order tells why yet."""
    may_come_late: bool = False
    """A number that was given up may still arrive there."""
    is_due_again: bool = False
    """Such a number may have arrived, and no more come: the channel is told once more, whatever it is believed to show."""
    is_forced: bool = False
    """The item is shared out, and the channel is to be told this number, whatever it is believed to show."""
    is_left: bool = False
    """The channel is left with the number that it has: the item is shared out, or a part of it was never counted."""
    is_kit: bool = False
    """How many there are follows from its parts."""
    is_buried: bool = False
    """Its article was deleted over there: nobody has to be told, and orders of it may still come."""
    look_seconds: float | None = None
    """The item is shared out, or units are held back: after how long time alone may change what is to be told."""
    ledger: bytes
    """JSON: the counters that the number was made of, and how many ledger entries they come from."""
    available: int = 0
    """Units of the item at all active locations together that nobody was promised."""
    quiet: Quiet = Quiet(0, 0)
    """Up to which numbers of available units the next change can wait for others."""
    because: Reason | None = None
    """Why it did not wait for others; None where it did."""

    @property
    def is_shared(self) -> bool:
        """Whether the item is shared out."""
        return self.is_forced or self.is_left

    @property
    def is_news(self) -> bool:
        """Whether the channel is to be told."""
        is_sold = self.variant_external_id is not None
        if self.is_shared:
            return is_sold and self.is_forced
        return is_sold and (self.quantity != self.acked_quantity or self.is_due_again)

    @property
    def is_watched(self) -> bool:
        """Whether there is to be another look although there is nothing to tell now."""
        if self.is_buried:
            return self.is_unexplained
        return self.variant_external_id is not None and (self.is_unexplained or self.may_come_late)


class Drafted(msgspec.Struct, frozen=True, kw_only=True):
    """A payload before it is shaped: as committed state gives it. An article that the target does not have has no id."""

    payload: CreateOrder | CreateFulfillment
    facts: Mapping[str, str] = {}
    """What a map may read besides the payload."""


async def build_actions(
    conn: Connection,
    connection: ConnectionRow,
    commands: Sequence[PendingCommand],
    cipher: BodyCipher,
    *,
    cell: str,
    shape_of: Callable[[PendingCommand], Shape | None] = lambda _command: None,
    articles_are_ours: bool = False,
) -> list[Payload | Unbuildable | Stale]:
    """Return the payload of each action command (all of one kind), its order locked until the transaction ends.

    `shape_of` gives what makes the target's payload of the drafted one, where there is a map for it. `articles_are_ours`:
    an article that is not bound at the target stands there under its SKU.
    """
    shapes = [shape_of(command) for command in commands]
    orders: Mapping[UUID, Drafted | Unbuildable] = {}
    if commands[0].kind is CommandKind.ORDER_CREATE:
        wanted = [command.entity_id for command in commands]
        orders = await _draft_orders(conn, connection, wanted, cipher, cell, has_map=any(shapes))
    built: list[Payload | Unbuildable | Stale] = []
    for command, shape in zip(commands, shapes, strict=True):
        if command.kind is CommandKind.ORDER_CANCEL:
            built.append(await _build_cancel(conn, connection, command.entity_id, cell))
            continue
        if command.kind in MONEY_KINDS:
            built.append(await build_payment(conn, connection.tenant_id, command, cell=cell))
            continue
        draft = orders.get(command.entity_id) or await draft_action(
            conn, connection, command, cipher, cell=cell, has_map=shape is not None
        )
        built.append(await _shaped(conn, connection, draft, shape, articles_are_ours=articles_are_ours))
    return built


async def _shaped(
    conn: Connection,
    connection: ConnectionRow,
    draft: Drafted | Unbuildable,
    shape: Shape | None,
    *,
    articles_are_ours: bool,
) -> Payload | Unbuildable | Stale:
    if isinstance(draft, Unbuildable):
        return draft
    payload = shape(draft) if shape is not None else draft.payload
    if isinstance(payload, CreateOrder) and articles_are_ours:
        return _by_sku(payload)
    if isinstance(payload, CreateOrder) and isinstance(draft.payload, CreateOrder):
        return await _with_articles(conn, connection, payload, draft.payload)
    return payload


async def draft_action(
    conn: Connection,
    connection: ConnectionRow,
    command: PendingCommand,
    cipher: BodyCipher,
    *,
    cell: str,
    has_map: bool,
) -> Drafted | Unbuildable:
    """Return what a map is applied to. Outside of T2s it may be out of date as soon as it is read."""
    match command.kind:
        case CommandKind.ORDER_CREATE:
            order_id = command.entity_id
            return (await _draft_orders(conn, connection, [order_id], cipher, cell, has_map=has_map))[order_id]
        case CommandKind.FULFILLMENT_CREATE:
            return await _draft_fulfillment(conn, connection.tenant_id, command.entity_id, cell)
        case _:
            reason = (
                "stock numbers are pushed from marks, not from commands - use `commands retry` to mark the item again"
            )
            return Unbuildable(state=CommandState.FAILED, code="not_an_action", reason=reason)


async def preview_action(
    conn: Connection, connection: ConnectionRow, kind: CommandKind, entity_id: UUID, cipher: BodyCipher, *, cell: str
) -> Drafted | Unbuildable:
    """Return what a map would be applied to, also of what is long over. Reads only, and locks nothing."""
    if kind is CommandKind.FULFILLMENT_CREATE:
        return await _draft_fulfillment(conn, connection.tenant_id, entity_id, cell, is_preview=True)
    drafts = await _draft_orders(conn, connection, [entity_id], cipher, cell, has_map=True, is_preview=True)
    return drafts[entity_id]


async def _draft_orders(
    conn: Connection,
    connection: ConnectionRow,
    order_ids: Sequence[UUID],
    cipher: BodyCipher,
    cell: str,
    *,
    has_map: bool,
    is_preview: bool = False,
) -> dict[UUID, Drafted | Unbuildable]:
    """Return each order as it is now; all of them in a few statements. Locks them, unless it is for a preview."""
    tenant_id, wanted = connection.tenant_id, list(order_ids)
    ids = (tenant_id, connection.connection_id, wanted)
    orders = {
        row["order_id"]: row for row in await conn.fetch(READ_ORDERS if is_preview else LOCK_ORDERS, tenant_id, wanted)
    }
    bound: dict[UUID, str] = {}
    lines: dict[UUID, list[Any]] = {}
    for row in await conn.fetch(ORDER_LINES, *ids):
        if row["there"] is not None and not is_preview:
            bound[row["order_id"]] = row["there"]
        if row["line_id"] is not None:
            lines.setdefault(row["order_id"], []).append(row)
    methods = {row[0]: row[1] for row in await conn.fetch(PAYMENT_METHODS, tenant_id, wanted)} if has_map else {}
    await cipher.opener(conn, {(tenant_id, order["data_key_id"]) for order in orders.values()})
    drafts: dict[UUID, Drafted | Unbuildable] = {}
    for order_id in order_ids:
        order, there = orders.get(order_id), bound.get(order_id)
        left = [row for row in lines.get(order_id, ()) if row["current"] > 0]
        refusal = _why_not(order, there, has_lines=bool(left), is_preview=is_preview)
        if order is None or refusal is not None:
            drafts[order_id] = refusal or _ORDER_MISSING
            continue
        private = cipher.open(tenant_id, order["data_key_id"], "order", order_id, order["private"])
        payload = _order_payload(order, left, msgspec.json.decode(private, type=OrderPrivate), cell)
        facts = {"payment_method": methods.get(order_id) or ""} if has_map else {}
        drafts[order_id] = Drafted(payload=payload, facts=facts)
    return drafts


_ORDER_MISSING = Unbuildable(state=CommandState.FAILED, code="order_missing", reason="the order does not exist")


def _why_not(order: Any, bound: str | None, *, has_lines: bool, is_preview: bool) -> Unbuildable | None:
    """Return why an order is not created, None when it may be."""
    if order is None:
        return _ORDER_MISSING
    if bound is not None:
        return Unbuildable(state=CommandState.SUCCEEDED, code="already_bound", reason=f"it exists there as {bound}")
    if not has_lines or (order["order_state"] == "cancelled" and not is_preview):
        return Unbuildable(state=CommandState.CANCELLED, code="nothing_left", reason="nothing of the order is left")
    if not is_preview and order["called_off_at"] is not None:
        reason = "its channel is asked to cancel it, because nobody has its goods"
        return Unbuildable(state=CommandState.CANCELLED, code="not_released", reason=reason)
    if not is_preview and not may_leave(order["order_state"], order["payment_state"]):
        reason = f"the order is {order['order_state']} and {order['payment_state']}: it goes out when it is released"
        return Unbuildable(state=CommandState.CANCELLED, code="not_released", reason=reason)
    return None


def _order_payload(order: Any, lines: Sequence[Any], private: OrderPrivate, cell: str) -> CreateOrder:
    return CreateOrder(
        reference=public_id("ord", cell, order["order_id"]),
        number=order["number"],
        channel=order["channel"],
        placed_at=order["placed_at"],
        currency=order["currency"],
        lines=tuple(_order_line(row, cell) for row in lines),
        shipping_minor=order["shipping_minor"],
        shipping_method=order["shipping_method"] or "",
        discount_minor=order["discount_minor"],
        total_minor=order["total_minor"],
        private=private,
    )


async def _with_articles(
    conn: Connection, connection: ConnectionRow, order: CreateOrder, drafted: CreateOrder
) -> CreateOrder | Unbuildable:
    """Return the order with the target's ids of the articles that a map put into it, if the target has them all.

    An article that the order itself names and the target does not have is not looked for by its SKU: it is not bound.
    """
    without = [line for line in order.lines if not line.item_external_id]
    if not without:
        return order
    own = {(line.reference, line.sku) for line in drafted.lines}
    wanted = sorted({line.sku for line in without if (line.reference, line.sku) not in own})
    rows = await conn.fetch(ARTICLES_OF_SKUS, connection.tenant_id, connection.connection_id, wanted) if wanted else []
    found = {row["sku"]: row["external_id"] for row in rows}
    unbound = sorted({line.sku for line in without if (line.reference, line.sku) in own or line.sku not in found})
    if unbound:
        return _unbound(unbound, connection.name)
    replace = msgspec.structs.replace
    lines = (line if line.item_external_id else replace(line, item_external_id=found[line.sku]) for line in order.lines)
    return replace(order, lines=tuple(lines))


def _by_sku(order: CreateOrder) -> CreateOrder:
    replace = msgspec.structs.replace
    lines = (line if line.item_external_id else replace(line, item_external_id=line.sku) for line in order.lines)
    return replace(order, lines=tuple(lines))


async def _build_cancel(
    conn: Connection, connection: ConnectionRow, order_id: UUID, cell: str
) -> Payload | Unbuildable:
    ids = (connection.tenant_id, connection.connection_id, order_id)
    own = await conn.fetchrow(OWN_ORDER, *ids)
    if own is not None:
        if own["order_state"] == "cancelled":
            reason = f"{connection.name} shows it as cancelled"
            return Unbuildable(state=CommandState.SUCCEEDED, code="already_cancelled", reason=reason)
        if own["called_off_at"] is None:
            return Unbuildable(
                state=CommandState.CANCELLED, code="let_stand", reason="the order is not called off any more"
            )
        if await conn.fetchval(HAS_LEFT, connection.tenant_id, order_id):
            reason = "goods of it have left since it was called off: let it stand (tidegate stock settle SKU --undo), or take it back"
            return Unbuildable(state=CommandState.FAILED, code="shipped_meanwhile", reason=reason)
        reference = public_id("ord", cell, order_id)
        return CancelOrder(reference=reference, order_external_id=own["external_id"], is_own=True)
    rows = await conn.fetch(BOUND_ORDERS, *ids[:2], [order_id])
    bound = rows[0]["external_id"] if rows else None
    if bound is None and not await conn.fetchval(WAS_SENT, *ids):
        reason = f"the order never left for {connection.name}"
        return Unbuildable(state=CommandState.CANCELLED, code="never_created", reason=reason)
    return CancelOrder(reference=public_id("ord", cell, order_id), order_external_id=bound or "")


def _order_line(row: Any, cell: str) -> OrderLineOut:
    return OrderLineOut(
        reference=public_id("lin", cell, row["line_id"]),
        sku=row["sku"],
        item_external_id=row["bound"] or "",
        title=row["title"],
        quantity=row["current"],
        unit_price=row["unit_price"],
        total_minor=row["total_minor"],
        location_external_id=row["place"] or "",
    )


async def _draft_fulfillment(
    conn: Connection, tenant_id: UUID, fulfillment_id: UUID, cell: str, *, is_preview: bool = False
) -> Drafted | Unbuildable:
    statement = READ_FULFILLMENT if is_preview else FULFILLMENT
    row = await conn.fetchrow(statement, tenant_id, fulfillment_id)
    if row is None:
        return Unbuildable(state=CommandState.FAILED, code="fulfillment_missing", reason="it does not exist")
    if row["state"] == "confirmed" and not is_preview:
        return Unbuildable(state=CommandState.SUCCEEDED, code="already_confirmed", reason="the channel has it already")
    lines = await conn.fetch(FULFILLMENT_LINES, tenant_id, fulfillment_id, row["order_id"])
    if row["state"] == "cancelled" or not lines:
        return Unbuildable(state=CommandState.CANCELLED, code="nothing_left", reason="nothing of the shipment is left")
    payload = CreateFulfillment(
        reference=public_id("ful", cell, fulfillment_id),
        order_external_id=row["order_external_id"],
        lines=tuple(
            FulfillmentLineOut(line_external_id=line["external_id"], quantity=line["quantity"]) for line in lines
        ),
        tracking=row["tracking"] or "",
        carrier=row["carrier"] or "",
        shipped_at=row["shipped_at"],
    )
    return Drafted(payload=payload)


async def read_stock_numbers(
    conn: Connection,
    connection: ConnectionRow,
    marks: tuple[DirtyMark, ...],
    *,
    stock_number: StockNumber,
    safety: Safety,
) -> list[StockNumberRow]:
    """Lock the marks that may be pushed and return their items' numbers, sorted by item.

    The lock comes first and the numbers are read afterwards: whoever changes stock of these items marks them in the same
    transaction, so it is either seen here or waits for us. Whoever changes the rules of `safety` marks what they are about
    afterwards, so these are looked at after the lock too. Where the channel takes what it fulfils off the number, items of a
    fulfillment under way are left out.
    """
    ids = (connection.tenant_id, connection.connection_id)
    locked = {row["item_id"]: row for row in await conn.fetch(LOCK_DIRTY, *ids, [mark.item_id for mark in marks])}
    touched = await conn.fetchrow(TOUCHED_ITEMS, *ids, True) if locked and stock_number == "on_hand" else None
    held = set(touched["held"]) if touched is not None else set()
    wanted = sorted(item_id for item_id in locked if item_id not in held)
    if not wanted:
        return []
    rules = safety.rules
    rows = await read_numbers(conn, *ids, wanted, rules, stock_number=stock_number)
    return [_stock_number(row, locked[row["item_id"]], stock_number, rules) for row in rows]


COUNTERS = ("on_hand", "unavailable", "committed", "reserved", "safety_stock", "unseen")
"""Columns of NUMBERS that make a `Level`."""


def quantity_of(row: Any, stock_number: StockNumber, rules: SafetyRules, *, held: int = 0) -> int:
    """Return the number of a row of NUMBERS for its channel, in units of the item.

    What is held back because others may sell it meanwhile is taken off where it is a fixed number; `buffers` works out the rest,
    which is `held`.
    """
    counters, carried = _counters(row, rules), _carried(row)
    counters["safety_stock"] += rules.fixed_buffer_of(row["sku"]) + held
    return channel_quantity(Level(**counters), ChannelOpen(**carried), stock_number=stock_number)


def _counters(row: Any, rules: SafetyRules) -> dict[str, int]:
    """Return the counters of an item; of the safety stocks of its levels and of the configuration the larger one counts.

    What is kept back of the parts of a kit is kept back of it already.
    """
    counters = {name: int(row[name]) for name in COUNTERS}
    if row["parts"] is not None:
        return counters
    return {**counters, "safety_stock": max(counters["safety_stock"], rules.of(row["sku"]))}


def _carried(row: Any) -> dict[str, int]:
    return {name: int(row[name]) for name in ("unfulfilled", "shipped_unconfirmed")}


def _stock_number(row: Any, mark: Any, stock_number: StockNumber, rules: SafetyRules) -> StockNumberRow:
    counters, carried = _counters(row, rules), _carried(row)
    available = Level(**counters).available
    withheld = counters["safety_stock"] + counters["unseen"]
    rule, sellable, pace = rules.significance(row["sku"]), available - withheld, row["pace"]
    told, is_urgent = mark["told_available"], mark["priority"] <= Priority.INVENTORY_CRITICAL
    lasts_seconds = None if pace <= 0 else max(0, sellable) / pace
    bounds = quiet(rule, sellable, lasts_seconds=lasts_seconds)
    because = None
    if is_urgent and told is not None:
        kept = counters["safety_stock"]
        because = judge(rule, told - withheld, sellable, withheld=kept, lasts_seconds=lasts_seconds)
    return StockNumberRow(
        item_id=row["item_id"],
        sku=row["sku"],
        variant_external_id=row["external_id"],
        quantity=quantity_of(row, stock_number, rules),
        units_per_variant=row["required_qty"] or 1,
        push_version=mark["push_version"],
        acked_quantity=mark["acked_quantity"],
        tries=mark["tries"],
        counted_external_id=row["counted_external_id"],
        is_unexplained=mark["is_unexplained"],
        may_come_late=mark["may_come_late"],
        is_due_again=mark["is_due_again"],
        ledger=msgspec.json.encode(
            {**counters, **(carried if stock_number == "on_hand" else {}), "entries": int(row["entries"])}
        ),
        is_left=row["parts"] is not None and not row["is_counted"],
        available=available,
        quiet=Quiet(max(NUMBER_MIN, bounds.lowest + withheld), min(NUMBER_MAX, bounds.highest + withheld)),
        because=because,
    )


def build_stock_payload(
    row: StockNumberRow, connection: ConnectionRow, command_id: UUID, *, cell: str, is_conditional: bool
) -> SetInventory:
    """Return the payload that sets an item's number; a pack of several units is sold whole.

    `is_conditional`: only where the channel shows what it is believed to show.
    """
    is_known = is_conditional and row.acked_quantity is not None
    return SetInventory(
        reference=public_id("cmd", cell, command_id),
        sku=row.sku,
        variant_external_id=row.variant_external_id or "",
        location_external_id=str(connection.settings.get("location_external_id", "")),
        quantity=row.quantity // row.units_per_variant,
        expected=(row.acked_quantity or 0) // row.units_per_variant if is_known else None,
        counted_external_id=row.counted_external_id,
    )


def _unbound(skus: list[str], name: str) -> Unbuildable:
    shown = ", ".join(skus[:5]) + (" ..." if len(skus) > 5 else "")
    reason = f"not known in {name}: {shown} - create the article there, run `tidegate connect {name}`, then retry"
    return Unbuildable(state=CommandState.FAILED, code="sku_unbound", reason=reason)


def unbound_reason(name: str) -> str:
    """Return the sentence of a stock number that has no article to go to."""
    return f"the article is not known in {name} - create it there, run `tidegate connect {name}`, then retry"
