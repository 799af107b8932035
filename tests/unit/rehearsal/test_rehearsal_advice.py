"""What a rehearsal advises: by what work waited for and by who had the processors; and each line is a configuration."""

from __future__ import annotations

from datetime import date
from importlib.resources import files
from typing import Any

import msgspec
import pytest
import yaml
from tests.unit.rehearsal.test_rehearsal_page import STAGES, side

from tidegate.app import connectors
from tidegate.config.parse import parse
from tidegate.rehearsal.advice import Scene, advise
from tidegate.rehearsal.processors import summarize
from tidegate.rehearsal.profile import built_in
from tidegate.rehearsal.records import Advice, Calls, Held, Load, Oversale, Stage
from tidegate.rehearsal.waits import Slots, Waiting, longest_of, reason_of, tally

SLOTS = {"erp": Slots(calls_max=8, is_the_limit=True), "shop": Slots(calls_max=10)}
LATE: dict[str, Any] = {"drained_s": 300.0}
OVERSALE = Oversale(sku="HOT-001", units=11, by_channel={"web": 11}, gone_at=8.0, last_at=20.0)


def scene(**changes: Any) -> Scene:
    whole = Scene(
        erp="erp",
        cpus=4,
        processes={"dispatch": 1},
        slots=SLOTS,
        merges=frozenset({"shop", "web"}),
        loads=(Load(part="dispatch", average=0.1, busiest=0.2, while_waiting=0.1),),
    )
    return msgspec.structs.replace(whole, **changes)


def busy(**parts: float) -> tuple[Load, ...]:
    return tuple(Load(part=name, average=use, busiest=use, while_waiting=use) for name, use in parts.items())


def held(reason: str, connection: str = "erp", seconds: int = 90) -> tuple[Held, ...]:
    return (Held(connection=connection, reason=reason, seconds=seconds),)


def advice(
    changes: Any = None, waited: tuple[Held, ...] = (), calls: Any = None, of: Scene | None = None, **profile: Any
) -> tuple[Advice, ...]:
    load = msgspec.structs.replace(built_in("smoke"), **profile)
    return advise(load, side(**(changes or {})), STAGES, calls or {}, waited, of or scene())


def said(*arguments: Any, **named: Any) -> str:
    return "\n".join(f"{one.is_broken} {one.what} | {one.setting}" for one in advice(*arguments, **named))


def test_a_good_day_says_what_comes_next() -> None:
    """Never nothing."""
    assert said().startswith("False no limit of a platform was half used")


def test_oversold_names_the_bound_and_the_safety_that_would_have_covered_it() -> None:
    """By article."""
    words = said({"oversold": 12, "oversales": (OVERSALE,)})
    assert "until it hears that the last unit is gone" in words
    assert 'match: "sku:HOT-001", stock.safety: 15' in words


def test_throttling_names_the_share() -> None:
    """What another app leaves."""
    assert "lanes: {shop: {share: 0.65}}" in said(calls={"shop": Calls(total=100, answers_429=4)}, eaten=0.3)


def test_the_fullest_limit_is_next_to_break() -> None:
    """With the load at which it does."""
    words = said(calls={"shop": Calls(busiest_per_second=80.0, limit_per_second=100.0), "erp": Calls(total=5)})
    assert "limit of shop, 80% used" in words
    assert "1.2 x this load" in words


def test_calls_at_once_have_no_setting() -> None:
    """Neither a share nor more processes give the other side more hands."""
    (first, *_) = advice(LATE, held("calls_at_once"))
    assert "it takes 8 calls at once" in first.what
    assert first.setting == ""


def test_a_machine_that_was_full_is_the_bound_whatever_waited() -> None:
    """More processes on it would only wait for each other."""
    (first, *_) = advice(LATE, held("ours"), of=scene(loads=busy(dispatch=0.95, postgres=1.5, other=1.5)))
    assert "this machine was full" in first.what
    assert first.setting == ""


def test_a_process_without_rest_gets_a_second_one() -> None:
    """Where processors are left for it."""
    (first, *_) = advice(LATE, held("ours"), of=scene(loads=busy(dispatch=0.95, postgres=0.5)))
    assert first.setting == "processes: {dispatch: 2}"


def test_a_share_that_is_smaller_than_what_is_left_is_widened() -> None:
    """What no other app uses is ours."""
    (first, *_) = advice(
        LATE, held("limit", "shop"), {"shop": Calls(limit_per_second=100.0)}, scene(shares={"shop": 0.5})
    )
    assert first.setting == "lanes: {shop: {share: 1.00}}"


