from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from demo.beliefs import Row
from demo.board import People, Places, Snapshot, choose_rows, plain_line, render, show_span, summary_lines
from demo.crowd import DELIVERY_PIECES, choose_delivery
from demo.readers import ErpView, GateView, ShopView, erp_time, parse_erp_time, parse_time
from demo.trails import Trail
from e2e.stage import Stock
from rich.console import Console

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
PLACES = Places(door="http://127.0.0.1:1", health="http://127.0.0.1:2", command="bin/tidegate", project="here/project")


def make_row(sku: str, *numbers: int | None, odd: tuple[int, ...] = (), seconds: float | None = None) -> Row:
    return Row(sku, numbers, frozenset(odd), seconds)


SNAPSHOT = Snapshot(
    up_seconds=187.4,
    start_seconds=12.34,
    rows=[make_row("MUG-01", 5, 5, 7, 5, odd=(2,), seconds=12.0), make_row("MUG-02", 3, 3, 3, 3)],
    shops={"shop_a": ShopView({"MUG-01": 5}, 4, 2), "shop_b": ShopView({"MUG-01": 5}, 3, 1)},
    erp=ErpView({"MUG-01": 7}, 6, 2, 3),
    gate=GateView(
        available={}, received=40, duplicates=2, waiting=1, parked=0, quarantined=0, marks=0, is_stopped=False,
        commands={"succeeded": 30, "in_doubt": 1},
    ),
    people=People(ordered=7, sold_out=1, shipped=3, received=12),
    complete=Trail("ABC", "shop_a", NOON, *(NOON + timedelta(seconds=after) for after in (0.5, 4.25, 5.0))),
    newest=Trail("XYZ", "shop_b", NOON + timedelta(seconds=30)),
)  # fmt: skip


