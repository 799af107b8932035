"""Orders as real shops send them: null fields, deleted products, tips, odd currencies, drafts, plugins' inventions.

Each is read exactly, or refused with a reason: then it is quarantined, and nobody else waits.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tidegate.commerce.changes import CanonicalChange, Ignored, OrderSeen
from tidegate.connectors import shopify, woocommerce
from tidegate.orders.fold import has_totals_mismatch
from tidegate.sdk.connector import RawEvent
from tidegate.sdk.testing.conformance.mapper_checks import assert_well_formed

Change = Callable[[dict[str, Any]], object]
GRIN = "\N{GRINNING FACE}\N{CJK UNIFIED IDEOGRAPH-20000}"


def recorded(connector: Any, name: str) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.json.decode(Path(connector.__file__).parent.joinpath("fixtures", name).read_bytes())[
        "body"
    ]
    return body


def shopify_order(change: Change) -> CanonicalChange:
    body = copy.deepcopy(recorded(shopify, "order_created.json"))
    change(body)
    event = RawEvent(source="webhook", topic="orders/updated", body=msgspec.json.encode(body))
    (found,) = shopify.CONNECTOR.normalize(event)
    assert_well_formed(found)
    return found


def woo_order(change: Change) -> CanonicalChange:
    body = copy.deepcopy(recorded(woocommerce, "order_created.json"))
    change(body)
    event = RawEvent(source="poll", topic="order", body=msgspec.json.encode(body))
    (found,) = woocommerce.CONNECTOR.normalize(event)
    assert_well_formed(found)
    return found


def seen(change: CanonicalChange) -> OrderSeen:
    assert isinstance(change, OrderSeen)
    return change


def amounts(text: str) -> dict[str, Any]:
    return {
        "shop_money": {"amount": text, "currency_code": "EUR"},
        "presentment_money": {"amount": "1", "currency_code": "USD"},
    }


# --- Shopify ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "field",
    ["customer", "email", "phone", "shipping_address", "billing_address", "shipping_lines", "refunds", "closed_at",
     "processed_at", "financial_status", "current_total_tax_set", "current_total_duties_set", "total_tip_received"],
)  # fmt: skip
def test_a_null_field_is_an_empty_one(field: str) -> None:
    plain = seen(shopify_order(lambda body: None))

    found = seen(shopify_order(lambda body: body.update({field: None})))

    assert found.lines == plain.lines
    assert found.total_minor == plain.total_minor


def test_null_lists_of_a_line_are_empty_ones() -> None:
    def change(body: dict[str, Any]) -> None:
        for line in (*body["line_items"], *body["shipping_lines"]):
            line.update(discount_allocations=None, tax_lines=None)

    assert seen(shopify_order(change)).lines


def test_a_line_of_a_deleted_product_keeps_its_sku_and_its_units() -> None:
    def change(body: dict[str, Any]) -> None:
        body["line_items"][0].update(variant_id=None, product_id=None, product_exists=False, sku="OLD-1")

    line = seen(shopify_order(change)).lines[0]
    assert (line.sku, line.variant_external_id) == ("OLD-1", "")


def test_a_line_without_units_costs_nothing_and_promises_nothing() -> None:
    def change(body: dict[str, Any]) -> None:
        body["line_items"][0].update(quantity=0, current_quantity=0)

    line = min(seen(shopify_order(change)).lines, key=lambda line: line.current)
    assert (line.ordered, line.current, line.total_minor) == (0, 0, 0)


@pytest.mark.parametrize(
    ("currency", "text", "minor"), [("JPY", "1200", 1200), ("KWD", "12.345", 12345), ("EUR", "12.3", 1230)]
)
def test_currencies_have_their_own_digits(currency: str, text: str, minor: int) -> None:
    def change(body: dict[str, Any]) -> None:
        body.update(currency=currency, presentment_currency="USD", current_total_price_set=amounts(text))

    assert seen(shopify_order(change)).total_minor == minor


def test_what_the_shopper_saw_in_another_currency_is_not_booked() -> None:
    found = seen(shopify_order(lambda body: body.update(current_total_price_set=amounts("50.00"))))

    assert found.total_minor == 5000


def test_a_tip_that_is_told_as_a_line_and_as_a_sum_is_counted_once_and_is_no_article() -> None:
    plain = seen(shopify_order(lambda body: body.update(total_tip_received="0.0")))

    def change(body: dict[str, Any]) -> None:
        tip = {**copy.deepcopy(body["line_items"][0]), "id": 1, "variant_id": None, "sku": None, "quantity": 1,
               "tip": {"payment_gateway": "card"}, "price_set": amounts("5.00"), "discount_allocations": [], "tax_lines": []}  # fmt: skip
        body["line_items"].append(tip)
        body["total_tip_received"] = "5.00"

    found = seen(shopify_order(change))
    assert found.lines == plain.lines
    assert found.shipping_minor == plain.shipping_minor + 500


def test_a_refund_without_lines_and_without_transactions_changes_no_units() -> None:
    plain = seen(shopify_order(lambda body: None))

    found = seen(shopify_order(lambda body: body.update(refunds=[{"id": 5, "note": None, "transactions": None}])))

    assert found.lines == plain.lines


@pytest.mark.parametrize("gateway", ["gift_card", "manual", "Cash", "store_credit"])
def test_what_is_paid_without_a_provider_names_no_payment_of_one(gateway: str) -> None:
    paid = {"id": 9, "kind": "sale", "status": "success", "amount": "5.00", "gateway": gateway, "payment_id": "c1.1",
            "authorization": "x", "receipt": {"gift_card_id": 3}}  # fmt: skip

    (payment,) = seen(shopify_order(lambda body: body.update(transactions=[paid]))).payments

    assert (payment.psp_reference, payment.amount_minor) == ("", 500)


@pytest.mark.parametrize("receipt", [None, "paid", [], 7, {"payment_intent": None}])
def test_a_receipt_may_be_anything(receipt: Any) -> None:
    paid = {
        "id": 9,
        "kind": "sale",
        "status": "success",
        "amount": "5.00",
        "gateway": "card",
        "payment_id": "c1.1",
        "receipt": receipt,
    }

    (payment,) = seen(shopify_order(lambda body: body.update(transactions=[paid]))).payments

    assert payment.psp_reference == "c1.1"


def test_an_order_of_10_000_lines_is_read() -> None:
    def change(body: dict[str, Any]) -> None:
        body["line_items"] = [{**body["line_items"][0], "id": number} for number in range(1, 10_001)]

    assert len(seen(shopify_order(change)).lines) == 10_000


def test_names_may_hold_any_character() -> None:
    def change(body: dict[str, Any]) -> None:
        body["line_items"][0].update(name=GRIN, title=GRIN)
        body["customer"] = {"id": 1, "first_name": GRIN, "last_name": "O'Neil; DROP TABLE"}

    found = seen(shopify_order(change))
    assert GRIN in {line.title for line in found.lines}
    assert found.private.customer.first_name == GRIN


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body["line_items"].append(copy.deepcopy(body["line_items"][0])),
        lambda body: body.update(currency="euro"),
        lambda body: body.update(updated_at="2026-11-27T10:00:00"),
        lambda body: body["line_items"][0].update(quantity=-1),
        lambda body: body["line_items"][0].update(quantity=1.5),
        lambda body: body.update(current_total_price_set=amounts("1e400")),
        lambda body: body.update(current_total_price_set=amounts("NaN")),
        lambda body: body.update(line_items=None),
        lambda body: body.update(id=0),
    ],
)
def test_what_cannot_be_read_exactly_is_refused(change: Change) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        shopify_order(change)


# --- WooCommerce -----------------------------------------------------------------------------------------------------
def test_times_without_an_offset_are_utc_whatever_the_shops_own_zone_is() -> None:
    def change(body: dict[str, Any]) -> None:
        body.update(
            date_created="2026-11-27T23:30:00",
            date_created_gmt="2026-11-27T10:30:00",
            date_modified_gmt="2026-11-27T10:31:00",
        )

    found = seen(woo_order(change))

    assert found.placed_at.isoformat() == "2026-11-27T10:30:00+00:00"
    assert found.version == 1795775460000000


@pytest.mark.parametrize("status", ["auto-draft", "draft", "checkout-draft"])
def test_a_draft_that_was_never_saved_is_no_order(status: str) -> None:
    found = woo_order(lambda body: body.update(status=status, date_created_gmt=None, date_modified_gmt=None))

    assert found == Ignored(code="not_placed", reason="the order is not placed yet")


def test_an_order_without_any_time_is_refused() -> None:
    with pytest.raises(ValueError, match="no time of change"):
        woo_order(lambda body: body.update(date_created_gmt=None, date_modified_gmt=None))


@pytest.mark.parametrize("number", [1017, "R-2026/17", "", None])
def test_plugins_number_orders_as_they_like(number: Any) -> None:
    found = seen(woo_order(lambda body: body.update(number=number)))

    assert found.number == (str(number) if number else found.external_id)


@pytest.mark.parametrize(
    "meta",
    [
        None, {}, [], "x", [None], [{"key": 7, "value": "x"}], [{"value": []}], [{"key": "_stripe_intent_id", "value": None}],
        {"0": {"key": "a", "value": "b"}, "2": {"key": "_stripe_intent_id", "value": "pi_1"}},
    ],
)  # fmt: skip
def test_meta_data_may_be_anything(meta: Any) -> None:
    found = seen(woo_order(lambda body: body.update(meta_data=meta)))

    if isinstance(meta, dict) and meta:
        assert [payment.psp_reference for payment in found.payments] in ([], ["pi_1"])


def test_a_line_of_a_product_that_was_deleted_keeps_its_units() -> None:
    def change(body: dict[str, Any]) -> None:
        body["line_items"][0].update(product_id=0, variation_id=0, sku=None, name=None)

    plain, found = seen(woo_order(lambda body: None)), seen(woo_order(change))
    assert [line.current for line in found.lines] == [line.current for line in plain.lines]


def test_a_negative_fee_is_a_discount_and_a_line_without_units_is_free() -> None:
    def change(body: dict[str, Any]) -> None:
        body["fee_lines"] = [{"total": "-5.00", "total_tax": "0.00"}]
        body["line_items"][0].update(quantity=0, total="0.00", total_tax="0.00")

    found = seen(woo_order(change))
    assert found.discount_minor == 500
    assert {(line.ordered, line.total_minor) for line in found.lines} >= {(0, 0)}


@pytest.mark.parametrize(
    ("currency", "total", "minor"), [("JPY", "1200", 1200), ("JPY", "1200.00", 1200), ("KWD", "1.234", 1234)]
)
def test_shops_tell_more_digits_than_a_currency_has(currency: str, total: str, minor: int) -> None:
    assert seen(woo_order(lambda body: body.update(currency=currency, total=total))).total_minor == minor


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body["line_items"][0].update(quantity=1.5),
        lambda body: body["line_items"][0].update(quantity=-1),
        lambda body: body.update(total="12,50"),
        lambda body: body.update(total="NaN"),
        lambda body: body.update(currency=""),
        lambda body: body.update(status=""),
        lambda body: body["line_items"].append(copy.deepcopy(body["line_items"][0])),
    ],
)
def test_what_a_shop_garbles_is_refused(change: Change) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        woo_order(change)


def test_the_recorded_orders_add_up() -> None:
    assert not has_totals_mismatch(seen(woo_order(lambda body: None)))
    assert not has_totals_mismatch(seen(shopify_order(lambda body: None)))
