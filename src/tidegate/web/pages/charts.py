"""Charts as SVG with a label that says the same in words; the numbers stand in a table beside them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

HEIGHT = 40
STEP = 6
"""Width of a bar with its gap."""


def bars(values: Sequence[int], *, label: str, css: str) -> Markup:
    """Return bars from left to right, scaled to the largest value. `label` is what a screen reader says."""
    top = max([*values, 1])
    shapes = Markup("").join(
        Markup('<rect x="{}" y="{}" width="{}" height="{}"/>').format(
            index * STEP, HEIGHT - _height(value, top), STEP - 1, _height(value, top)
        )
        for index, value in enumerate(values)
        if value
    )
    width = max(1, len(values)) * STEP
    return Markup(
        '<svg class="chart {}" role="img" aria-label="{}" viewBox="0 0 {} {}" preserveAspectRatio="none">{}'
        '<line class="axis" x1="0" x2="{}" y1="{}" y2="{}"/></svg>'
    ).format(css, label, width, HEIGHT, shapes, width, HEIGHT - 0.5, HEIGHT - 0.5)


def span(low: float | None, high: float | None, *, top: float, label: str) -> Markup:
    """Return a bar from 0 to `high` with its part up to `low` stronger: a lag's p50 and p95."""
    if low is None or high is None or top <= 0:
        return Markup("")
    return Markup(
        '<svg class="span" role="img" aria-label="{}" viewBox="0 0 100 8" preserveAspectRatio="none">'
        '<rect class="rest" width="{}" height="8"/><rect class="half" width="{}" height="8"/></svg>'
    ).format(label, _share(high, top), _share(low, top))


def _height(value: int, top: int) -> int:
    return max(1, round(value / top * (HEIGHT - 2))) if value else 0


def _share(value: float, top: float) -> float:
    return round(max(1.0, min(100.0, value / top * 100)), 1)
