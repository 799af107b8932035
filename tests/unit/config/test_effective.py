"""What counts at a moment: spans, recurrences, blackouts, and the nights on which the clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tidegate.config import Config, parse
from tidegate.config.effective import Timetable, effective
from tidegate.config.lanes import URGENT_TOPICS, lane_rules
from tidegate.config.records import Recurrence
from tidegate.config.schedule import Window, schedule_of
from tidegate.kernel.errors import ConfigurationError

FILE = """
timezone: Europe/Berlin
connections:
  shop: {use: vendure}
  erp: {use: tryton}
owns: {stock.on_hand: erp, shipment: erp}
flows:
  orders: {from: shop, to: erp, since: 2026-11-01, mode: live, blackout: {cron: "0 2 * * *", for: 2h}}
  stock: {from: erp, to: shop, mode: live, safety: 1}
profiles:
  peak: {stock.safety: 5, polling.interval_min: 5m}
  freeze: {stock.mode: observe}
overrides:
  - {match: "sku:LAUNCH-*", stock.safety: 10}
  - {match: "sku:ADVENT-*", during: 2026-12-01/2026-12-24, stock.safety: 3, stock.mode: live}
  - {during: 2026-11-27/2026-12-01, profile: peak}
  - {during: {cron: "0 22 * * 5", for: 8h}, profile: freeze}
