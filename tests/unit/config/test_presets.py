"""What a preset fills in, and what it leaves alone."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tidegate.config import Config, parse
from tidegate.config.parse import examine
from tidegate.config.versions import with_since
from tidegate.kernel.errors import ConfigurationError

ROLES = {"vendure": ["channel"], "tryton": ["erp"], "both": ["channel", "erp"]}
CONNECTIONS = """
connections:
  shop: {use: vendure}
  b2b: {use: vendure}
  erp: {use: tryton}
"""


def filled(text: str) -> Config:
    return parse(text, roles=ROLES)


def test_connections_alone_are_enough() -> None:
    config = filled(CONNECTIONS)

    assert (config.owns.on_hand, config.owns.shipment) == ("erp", "erp")
    assert config.flows.orders is not None
    assert (config.flows.orders.sources, config.flows.orders.target) == (("shop", "b2b"), "erp")
    assert config.flows.shipments is not None
    assert config.flows.shipments.source == "erp"
    assert config.flows.stock is not None
    assert config.flows.stock.targets == ("shop", "b2b")
    assert {config.flows.orders.mode, config.flows.shipments.mode, config.flows.stock.mode} == {"observe"}
    assert config.needs_since


def test_what_the_file_says_wins_and_the_rest_is_filled() -> None:
    config = filled(CONNECTIONS + "since: 2026-11-20\nflows: {stock: {mode: live, safety: 2}}\n")

    assert config.flows.stock is not None
    assert (config.flows.stock.mode, config.flows.stock.safety, config.flows.stock.source) == ("live", 2, "erp")
    assert config.flows.orders is not None
    assert config.flows.orders.since == datetime(2026, 11, 20, tzinfo=UTC)
    assert not config.needs_since


def test_a_flow_that_names_connections_says_that_a_person_decides() -> None:
    config = filled(CONNECTIONS + "owns: {stock.on_hand: erp}\nflows: {stock: {from: erp, to: shop}}\n")

    assert config.flows.orders is None
    assert config.owns.shipment is None


def test_a_named_preset_fills_around_what_a_person_wrote() -> None:
    config = filled(CONNECTIONS + "preset: stock-only\nowns: {stock.on_hand: erp}\nflows: {stock: {to: shop}}\n")

    assert config.flows.orders is None
    assert config.flows.stock is not None
    assert config.flows.stock.targets == ("shop",)


def test_no_preset_and_none_fill_nothing() -> None:
    assert filled(CONNECTIONS + "preset: none\n").flows == Config().flows
    assert filled(CONNECTIONS + "  second: {use: tryton}\n").flows == Config().flows
    assert filled("connections:\n").flows == Config().flows
    assert parse(CONNECTIONS).flows == Config().flows


def test_a_connector_of_both_roles_plays_the_one_that_is_missing() -> None:
    two = filled("connections: {a: {use: both}, shop: {use: vendure}}\n")
    channel = filled("connections: {a: {use: both}, erp: {use: tryton}}\n")

    assert two.owns.on_hand == "a"
    assert channel.flows.stock is not None
    assert channel.flows.stock.targets == ("a",)


def test_a_named_preset_that_does_not_fit_is_refused() -> None:
    (problem,) = examine("preset: shop-and-erp\n" + CONNECTIONS + "  second: {use: tryton}\n", roles=ROLES)[1]

    assert "one ERP and of sales channels" in problem.message
    assert problem.mark.line == 1


def test_an_unknown_preset_names_the_known_ones() -> None:
    (problem,) = examine(CONNECTIONS + "preset: shop\n", roles=ROLES)[1]

    assert problem.hint == "presets are: shop-and-erp, stock-only, none"


def test_orders_that_a_person_describes_need_since() -> None:
    text = CONNECTIONS + "flows:\n  orders: {from: shop, to: erp}\n"

    assert [problem.message for problem in examine(text, roles=ROLES)[1]] == ["flows.orders needs 'since'"]
    assert filled(text + "since: 2026-11-20\n").flows.orders is not None


def test_since_is_written_where_it_is_read() -> None:
    moment = datetime(2026, 11, 27, 15, 0, 1, tzinfo=UTC)
    text = with_since(CONNECTIONS, moment)

    config = filled(text)
    assert config.flows.orders is not None
    assert config.flows.orders.since == moment
    assert text.startswith(CONNECTIONS.rstrip())


def test_a_document_without_a_place_for_since_is_refused_with_the_line_to_write() -> None:
    with pytest.raises(ConfigurationError) as caught:
        with_since("{connections: {shop: {use: vendure}}}\n", datetime(2026, 11, 27, tzinfo=UTC))

    assert caught.value.hint == "write into the file: since: 2026-11-27T00:00:00Z"


@pytest.mark.parametrize(
    "text", ["connections: 5\n", "connections: [a]\n", "flows: 3\n", "connections: {a: 1}\nowns: x\n"]
)
def test_nonsense_is_left_to_the_checks(text: str) -> None:
    assert examine(text, roles=ROLES)[1]
