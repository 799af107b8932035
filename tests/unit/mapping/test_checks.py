"""Maps are checked when the configuration is: names, types, tables, expressions; each problem with its place and a hint."""

from __future__ import annotations

from typing import Any

import pytest
from tests.mapbed import compiled

from tidegate.config.parse import examine
from tidegate.sdk.testing.hostile_connector import build_connector

DOCUMENT = """\
connections:
  shop: {use: hostile, url: "http://127.0.0.1:1"}
  erp: {use: hostile, url: "http://127.0.0.1:1"}
flows:
  orders: {from: shop, to: erp, since: 2026-01-01}
maps:
  orders:
"""


@pytest.mark.parametrize(
    ("rule", "message", "hint"),
    [
        ("email +", "Syntax error", None),
        ("emial", "there is no value or function 'emial' here", "did you mean 'email'?"),
        ("true", "it gives true or false, and a text is needed", None),
        ("lines", "it gives a list", None),
        ({"from": "emial"}, "there is no source 'emial'", "did you mean 'email'?"),
        ({"form": "email", "table": {"a": "b"}}, "a rule has no key 'form'", "did you mean 'from'?"),
        ({"from": "email", "const": "x"}, "a rule has one of from and const, not both", "take one away"),
        ({"from": "email", "transform": ["uper"]}, "there is no transform 'uper'", "did you mean 'upper'?"),
        ({"from": "total", "transform": ["upper"]}, "'upper' takes a text, and here it would get a money", "put `amount` before it"),
        ({"from": "placed_at", "table": {"a": "b"}}, "'table' takes a text, and here it would get a moment", "put `date` before it"),
        ({"from": "email", "transform": [{"truncate": 0}]}, "truncate needs a whole number from 1 to 4096", None),
        ({"from": "email", "transform": [{"date": "%Q"}]}, "date knows", None),
        ({"from": "email", "table": "nope"}, "there is no table 'nope'", "did you mean 'none'?"),
        ({"from": "email", "on_missing": "drop"}, "on_missing cannot be 'drop'", "write fail, skip, default or hold"),
        ({"from": "email", "on_missing": "default"}, "on_missing: default needs a default", None),
        ({"from": "email", "when": "email"}, "a condition gives true or false, and this gives a text", None),
        ({"from": "email", "default": 5}, "default must be a text", "put it in quotes"),
        ({"Express": 1.5}, "the value of 'Express' must be a text", "put it in quotes: codes are texts"),
        ({}, "'note' has no rule", None),
        (5, "'note' has no rule", None),
        ([], "'note' needs 1 to 50 rules", None),
        ("'" + "x" * 2100 + "'", "an expression has at most 2048 bytes", None),
        ("(" * 60 + "1" + ")" * 60, "", None),
        ("lines.all(a, lines.all(b, a.sku + b.sku != ''))", "'+' makes texts, and beside a loop", None),
    ],
)  # fmt: skip
def test_a_wrong_rule_is_refused_with_words(rule: Any, message: str, hint: str | None) -> None:
    _, problems = compiled({"note": rule}, tables={"none": {"a": "b"}})
    assert problems
    assert problems[0].message.startswith(message)
    if hint is not None:
        assert problems[0].hint == hint


def test_a_problem_stands_at_its_own_line_and_column() -> None:
    text = (
        DOCUMENT
        + """\
    note: "'WEB-' + emial"
    nots: email
    shipping_method:
      table: {Express: DHL}
      on_mising: skip
    customer.ref:
      - {when: email, const: A}
      - {from: total, transform: [upper]}
    lines: explode
"""
    )
    _, problems = examine(text, connectors={"hostile": build_connector()})
    found = [(each.mark.line, each.mark.column, each.message) for each in problems]
    assert found == [
        (8, 21, "there is no value or function 'emial' here"),
        (9, 5, "a map has no target 'nots'"),
        (12, 7, "a rule has no key 'on_mising'"),
        (14, 16, "a condition gives true or false, and this gives a text"),
        (15, 35, "'upper' takes a text, and here it would get a money"),
        (16, 12, "'lines' names a Python hook"),
    ]


def test_a_target_that_the_connector_does_not_take_is_refused() -> None:
    text = DOCUMENT + "    billing.city: email\n    fields.brunch: email\n"
    _, problems = examine(text, connectors={"hostile": build_connector()})
    assert [each.message for each in problems] == [
        "the target of this flow takes no 'billing.city'", "the target of this flow takes no 'fields.brunch'"
    ]  # fmt: skip
    assert problems[1].hint == "did you mean 'fields.branch'?"


def test_a_map_of_a_flow_that_does_not_exist_is_refused() -> None:
    text = DOCUMENT + "    note: email\n  shipments: {carrier: {a: b}}\n"
    _, problems = examine(text, connectors={"hostile": build_connector()})
    assert [(each.mark.line, each.message) for each in problems] == [(9, "there is no flow 'shipments' for this map")]


@pytest.mark.parametrize(
    "hooks", ["{deadline: 1}", "{memory: 256}", "{deadline: 1h}", "{memory: -1MB}", "{dedline: 1s}"]
)
def test_bounds_of_hooks_have_units(hooks: str) -> None:
    config, problems = examine(DOCUMENT + f"    note: email\nhooks: {hooks}\n")
    assert config is None or problems
    assert problems[0].mark.line == 9