"""


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def stock_of(config: Config) -> tuple[str, int]:
    assert config.flows.stock is not None
    return config.flows.stock.mode, config.flows.stock.safety


def test_a_timed_profile_switches_on_and_off_by_itself() -> None:
    config = parse(FILE)
    before, begin, during, end = (
        effective(config, at(text))
        for text in ("2026-11-26T23:59:59+01:00", "2026-11-27T00:00:00+01:00", "2026-12-01T12:00:00+01:00",
                     "2026-12-02T00:00:00+01:00")
    )  # fmt: skip

    assert [one.profile for one in (before, begin, during, end)] == [None, "peak", "peak", None]
    assert [stock_of(one.config) for one in (before, begin, during, end)] == [
        ("live", 1), ("live", 5), ("live", 5), ("live", 1)
    ]  # fmt: skip
    assert before.next_change == at("2026-11-27T00:00:00+01:00")
    assert during.config.polling.interval_min == "5m"
    assert len(begin.config.overrides) == 1
    assert len(during.config.overrides) == 2


def test_what_is_held_back_for_a_time_is_planned_all_the_same() -> None:
    frozen = effective(parse(FILE), at("2026-12-04T23:00:00+01:00"))

    assert frozen.held == {"stock": "freeze"}
    assert frozen.profile == "freeze"
    assert stock_of(frozen.config) == ("observe", 1)
    assert stock_of(frozen.planned) == ("live", 1)
    assert frozen.next_change == at("2026-12-05T02:00:00+01:00")  # the blackout of orders comes first
    assert {override.stock_mode for override in frozen.config.overrides} == {None}
    assert {override.stock_mode for override in frozen.planned.overrides} == {None, "live"}


def test_a_blackout_holds_its_flow_back() -> None:
    config = parse(FILE)
    night = effective(config, at("2026-11-10T03:00:00+01:00"))

    assert night.held == {"orders": "blackout"}
    assert night.config.flows.orders is not None
    assert night.config.flows.orders.mode == "observe"
    assert night.planned.flows.orders is not None
    assert night.planned.flows.orders.mode == "live"
    assert night.next_change == at("2026-11-10T04:00:00+01:00")
    assert effective(config, at("2026-11-10T04:00:00+01:00")).held == {}


def test_a_file_without_schedules_never_changes() -> None:
    config = parse("tenant: main\n")

    assert effective(config, at("2026-11-10T03:00:00+01:00")).next_change is None
    assert effective(config, at("2026-11-10T03:00:00+01:00")).config == config


@pytest.mark.parametrize(
    ("moment", "is_open", "until"),
    [
        # The night of 29 March 2026 has no 02:30 in Berlin: what falls into the gap happens right after it, at 03:00.
        ("2026-03-29T00:59:59+00:00", False, "2026-03-29T01:00:00+00:00"),
        ("2026-03-29T01:00:00+00:00", True, "2026-03-29T02:00:00+00:00"),
        ("2026-03-29T02:00:00+00:00", False, "2026-03-30T00:30:00+00:00"),
        # The night of 25 October 2026 has 02:30 twice: it happens the first time only.
        ("2026-10-25T00:30:00+00:00", True, "2026-10-25T01:30:00+00:00"),
        ("2026-10-25T01:29:59+00:00", True, "2026-10-25T01:30:00+00:00"),
        ("2026-10-25T01:30:00+00:00", False, "2026-10-26T01:30:00+00:00"),
    ],
)
def test_nights_on_which_the_clocks_change(moment: str, is_open: bool, until: str) -> None:
    nightly = schedule_of(Recurrence(cron="30 2 * * *", for_="1h", tz="Europe/Berlin"), "UTC")

    assert nightly.at(at(moment)) == Window(is_open=is_open, until=at(until))


def test_a_window_lasts_its_length_in_elapsed_time() -> None:
    night = schedule_of(Recurrence(cron="0 22 * * 6", for_="8h", tz="Europe/Berlin"), "UTC")

    assert night.at(at("2026-10-25T04:59:59+01:00")).is_open  # an hour longer on the clock: it ends at 05:00
    assert not night.at(at("2026-10-25T05:00:00+01:00")).is_open


def test_windows_that_follow_each_other_are_one_window() -> None:
    always = schedule_of(Recurrence(cron="*/10 * * * *", for_="15m"), "UTC")
    now = at("2026-11-10T03:00:00+00:00")

    found = always.at(now)
    assert found.is_open
    assert found.until is not None
    assert found.until - now > timedelta(hours=6)


def test_a_day_in_a_span_counts_whole_and_a_moment_exactly() -> None:
    days = schedule_of("2026-03-28/2026-03-29", "Europe/Berlin")
    moments = schedule_of("2026-11-27T08:00/2026-11-27T20:00:00+00:00", "Europe/Berlin")

    assert days.at(at("2026-03-29T21:59:59+00:00")).is_open
    assert not days.at(at("2026-03-29T22:00:00+00:00")).is_open
    assert moments.at(at("2026-11-27T07:00:00+00:00")).until == at("2026-11-27T20:00:00+00:00")


def test_a_timetable_works_it_out_again_only_when_it_may_have_changed() -> None:
    timetable = Timetable(parse(FILE))
    first = timetable.at(at("2026-11-10T05:00:00+01:00"))

    assert timetable.at(at("2026-11-10T23:00:00+01:00")) is first
    assert timetable.at(at("2026-11-11T02:00:00+01:00")).held == {"orders": "blackout"}
    assert timetable.at(at("2026-11-10T05:00:00+01:00")) == first  # a clock that was set back


PEAK = """
connections:
  shop: {use: vendure}
  erp: {use: tryton}
lanes:
  default: {stock_merge: 1s}
  shop: {stock_merge: 2s, floor: 0.3}
profiles:
  sale: {lanes.stock_merge: 10s, lanes.bundle: 5s, lanes.floor: 0.5, alerts.budget_near_limit: 60, polling.interval_min: 5m}
overrides:
  - {during: 2026-11-27/2026-11-30, lead: 2h, profile: sale}
