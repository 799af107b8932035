"""A report as one HTML file that needs nothing else: no script, no font, no picture from elsewhere. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from tidegate.rehearsal import figures
from tidegate.rehearsal.figures import NO_RULE
from tidegate.rehearsal.records import Line, Plot, Report

WIDTH, HEIGHT = 860, 260
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 14, 34
POINTS_MAX = 600
"""Points of a line that are drawn; more of them are thinned out, peaks kept."""
COLOURS = ("var(--a)", "var(--b)", "var(--c)", "var(--d)", "var(--e)")

_STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#16202b;--soft:#5c6b7a;--rule:#d8dfe6;--good:#14753c;--bad:#b3261e;
--a:#1f6feb;--b:#d9730d;--c:#14753c;--d:#8e44ad;--e:#b3261e}
@media (prefers-color-scheme:dark){:root{--paper:#10161d;--ink:#e6edf3;--soft:#93a1af;--rule:#2c3742;--good:#4ac26b;
--bad:#ff8078;--a:#6cb0ff;--b:#ffab5e;--c:#4ac26b;--d:#c79bf0;--e:#ff8078}}
*{box-sizing:border-box}body{margin:0 auto;max-width:940px;padding:24px 20px 60px;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,sans-serif}h1{font-size:24px;margin:0 0 4px}h2{font-size:17px;margin:34px 0 8px}
p{margin:6px 0}.soft{color:var(--soft)}.verdict{font-size:17px;font-weight:600}.good{color:var(--good)}.bad{color:var(--bad)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}th,td{padding:4px 8px;text-align:right;
border-bottom:1px solid var(--rule)}th:first-child,.words{text-align:left}thead th{color:var(--soft)}thead th{font-weight:600}
tbody th{font-weight:400}
.wide{overflow-x:auto}code{font:13px/1.5 ui-monospace,monospace;overflow-wrap:anywhere}li{margin:6px 0}
svg{width:100%;height:auto;display:block}text{fill:var(--soft);font:11px system-ui,sans-serif}
.key{display:flex;flex-wrap:wrap;gap:4px 18px;margin:2px 0 6px}.key span::before{content:"";display:inline-block;width:14px;
height:3px;margin-right:6px;vertical-align:middle;background:var(--k)}
"""


def render(report: Report) -> str:
    """Return the page."""
    tone = "good" if report.ours.is_clean else "bad"
    headings = ["", "Tidegate", *(["naive"] if report.naive is not None else [])]
    where = f"{', '.join(report.channels)} and {report.erp}; {report.cpus} processors, load {report.load_average:.1f}"
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Rehearsal: {escape(report.profile)}</title><style>{_STYLE}</style></head><body><main>",
        f"<h1>Rehearsal: {escape(report.profile)}</h1>",
        f'<p class="soft">{escape(report.title)}. Seed {report.seed}; {escape(where)}.</p>',
        f'<p class="verdict {tone}">{escape(figures.verdict_line(report))}</p>',
        *(f'<p class="soft">{escape(note)}</p>' for note in report.notes),
        _table("Figures", headings, figures.rows_of(report)),
        *(f"<p>{escape(line)}</p>" for line in figures.call_lines(report)),
        *(f'<p class="bad">{escape(line)}</p>' for line in figures.wrong_lines(report)),
        _advice(report),
        *(_plot(plot) for plot in report.plots),
        _table("Where the time goes", figures.STAGE_HEADINGS, figures.stage_rows(report)),
        _table("What work waited for", figures.HELD_HEADINGS, figures.held_rows(report)),
        _table("Whose the processors were", figures.LOAD_HEADINGS, figures.load_rows(report)),
        _table("What each platform counted", figures.PLATFORM_HEADINGS, figures.platform_rows(report)),
        _kills(report),
        "</main></body></html>\n",
    ]
    return "".join(parts)


