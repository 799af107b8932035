from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tidegate.config import ConnectionConfig, load, parse, schema
from tidegate.config.document import Mark, Problem
from tidegate.config.parse import examine
from tidegate.kernel.errors import ConfigurationError
from tidegate.sdk.testing.hostile_connector import build_connector

WHOLE = """
tenant: main
cell: c0
listen: {host: 127.0.0.1, port: 7480, web_port: 7481}
public_url: http://127.0.0.1:7480
network: {allow: ["127.0.0.0/8"]}
connections:
  shop_a: {use: vendure, url: http://127.0.0.1:3000}
  shop_b: {use: vendure, url: http://127.0.0.1:3001}
  erp:    {use: tryton, url: http://127.0.0.1:8000, database: tryton}
owns: {stock.on_hand: erp, stock.available: tidegate, order: origin, shipment: erp}
flows:
  orders:    {from: [shop_a, shop_b], to: erp, since: 2026-11-01, mode: live}
  shipments: {from: erp, to: origin, mode: live}
  stock:     {from: erp, to: [shop_a, shop_b], mode: observe}
processes: {door: 2, apply: 1, dispatch: 1, web: 1}
polling: {enabled: false}
"""


def problems_of(text: str) -> list[Problem]:
    return examine(text)[1]


def only_problem(text: str) -> Problem:
    (problem,) = problems_of(text)
    return problem


def test_the_whole_file_becomes_typed_values() -> None:
    config = parse(WHOLE)

    assert config.connections["erp"] == ConnectionConfig(
        use="tryton", options={"url": "http://127.0.0.1:8000", "database": "tryton"}
    )
    assert config.flows.orders is not None
    assert config.flows.orders.sources == ("shop_a", "shop_b")
    assert config.flows.orders.since == datetime(2026, 11, 1, tzinfo=UTC)
    assert config.flows.stock is not None
    assert config.flows.stock.mode == "observe"
    assert config.owns.on_hand == "erp"
    assert config.processes.door == 2
    assert config.polling.enabled is False
    assert config.webhook_base == "http://127.0.0.1:7480"


def test_an_empty_file_has_every_default_and_no_flow() -> None:
    config = parse("# nothing yet\n")

    assert (config.tenant, config.cell, config.listen.host) == ("main", "c0", "127.0.0.1")
    assert config.flows.orders is None
    assert config.webhook_base == "http://127.0.0.1:7480"


def test_sections_with_everything_commented_out_are_empty() -> None:
    config = parse("connections:\n#  shop: {use: vendure}\nnetwork:\nflows:\n")

    assert config.connections == {}
    assert config.network.allow == ()


def test_a_flow_does_nothing_unless_told_to() -> None:
    text = WHOLE.replace(", mode: live", "").replace(", mode: observe", "")
    flows = parse(text).flows

    assert {flow.mode for flow in (flows.orders, flows.shipments, flows.stock) if flow} == {"observe"}


def test_one_word_stands_for_a_list_of_one() -> None:
    config = parse(WHOLE.replace("from: [shop_a, shop_b]", "from: shop_a"))

    assert config.flows.orders is not None
    assert config.flows.orders.sources == ("shop_a",)


