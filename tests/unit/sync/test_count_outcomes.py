"""Conservation counts every receipt once, in its hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
from tests.foldbed import ERP, SHOP, prepared

from tidegate.commerce.changes import Ignored
from tidegate.kernel.ids import first_id_at
from tidegate.sync.records import Outcome, Prepared
from tidegate.sync.write import count_outcomes

HOUR = datetime(2026, 11, 23, 12, tzinfo=UTC)


def received(minutes: int, *, run: int = 0, shop: bool = True) -> Prepared:
    one = prepared(SHOP if shop else ERP, Ignored(code="x"))
    one.event = msgspec.structs.replace(one.event, event_id=first_id_at(HOUR + timedelta(minutes=minutes)), run=run)
    return one


def counted(*outcomes: tuple[Prepared, str]) -> list[tuple[object, ...]]:
    return count_outcomes([(one, Outcome(name, "code")) for one, name in outcomes])


def test_outcomes_count_in_the_hour_of_receipt_by_connection() -> None:
    assert counted(
        (received(61), "applied"),
        (received(5), "ignored"),
        (received(59), "applied"),
        (received(0), "quarantined"),
        (received(0), "superseded"),
        (received(3, shop=False), "applied"),
    ) == [
        (SHOP, HOUR, 1, 1, 1, 1),
        (SHOP, HOUR + timedelta(hours=1), 1, 0, 0, 0),
        (ERP, HOUR, 1, 0, 0, 0),
    ]


def test_a_replay_is_no_receipt_and_what_waits_is_still_pending() -> None:
    assert counted((received(1, run=1), "applied"), (received(1), "parked")) == []


def test_a_thin_event_is_spent_when_its_read_is_asked_for() -> None:
    assert counted((received(1), "needs_fetch")) == [(SHOP, HOUR, 0, 1, 0, 0)]