def test_a_full_rule_wants_fuller_calls() -> None:
    """Where one call carries many numbers."""
    (first, *_) = advice(LATE, held("limit", "shop"), {"shop": Calls(limit_per_second=100.0)})
    assert first.setting == "lanes: {shop: {stock_merge: 1s}}"
    (first, *_) = advice(LATE, held("limit", "erp"), {"erp": Calls(limit_per_second=10.0)})
    assert first.setting == ""


def test_what_the_play_held_back_is_not_laid_at_the_door() -> None:
    """A webhook that others overtake comes two seconds late on purpose."""
    stages = (Stage(name="door: sale to event on disk", count=60, p50_ms=7.0, p99_ms=1_814.0, max_ms=1_814.0),)
    found = advise(built_in("smoke"), side(), stages, {}, (), scene())
    assert not [one for one in found if one.is_broken]
    quiet = msgspec.structs.replace(built_in("smoke"), faults=type(built_in("smoke").faults)())
    (first, *_) = advise(quiet, side(), stages, {}, (), scene(loads=busy(door=0.97)))
    assert first.setting == "processes: {door: 2}"


@pytest.mark.parametrize(
    ("look", "reason"),
    [
        ({}, None),
        ({"waiting": 3}, "ours"),
        ({"waiting": 3, "in_flight": 8}, "calls_at_once"),
        ({"waiting": 3, "held_by": "budget"}, "calls_at_once"),
        ({"waiting": 3, "held_by": "breaker"}, "away"),
        ({"waiting": 3, "held_by": "snoozed"}, "asked_to_wait"),
        ({"waiting": 3, "held_by": "retry_budget"}, "retries"),
        ({"waiting": 3, "held_by": "merging"}, "ours"),
        ({"in_doubt": 1, "parked": 5}, "doubt"),
        ({"parked": 5}, "retries"),
    ],
)
def test_what_work_waits_for(look: Any, reason: str | None) -> None:
    """The lane's own word first; then whether all calls are under way; then it is us."""
    assert reason_of(Waiting(connection="erp", **look), SLOTS["erp"]) == reason


def test_a_spent_budget_of_a_rule_is_a_limit() -> None:
    """Only where calls at once are the rule, it means that they are all under way."""
    assert reason_of(Waiting(connection="shop", waiting=1, held_by="budget"), SLOTS["shop"]) == "limit"
    assert reason_of(Waiting(connection="new", waiting=1, in_flight=99), None) == "ours"


def test_the_longest_wait_of_each_connection_is_named() -> None:
    """The worst connection first."""
    counted = tally([("erp", "ours")] * 3 + [("erp", "doubt")] * 2 + [("shop", "limit")] * 4)
    assert [(one.connection, one.reason, one.seconds) for one in counted] == [
        ("shop", "limit", 4), ("erp", "ours", 3), ("erp", "doubt", 2)
    ]  # fmt: skip
    assert [(one.connection, one.reason) for one in longest_of(counted)] == [("erp", "ours"), ("shop", "limit")]


def test_processors_are_averaged_over_the_seconds_in_which_work_waited() -> None:
    """A quiet end says nothing about the peak."""
    seconds = {1: {"apply": 1.0}, 2: {"apply": 0.8}, 3: {"apply": 0.0}, 4: {}}
    (load,) = summarize(seconds, {1, 2, 99})
    assert (load.average, load.while_waiting) == (0.45, 0.9)


EVERY = [
    advice({"oversold": 12, "oversales": (OVERSALE,)}),
    advice(calls={"shop": Calls(total=100, answers_429=4)}),
    advice(calls={"shop": Calls(busiest_per_second=80.0, limit_per_second=100.0)}),
    advice(LATE, held("ours"), of=scene(loads=busy(dispatch=0.95))),
    advice(LATE, held("limit", "shop"), {"shop": Calls(limit_per_second=9.0)}, scene(shares={"shop": 0.5})),
    advice(LATE, held("limit", "shop"), {"shop": Calls(limit_per_second=9.0)}),
]


@pytest.mark.parametrize("found", EVERY)
def test_what_is_advised_can_be_put_into_the_file(found: tuple[Advice, ...]) -> None:
    """Every line, as it stands."""
    root = yaml.safe_load((files("tidegate.cli") / "rehearsal.example.yaml").read_text(encoding="utf-8"))
    del root["lanes"]
    root["flows"]["orders"]["since"] = date(2026, 11, 1)
    for name, url in (("shop", "https://a.myshopify.com"), ("web", "https://b.example"), ("pos", "https://c.example")):
        root["connections"][name]["url"] = url
    root["connections"]["erp"]["url"] = "https://erp.example"
    settings = [one.setting for one in found if one.setting]
    assert settings
    for setting in settings:
        parse(yaml.safe_dump(root) + setting + "\n", connectors=connectors())
