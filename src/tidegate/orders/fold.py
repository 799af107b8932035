"""Fold what a channel shows into the canonical order. Pure; any sequence of versions ends in the newest one's state."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from tidegate.commerce.changes import OrderLineSeen, OrderSeen, ShipmentLine
from tidegate.commerce.states import FulfillmentState, derive_fulfillment_state, may_leave
from tidegate.orders.records import Line, Order


def new_order(change: OrderSeen, *, order_id: UUID, connection_id: UUID) -> Order:
    """Return an empty order for `change`; `fold_order` fills it."""
    return Order(
        order_id=order_id,
        connection_id=connection_id,
        external_id=change.external_id,
        number=change.number,
        version=0,
        order_state=change.order_state,
        payment_state=change.payment_state,
        fulfillment_state=FulfillmentState.UNFULFILLED,
        currency=change.currency,
        total_minor=0,
        shipping_minor=0,
        discount_minor=0,
        tax_minor=0,
        totals_mismatch=False,
        shipping_method="",
        placed_at=change.placed_at,
        is_new=True,
    )


def fold_order(
    order: Order,
    change: OrderSeen,
    *,
    variant_of: Callable[[OrderLineSeen], UUID],
    location_id: UUID,
    make_id: Callable[[], UUID],
) -> None:
    """Bring `order` to the state of `change`, which has passed the version gate.

    Lines are matched by the channel's line id; a line that `change` no longer shows has current = 0. `variant_of` names
    the variant of a line; `location_id` is where new lines stand committed until they are routed. Changes `order`.
    """
    order.number = change.number
    order.order_state = change.order_state
    order.payment_state = change.payment_state
    order.currency = change.currency
    order.total_minor = change.total_minor
    order.shipping_minor = change.shipping_minor
    order.discount_minor = change.discount_minor
    order.tax_minor = change.tax_minor
    order.shipping_method = change.shipping_method
    order.placed_at = change.placed_at
    order.private = change.private
    order.totals_mismatch = has_totals_mismatch(change)
    order.is_changed = True
    for payment in change.payments:
        order.payments[payment.external_id] = payment
    seen = set()
    for position, shown in enumerate(change.lines):
        seen.add(shown.external_id)
        _fold_line(order, shown, position, variant_of, location_id, make_id)
    for external_id, line in order.lines.items():
        if external_id not in seen and line.current:
            line.current = 0
            line.is_changed = True
    refresh_fulfillment_state(order)


def _fold_line(
    order: Order,
    seen: OrderLineSeen,
    position: int,
    variant_of: Callable[[OrderLineSeen], UUID],
    location_id: UUID,
    make_id: Callable[[], UUID],
) -> None:
    line = order.lines.get(seen.external_id)
    if line is None:
        order.lines[seen.external_id] = Line(
            line_id=make_id(),
            external_id=seen.external_id,
            position=position,
            variant_id=variant_of(seen),
            sku=seen.sku,
            title=seen.title,
            ordered=seen.ordered,
            current=seen.current,
            shipped=0,
            fulfilled=0,
            unit_price=seen.unit_price,
            total_minor=seen.total_minor,
            location_id=location_id,
            is_new=True,
        )
        return
    line.position = position
    line.current = seen.current
    line.unit_price = seen.unit_price
    line.total_minor = seen.total_minor
    line.is_changed = True


def has_totals_mismatch(change: OrderSeen) -> bool:
    """Return whether lines - discounts + shipping differ from the total by more than one minor unit per line.

    Such an order passes through, flagged: tax apps and cash rounding do that daily.
    """
    expected = sum(line.total_minor for line in change.lines) + change.shipping_minor - change.discount_minor
    return abs(expected - change.total_minor) > max(1, len(change.lines))


def ship_units(order: Order, *, line_id: UUID | None, sku: str, units: int) -> list[tuple[Line, int]]:
    """Count `units` as shipped on the named line, else on open lines of that SKU in order; return (line, units) taken.

    Never ships more than is open: what is left over belongs to no line of this order.
    """
    taken = []
    for line in sorted(order.lines.values(), key=lambda each: each.position):
        is_meant = line.line_id == line_id if line_id is not None else line.sku == sku
        part = min(units, line.open_units()) if is_meant else 0
        if part > 0:
            line.shipped += part
            line.is_changed = True
            units -= part
            taken.append((line, part))
    if taken:
        order.is_changed = True
        refresh_fulfillment_state(order)
    return taken


def match_shipment_lines(
    order: Order, lines: tuple[ShipmentLine, ...], parse_line: Callable[[str], UUID | None]
) -> dict[UUID, int]:
    """Return units per our line id for a shipment: by line reference, else by SKU in line order (all to the last match).

    Lines that earlier shipments filled have no room, whether the channel has confirmed those or not.
    """
    units: dict[UUID, int] = {}
    by_id = {line.line_id: line for line in order.lines.values()}
    ordered = sorted(order.lines.values(), key=lambda each: each.position)
    for part in (each for each in lines if each.quantity > 0):
        line = by_id.get(parse_line(part.line_reference) or UUID(int=0))
        if line is not None:
            units[line.line_id] = units.get(line.line_id, 0) + part.quantity
            continue
        left = part.quantity
        matches = [each for each in ordered if each.sku == part.sku]
        for index, each in enumerate(matches):
            room = each.current - max(each.fulfilled, each.announced) - units.get(each.line_id, 0)
            take = left if index == len(matches) - 1 else min(left, max(0, room))
            if take > 0:
                units[each.line_id] = units.get(each.line_id, 0) + take
                left -= take
    return units


def refresh_fulfillment_state(order: Order) -> None:
    """Derive the fulfillment state from the lines."""
    if any(line.shipped for line in order.lines.values()):
        units = [(line.current, line.shipped) for line in order.lines.values()]
        order.fulfillment_state = derive_fulfillment_state(units)
    else:
        order.fulfillment_state = FulfillmentState.UNFULFILLED


def is_released(order: Order) -> bool:
    """Return whether the order may go to the ERP: open and its money authorised or paid."""
    return may_leave(order.order_state, order.payment_state)
