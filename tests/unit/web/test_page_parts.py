"""What pages are made of, without a server: words, charts, assets, lines that differ, fragments."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.commerce.money import Money
from tidegate.kernel.text import mask_people
from tidegate.monitor.figures import at_risk_of, judge_health, measure_lag, percentile, total_at_risk, waiting_of
from tidegate.monitor.status import QueueStatus, Status
from tidegate.web.pages.assets import Assets
from tidegate.web.pages.charts import bars, span
from tidegate.web.pages.configuration import compare_lines
from tidegate.web.pages.live import TOPICS, encode_event
from tidegate.web.pages.render import Renderer, distance, duration, moment, money
from tidegate.web.pages.visit import local_path

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
QUIET = Status(
    queue=QueueStatus(waiting=0, oldest_at=None, parked=0, quarantined=0),
    commands=(),
    lanes=(),
    feeds=(),
    nodes=(),
    switches=(),
)


@given(st.text(max_size=200))
def test_a_local_path_never_leads_elsewhere(text: str) -> None:
    path = local_path(text)

    assert path.startswith("/")
    assert not path.startswith(("//", "/\\"))
    assert not re.search(r"[\s\x00-\x1f]", path)


@given(st.text(max_size=100))
def test_an_event_is_one_event_whatever_its_text(text: str) -> None:
    event = encode_event("swap", text).decode()

    assert event.startswith("event: swap\n")
    assert event.endswith("\n\n")
    assert "\n\n" not in event[:-1]
    assert all(line.startswith(("event: ", "data: ")) for line in event.rstrip("\n").split("\n"))


def test_templates_escape_everything_and_refuse_what_is_undefined() -> None:
    renderer = Renderer(Assets(), "c0")
    environment = renderer._environment
    assert environment.autoescape is True
    assert environment.undefined is jinja2.StrictUndefined
    shown = environment.from_string("{{ a }}|{{ b }}|{{ c|masked }}").render(
        a="<b>\u202e\x07", b=None, c="ask <a@b.example> or +49 30 1234567"
    )
    assert shown == "&lt;b&gt;\ufffd\ufffd|\N{EN DASH}|ask &lt;[e-mail]&gt; or [phone]"
    with pytest.raises(jinja2.UndefinedError):
        environment.from_string("{{ nothing }}").render()


def test_every_template_compiles_and_none_brings_a_style_or_a_script_of_its_own() -> None:
    environment = Renderer(Assets(), "c0")._environment
    assert environment.loader is not None
    names = environment.list_templates()
    assert {f"fragments/{name}.html" for topic in TOPICS.values() for name in topic} <= set(names)
    for name in names:
        source, _, _ = environment.loader.get_source(environment, name)
        environment.get_template(name)
        assert not re.search(r"\sstyle=|\son\w+=|<style|javascript:|\|\s*safe\b|http://(?!127)|https://", source), name
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", source)), name
        posts = len(re.findall(r'<form[^>]*method="post"', source))
        assert posts == len(re.findall(r"parts\.token\(\)|name=\"form_token\"", source)) or name == "parts.html", name


def test_assets_are_addressed_by_their_content() -> None:
    assets = Assets()
    assert set(assets.addresses) == {"icon.svg", "page.css", "page.js"}
    address = assets.address("page.css")
    found = assets.find(address.removeprefix("/assets/"))
    assert found is not None
    assert b"prefers-color-scheme: dark" in found.content
    assert b"url(" not in found.content
    assert assets.find("page.css") is None


def test_charts_say_in_words_what_they_draw() -> None:
    drawn = bars([0, 1, 4], label='4 <of> "5"', css="x")
    assert drawn.count("<rect") == 2
    assert 'role="img"' in drawn
    assert "4 &lt;of&gt; &#34;5&#34;" in drawn
    assert 'width="100.0"' in span(1.0, 4.0, top=4.0, label="lag")
    assert span(None, None, top=1.0, label="lag") == ""


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(0.01, 1))
def test_a_percentile_is_one_of_the_values_and_covers_its_share(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9


def test_moments_amounts_and_lengths_read_well() -> None:
    assert [duration(each) for each in (0.0123, 4.24, 59.4, 200, 7200, 200_000, None)] == [
        "12 ms", "4.2 s", "59 s", "3 min", "2 h", "2 d", "\N{EN DASH}"
    ]  # fmt: skip
    assert distance(NOW - timedelta(minutes=3), NOW) == "3 min ago"
    assert distance(NOW + timedelta(seconds=5), NOW) == "in 5.0 s"
    assert 'datetime="2026-11-27T12:00:00.000+00:00"' in moment(NOW, NOW)
    assert money(Money(123450, "EUR")) == "1,234.50 EUR"
    assert money(Money(1000, "JPY")) == "1,000 JPY"
    assert mask_people("order 4915112345678 of a.b+c@d-e.example, call +4930 123 456 78") == (
        "order 4915112345678 of [e-mail], call [phone]"
    )


def test_lines_that_differ_are_told_with_what_is_around_them() -> None:
    before = "a: 1\nb: 2\nc: 3\n"
    lines = list(compare_lines(before, before.replace("b: 2", "b: 5")))
    assert ("del", "-b: 2") in lines
    assert ("add", "+b: 5") in lines
    assert list(compare_lines(before, before)) == []


def test_the_verdict_names_the_worst_first() -> None:
    waiting = waiting_of(
        [
            {"stage": "failed", "number": 2, "oldest_id": None, "oldest_at": None},
            {"stage": "in_doubt", "number": 1, "oldest_id": None, "oldest_at": None},
        ]
    )
    verdict = judge_health(QUIET, waiting, missing_processes=["door-1"], imbalance=3, now=NOW)

    assert verdict.tone == "bad"
    assert verdict.findings[0].code == "imbalance"
    assert {finding.code for finding in verdict.findings} >= {"process_missing", "worker_missing", "failed", "in_doubt"}
    assert [finding.tone for finding in verdict.findings] == sorted(
        (finding.tone for finding in verdict.findings), key=["bad", "doubt", "plain", "good"].index
    )


def test_money_that_is_merely_on_its_way_is_not_at_risk() -> None:
    rows = [
        {"kind": "order.create", "state": "pending", "currency": "EUR", "orders": 2, "total_minor": 500},
        {"kind": "order.create", "state": "failed", "currency": "EUR", "orders": 1, "total_minor": 300},
        {"kind": "order.create", "state": "in_doubt", "currency": "CHF", "orders": 1, "total_minor": 700},
    ]
    found = at_risk_of(rows, [{"currency": "EUR", "orders": 1, "total_minor": 50}])

    assert total_at_risk(found) == (Money(700, "CHF"), Money(350, "EUR"))
    assert found[0].tone == "bad"
    assert found[-1].tone == "plain"


def test_clocks_that_differ_make_no_negative_lag() -> None:
    lag = measure_lag("received_to_applied", [-0.2, 0.1, 0.3])
    assert (lag.samples, lag.p50_seconds, lag.p95_seconds) == (3, 0.1, 0.3)
