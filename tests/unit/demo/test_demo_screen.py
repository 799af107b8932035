"""The demo's screen: both sides, and what is wrong stands out."""

from __future__ import annotations

import msgspec
import pytest
from demo.screen import KEYS, LEGEND, Picture, draw, line_of, style_of
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


def test_it_fits_a_small_terminal_and_says_it_without_colours() -> None:
    """80 columns and 24 lines, with three articles and four things said; marks stand for red and yellow."""
    of_one = {"Tidegate": {"really there": 104, "shop": 104, "web": 104, "pos": 104}}
    sides = {**of_one, "naive": {"really there": -12, "shop": 101, "web": 0, "pos": 3}}
    said = ("x" * 200, "30 % of the shops' webhooks go lost for 15 s, on both sides", "b", "c")
    full = msgspec.structs.replace(picture(), articles={f"ART-{n:04d}": sides for n in range(3)}, said=said)
    console = Console(width=80, force_terminal=False, color_system=None)
    with console.capture() as captured:
        console.print(draw(full))
    lines = captured.get().splitlines()
    assert len(lines) <= 23
    assert max(len(line) for line in lines) <= 80
    text = "\n".join(lines)
    assert all(word in text for word in ("-12 !!", "101 *", "12 !! 2 too many", KEYS, LEGEND))


def test_where_nobody_can_press_keys_none_are_offered() -> None:
    """Such as under a build server that has a terminal for its output only."""
    console = Console(width=80)
    with console.capture() as captured:
        console.print(draw(msgspec.structs.replace(picture(), has_keys=False)))
    assert KEYS not in captured.get()


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
