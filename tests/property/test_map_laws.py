"""Laws of maps: total whatever the order holds, ids stay texts, money stays exact, the order of keys does not matter (E9)."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.mapbed import ORDER, compiled, order_of, refusal_of

from tidegate.commerce.changes import Address, Customer, OrderPrivate
from tidegate.commerce.commands import CreateOrder
from tidegate.mapping.apply import Refused, apply_map
from tidegate.mapping.hook_values import HookResultError, order_for_hooks, order_from_hooks
from tidegate.mapping.paths import ORDER_TARGETS, sources_of
from tidegate.mapping.transforms import REGISTRY

TEXTS = st.text(max_size=40)
PARAMETERS: dict[str, Any] = {
    "truncate": st.integers(1, 50), "pad": st.integers(1, 50), "prefix": st.text(min_size=1, max_size=9),
    "suffix": st.text(min_size=1, max_size=9), "without_prefix": st.text(min_size=1, max_size=3),
    "replace": st.dictionaries(st.text(min_size=1, max_size=2), st.text(max_size=20), min_size=1, max_size=5),
    "part": st.fixed_dictionaries({"by": st.sampled_from("- /"), "number": st.integers(1, 5)}),
    "country": st.sampled_from(["alpha2", "alpha3"]), "phone": st.just({"country_code": "49", "trunk": "0"}),
    "decimal": st.sampled_from([".", ","]), "round": st.integers(0, 6),
    "times": st.sampled_from(["-1", "0.1", "3", "0"]), "amount": st.sampled_from([".", ","]),
    "date": st.sampled_from(["%Y-%m-%d", "%d.%m.%Y %H:%M"]),
}  # fmt: skip


@st.composite
def steps(draw: st.DrawFn) -> list[Any]:
    names = draw(st.lists(st.sampled_from(sorted(REGISTRY)), max_size=5))
    return [{name: draw(PARAMETERS[name])} if name in PARAMETERS else name for name in names]


@st.composite
def orders(draw: st.DrawFn) -> CreateOrder:
    address = st.builds(Address, **dict.fromkeys(("name", "company", "city", "country_code", "phone"), TEXTS))
    private = OrderPrivate(
        customer=draw(st.builds(Customer, external_id=TEXTS, email=TEXTS, first_name=TEXTS)),
        shipping_address=draw(address),
    )
    return msgspec.structs.replace(
        ORDER,
        number=draw(TEXTS),
        currency=draw(st.sampled_from(["EUR", "JPY", "KWD"])),
        shipping_method=draw(TEXTS),
        total_minor=draw(st.integers(-(10**12), 10**12)),
        private=private,
    )


@settings(deadline=None)
@given(
    order=orders(),
    target=st.sampled_from(sorted(ORDER_TARGETS)),
    source=st.sampled_from(sorted(sources_of("orders", is_line=False))),
    transform=steps(),
    table=st.dictionaries(TEXTS, TEXTS, max_size=4),
    on_missing=st.sampled_from(["fail", "skip", "hold"]),
)
def test_a_map_that_compiles_is_total(
    order: CreateOrder, target: str, source: str, transform: list[Any], table: dict[str, str], on_missing: str
) -> None:
    """It gives a payload or a reason, never an exception, and touches neither amounts nor references."""
    rule: dict[str, Any] = {"from": source, "transform": transform, "on_missing": on_missing}
    maps, problems = compiled({target: {**rule, "table": table} if table else rule})
    assume(not problems)
    result = apply_map(maps.orders, order)
    if isinstance(result, Refused):
        assert result.reason
        assert result.code in ("mapping_failed", "held")
        return
    assert isinstance(result, CreateOrder)
    assert (result.reference, result.total_minor, result.shipping_minor) == (
        order.reference, order.total_minor, order.shipping_minor
    )  # fmt: skip
    assert [line.total_minor for line in result.lines] == [line.total_minor for line in order.lines]
    assert [line.reference for line in result.lines] == [line.reference for line in order.lines]


@settings(deadline=None)
@given(order=orders(), digits=st.text("0123456789", min_size=1, max_size=40))
def test_ids_stay_texts(order: CreateOrder, digits: str) -> None:
    """A 64-bit id, and one with leading zeros, come out as they went in - also through an expression and a table."""
    order = msgspec.structs.replace(order, number=digits)
    maps, problems = compiled(
        {"note": "number", "fields.a": {"from": "number"}, "fields.b": {"from": "number", "table": {digits: digits}}}
    )
    assert problems == []
    shaped = order_of(apply_map(maps.orders, order))  # type: ignore[arg-type]
    assert shaped.note == shaped.fields["a"] == shaped.fields["b"] == digits


@settings(deadline=None)
@given(minor=st.integers(-(10**14), 10**14), other=st.integers(-(10**14), 10**14))
def test_money_stays_exact(minor: int, other: int) -> None:
    order = msgspec.structs.replace(ORDER, total_minor=minor, shipping_minor=other)
    maps, problems = compiled(
        {
            "note": {"from": "total"},
            "fields.sum": "dec_add(total, shipping_total)",
            "fields.back": {"from": "total", "transform": [{"times": "-1"}, {"times": "-1"}]},
        }
    )
    assert problems == []
    shaped = order_of(apply_map(maps.orders, order))  # type: ignore[arg-type]
    total = Decimal(minor).scaleb(-2)
    assert Decimal(shaped.note) == Decimal(shaped.fields["back"]) == total
    assert Decimal(shaped.fields["sum"]) == total + Decimal(other).scaleb(-2)


@settings(deadline=None)
@given(order=orders(), keys=st.permutations(["note", "number", "customer.ref", "fields.a", "lines.title"]))
def test_the_order_of_keys_does_not_matter(order: CreateOrder, keys: list[str]) -> None:
    rules = {
        "note": "'N' + number", "number": "'X' + note", "customer.ref": "number + note", "fields.a": "number",
        "lines.title": "number + line.sku",
    }  # fmt: skip
    one, _ = compiled(rules)
    other, _ = compiled({key: rules[key] for key in keys})
    assert one.digest == other.digest
    assert apply_map(one.orders, order) == apply_map(other.orders, order)


@settings(deadline=None, max_examples=200)
@given(source=st.text("abcdefghijklmnopqrstuvwxyz.()[]{}'\"+-*/%<>=!&|?:, 0123456789\\\n", max_size=80))
def test_any_text_as_an_expression_compiles_or_is_refused_with_its_place(source: str) -> None:
    maps, problems = compiled({"note": source})
    for problem in problems:
        assert problem.place == ("maps", "orders", "note")
        assert problem.position is None or 0 <= problem.position <= len(source)
    if not problems and maps.orders.rules:
        apply_map(maps.orders, ORDER)


@pytest.mark.parametrize(
    "source",
    [
        "lines.all(a, lines.all(b, lines.all(c, a.sku == b.sku && b.sku == c.sku))) ? 'a' : 'b'",
        "lines.exists(a, a.sku.matches('(x*x*)*y')) ? 'a' : 'b'",
        "dec_sum(lines.map(a, a.total))",
        "[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, lines.all(c, c.quantity > 0))) ? 'a' : 'b'",
        "note" + " + note" * 25,
    ],
)
def test_the_worst_expression_over_the_largest_order_ends(source: str) -> None:
    """A thousand lines of four thousand characters: it ends by itself, long before the time that is asserted."""
    line = msgspec.structs.replace(ORDER.lines[0], sku="x" * 4096, title="y" * 4096)
    order = msgspec.structs.replace(ORDER, lines=(line,) * 1000, note="z" * 4096)
    maps, problems = compiled({"number": source})
    assert problems == []
    started = time.process_time()
    apply_map(maps.orders, order)
    assert time.process_time() - started < 30  # measured: below one second


@settings(deadline=None)
@given(
    quantities=st.lists(st.integers(1, 1000), min_size=1, max_size=6),
    total_minor=st.integers(0, 10**9),
    currency=st.sampled_from(["EUR", "JPY", "KWD"]),
)
def test_a_split_line_is_worth_what_it_was_to_the_last_unit(
    quantities: list[int], total_minor: int, currency: str
) -> None:
    line = msgspec.structs.replace(ORDER.lines[0], total_minor=total_minor)
    order = msgspec.structs.replace(ORDER, lines=(line,), currency=currency)
    value = order_for_hooks(order, {})
    (part,) = value["lines"]
    value["lines"] = [{**part, "sku": f"P{index}", "quantity": each} for index, each in enumerate(quantities)]
    shaped = order_from_hooks(order, {}, value)
    assert sum(each.total_minor for each in shaped.lines) == total_minor
    assert len({each.reference for each in shaped.lines}) == len(quantities)
    for each in shaped.lines:
        assert Decimal(each.unit_price).as_tuple().exponent >= -6  # type: ignore[operator]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@settings(deadline=None)
@given(data=st.data())
def test_whatever_a_hook_returns_is_an_order_or_refused(data: st.DataObject) -> None:
    """Any JSON, and the true order with any part of it replaced: never an exception of another kind."""
    value = order_for_hooks(ORDER, {})
    place = data.draw(st.sampled_from([*value, "", "line"]))
    junk = data.draw(JSON)
    if place == "":
        returned: Any = junk
    elif place == "line":
        name = data.draw(st.sampled_from(list(value["lines"][0])))
        returned = {**value, "lines": [{**value["lines"][0], name: junk}, value["lines"][1]]}
    else:
        returned = {**value, place: junk}
    try:
        shaped = order_from_hooks(ORDER, {}, returned)
    except HookResultError:
        return
    assert sum(line.total_minor for line in shaped.lines) == sum(line.total_minor for line in ORDER.lines)
    msgspec.json.encode(shaped)


def test_a_held_rule_names_its_field() -> None:
    maps, _ = compiled({"note": {"from": "shipping.company", "on_missing": "hold"}})
    assert refusal_of(apply_map(maps.orders, ORDER)).reason == "note: shipping.company is empty"