def _table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    head = "".join(
        f'<th scope="col"{_kind(place, rows)}>{escape(heading)}</th>' if heading else "<td></td>"
        for place, heading in enumerate(headings)
    )
    body = "".join(
        "<tr>"
        f'<th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td{_kind(place, rows)}>{escape(cell)}</td>" for place, cell in enumerate(row[1:], 1))
        + "</tr>"
        for row in rows
    )
    return (
        f'<h2>{escape(title)}</h2><div class="wide" tabindex="0" role="region" aria-label="{escape(title)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _kind(place: int, rows: Sequence[Sequence[str]]) -> str:
    """Return the class of a column of words; figures stand to the right, words to the left."""
    return ' class="words"' if any(row[place][:1].isalpha() and row[place] != NO_RULE for row in rows) else ""


def _advice(report: Report) -> str:
    items = "".join(
        f"<li{' class=bad' if one.is_broken else ''}>{escape(one.what)}"
        + (f"<br><code>{escape(one.setting)}</code>" if one.setting else "")
        + "</li>"
        for one in report.advice
    )
    return f"<h2>What breaks first, and what to set</h2><ul>{items}</ul>" if items else ""


def _kills(report: Report) -> str:
    if not report.kills:
        return ""
    return "<h2>Killed meanwhile</h2><ul>" + "".join(f"<li>{escape(kill)}</li>" for kill in report.kills) + "</ul>"


def _plot(plot: Plot) -> str:
    lines = [line for line in plot.lines if line.points]
    if not lines:
        return ""
    x_low = min(line.points[0][0] for line in lines)
    x_high = max([x_low + 1e-6, *(line.points[-1][0] for line in lines)])
    values = [value for line in lines for _, value in line.points]
    y_high, y_low = nice_top(max(values)), -nice_top(-min(values)) if min(values) < 0 else 0.0

    def x(at: float) -> float:
        return LEFT + (at - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (value - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)

    ticks = sorted({*(y_high * step / 4 for step in range(5)), y_low, y_low / 2})
    grid = "".join(
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="var(--rule)"/>'
        f'<text x="{LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{_number(tick)}</text>'
        for tick in ticks
    )
    seconds = "".join(
        f'<text x="{x(at):.1f}" y="{HEIGHT - 12}" text-anchor="middle">{_number(at)} s</text>'
        for at in (x_low + (x_high - x_low) * step / 6 for step in range(7))
    )
    drawn = "".join(
        f'<path d="{_path([(x(at), y(value)) for at, value in thin(line.points)], is_step=line.is_step)}" fill="none" '
        f'stroke="{COLOURS[place % len(COLOURS)]}" stroke-width="1.8"/>'
        for place, line in enumerate(lines)
    )
    key = "".join(
        f'<span style="--k:{COLOURS[place % len(COLOURS)]}">{escape(line.name)}</span>'
        for place, line in enumerate(lines)
    )
    words = f"{plot.title}, {plot.unit}: {', '.join(_said(line) for line in lines)}"
    note = f'<p class="soft">{escape(plot.note)}</p>' if plot.note else ""
    return (
        f'<h2>{escape(plot.title)} <span class="soft">({escape(plot.unit)})</span></h2><div class="key">{key}</div>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(words)}">{grid}{seconds}{drawn}</svg>{note}'
    )


def _said(line: Line) -> str:
    top = max(value for _, value in line.points)
    return f"{line.name} at most {_number(top)}, at the end {_number(line.points[-1][1])}"


def _path(points: Sequence[tuple[float, float]], *, is_step: bool) -> str:
    begin, *others = points
    parts = [f"M{begin[0]:.1f} {begin[1]:.1f}"]
    for across, down in others:
        parts.append(f"H{across:.1f}V{down:.1f}" if is_step else f"L{across:.1f} {down:.1f}")
    return "".join(parts)


def thin(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """Return at most about `POINTS_MAX` points: the lowest and the highest of each stretch, first and last kept."""
    if len(points) <= POINTS_MAX:
        return points
    size = math.ceil(2 * len(points) / POINTS_MAX)
    kept = [points[0]]
    for begin in range(0, len(points), size):
        part = points[begin : begin + size]
        kept += sorted({min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])})
    return [*kept, points[-1]]


def nice_top(value: float) -> float:
    """Return a round number that is not below `value`, for the top of an axis."""
    if value <= 0:
        return 1.0
    size = 10.0 ** math.floor(math.log10(value))
    return next(step * size for step in (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0) if step * size >= value)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.1f}"
