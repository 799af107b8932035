"""Orders and maps for the tests of mapping."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tidegate.commerce.changes import Address, Customer, OrderPrivate
from tidegate.commerce.commands import CreateFulfillment, CreateOrder, FulfillmentLineOut, OrderLineOut
from tidegate.mapping.apply import Refused, apply_map
from tidegate.mapping.compile import CompiledMaps, Targets, compile_maps
from tidegate.mapping.problems import MapProblem
from tidegate.mapping.records import Hooks, Maps
from tidegate.mapping.references import Files

ORDER = CreateOrder(
    reference="ord_c0_00000000000000000000000001",
    number="0001001",
    channel="shop_a",
    placed_at=datetime(2026, 11, 1, 23, 30, tzinfo=UTC),
    currency="EUR",
    lines=(
        OrderLineOut(
            reference="lin_1", sku="BOX", item_external_id="7", title="Gift box", quantity=1, unit_price="10.01",
            total_minor=1001,
        ),
        OrderLineOut(
            reference="lin_2", sku="007", item_external_id="8", title="Mug", quantity=2, unit_price="5", total_minor=1000
        ),
    ),
    shipping_minor=490,
    shipping_method="Express",
    discount_minor=0,
    total_minor=2491,
    private=OrderPrivate(
        customer=Customer(external_id="820982911946154508", email="buyer@example.test", first_name="Ana"),
        shipping_address=Address(name="Ana Müller", city="Köln", country_code="DE", phone="0221 / 12 34 56"),
    ),
)  # fmt: skip
SHIPMENT = CreateFulfillment(
    reference="ful_1", order_external_id="17", lines=(FulfillmentLineOut(line_external_id="1", quantity=1),),
    tracking="00340", carrier="dhl", shipped_at=datetime(2026, 11, 2, tzinfo=UTC),
)  # fmt: skip


def compiled(
    orders: Mapping[str, Any] | None = None,
    *,
    shipments: Mapping[str, Any] | None = None,
    tables: Mapping[str, Any] | None = None,
    files: Files | None = None,
    hooks: Hooks | None = None,
    targets: Targets | None = None,
) -> tuple[CompiledMaps, list[MapProblem]]:
    """Compile maps as the configuration says them."""
    maps = Maps(orders=orders or {}, shipments=shipments or {})
    return compile_maps(maps, tables or {}, hooks or Hooks(), files=files, targets=targets)


def shaped(
    orders: Mapping[str, Any],
    order: CreateOrder = ORDER,
    *,
    tables: Mapping[str, Any] | None = None,
    files: Files | None = None,
    facts: Mapping[str, str] | None = None,
    is_approved: bool = False,
) -> CreateOrder | Refused:
    """Apply a map that must compile."""
    maps, problems = compiled(orders, tables=tables, files=files)
    assert problems == []
    result = apply_map(maps.orders, order, facts or {}, is_approved=is_approved)
    assert isinstance(result, CreateOrder | Refused)
    return result


def order_of(result: CreateOrder | Refused) -> CreateOrder:
    """Return the order; fail with the reason where there is none."""
    assert isinstance(result, CreateOrder), result
    return result


def refusal_of(result: object) -> Refused:
    """Return the refusal; fail where there is a payload."""
    assert isinstance(result, Refused), result
    return result