@pytest.mark.parametrize(
    ("text", "mark", "message", "hint"),
    [
        ("listen: {hots: x}", Mark(1, 10), "there is no key 'hots' in 'listen'", "did you mean 'host'?"),
        ("tenant: a\nconections: {}", Mark(2, 1), "there is no key 'conections'", "did you mean 'connections'?"),
        ('listen: {port: "7480"}', Mark(1, 16), "listen.port must be a number", "take the quotes away"),
        ("tenant: 5", Mark(1, 9), "tenant must be a text", "put it in quotes"),
        (
            "listen: {port: 99999}",
            Mark(1, 16),
            "listen.port is not as expected: expected `int` <= 65535",
            None,
        ),
        (
            "tenant: main\ntenant: b",
            Mark(2, 1),
            "'tenant' stands here a second time, the first is in line 1",
            "keep one of them",
        ),
        ("listen: 5", Mark(1, 9), "listen must be `key: value` lines", None),
        ("- a", Mark(1, 1), "the file must be a list of `key: value` lines", None),
        ("network: {allow: [10.0.0.300]}", Mark(1, 19), "'10.0.0.300' is no network", None),
        ("listen: {port: 80, web_port: 80}", Mark(1, 30), "listen.port and listen.web_port are the same", None),
        ("public_url: https://a.example/x", Mark(1, 13), "public_url must be scheme and host, nothing behind", None),
    ],
)
def test_each_refusal_names_the_place_and_the_cure(text: str, mark: Mark, message: str, hint: str | None) -> None:
    problem = only_problem(text)

    assert (problem.mark, problem.message) == (mark, message)
    if hint is not None:
        assert problem.hint == hint


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: *x", "anchors and aliases"),
        ("a: &x 1", "anchors and aliases"),
        ("a: !!python/object:os.system x", "tag"),
        ("tenant: !tag x", "tag"),
        ("a: " + "[" * 40, "levels"),
        ("listen:\n\tport: 1", "cannot start any token"),
        ("a: \x01", "character that YAML does not allow"),
        ("a: 1\n---\nb: 1", "single document"),
        ("? [a]\n: 1", "plain word"),
        ("tenant: x" + "y" * (1 << 20), "larger than"),
    ],
)
def test_yaml_beyond_plain_values_is_refused(text: str, part: str) -> None:
    assert part in only_problem(text).message


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "NO", "1_000", "0x10", "012", "12:30:00"])
def test_words_stay_words(word: str) -> None:
    config = parse(f"connections: {{shop: {{use: vendure, country: {word}}}}}")

    assert config.connections["shop"].options["country"] == word


@pytest.mark.parametrize(
    "entry",
    [
        "password: hunter2",
        "api_key: hunter2",
        "admin_token: hunter2",
        "note: whsec_hunter2",
        "url: 'http://user:hunter2@host'",
    ],
)
def test_secrets_in_the_file_are_refused_and_not_repeated(entry: str) -> None:
    problem = only_problem(f"connections:\n  shop: {{use: vendure, {entry}}}")

    assert "secret" in problem.message
    assert problem.mark.line == 2
    assert "hunter2" not in f"{problem.message} {problem.hint}"
    assert "tidegate connect" in (problem.hint or "")


def test_propose_is_a_mode() -> None:
    config = parse(WHOLE.replace("mode: observe", "mode: propose"))

    assert config.flows.stock is not None
    assert config.flows.stock.mode == "propose"


def test_unknown_connections_in_flows_and_owners_get_a_suggestion() -> None:
    text = WHOLE.replace("from: [shop_a, shop_b], to: erp", "from: [shop_a, shopb], to: erp")
    problem = only_problem(text)

    assert problem.mark == Mark(13, 30)
    assert "'shopb'" in problem.message
    assert problem.hint == "did you mean 'shop_b'?"


def test_an_order_flow_needs_a_since_date() -> None:
    problem = only_problem(WHOLE.replace(", since: 2026-11-01", ""))

    assert problem.message == "flows.orders needs 'since'"
    assert problem.mark == Mark(13, 14)


def test_a_date_that_does_not_exist_is_refused() -> None:
    assert only_problem("flows: {orders: {since: 2026-02-30}}").mark == Mark(1, 25)


def test_a_field_has_exactly_one_writer() -> None:
    text = WHOLE.replace("shipments: {from: erp", "shipments: {from: shop_a")

    assert "owns shipment" in only_problem(text).message


def test_all_problems_are_reported_at_once_in_the_order_of_the_file() -> None:
    text = "cel: c0\nlisten: {port: x}\nflows:\n  orders: {from: a, to: b, mode: lives, since: 2026-01-01}\n"
    marks = [problem.mark for problem in problems_of(text)]

    assert marks == [Mark(1, 1), Mark(2, 16), Mark(4, 34)]


def test_the_error_lists_places_for_editors() -> None:
    with pytest.raises(ConfigurationError, match=r"^shop\.yaml:1:1: there is no key 'a'") as caught:
        parse("a: 1", source="shop.yaml")

    assert caught.value.code == "config_invalid"
    assert caught.value.exit_status == 78


def test_a_missing_file_says_how_to_make_one(tmp_path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path)

    assert caught.value.hint == "make a project with: tidegate init DIR"


def test_the_schema_is_json_and_describes_the_keys() -> None:
    document = json.loads(json.dumps(schema()))

    config = document["$defs"]["Config"]
    assert config["additionalProperties"] is False
    assert {"connections", "flows", "owns"} <= set(config["properties"])
    assert "stock.on_hand" in document["$defs"]["Owns"]["properties"]


