"""What is promised of an item, in words and units."""

from __future__ import annotations

from typing import Any

from tidegate.inventory.allocate import Pace
from tidegate.monitor.promise import tell_promise

PACE = Pace(2.0, 3.0)


def lot(name: str, settled: int | None, **more: Any) -> dict[str, Any]:
    known = {"counting": "compared", "asked": None, "enforces": True, "is_sold": True, "aim": 5, "state": "active"}
    return {"name": name, "settled": settled, "acked_quantity": 10, **known, **more}


def test_shared_units_cannot_be_oversold() -> None:
    told = tell_promise("A", "always", 10, [lot("a", 4), lot("b", 3, asked=5)], PACE)

    assert (told.bound, told.pool) == (0, 1)
    assert {channel.promise for channel in told.channels} == {"impossible"}
    assert told.words.startswith("overselling is impossible")


def test_nothing_is_promised_before_it_is_known_what_everybody_shows() -> None:
    told = tell_promise("A", "always", 10, [lot("a", 4), lot("b", None, state="paused")], PACE)

    assert (told.bound, told.pool) == (None, None)
    assert told.channels[1].promise == "not yet"
    assert told.channels[1].why.endswith("its connection is paused")


def test_a_channel_that_sells_below_zero_has_a_bound() -> None:
    told = tell_promise("A", "always", 10, [lot("a", 5), lot("b", 5, enforces=False, counting="blind")], PACE)

    assert told.bound == 6
    assert [channel.bound for channel in told.channels] == [0, 6]


def test_one_number_for_all_may_be_oversold_by_what_is_sold_until_they_hear_of_it() -> None:
    alone = {"counting": None}
    told = tell_promise("A", "off", 10, [lot("a", None, **alone), lot("b", None, **alone)], PACE)

    assert not told.is_shared
    assert told.bound == 6
    assert "up to 6" in told.words