"""


@pytest.mark.parametrize(
    ("moment", "is_on"),
    [
        ("2026-11-26T21:59:59+00:00", False),
        ("2026-11-26T22:00:00+00:00", True),
        ("2026-11-30T23:59:59+00:00", True),
        ("2026-12-01T00:00:00+00:00", False),
    ],
)
def test_a_peak_profile_is_on_ahead_of_time_and_goes_by_itself(moment: str, is_on: bool) -> None:
    """Lanes, alert threshold and cadence follow the profile from its lead on, and fall back when it is over."""
    found = effective(parse(PEAK), at(moment))
    shop, erp = lane_rules(found.config.lanes, "shop"), lane_rules(found.config.lanes, "erp")
    assert found.profile == ("sale" if is_on else None)
    assert (shop.stock_merge_seconds, erp.stock_merge_seconds) == ((10.0, 10.0) if is_on else (2.0, 1.0))
    assert (shop.floor, erp.floor) == ((0.5, 0.5) if is_on else (0.3, 0.2))
    assert shop.bundle_seconds == (5.0 if is_on else 1.0)
    assert found.config.alerts.rules.budget_near_limit.threshold == (60 if is_on else None)


def test_the_next_change_knows_the_lead() -> None:
    """Nothing is looked at again before the lead begins, and then in time."""
    config = parse(PEAK)
    assert effective(config, at("2026-11-20T00:00:00+00:00")).next_change == at("2026-11-26T22:00:00+00:00")
    assert effective(config, at("2026-11-26T23:00:00+00:00")).next_change == at("2026-11-27T00:00:00+00:00")
    assert effective(config, at("2026-11-28T00:00:00+00:00")).next_change is not None


def test_lanes_name_connections_that_exist() -> None:
    with pytest.raises(ConfigurationError, match="no connection of this file"):
        parse("connections:\n  shop: {use: vendure}\nlanes:\n  shopp: {floor: 0.1}\n")


def test_a_profile_changes_our_share_of_all_budgets_and_single_lanes() -> None:
    """What is said of one lane wins over what is said of all; both go when the profile goes."""
    text = PEAK.replace(
        "lanes.floor: 0.5,", "lanes.floor: 0.5, lanes.share: 0.9, lanes: {shop: {share: 1, floor: 0.1}},"
    )
    text = text.replace("shop: {stock_merge: 2s, floor: 0.3}", "shop: {stock_merge: 2s, floor: 0.3, share: 0.6}")
    config = parse(text)
    before, during = (effective(config, at(when)).config.lanes for when in ("2026-11-20T00:00Z", "2026-11-28T00:00Z"))
    assert [(lane_rules(before, name).share, lane_rules(before, name).floor) for name in ("shop", "erp")] == [
        (0.6, 0.3), (1.0, 0.2)
    ]  # fmt: skip
    assert [(lane_rules(during, name).share, lane_rules(during, name).floor) for name in ("shop", "erp")] == [
        (1.0, 0.1), (0.9, 0.5)
    ]  # fmt: skip
    assert lane_rules(during, "shop").stock_merge_seconds == 10.0


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ("{lanes: {shopp: {share: 1}}}", "no connection of this file"),
        ("{lanes: {shop: {share: 2}}}", "<= 1"),
        ("{lanes: {shop: {bundle_topics: {order: 5s}}}}", "order is critical"),
        ("{lanes.share: 0}", "> 0"),
    ],
)
def test_lanes_in_a_profile_are_checked(profile: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        parse(f"connections:\n  shop: {{use: vendure}}\nprofiles:\n  sale: {profile}\n")


def test_a_topic_has_a_window_of_its_own_and_a_critical_one_has_none() -> None:
    lanes = parse(
        "connections:\n  shop: {use: vendure}\n  erp: {use: tryton}\nlanes:\n"
        "  default: {bundle_topics: {variant: 20s, customer: 1m}}\n  shop: {bundle: 3s, bundle_topics: {variant: 0s}}\n"
    ).lanes
    shop, erp = lane_rules(lanes, "shop"), lane_rules(lanes, "erp")
    waits = {
        topic: (shop.wait_for_hints(topic), erp.wait_for_hints(topic)) for topic in ("variant", "customer", "page")
    }
    assert waits == {"variant": (0.0, 20.0), "customer": (60.0, 60.0), "page": (3.0, 1.0)}
    assert {rules.wait_for_hints(topic) for rules in (shop, erp) for topic in URGENT_TOPICS} == {0.0}


def test_no_window_holds_what_is_critical() -> None:
    with pytest.raises(ConfigurationError, match="payment is critical"):
        parse("connections:\n  shop: {use: vendure}\nlanes:\n  shop: {bundle_topics: {payment: 5s}}\n")
