"""When looks are due, what they adapt to, and what a file may say about them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.config import parse
from tidegate.config.reconcile import (
    EVERY_SECONDS_MAX,
    EVERY_SECONDS_MIN,
    HANDFUL,
    SLOWER_SECONDS_MAX,
    LookFigures,
    LookRules,
    adapted_interval,
    blackout_end,
    look_rules,
    next_look,
)
from tidegate.kernel.errors import ConfigurationError

FILE = """
connections: {shop: {use: vendure}, erp: {use: tryton}}
owns: {stock.on_hand: erp}
flows: {stock: {from: erp, to: shop}}
"""
NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
TENANT = UUID(int=1)


def rules(text: str = "", name: str = "shop") -> LookRules:
    return look_rules(parse(FILE + text), name)


def figures(articles: int = 1000, differences: int = 0, reading_seconds: float = 1.0) -> LookFigures:
    return LookFigures(articles=articles, differences=differences, reading_seconds=reading_seconds)


def test_own_values_win_over_those_for_all_and_these_over_the_built_in_ones() -> None:
    text = "reconcile: {default: {every: 30m, heal: {stock: report}, tolerance: 2}, shop: {every: 10m}}"

    assert (rules(text).every_seconds, rules(text).heal["stock"], rules(text).tolerance) == (600, "report", 2)
    assert (rules(text, "erp").every_seconds, rules("").every_seconds, rules("").heal["stock"]) == (1800, 900, "auto")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("shpo: {every: 30m}", "no connection of this file; did you mean 'shop'"),
        ("shop: {every: 4m}", "5 to 60 minutes apart"),
        ("shop: {every: 61m}", "5 to 60 minutes apart"),
        ("shop: {every: soon}", "neither a length of time"),
        ('shop: {every: "61 * * * *"}', "no cron expression"),
        ('shop: {every: "0 0 31 2 *"}', "no cron expression"),
        ("shop: {blackout: {cron: nonsense, for: 1h}}", "five parts"),
        ("shop: {heal: {stock: always}}", "policies are: auto, approve, report"),
        ("shop: {heal: {price: auto}}", "nobody sends prices"),
        ("shop: {heal: {on_hand: approve}}", "read by its feeds"),
        ("shop: {heal_share: 2}", "heal_share"),
        ("shop: {evry: 15m}", "did you mean 'every'"),
        ("shop: 15m", "must be `key: value` lines"),
    ],
)
def test_what_cannot_be_is_said_with_its_place(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(FILE + f"reconcile: {{{text}}}")

    assert words in str(caught.value)
    assert "tidegate.yaml:5:" in str(caught.value)


def test_a_cron_expression_is_read_in_the_zone_of_the_file_and_does_not_adapt() -> None:
    found = rules('timezone: Europe/Berlin\nreconcile: {shop: {every: "30 13 * * *", jitter: 0s}}')

    assert next_look(found, NOW, 1.0, TENANT) == NOW + timedelta(minutes=30)
    assert adapted_interval(found, 3600.0, figures(differences=900)) == 3600.0


def test_connections_of_a_tenant_stay_together_and_tenants_do_not() -> None:
    found = rules()

    assert next_look(found, NOW, 900.0, TENANT) == next_look(found, NOW, 900.0, TENANT)
    assert len({next_look(found, NOW, 900.0, UUID(int=number)) for number in range(20)}) > 10


def test_a_blackout_says_when_it_ends() -> None:
    found = rules('reconcile: {shop: {blackout: {cron: "0 12 * * *", for: 2h}}}')

    assert blackout_end(found, NOW + timedelta(minutes=5)) == NOW + timedelta(hours=2)
    assert blackout_end(found, NOW + timedelta(hours=3)) is None


def test_looks_come_sooner_where_much_differs_and_later_where_nothing_does() -> None:
    found = rules()

    assert adapted_interval(found, 900.0, figures(differences=11)) == 450.0
    assert adapted_interval(found, 900.0, figures(differences=0)) == 1350.0
    assert adapted_interval(found, 450.0, figures(differences=5)) == 900.0


@given(
    st.integers(EVERY_SECONDS_MIN, EVERY_SECONDS_MAX),
    st.lists(st.tuples(st.integers(0, 10_000), st.floats(0, 10_000)), max_size=30),
)
def test_an_interval_stays_within_its_bounds_and_reading_takes_a_tenth_at_most(
    every: int, looks: list[tuple[int, float]]
) -> None:
    found = LookRules(every_seconds=every)
    least, most = found.bounds
    interval = float(every)
    for differences, reading in looks:
        interval = adapted_interval(found, interval, figures(10_000, differences, reading))
        slowest = min(SLOWER_SECONDS_MAX, max(most, reading / 0.1))
        assert least <= interval <= slowest
        assert interval >= min(SLOWER_SECONDS_MAX, reading / 0.1)


@given(st.integers(0, 10_000_000))
def test_what_one_run_may_heal_is_bounded(compared: int) -> None:
    limit = LookRules().heal_limit(compared)

    assert HANDFUL <= limit <= 1000
    assert limit <= max(HANDFUL, compared * 0.1)
