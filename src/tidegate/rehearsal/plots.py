"""The pictures of a report. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from tidegate.rehearsal.plan import HOT_SKU
from tidegate.rehearsal.records import Books, Line, Plot, Sample
from tidegate.rehearsal.visible import oldest_unseen, see_sales


def draw(
    books: Books, samples: Sequence[Sample], naive: Books | None, naive_samples: Sequence[Sample]
) -> tuple[Plot, ...]:
    """Return the pictures in the order in which a reader asks: did it arrive, what waited, what was shown."""
    return (
        _orders(samples, naive_samples),
        _open(samples),
        _hot(books, "Tidegate"),
        *([_hot(naive, "naive")] if naive is not None else []),
        _unseen(books, naive),
        _arrivals(books),
    )


def _orders(samples: Sequence[Sample], naive_samples: Sequence[Sample]) -> Plot:
    lines = [
        Line(name="sold in the channels", points=tuple((one.at, float(one.sold)) for one in samples)),
        Line(name="in the ERP", points=tuple((one.at, float(one.booked)) for one in samples)),
    ]
    if naive_samples:
        lines.append(Line(name="in the ERP, naive", points=tuple((one.at, float(one.booked)) for one in naive_samples)))
    return Plot(title="Orders", unit="orders so far", lines=tuple(lines))


def _open(samples: Sequence[Sample]) -> Plot:
    return Plot(
        title="Open work",
        unit="pieces",
        lines=(
            Line(name="events not applied", points=tuple((one.at, float(one.events_waiting)) for one in samples)),
            Line(name="commands not done", points=tuple((one.at, float(one.commands_waiting)) for one in samples)),
            Line(name="numbers to tell", points=tuple((one.at, float(one.marks_dirty)) for one in samples)),
        ),
    )


def _hot(books: Books, whose: str) -> Plot:
    """Draw the hot article: what there is, and what each channel shows."""
    moments = sorted((order.at, order.channel, order.lines[HOT_SKU]) for order in books.sold if HOT_SKU in order.lines)
    begin = books.began_at
    left = books.stock.get(HOT_SKU, 0)
    truth = [(0.0, float(left))]
    for at, _, units in moments:
        left -= units
        truth.append((at - begin, float(left)))
    end = _end_of(books) - begin
    truth.append((end, float(left)))
    lines = [Line(name="really there", points=tuple(truth), is_step=True)]
    for channel, first in books.shown_first.items():
        if HOT_SKU in first:
            points = _shown(books, channel, first[HOT_SKU], moments)
            points.append((max(end, points[-1][0]), points[-1][1]))
            lines.append(Line(name=f"shown in {channel}", points=tuple(points), is_step=True))
    note = "Below zero: sold, and nobody has it." if left < 0 else ""
    return Plot(title=f"The hot article, {whose}", unit="units", lines=tuple(lines), note=note)


def _shown(
    books: Books, channel: str, first: int, moments: Sequence[tuple[float, str, int]]
) -> list[tuple[float, float]]:
    changes: list[tuple[float, int | None, int]] = [
        (at, None, units) for at, where, units in moments if where == channel
    ]
    changes += [(one.at, one.value, 0) for one in books.sets if one.channel == channel and one.sku == HOT_SKU]
    shown, points = first, [(0.0, float(first))]
    for at, value, units in sorted(changes, key=lambda change: change[0]):
        shown = shown - units if value is None else value
        points.append((at - books.began_at, float(max(0, shown))))
    return points


def _unseen(books: Books, naive: Books | None) -> Plot:
    lines = [Line(name="Tidegate", points=_ages(books))]
    if naive is not None:
        lines.append(Line(name="naive", points=_ages(naive)))
    return Plot(
        title="Oldest sale that some channel does not show yet",
        unit="seconds",
        lines=tuple(lines),
        note="Lost webhooks are in it: they are found by the next poll.",
    )


def _ages(books: Books) -> tuple[tuple[float, float], ...]:
    ages = oldest_unseen(see_sales(books.sold, books.sets, books.shown_first), _end_of(books))
    return tuple((at - books.began_at, age) for at, age in ages)


def _end_of(books: Books) -> float:
    return books.settled_at if books.settled_at is not None else books.ended_at + 60.0


def _arrivals(books: Books) -> Plot:
    sold: Counter[int] = Counter(int(order.at - books.began_at) for order in books.sold)
    told: Counter[int] = Counter(int(one.at - books.began_at) for one in books.sets)
    return Plot(
        title="Per second",
        unit="pieces",
        lines=(Line(name="orders", points=_per_second(sold)), Line(name="numbers told", points=_per_second(told))),
    )


def _per_second(counts: Mapping[int, int]) -> tuple[tuple[float, float], ...]:
    if not counts:
        return ()
    return tuple((float(second), float(counts.get(second, 0))) for second in range(max(counts) + 1))
