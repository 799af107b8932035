"""The report as page, table and JSON object; and what it advises."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest

from tidegate.rehearsal.advice import advise
from tidegate.rehearsal.figures import KEYS, final_object, rows_of, verdict_line
from tidegate.rehearsal.page import POINTS_MAX, nice_top, render, thin
from tidegate.rehearsal.profile import built_in
from tidegate.rehearsal.records import Calls, Line, Plot, Report, Side, Stage

STAGES = (Stage(name="lane: applied to first request", count=5, p50_ms=10.0, p99_ms=50.0, max_ms=60.0),)


def side(**changes: Any) -> Side:
    good = Side(
        orders=100, lost=0, doubled=0, oversold=0, wrong_lines=0, conservation_imbalance=0, stock_wrong=0, drained_s=2.0,
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
        ({"drained_s": None}, "not settled"),
    ],
)
def test_the_verdict_is_one_sentence(changes: Any, word: str) -> None:
    """And says what is wrong."""
    assert word in verdict_line(report(ours=side(**changes)))


# --- advice --------------------------------------------------------------------------------------------------------
def advice_for(changes: Any, calls: Any = None, **profile: Any) -> str:
    load = msgspec.structs.replace(built_in("smoke"), **profile)
    found = advise(load, side(**changes), STAGES, calls or {}, {}, "erp")
    return "\n".join(f"{one.is_broken} {one.what} | {one.setting}" for one in found)


def test_a_good_day_says_what_comes_next() -> None:
    """Never nothing."""
    assert advice_for({}).startswith("False no limit of a platform was half used")


def test_oversold_names_the_safety_that_would_have_helped() -> None:
    """By article."""
    said = advice_for({"oversold": 12, "oversold_skus": {"HOT-001": 11, "B": 1}})
    assert 'match: "sku:HOT-001", stock.safety: 15' in said


def test_throttling_names_the_share() -> None:
    """What another app leaves."""
    said = advice_for({}, {"shop": Calls(total=100, answers_429=4)}, eaten=0.3)
    assert "connections: {shop: {share: 0.65}}" in said


def test_the_fullest_limit_is_next_to_break() -> None:
    """With the load at which it does."""
    said = advice_for({}, {"shop": Calls(busiest_per_second=80.0, limit_per_second=100.0), "erp": Calls(total=5)})
    assert "limit of shop, 80% used" in said
    assert "1.2 x this load" in said
