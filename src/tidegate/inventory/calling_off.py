"""Calling off the newest orders of what is sold too often: which ones, and how much each lacks. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any
from uuid import UUID


def choose_newest(missing: int, orders: Iterable[Any], off: Container[UUID] = frozenset()) -> list[tuple[Any, int]]:
    """Return (order, units that it lacks) of orders, newest first, that are called off so that the `missing` units are covered.

    An order has `order_id`, `units`, `is_called_off` and `may_be_called_off`. What is called off already, or in `off`, gives all of its
    units back. One that may not be called off keeps what it lacks: no older order is called off in its place.
    """
    orders = list(orders)

    def is_off(order: Any) -> bool:
        return bool(order["is_called_off"]) or order["order_id"] in off

    left = missing - sum(order["units"] for order in orders if is_off(order))
    chosen = []
    for order in orders:
        if left <= 0:
            break
        if is_off(order):
            continue
        lacks = min(left, order["units"])
        if order["may_be_called_off"]:
            chosen.append((order, lacks))
            left -= order["units"]
        else:
            left -= lacks
    return chosen
