"""Who is told what, and when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from tidegate.config.alerts import Alerts, QuietHours, Routes
from tidegate.kernel.ids import new_id
from tidegate.monitor.alerts.notices import House, Notice, is_quiet, plan_notices
from tidegate.monitor.alerts.records import Alert, Silence

NOON = datetime(2026, 11, 27, 11, 0, tzinfo=UTC)
NIGHT = datetime(2026, 11, 27, 23, 30, tzinfo=UTC)
TENANT = new_id()


def alert(rule: str = "dead_letters", subject: str = "erp", **changes: Any) -> Alert:
    made = Alert(
        tenant_id=TENANT, alert_id=new_id(), rule=rule, subject=subject, severity="warning", state="firing",
        since=NOON - timedelta(minutes=1), fired_at=NOON, resolved_at=None, value=2, threshold=0,
        cause="2 commands ended as failed", flaps=0, told_state=None, told_at=None, acked_by=None, acked_at=None,
        next_command="tidegate commands list --connection erp --state failed",
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def told(at: datetime, **changes: Any) -> Alert:
    return alert(told_state="firing", told_at=at, **changes)


def over(**changes: Any) -> Alert:
    return alert(state="resolved", resolved_at=NOON, told_state="firing", told_at=NOON - timedelta(hours=1), **changes)


def house(*, targets: tuple[str, ...] = ("ops", "boss"), **settings: Any) -> House:
    return House(tenant="main", cell="c0", timezone="Europe/Berlin", targets=targets, settings=Alerts(**settings))


def plan(
    alerts: Sequence[Alert], now: datetime = NOON, silences: Sequence[Silence] = (), **settings: Any
) -> list[Notice]:
    return plan_notices(alerts, silences, house(**settings), now)


def test_a_new_alert_is_told_at_once_with_cause_effect_and_command() -> None:
    (notice,) = plan([alert()])

    assert (notice.kind, notice.severity, notice.targets) == ("firing", "warning", ("ops", "boss"))
    assert notice.title == "[tidegate main] warning: commands for erp failed for good"
    assert "2 commands ended as failed" in notice.body
    assert "What follows: these orders" in notice.body
    assert "tidegate commands list --connection erp --state failed" in notice.body
    assert "2026-11-27 11:59:00 CET" in notice.body


def test_many_alike_are_one_notice() -> None:
    alerts = [alert(subject=f"shop_{index}") for index in range(12)]

    (notice,) = plan(alerts)

    assert notice.title.endswith("commands for 12 connections failed for good")
    assert len(notice.alerts) == 12
    assert "shop_11" in notice.body


def test_a_long_list_is_cut_and_counted() -> None:
    (notice,) = plan([alert(subject=f"shop_{index}") for index in range(50)])

    assert "... and 30 more" in notice.body
    assert len(notice.alerts) == 50


def test_rules_are_told_apart() -> None:
    assert [notice.rule for notice in plan([alert(), alert("quarantined", "")])] == ["dead_letters", "quarantined"]


def test_more_of_a_rule_are_collected_for_the_group_time() -> None:
    first = told(NOON)
    second = alert(subject="shop")

    assert plan([first, second], NOON + timedelta(seconds=119)) == []
    (notice,) = plan([first, second], NOON + timedelta(seconds=120))
    assert notice.alerts == (second.alert_id,)


def test_what_was_told_is_not_told_again_until_the_reminder() -> None:
    known = told(NOON)

    assert plan([known], NOON + timedelta(hours=23)) == []
    (notice,) = plan([known], NOON + timedelta(hours=24))
    assert notice.kind == "reminder"
    assert "still: " in notice.title


def test_an_acknowledged_alert_has_no_reminder_and_an_all_clear() -> None:
    seen = told(NOON, acked_by="me", acked_at=NOON)

    assert plan([seen], NOON + timedelta(days=3)) == []
    (notice,) = plan([over(acked_by="me", acked_at=NOON)])
    assert notice.kind == "resolved"
    assert "over: " in notice.title


def test_the_all_clear_goes_to_who_was_told_only() -> None:
    assert plan([alert(state="resolved", resolved_at=NOON)]) == []
    (notice,) = plan([over()])
    assert "It is over" in notice.body


def test_a_silence_covers_what_it_names() -> None:
    def silence(rule: str | None, subject: str | None, until: datetime = NOON + timedelta(hours=1)) -> Silence:
        return Silence(silence_id=new_id(), rule=rule, subject=subject, until=until, reason="", created_by="me")

    assert plan([alert()], silences=[silence(None, None)]) == []
    assert plan([alert()], silences=[silence("dead_letters", None)]) == []
    assert plan([alert()], silences=[silence(None, "erp")]) == []
    assert plan([alert()], silences=[silence("latency", None), silence(None, "shop")])
    assert plan([alert()], silences=[silence(None, None, NOON)])


def test_at_night_only_what_is_critical_is_told() -> None:
    quiet = QuietHours(start="22:00", end="07:00")
    waits, acts = alert(), alert("auth_failure", "shop", severity="critical")

    (notice,) = plan([waits, acts], NIGHT, quiet_hours=quiet)
    assert notice.rule == "auth_failure"
    morning = datetime(2026, 11, 28, 6, 0, tzinfo=UTC)
    (notice,) = plan([waits], morning, quiet_hours=quiet)
    assert notice.rule == "dead_letters"


@pytest.mark.parametrize(
    ("start", "end", "local", "quiet"),
    [
        ("22:00", "07:00", 21, False), ("22:00", "07:00", 22, True), ("22:00", "07:00", 3, True),
        ("22:00", "07:00", 7, False), ("12:00", "14:00", 13, True), ("12:00", "14:00", 14, False),
    ],
)  # fmt: skip
def test_quiet_hours_are_local_and_may_pass_midnight(start: str, end: str, local: int, quiet: bool) -> None:
    moment = datetime(2026, 7, 1, (local - 2) % 24, 0, tzinfo=UTC)  # summer: two hours ahead of UTC

    assert is_quiet(QuietHours(start=start, end=end), "Europe/Berlin", moment) is quiet
    assert is_quiet(None, "UTC", moment) is False


def test_severities_have_their_targets() -> None:
    routes = Routes(critical=("ops", "boss"), warning=("ops",), info=())

    assert plan([alert()], routes=routes)[0].targets == ("ops",)
    assert plan([alert(severity="critical")], routes=routes)[0].targets == ("ops", "boss")
    assert plan([alert(severity="info")], routes=routes)[0].targets == ()
    assert plan([alert()], routes=Routes(warning=("nobody",)))[0].targets == ("ops", "boss")


def test_nobody_to_tell_leaves_it_untold() -> None:
    assert plan_notices([alert()], (), house(targets=()), NOON) == []


def test_equal_contents_have_an_equal_key_and_a_reminder_another_one() -> None:
    known, second = alert(), alert(subject="shop")

    assert plan([known, second])[0].key == plan([second, known])[0].key
    assert plan([known])[0].key != plan([second])[0].key
    first = plan([told(NOON, alert_id=known.alert_id)], NOON + timedelta(hours=24))[0]
    later = plan([told(NOON + timedelta(hours=24), alert_id=known.alert_id)], NOON + timedelta(hours=48))[0]
    assert len({plan([known])[0].key, first.key, later.key}) == 3


def test_other_systems_words_stay_in_their_line() -> None:
    (notice,) = plan([alert(subject="erp\r\nBcc: x", cause="a\x1b[31m\u202eb" + "c" * 1000)])

    assert "\r" not in notice.title + notice.body
    assert "\n" not in notice.title
    assert "\x1b" not in notice.body
    assert "\u202e" not in notice.body
    assert max(map(len, notice.body.splitlines())) < 400


def test_a_rule_of_another_version_is_left_alone() -> None:
    assert plan([alert("of_tomorrow")]) == []
