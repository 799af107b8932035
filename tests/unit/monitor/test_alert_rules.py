"""The catalogue of rules agrees with the configuration and says what to do."""

from __future__ import annotations

import msgspec
import pytest

from tidegate.cli.main import COMMANDS
from tidegate.config import parse, schema
from tidegate.config.alerts import AlertRules, time_of_day
from tidegate.config.parse import examine
from tidegate.monitor.alerts.rules import RULES, Rule, tune


def problem_of(section: str) -> str:
    problem, *_ = examine(f"alerts:\n{section}")[1]
    return f"{problem.mark.line}: {problem.message}"


def test_each_rule_can_be_set_in_the_configuration() -> None:
    assert [field.name for field in msgspec.structs.fields(AlertRules)] == list(RULES)


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.id)
def test_each_rule_says_what_to_type_next(rule: Rule) -> None:
    program, name, *_ = rule.next_command.split()
    assert program == "tidegate"
    assert name in COMMANDS


def test_without_a_section_every_rule_is_on_with_its_own_values() -> None:
    tuned = tune(parse("").alerts)

    assert all(each.enabled for each in tuned.values())
    assert {name: each.threshold for name, each in tuned.items()} == {r.id: r.threshold for r in RULES.values()}
    assert {name: each.hold_seconds for name, each in tuned.items()} == {r.id: r.hold_seconds for r in RULES.values()}


def test_a_section_changes_what_it_names_and_nothing_else() -> None:
    config = parse(
        """
alerts:
  quiet_hours: {from: "22:00", to: "07:00"}
  remind: 4h
  routes: {critical: [ops, boss], warning: ops}
  rules:
    backlog_age: {threshold: 5, for: 0s, severity: warning}
    webhook_silence: {enabled: false}
"""
    )
    tuned = tune(config.alerts)

    assert (tuned["backlog_age"].threshold, tuned["backlog_age"].hold_seconds) == (5.0, 0.0)
    assert tuned["backlog_age"].severity == "warning"
    assert tuned["webhook_silence"].enabled is False
    assert tuned["latency"].threshold == RULES["latency"].threshold
    assert config.alerts.routes.warning == ("ops",)
    assert config.alerts.routes.info is None


@pytest.mark.parametrize(
    ("section", "found"),
    [
        ('  quiet_hours: {from: "22:00", to: "22:00"}\n', "2: quiet hours begin and end at the same time"),
        ("  remind: 0s\n", "2: alerts.remind must be longer than nothing"),
        ("  rules: {latency: {threshold: -1}}\n", "2: the threshold of latency must be 0 or more"),
        ("  rules: {latencies: {threshold: 1}}\n", "2: there is no key 'latencies' in 'alerts.rules'"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_line(section: str, found: str) -> None:
    assert problem_of(section) == found


@pytest.mark.parametrize(
    "section", ["  remind: soon\n", '  quiet_hours: {from: "25:00", to: "07:00"}\n', "  rules: 3\n"]
)
def test_what_has_the_wrong_shape_is_refused(section: str) -> None:
    assert examine(f"alerts:\n{section}")[1]


def test_editors_know_the_section() -> None:
    assert "failing_calls" in schema()["$defs"]["AlertRules"]["properties"]


def test_a_time_of_day() -> None:
    assert (time_of_day("22:05").hour, time_of_day("22:05").minute) == (22, 5)
