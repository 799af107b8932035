"""A report as the one JSON object that is printed last, and as lines for a terminal. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tidegate.rehearsal.advice import tell_oversale
from tidegate.rehearsal.records import Report, Side
from tidegate.rehearsal.waits import WORDS

KEYS = (
    "orders", "lost", "doubled", "oversold", "conservation_imbalance", "drained_s", "answers_429", "budget_use", "calls",
    "calls_lower_bound", "calls_naive", "p50_ms", "p99_ms", "visible_p50_ms", "visible_p99_ms",
)  # fmt: skip
"""The keys that come first, in this order; nothing is ever removed from them."""
_FURTHER = (
    "settled_s", "wrong_lines", "stock_wrong", "violations", "stock_calls", "stock_calls_lower_bound", "oldest_not_visible_s",
    "not_visible", "bound", "bound_of_stock",
)  # fmt: skip
_MONEY = ("captured", "captured_twice", "refunded_twice", "shipped_without_capture")
"""Where a flow captures when goods leave."""
_SHARED = ("withdrawals", "stranded")
"""Where units are shared out."""
_UNTOLD = ("untold", "hot_right_p50_s", "hot_right_p95_s", "all_right_max_s", "reconcile_cycle_s")
"""Where no webhook tells of some orders."""
ROWS = (
    ("orders", "orders placed"),
    ("lost", "lost"),
    ("doubled", "doubled"),
    ("oversold", "units sold that nobody has"),
    ("bound", "at worst, as promised before"),
    ("withdrawals", "withdrawals of units"),
    ("stranded", "units left that no channel shows"),
    ("wrong_lines", "orders with other lines in the ERP"),
    ("stock_wrong", "numbers wrong at the end"),
    ("conservation_imbalance", "events unaccounted for"),
    ("captured", "payments captured"),
    ("captured_twice", "captured twice"),
    ("refunded_twice", "given back twice"),
    ("shipped_without_capture", "shipped, and not captured"),
    ("drained_s", "all told after the last order, s"),
    ("settled_s", "nothing left to look at, s"),
    ("p50_ms", "sale to ERP, p50, ms"),
    ("p99_ms", "sale to ERP, p99, ms"),
    ("visible_p50_ms", "sale seen in other channels, p50, ms"),
    ("visible_p99_ms", "sale seen in other channels, p99, ms"),
    ("oldest_not_visible_s", "oldest change not seen, at worst, s"),
    ("untold", "orders of which no webhook told"),
    ("hot_right_p50_s", "hot article right again, p50, s"),
    ("hot_right_p95_s", "hot article right again, p95, s"),
    ("all_right_max_s", "every article right again, longest, s"),
    ("reconcile_cycle_s", "a channel is looked at every, s"),
    ("answers_429", "answers 429"),
    ("violations", "limits exceeded (platforms' count)"),
    ("budget_use", "budget used while work waited"),
    ("calls", "calls made"),
    ("stock_calls", "of them stock numbers"),
)


def final_object(report: Report) -> dict[str, Any]:
    """Return what the last line of the output holds: the keys of the figures first, then what explains them."""
    ours = msgspec.to_builtins(report.ours)
    document = {key: ours[key] for key in (*KEYS, *_FURTHER, *_of_some(report))}
    document |= {
        "profile": report.profile,
        "seed": report.seed,
        "plan": report.plan,
        "is_clean": report.ours.is_clean,
        "platforms": {
            name: {
                "calls": calls.total,
                "answers_429": calls.answers_429,
                "violations": calls.violations,
                "budget_use": calls.budget_use,
            }
            for name, calls in report.calls.items()
        },
        "kills": list(report.kills),
        "oversales": msgspec.to_builtins(report.ours.oversales),
        "held": msgspec.to_builtins(report.held),
        "killed": len(report.kills),
        "came_back": len(report.returns),
        "back_s_max": max(report.returns, default=None),
        "load_average": report.load_average,
        "cpus": report.cpus,
    }
    if report.naive is not None:
        naive = msgspec.to_builtins(report.naive)
        document["naive"] = {key: naive[key] for key in (*KEYS, *_FURTHER)}
    return document


def _of_some(report: Report) -> tuple[str, ...]:
    money = _MONEY if report.ours.captured is not None else ()
    shared = _SHARED if report.ours.withdrawals is not None else ()
    return (*money, *shared, *(_UNTOLD if report.ours.untold is not None else ()))


NO_RULE = "no rule"
OVERSALES_MAX = 5
LOAD_LEAST = 0.02
"""What never used more of a processor is left out of the table."""


def cell(side: Side, key: str) -> str:
    """Return a figure as people read it; a dash where there is none."""
    value = getattr(side, key)
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.2f}" if key == "budget_use" else f"{value:,.1f}"
    return f"{value:,}"


def rows_of(report: Report) -> list[list[str]]:
    """Return the table of figures: words, ours, and the naive side where there is one."""
    rows = []
    for key, words in ROWS:
        if key in {*_MONEY, *_SHARED, *_UNTOLD} and key not in _of_some(report):
            continue
        row = [words, cell(report.ours, key)]
        if report.naive is not None:
            row.append(cell(report.naive, key))
        rows.append(row)
    return rows


def call_lines(report: Report) -> list[str]:
    """Return how the calls compare with the fewest possible, and with one call per event."""
    ours = report.ours
    lines = [
        f"calls: {ours.calls:,} made, at least {ours.calls_lower_bound:,} needed, {ours.calls_naive:,} with one per event"
    ]
    if ours.stock_calls_lower_bound:
        factor = ours.stock_calls / ours.stock_calls_lower_bound
        lines.append(
            f"stock numbers: {ours.stock_calls:,} calls, {factor:.2f} x the fewest possible ({ours.stock_calls_lower_bound:,})"
        )
    return lines


def platform_rows(report: Report) -> list[list[str]]:
    """Return one row per platform: calls, writes, 429s, limits exceeded, the busiest seconds against the rule."""
    return [
        [
            name,
            f"{calls.total:,}",
            f"{calls.writes:,}",
            f"{calls.answers_429:,}",
            f"{calls.violations:,}",
            f"{calls.busiest_per_second:,.1f}",
            NO_RULE if calls.limit_per_second is None else f"{calls.limit_per_second:,.0f}",
            "-" if calls.budget_use is None else f"{calls.budget_use:.0%}",
        ]
        for name, calls in report.calls.items()
    ]


PLATFORM_HEADINGS = ("platform", "calls", "writes", "429", "exceeded", "busiest /s", "rule /s", "used while waiting")
STAGE_HEADINGS = ("part of the way", "count", "p50 ms", "p99 ms", "longest ms")


def stage_rows(report: Report) -> list[list[str]]:
    """Return one row per part of the way."""
    return [
        [stage.name, f"{stage.count:,}", f"{stage.p50_ms:,.0f}", f"{stage.p99_ms:,.0f}", f"{stage.max_ms:,.0f}"]
        for stage in report.stages
    ]


def wrong_lines(report: Report) -> list[str]:
    """Return what is wrong, in words: what was oversold where, numbers, orders."""
    return [*(tell_oversale(one) for one in report.ours.oversales[:OVERSALES_MAX]), *report.ours.examples]


HELD_HEADINGS = ("work of", "waited, s", "for")


def held_rows(report: Report) -> list[list[str]]:
    """Return one row per connection and thing that its work waited for."""
    return [[one.connection, f"{one.seconds:,}", WORDS[one.reason]] for one in report.held]


LOAD_HEADINGS = ("processors used by", "average", "busiest 10 s", "while work waited")


def load_rows(report: Report) -> list[list[str]]:
    """Return one row per part that used processors, and their sum."""
    shown = [load for load in report.loads if load.busiest >= LOAD_LEAST]
    rows = [[load.part, *(f"{use:.2f}" for use in (load.average, load.busiest, load.while_waiting))] for load in shown]
    if rows:
        average, waiting = sum(load.average for load in report.loads), sum(load.while_waiting for load in report.loads)
        rows.append([f"all, of {report.cpus}", f"{average:.2f}", "", f"{waiting:.2f}"])
    return rows


def verdict_line(report: Report) -> str:
    """Return the verdict in one sentence."""
    ours = report.ours
    if ours.is_clean and ours.oversold:
        bound = f"{ours.oversold} oversold, and at most {ours.bound} were expected before"
        return f"{ours.orders:,} orders: nothing lost, nothing doubled, {bound}; all books agree"
    if ours.is_clean:
        return f"{ours.orders:,} orders: nothing lost, nothing doubled, nothing oversold, all books agree"
    wrong = {"lost": ours.lost, "doubled": ours.doubled, "oversold": ours.oversold, "wrong numbers": ours.stock_wrong}
    wrong |= {
        "stranded": ours.stranded or 0,
        "captured twice": ours.captured_twice or 0,
        "given back twice": ours.refunded_twice or 0,
        "shipped without a capture": ours.shipped_without_capture or 0,
    }
    said = ", ".join(f"{count} {word}" for word, count in _nonzero(wrong).items()) or "the books do not agree"
    waited = "" if ours.settled_s is not None else "; it was not settled when the wait was over"
    return f"{ours.orders:,} orders: {said}{waited}"


def _nonzero(counts: Mapping[str, int]) -> dict[str, int]:
    return {word: count for word, count in counts.items() if count}
