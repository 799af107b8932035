"""The scopes that the app needs, and how a granted one covers another."""

from __future__ import annotations

from collections.abc import Iterable

NEEDED = (
    "read_orders",
    "read_products",
    "read_locations",
    "read_inventory",
    "write_inventory",
    "read_merchant_managed_fulfillment_orders",
    "write_merchant_managed_fulfillment_orders",
    "read_customers",
)
"""What the README asks for; `write_orders` and `read_all_orders` are asked for where they are used."""
USEFUL = ("write_orders", "read_all_orders", "read_fulfillments", "write_fulfillments")
"""Not surplus where they are granted: refunds and cancellations write orders, old orders need all of them."""


def granted_of(scopes: Iterable[str]) -> frozenset[str]:
    """Return what scopes allow: who may write something may read it too."""
    found = set(scopes)
    return frozenset(found | {f"read_{scope.removeprefix('write_')}" for scope in found if scope.startswith("write_")})


def missing_of(scopes: Iterable[str]) -> tuple[str, ...]:
    """Return what is needed and not granted."""
    granted = granted_of(scopes)
    return tuple(scope for scope in NEEDED if scope not in granted)


def surplus_of(scopes: Iterable[str]) -> tuple[str, ...]:
    """Return what is granted and of no use to us."""
    allowed = granted_of((*NEEDED, *USEFUL))
    return tuple(sorted(set(scopes) - allowed))
