"""The report as page, table and JSON object; and what it advises."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest

from tidegate.rehearsal.figures import KEYS, final_object, held_rows, load_rows, rows_of, verdict_line
from tidegate.rehearsal.page import POINTS_MAX, nice_top, render, thin
from tidegate.rehearsal.records import Calls, Held, Line, Load, Oversale, Plot, Report, Side, Stage

STAGES = (Stage(name="lane: applied to first request", count=5, p50_ms=10.0, p99_ms=50.0, max_ms=60.0),)


def side(**changes: Any) -> Side:
    good = Side(
        orders=100, lost=0, doubled=0, oversold=0, wrong_lines=0, conservation_imbalance=0, stock_wrong=0, drained_s=2.0, settled_s=3.0,
        answers_429=0, violations=0, budget_use=None, calls=350, calls_lower_bound=330, calls_naive=900, stock_calls=20,
        stock_calls_lower_bound=18, p50_ms=40.0, p99_ms=300.0, visible_p50_ms=200.0, visible_p99_ms=900.0,
        oldest_not_visible_s=1.0, not_visible=0,
    )  # fmt: skip
    return msgspec.structs.replace(good, **changes)


def report(**changes: Any) -> Report:
    whole = Report(
        profile="smoke",
        title="a <b>small</b> day",
        seed=7,
        channels=("shop", "web"),
        erp="erp",
        notes=("old (vendure) cannot be simulated",),
        ours=side(),
        naive=None,
        stages=STAGES,
        calls={"shop": Calls(total=10, writes=5)},
        advice=(),
        plots=(Plot(title="Orders", unit="so far", lines=(Line(name="sold", points=((0.0, 0.0), (1.0, 5.0))),)),),
    )
    return msgspec.structs.replace(whole, **changes)


class Tags(HTMLParser):
    """Which tags and addresses a page has."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "action"}]


def test_the_page_needs_nothing_else() -> None:
    """No script, no address, and what the user named is text."""
    page = render(report())
    tags = Tags()
    tags.feed(page)
    assert {"svg", "table", "h1", "style"} <= tags.tags
    assert not {"script", "link", "img", "iframe"} & tags.tags
    assert tags.addresses == []
    assert "a &lt;b&gt;small" in page
    assert "url(" not in page


def test_the_pictures_are_xml_and_say_what_they_show() -> None:
    """For people who do not see them, too."""
    page = render(report())
    start, end = page.index("<svg"), page.index("</svg>") + len("</svg>")
    drawn = ElementTree.fromstring(page[start:end])
    assert drawn.get("role") == "img"
    assert "sold at most 5" in str(drawn.get("aria-label"))


def test_what_was_waited_for_and_what_was_oversold_is_on_it() -> None:
    """And in the tables of the terminal."""
    oversale = Oversale(sku="HOT-001", units=3, by_channel={"web": 3}, gone_at=4.0, last_at=6.5)
    whole = report(
        ours=side(oversold=3, oversales=(oversale,)),
        held=(Held(connection="erp", reason="calls_at_once", seconds=40),),
        loads=(Load(part="dispatch", average=0.4, busiest=0.9, while_waiting=0.8),),
        cpus=2,
    )
    page = render(whole)
    assert "HOT-001: 3 units too many (3 in web)" in page
    assert held_rows(whole) == [["erp", "40", "answers: all calls that it takes at once were under way"]]
    assert load_rows(whole)[-1][0] == "all, of 2"
    assert "Whose the processors were" in page


def test_a_plot_without_points_is_left_out() -> None:
    """Rather than an empty frame."""
    empty = Plot(title="Nothing", unit="x", lines=(Line(name="none", points=()),))
    assert "Nothing" not in render(report(plots=(empty,)))


def test_long_lines_are_thinned_and_keep_their_peaks() -> None:
    """A spike of one point is what one looks for."""
    points = [(float(n), 1.0) for n in range(10_000)]
    points[5_000] = (5_000.0, 99.0)
    kept = thin(points)
    assert len(kept) <= POINTS_MAX + 2
    assert (5_000.0, 99.0) in kept
    assert [at for at, _ in kept] == sorted(at for at, _ in kept)


@pytest.mark.parametrize(("value", "top"), [(0.0, 1.0), (0.3, 0.3), (7.0, 8.0), (9.2, 10.0), (1234.0, 1500.0)])
def test_axes_end_at_round_numbers(value: float, top: float) -> None:
    """Above the highest point."""
    assert nice_top(value) == pytest.approx(top)


def test_the_last_line_has_the_agreed_keys_in_front() -> None:
    """Programs read them."""
    document = final_object(report(naive=side(lost=3)))
    assert tuple(document)[: len(KEYS)] == KEYS
    assert (document["is_clean"], document["naive"]["lost"]) == (True, 3)


def test_both_sides_stand_beside_each_other() -> None:
    """One column more."""
    assert {len(row) for row in rows_of(report())} == {2}
    rows = {row[0]: row[1:] for row in rows_of(report(naive=side(lost=3)))}
    assert rows["lost"] == ["0", "3"]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "nothing lost"),
        ({"lost": 2}, "2 lost"),
        ({"oversold": 3}, "3 oversold"),
        ({"drained_s": None, "settled_s": None}, "not settled"),
    ],
)
def test_the_verdict_is_one_sentence(changes: Any, word: str) -> None:
    """And says what is wrong."""
    assert word in verdict_line(report(ours=side(**changes)))
