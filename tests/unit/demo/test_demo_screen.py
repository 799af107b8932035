"""The demo's screen: both sides, and what is wrong stands out."""

from __future__ import annotations

import pytest
from demo.screen import Picture, draw, line_of, style_of
from rich.console import Console

from tidegate.rehearsal.records import Sample


def picture() -> Picture:
    return Picture(
        sample=Sample(at=3.0, sold=10, booked=9, events_waiting=1),
        naive=Sample(at=3.0, sold=10, booked=12),
        articles={"HOT": {"Tidegate": {"really there": 4, "shop": 4}, "naive": {"really there": -1, "shop": 2}}},
        said=("kill -9 apply (pid 7)",),
    )


def test_both_sides_are_shown() -> None:
    """With what was done to them, and the keys."""
    console = Console(width=120, record=True, file=None)
    with console.capture() as captured:
        console.print(draw(picture()))
    text = captured.get()
    assert all(word in text for word in ("Tidegate", "naive", "kill -9 apply (pid 7)", "really there", "-1"))


def test_a_file_gets_a_line() -> None:
    """With the numbers of the hot article."""
    line = line_of(picture(), "HOT")
    assert "sold 10, in the ERP 9" in line
    assert "naive, HOT: really there -1, shop 2" in line


@pytest.mark.parametrize(
    ("name", "units", "left", "style"),
    [
        ("really there", -1, -1, "bold red"),
        ("really there", 3, 3, ""),
        ("shop", 3, 3, ""),
        ("shop", 4, 3, "yellow"),
        ("shop", 0, -2, ""),
    ],
)
def test_what_is_wrong_has_a_colour(name: str, units: int, left: int, style: str) -> None:
    """Red: sold and not there. Yellow: another number than is right."""
    assert style_of(name, units, left) == style