def test_the_schema_knows_what_a_map_may_fill() -> None:
    known = schema({"hostile": build_connector()})
    orders = known["$defs"]["Maps"]["properties"]["orders"]
    assert {"customer.ref", "lines.sku", "lines", "order", "decide"} <= orders["properties"].keys()
    assert orders["additionalProperties"] is False
    assert "trim" in known["$defs"]["MapRule"]["properties"]["transform"]["items"]["anyOf"][0]["enum"]
    assert schema()["$defs"]["Maps"]["properties"]["orders"]["additionalProperties"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("buffer: many", "flows.stock.buffer must be off, auto, or how many units"),
        ("buffer: -3", "flows.stock.buffer must be off, auto, or how many units"),
        ("oversell_max: 110%", "flows.stock.oversell_max must be a share of what can be sold, or how many units"),
    ],
)
def test_what_a_buffer_cannot_be_is_said_in_its_own_words(line: str, words: str) -> None:
    text = f"connections: {{}}\nflows:\n  stock: {{from: erp, to: [shop], {line}}}\n"
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        parse(text, connectors={})


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ("backorder", None),
        ("[other_location, backorder]", None),
        ("[other_location, ask]", None),
        (
            "[backorder, other_location]",
            "flows.stock.oversell never comes to other_location: backorder takes every order",
        ),
        ("[other_location, other_location]", "flows.stock.oversell names other_location twice"),
        ("[elsewhere]", "flows.stock.oversell.0 cannot be 'elsewhere'"),
    ],
)
def test_steps_of_an_oversell_are_known_and_reached(steps: str, why: str | None) -> None:
    found = problems_of(WHOLE.replace("mode: observe}", f"mode: observe, oversell: {steps}}}"))

    assert [problem.message for problem in found] == ([why] if why else [])


def test_orders_stay_where_they_are_when_nobody_can_be_told_to_ship_from_elsewhere() -> None:
    text = WHOLE.replace("vendure", "hostile").replace("tryton,", "hostile,").replace(", database: tryton", "")
    text = text.replace("mode: observe}", "mode: observe, oversell: other_location}")
    able = build_connector()
    assert examine(text, connectors={"hostile": able})[1] == []

    (problem,) = examine(text, connectors={"hostile": replace(able, names_location=False)})[1]
    assert problem.message == (
        "flows.stock.oversell cannot be other_location: connector 'hostile' of 'erp' cannot say from which location an order is"
        " to leave"
    )
    orders = "  orders:    {from: [shop_a, shop_b], to: erp, since: 2026-11-01, mode: live}\n"
    assert "there is no flow of orders" in only_problem(text.replace(orders, "")).message


def test_orders_are_cancelled_only_in_shops_that_can_and_whose_money_goes_back() -> None:
    text = WHOLE.replace("vendure", "hostile").replace("tryton,", "hostile,").replace(", database: tryton", "")
    text = text.replace("mode: observe}", "mode: observe, oversell: [cancel_newest, ask]}")
    shop = replace(build_connector(), cancel_pays_back=True)
    assert examine(text, connectors={"hostile": shop})[1] == []

    unable = examine(text, connectors={"hostile": replace(shop, cancels_own_orders=False)})[1]
    assert [problem.message for problem in unable] == [
        f"flows.stock.oversell cannot be cancel_newest: connector 'hostile' of '{name}' cannot cancel an order in its shop"
        for name in ("shop_a", "shop_b")
    ]
    unpaid = replace(shop, cancel_pays_back=False)
    assert [problem.message for problem in examine(text, connectors={"hostile": unpaid})[1]] == [
        f"flows.stock.oversell cannot be cancel_newest: '{name}' pays nothing back for an order that it is asked to cancel, and no"
        " payments flow does"
        for name in ("shop_a", "shop_b")
    ]
    pays = text.replace("  erp:    {use", "  pay:    {use: pay}\n  erp:    {use").replace(
        "shipment: erp}", "shipment: erp, payment: pay}"
    )
    pays = pays.replace("processes:", "  payments:  {from: pay}\nprocesses:")
    provider = replace(shop, name="pay", roles=frozenset({"payment"}))
    assert examine(pays, connectors={"hostile": unpaid, "pay": provider})[1] == []
