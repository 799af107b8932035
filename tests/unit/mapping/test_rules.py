"""What a rule makes of an order: sources, tables, expressions, conditions, defaults, what is missing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.mapbed import ORDER, SHIPMENT, compiled, order_of, refusal_of, shaped

from tidegate.commerce.commands import CreateFulfillment, Payload
from tidegate.mapping.apply import apply_map
from tidegate.sdk.connector import Target


def test_without_a_map_a_payload_is_stored_as_it_always_was() -> None:
    """New fields have defaults that are not stored: the bytes of a frozen call are those of before."""
    plain = msgspec.json.decode(msgspec.json.encode(ORDER))
    assert set(plain) == {
        "type", "reference", "number", "channel", "placed_at", "currency", "lines", "shipping_minor", "shipping_method",
        "discount_minor", "total_minor", "private",
    }  # fmt: skip
    assert set(plain["lines"][0]) == {
        "reference", "sku", "item_external_id", "title", "quantity", "unit_price", "total_minor"
    }  # fmt: skip
    assert msgspec.json.decode(msgspec.json.encode(ORDER), type=Payload) == ORDER  # and old ones still decode


def test_a_map_as_the_first_page_of_the_manual_shows_it() -> None:
    order = order_of(
        shaped(
            {
                "customer.ref": "'WEB-' + email",
                "shipping_method": {"Express": "DHL_EXP", "*": "DHL_STD"},
                "lines.tax_code": {"from": "shipping.country", "table": "taxes"},
                "note": {"const": "from the shop"},
                "fields.branch": {"from": "shipping.city", "transform": ["ascii", "upper", {"truncate": 3}]},
            },
            tables={"taxes": {"DE": "VAT19", "AT": "VAT20"}},
        )
    )
    assert order.customer_ref == "WEB-buyer@example.test"
    assert (order.shipping_method, order.shipping_ref) == ("Express", "DHL_EXP")
    assert [line.tax_code for line in order.lines] == ["VAT19", "VAT19"]
    assert (order.note, order.fields) == ("from the shop", {"branch": "KOE"})
    assert order.total_minor == ORDER.total_minor
    assert [line.reference for line in order.lines] == ["lin_1", "lin_2"]


def test_ids_stay_texts_and_money_stays_exact() -> None:
    order = order_of(
        shaped(
            {
                "number": {"from": "number", "transform": [{"prefix": "W"}]},
                "fields.customer": {"from": "customer.id"},
                "fields.total": {"from": "total"},
                "fields.negative": {"from": "total", "transform": [{"times": "-0.1"}, {"round": 2}, {"amount": ","}]},
                "fields.sum": "dec_sum(lines.map(l, l.total))",
                "fields.day": {
                    "from": "placed_at",
                    "transform": [{"date": {"format": "%d.%m.%Y", "timezone": "Europe/Berlin"}}],
                },
                "lines.sku": {"from": "line.sku", "table": {"007": "0007", "*": "X"}},
            }
        )
    )
    assert order.number == "W0001001"
    assert order.fields == {
        "customer": "820982911946154508", "total": "24.91", "negative": "-2,49", "sum": "20.01", "day": "02.11.2026"
    }  # fmt: skip
    assert [(line.sku, line.item_external_id) for line in order.lines] == [("X", ""), ("0007", "")]


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ({"from": "shipping.country", "table": {"AT": "A"}}, "note: the table has no 'DE'"),
        ({"from": "shipping.company"}, "note: shipping.company is empty"),
        ("billing.city", "note: the expression gave nothing"),
        ({"value": "lines[9].sku"}, "note: its expression failed: "),
        ({"const": "x", "when": "lines[9].sku == ''"}, "note: its condition failed: "),
        ({"from": "email", "transform": ["country"]}, "note: country: 'buyer@example.test' is no ISO 3166"),
        ({"from": "number", "transform": [{"replace": {"0": "a" * 200}}] * 3}, None),
    ],
)
def test_what_is_missing_or_wrong_fails_with_the_field_and_the_reason(rule: Any, why: str | None) -> None:
    refused = shaped({"note": rule})
    if why is None:
        assert order_of(refused).note
        return
    found = refusal_of(refused)
    assert (found.kind, found.code) == ("fail", "mapping_failed")
    assert found.reason.startswith(why)


def test_missing_may_be_left_out_defaulted_or_held() -> None:
    missing = {"from": "shipping.company"}
    assert order_of(shaped({"note": {**missing, "on_missing": "skip"}})).note == ""
    assert order_of(shaped({"note": {**missing, "default": "none"}})).note == "none"
    held = {"note": {**missing, "on_missing": "hold"}}
    refused = refusal_of(shaped(held))
    assert (refused.kind, refused.code) == ("hold", "held")
    assert order_of(shaped(held, is_approved=True)).note == ""  # a person saw it


def test_the_first_rule_whose_condition_holds_is_used() -> None:
    rules = [
        {"when": "dec_cmp(total, '1000') > 0", "const": "BIG"},
        {"when": "shipping.country == 'DE'", "const": "HOME"},
        {"const": "REST"},
    ]
    assert order_of(shaped({"note": rules})).note == "HOME"
    assert order_of(shaped({"note": rules[:1]})).note == ""  # none holds: the target keeps what it has


def test_star_stands_for_an_empty_value_too() -> None:
    order = msgspec.structs.replace(ORDER, shipping_method="")
    assert order_of(shaped({"shipping_method": {"Express": "E", "*": "S"}}, order)).shipping_ref == "S"


def test_the_channels_payment_method_is_read_and_the_targets_is_filled() -> None:
    order = order_of(shaped({"payment_method": {"stripe": "Card"}}, facts={"payment_method": "stripe"}))
    assert order.payment_method == "Card"


def test_a_text_that_the_target_does_not_take_is_refused_and_never_cut() -> None:
    targets = {"shipments": [[Target(path="carrier", title="", chars_max=3)]]}
    maps, problems = compiled(shipments={"carrier": {"const": "LONGER"}}, targets=targets)  # type: ignore[arg-type]
    assert problems == []
    assert "6 characters, and 3 are taken" in refusal_of(apply_map(maps.shipments, SHIPMENT)).reason


def test_a_shipment_is_shaped() -> None:
    maps, problems = compiled(shipments={"carrier": {"dhl": "DHL Paket", "*": "Post"}, "tracking": "'T' + tracking"})
    assert problems == []
    result = apply_map(maps.shipments, SHIPMENT)
    assert isinstance(result, CreateFulfillment)
    assert (result.carrier, result.tracking) == ("DHL Paket", "T00340")


def test_the_version_of_a_mapping_is_what_it_is_made_of() -> None:
    one, _ = compiled({"note": {"const": "a"}, "number": "number"}, tables={"t": {"a": "b"}})
    same, _ = compiled({"number": "number", "note": {"const": "a"}}, tables={"t": {"a": "b"}})
    others = [
        compiled({"note": {"const": "b"}, "number": "number"}, tables={"t": {"a": "b"}})[0],
        compiled({"note": {"const": "a"}, "number": "number"}, tables={"t": {"a": "c"}})[0],
        compiled({"note": {"const": "a"}, "number": "number"}, tables={"t": {"a": "b"}}, files={"flows.py": "1"})[0],
    ]
    assert one.digest == same.digest
    assert len({one.digest, *(each.digest for each in others)}) == 4
