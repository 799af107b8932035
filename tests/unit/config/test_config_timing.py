"""Groups, profiles, overrides and blackouts: what is refused, and where."""

from __future__ import annotations

import pytest

from tidegate.config import parse
from tidegate.config.parse import examine
from tidegate.config.skus import SkuRules

BASE = """
connections:
  shop: {use: vendure}
  erp: {use: tryton}
owns: {stock.on_hand: erp, shipment: erp}
flows:
  orders: {from: shop, to: erp, since: 2026-11-01}
  stock: {from: erp, to: shop, safety: 1}
groups:
  gifts: ["GIFT-*", BOX-1]
  shoes: SHOE-?
profiles:
  peak: {stock.safety: 5, polling.interval_min: 5m}
"""


def overrides(*lines: str) -> str:
    return BASE + "overrides:\n" + "".join(f"  - {line}\n" for line in lines)


def test_the_last_override_that_fits_a_sku_counts() -> None:
    config = parse(
        overrides(
            '{match: "sku:*", stock.safety: 2}',
            '{match: "group:gifts", stock.safety: 9}',
            '{match: "sku:GIFT-7", stock.mode: live}',
        )
    )
    rules = SkuRules(config)

    assert [rules.find(sku, lambda o: o.stock_safety) for sku in ("GIFT-7", "BOX-1", "SHOE-1")] == [9, 9, 2]
    assert rules.find("GIFT-7", lambda o: o.stock_mode) == "live"
    assert rules.find("BOX-1", lambda o: o.stock_mode) is None


def test_patterns_know_stars_and_question_marks_only() -> None:
    rules = SkuRules(parse(overrides('{match: "sku:A[1].?*", stock.safety: 3}')))

    found = {
        sku: rules.find(sku, lambda o: o.stock_safety) for sku in ("A[1].x", "A[1].xyz\n", "A1.x", "A[1].", "a[1].x")
    }
    assert found == {"A[1].x": 3, "A[1].xyz\n": 3, "A1.x": None, "A[1].": None, "a[1].x": None}


@pytest.mark.parametrize(
    ("line", "words", "place"),
    [
        ('{match: "sku:A"}', "changes nothing", (15, 5)),
        ("{stock.safety: 2}", "does not say which SKUs", (15, 5)),
        ('{match: "A-*", stock.safety: 2}', "says neither sku: nor group:", (15, 13)),
        ('{match: "group:gift", stock.safety: 2}', "no group 'gift'", (15, 13)),
        ('{match: "sku:", stock.safety: 2}', "pattern of SKUs", (15, 13)),
        ("{during: 2026-11-27/2026-12-01, profile: peek}", "no profile 'peek'", (15, 46)),
        ("{profile: peak}", "for a time only", (15, 15)),
        ('{match: "sku:A", during: 2026-11-27/2026-12-01, profile: peak}', "not both", (15, 5)),
        ("{during: 2026-12-02/2026-12-01, profile: peak}", "ends before it begins", (15, 14)),
        ("{during: 2026-11-31/2026-12-01, profile: peak}", "no day and no moment", (15, 14)),
        ("{during: tomorrow, profile: peak}", "FIRST/LAST", (15, 14)),
        ('{during: {cron: "0 22 * * 9", for: 8h}, profile: peak}', "Bad day-of-week", (15, 14)),
        ('{during: {cron: "0 0 31 2 *", for: 8h}, profile: peak}', "no cron expression", (15, 14)),
        ('{during: {cron: "0 0 0 * * *", for: 8h}, profile: peak}', "five parts", (15, 14)),
        ('{during: {cron: "0 22 * * *", for: 8h, tz: Mars/Base}, profile: peak}', "no time zone", (15, 14)),
        ('{during: {cron: "0 22 * * *", for: 99d}, profile: peak}', "31 days", (15, 14)),
        ('{during: {cron: "0 22 * * *", for: 8 hours}, profile: peak}', "must be a length of time", (15, 40)),
        ('{match: "sku:A", stock.safety: -1}', "overrides.0.stock.safety", (15, 36)),
        ('{match: "sku:A", stock.safety: 1, stock.mod: live}', "no key 'stock.mod'", (15, 39)),
    ],
)  # fmt: skip
def test_what_an_override_must_not_be(line: str, words: str, place: tuple[int, int]) -> None:
    (problem,) = examine(overrides(line))[1]

    assert words in problem.message
    assert (problem.mark.line, problem.mark.column) == place


def test_a_profile_sets_only_what_profiles_may_set() -> None:
    (problem,) = examine(BASE.replace("stock.safety: 5", "listen: other"))[1]

    assert problem.message == "there is no key 'listen' in 'profiles.peak'"


def test_a_profile_of_a_flow_that_does_not_exist_is_refused() -> None:
    (problem,) = examine(BASE.replace("stock.safety: 5", "shipments.mode: observe"))[1]

    assert problem.message == "profile 'peak' sets shipments.mode, but there is no flow 'shipments'"


def test_a_blackout_may_be_one_window_or_several() -> None:
    one = BASE.replace("safety: 1", 'blackout: {cron: "0 2 * * *", for: 2h}')
    two = BASE.replace(
        "safety: 1", 'blackout: [{cron: "0 2 * * *", for: 2h}, {cron: "0 14 * * *", for: 5m, tz: Asia/Tokyo}]'
    )

    windows = [config.flows.stock.blackout for config in (parse(one), parse(two)) if config.flows.stock]
    assert [len(found) for found in windows] == [1, 2]


def test_an_unknown_time_zone_of_the_file_is_named_once() -> None:
    (problem,) = examine(BASE + "timezone: Berlin\n")[1]

    assert problem.message == "there is no time zone 'Berlin'"


def test_an_unknown_key_of_a_single_blackout_is_named_at_its_place() -> None:
    (problem,) = examine(BASE.replace("safety: 1", 'blackout: {cron: "0 2 * * *", for: 2h, tzz: UTC}'))[1]

    assert problem.message == "there is no key 'tzz' in 'flows.stock.blackout.0'"
    assert (problem.mark.line, problem.mark.column) == (8, 71)