def text_of(snapshot: Snapshot, *, height: int = 50, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(render(snapshot, PLACES, width=width, height=height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_board_shows_what_each_believes_and_how_long_they_differ() -> None:
    lines = text_of(SNAPSHOT).splitlines()

    assert "up 3:07 min, open 12.3 s after the start" in lines[0]
    assert lines[2].split() == ["can", "be", "sold", "shop", "A", "shop", "B", "Tryton", "Tidegate", "differ", "for"]
    assert lines[3].split() == ["MUG-01", "5", "5", "7", "5", "12", "s"]
    assert lines[4].split() == ["MUG-02", "3", "3", "3", "3"]
    assert "orders     shop A 4, shop B 3   Tryton 6 sales" in lines
    assert "shipments  Tryton 3 left, 2 to go   told: shop A 2, shop B 1" in lines
    assert "events     40 received, 2 of them again, 1 waiting" in lines
    assert "commands   1 in doubt, 30 succeeded" in lines
    place = lines.index(next(line for line in lines if line.startswith("last orders")))
    assert lines[place].split() == ["last", "orders", "in", "placed", "sale", "shipment", "fulfillment"]
    assert lines[place + 1].split()[:3] == ["XYZ", "shop", "B"]
    assert lines[place + 1].split()[4:] == ["...", "...", "..."]
    assert lines[place + 2].split()[:3] == ["ABC", "shop", "A"]
    assert lines[place + 2].split()[4:] == ["+0.5", "s", "+4.2", "s", "+5.0", "s"]
    assert "bin/tidegate why order ABC --project here/project" in lines


def test_a_number_that_differs_is_marked_and_no_other() -> None:
    console = Console(file=io.StringIO(), width=120, height=50, force_terminal=True, color_system="standard")
    console.print(render(SNAPSHOT, PLACES, width=120, height=50))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert text.count("[1;7;33m") == 1
    assert "        7" in text.split("[1;7;33m")[1][:12]


def test_a_system_that_does_not_answer_shows_dots_and_the_reason() -> None:
    snapshot = replace(
        SNAPSHOT, erp=None, rows=[make_row("MUG-01", 5, 5, None, 5)], troubles={"erp": "no answer for 9 s"}
    )
    text = text_of(snapshot)
    assert "MUG-01" in text
    assert text.splitlines()[3].split() == ["MUG-01", "5", "5", "...", "5"]
    assert "Tryton ... sales" in text
    assert "Tryton     no answer for 9 s" in text


def test_stopped_writes_are_said_loudly() -> None:
    assert SNAPSHOT.gate is not None
    assert "ALL WRITES ARE STOPPED" in text_of(replace(SNAPSHOT, gate=replace(SNAPSHOT.gate, is_stopped=True)))


@pytest.mark.parametrize("height", [24, 30, 50])
def test_the_board_is_never_higher_than_the_terminal(height: int) -> None:
    rows = [make_row(f"MUG-{number:02d}", 1, 1, 1, 1) for number in range(30)]
    assert len(text_of(replace(SNAPSHOT, rows=rows), height=height).splitlines()) < height


def test_rows_that_differ_are_shown_first_when_room_is_scarce() -> None:
    rows = [make_row(str(place), 1, 1, 1, 1, seconds=3.0 if place in (4, 7) else None) for place in range(9)]
    assert [row.sku for row in choose_rows(rows, 4)] == ["0", "4", "7"]
    assert choose_rows(rows, 9) == rows


def test_the_plain_line_is_one_line_with_everything() -> None:
    line = plain_line(SNAPSHOT, "12:00:00")
    assert "\n" not in line
    assert line.startswith("12:00:00 up 3:07 min | orders shop A 4, shop B 3 Tryton 6 sales | ")
    assert "1 of 2 articles agree (MUG-01 for 12 s: shop A 5, shop B 5, Tryton 7, Tidegate 5)" in line


def test_the_summary_names_what_still_differs() -> None:
    lines = summary_lines(SNAPSHOT)
    assert "stock      1 of 2 articles are the same in all systems" in lines
    assert "           differs: MUG-01 for 12 s: shop A 5, shop B 5, Tryton 7, Tidegate 5" in lines


def test_settled_means_nothing_under_way_and_nobody_behind() -> None:
    assert SNAPSHOT.gate is not None
    assert not SNAPSHOT.is_settled()
    quiet = replace(
        SNAPSHOT,
        rows=[make_row("MUG-01", 5, 5, 5, 5)],
        gate=replace(SNAPSHOT.gate, waiting=0, commands={"succeeded": 31}),
        erp=ErpView({}, 7, 2, 3),
    )
    assert quiet.is_settled()
    assert not replace(quiet, erp=ErpView({}, 6, 2, 3)).is_settled()
    assert not replace(quiet, erp=ErpView({}, 7, 2, 4)).is_settled()
    assert not replace(quiet, erp=None).is_settled()
    assert not replace(quiet, gate=replace(quiet.gate or SNAPSHOT.gate, marks=1)).is_settled()


def test_spans_are_shown_as_people_read_them() -> None:
    assert [show_span(seconds) for seconds in (0.9, 59.9, 60, 187, 3729)] == [
        "0 s", "59 s", "1:00 min", "3:07 min", "1:02:09 h",
    ]  # fmt: skip


def test_goods_are_ordered_for_the_article_that_is_missing_most() -> None:
    articles = [Stock("MUG", "", 100, 400), Stock("HOT", "", 100, 20)]
    assert choose_delivery(articles, {"MUG": 300, "HOT": 18}) == ("MUG", DELIVERY_PIECES)
    assert choose_delivery(articles, {"MUG": 300, "HOT": 14}) == ("HOT", 6)
    assert choose_delivery(articles, {"MUG": 400, "HOT": 20}) is None
    assert choose_delivery(articles, None) is None


def test_times_of_the_systems_are_read_as_utc() -> None:
    at = datetime(2026, 11, 23, 12, 0, 1, 250000, tzinfo=UTC)
    assert parse_time("2026-11-23T12:00:01.250Z") == at
    assert parse_erp_time(erp_time(at)) == at
