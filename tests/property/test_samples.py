"""SECURITY P6 and L4: whatever is put into a request, an answer, an event or a reason, no private value comes out of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidegate.commerce.changes import Address, Customer, OrderPrivate
from tidegate.commerce.commands import CreateFulfillment, CreateOrder, FulfillmentLineOut, OrderLineOut
from tidegate.monitor.samples import SAMPLE_BYTES_MAX, bounded, redact, redact_answer, redact_json
from tidegate.monitor.vocabulary import shape_of, words_of_key

CANARIES = (
    "canary.mail+7q2h@example.test", "Canaryfirst Zoë", "Canarylast-Ødegård", "+49 421 77700042", "Canarystreet 77/b",
    "CY-77042 Canarytown", "canarylower", "CANARYUPPER", "whsec_Y2FuYXJ5LXNlY3JldC0xMjM0NTY3ODkw", "Bearer canary.token.123",
    "DE89370400440532013000",
)  # fmt: skip
LOADED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""No law depends on how fast the machine is."""
canaries = st.sampled_from(CANARIES)
words = st.sampled_from(
    (
        "customer",
        "email",
        "firstName",
        "last_name",
        "phone",
        "phoneNumber",
        "street1",
        "streetLine1",
        "address",
        "city",
        "postalCode",
        "note",
        "message",
        "title",
        "comment",
        "name",
        "taxNumber",
        "vatId",
        "iban",
        "token",
        "password",
        "extra",
        "x_custom",
        "detail",
        "errors",
        "data",
        "order",
        "lines",
        "customerId",
        "countryCode",
    )
)  # fmt: skip
"""Names of fields that hold people's data or anything; ids and codes of things are not among them."""
values = st.recursive(
    canaries,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words | canaries, inner, max_size=5),
    max_leaves=25,
)


def betrayals(shown: object) -> list[str]:
    """Return the canaries, and long enough pieces of them, that occur in what is shown."""
    text = json.dumps(shown, ensure_ascii=False).lower()
    pieces = {piece for canary in CANARIES for piece in (canary, *canary.replace("@", " ").split()) if len(piece) > 5}
    return [piece for piece in pieces if piece.lower() in text]


@LOADED
@given(values)
def test_nothing_private_is_shown_of_any_structure(value: Any) -> None:
    assert betrayals(redact(value)) == []
    assert betrayals(redact_json(msgspec.json.encode(value))) == []


@LOADED
@given(values, st.data())
def test_nothing_private_is_shown_of_a_cut_answer(value: Any, data: st.DataObject) -> None:
    whole = msgspec.json.encode(value)
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    assert betrayals(redact_json(cut)) == []


@LOADED
@given(values, canaries, canaries)
def test_nothing_private_is_shown_of_kept_evidence(value: Any, reason: str, other: str) -> None:
    answer = msgspec.json.encode(value).decode()
    member = {
        "command_id": "c1",
        "outcome": "rejected",
        "code": "refused_by_rule",
        "reason": f"{reason} is not known to {other}",
    }
    shown = redact_answer(msgspec.json.encode({"members": [member, {"command_id": "c2"}], "answer": answer}), "c1")
    assert betrayals(shown) == []
    assert shown["code"] == "refused_by_rule"
    strange = msgspec.json.encode({"members": reason, "answer": [reason], other: reason})
    assert betrayals(redact_answer(strange, "c1")) == []
    member |= {"code": reason, "outcome": other}
    assert betrayals(redact_answer(msgspec.json.encode({"members": [member], "answer": answer}), "c1")) == []


@LOADED
@given(st.lists(canaries | st.sampled_from(("is", "not", "known", "'", '"', "`", ":", "-", "7")), max_size=30))
def test_nothing_private_is_shown_of_a_reason(parts: list[str]) -> None:
    assert betrayals(shape_of(" ".join(parts))) == []


@LOADED
@given(st.text(max_size=300))
def test_a_shape_is_words_of_the_vocabulary_and_stays_itself(reason: str) -> None:
    shape = shape_of(reason)
    assert shape_of(shape) == shape
    assert len(shape) < 500


@LOADED
@given(st.text(max_size=80))
def test_a_field_is_named_by_known_words_only(key: str) -> None:
    found = words_of_key(key)
    assert found is None or all(word.isascii() for word in found)


@pytest.mark.parametrize("canary", CANARIES)
def test_private_fields_of_our_own_payloads_are_closed(canary: str) -> None:
    address = Address(**dict.fromkeys(Address.__struct_fields__, canary))
    private = OrderPrivate(
        customer=Customer(**dict.fromkeys(Customer.__struct_fields__, canary)),
        shipping_address=address,
        billing_address=address,
    )
    line = OrderLineOut(
        reference="lin_c0_06c6v",
        sku="MUG-1",
        item_external_id="77",
        title=canary,
        quantity=3,
        unit_price="9.90",
        total_minor=2970,
    )
    order = CreateOrder(
        reference="ord_c0_06c6v", number="1001", channel=canary, placed_at="2026-11-27T10:00:00Z", currency="EUR",
        lines=(line,), shipping_minor=490, shipping_method=canary, discount_minor=0, total_minor=3460, private=private,
    )  # type: ignore[arg-type]  # fmt: skip
    shown = redact_json(msgspec.json.encode(order))
    assert betrayals(shown) == []
    assert shown["reference"] == "ord_c0_06c6v"
    assert shown["lines"][0] == {
        "reference": "lin_c0_06c6v", "sku": "MUG-1", "item_external_id": "77", "title": "<text>", "quantity": 3,
        "unit_price": "9.90", "total_minor": 2970,
    }  # fmt: skip
    fulfillment = CreateFulfillment(
        reference="ful_c0_06c6v", order_external_id="12", lines=(FulfillmentLineOut(line_external_id="5", quantity=1),),
        tracking=canary, carrier=canary, shipped_at="2026-11-27T10:00:00Z",
    )  # type: ignore[arg-type]  # fmt: skip
    assert betrayals(redact_json(msgspec.json.encode(fulfillment))) == []


@LOADED
@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=40),
        lambda i: st.lists(i) | st.dictionaries(st.text(), i),
        max_leaves=200,
    )
)
def test_a_sample_is_bounded_and_any_json_can_be_one(value: Any) -> None:
    sample: Mapping[str, Any] = bounded({"of": "cmd_c0_1", "request": redact(value)})
    assert len(msgspec.json.encode(sample)) <= SAMPLE_BYTES_MAX


def test_deep_wide_and_odd_bodies() -> None:
    deep = b'{"data":[' * 500 + b'"canarylower"' + b"]}" * 500
    assert betrayals(redact_json(deep)) == []
    assert redact_json(b"<html>canarylower</html>") == {"form": "html", "bytes": 24}
    assert redact_json(b"") == {"form": "empty", "bytes": 0}
    assert redact_json(b"[" * 100_000)["form"] == "cut"
    assert redact({str(n): n for n in range(100)})["…"] == "<60 more>"
