"""What is promised of an item, in words and units."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from tidegate.inventory.allocate import Pace
from tidegate.inventory.buffer import Buffer, Seller
from tidegate.monitor.promise import Promise, PromiseFacts, tell_promise

PACE = Pace(2.0, 3.0)
NAMES = ("a", "b")


def lot(name: str, settled: int | None, **more: Any) -> dict[str, Any]:
    known = {"counting": "compared", "asked": None, "enforces": True, "is_sold": True, "aim": 5, "state": "active"}
    return {
        "name": name,
        "connection_id": UUID(int=NAMES.index(name)),
        "settled": settled,
        "acked_quantity": 10,
        **known,
        **more,
    }


def tell(*lots: dict[str, Any], polled: str = "ab", pace: Pace = PACE, **more: Any) -> Promise:
    sellers = [
        Seller(channel=one["connection_id"], pace=pace, enforces=bool(one["enforces"]))
        for one in lots
        if one["is_sold"] is not False
    ]
    facts = PromiseFacts(
        sku="A",
        sellable=10,
        lots=lots,
        sellers=sellers,
        pace=pace,
        polled=frozenset(UUID(int=NAMES.index(name)) for name in polled),
        **more,
    )
    return tell_promise(facts)


def test_shared_units_cannot_be_oversold() -> None:
    told = tell(lot("a", 4), lot("b", 3, asked=5))

    assert (told.bound, told.pool) == (0, 1)
    assert {channel.promise for channel in told.channels} == {"impossible"}
    assert told.words.startswith("overselling is impossible")


def test_nothing_is_promised_before_it_is_known_what_everybody_shows() -> None:
    told = tell(lot("a", 4), lot("b", None, state="paused"))

    assert (told.bound, told.pool) == (None, None)
    assert told.channels[1].promise == "not yet"
    assert told.channels[1].why.endswith("its connection is paused")


def test_a_channel_that_sells_below_zero_has_a_bound() -> None:
    told = tell(lot("a", 5), lot("b", 5, enforces=False, counting="blind"))

    assert told.bound == 6
    assert [channel.bound for channel in told.channels] == [0, 6]


def test_a_channel_that_sells_below_zero_is_never_proved_although_nobody_buys_now() -> None:
    told = tell(lot("a", 5), lot("b", 5, enforces=False, counting="blind"), pace=Pace(0.0, 3.0))

    assert told.channels[1].promise == "bounded"


def test_orders_by_webhooks_alone_bound_what_is_promised_by_the_channels_part() -> None:
    told = tell(lot("a", 5), lot("b", 4, counting="blind"), polled="a")

    assert [channel.promise for channel in told.channels] == ["impossible", "bounded"]
    assert told.channels[1].bound == 5, "as much as it is to have: its part may be sold, and not told of in time"
    assert "webhooks alone" in told.channels[1].why
    assert "45 s" in told.channels[1].why
    assert "up to 5 may be sold too often" in told.words


@pytest.mark.parametrize(
    ("buffer", "bound", "held"), [("off", 12, {0}), (4, 4, {4}), ("auto", 6, {4, 6})], ids=["off", "number", "auto"]
)
def test_one_number_for_all_may_be_oversold_by_what_is_sold_until_they_hear_of_it(
    buffer: Buffer, bound: int, held: set[int]
) -> None:
    told = tell(lot("a", None, counting=None), lot("b", None, counting=None), buffer=buffer, limit=10)

    assert not told.is_shared
    assert told.bound == bound
    assert {channel.held for channel in told.channels} == held
    assert f"up to {bound}" in told.words


def test_where_nobody_buys_and_nothing_is_expected_the_words_do_not_reassure() -> None:
    told = tell(lot("a", None, counting=None), lot("b", None, counting=None), pace=Pace(0.0, 3.0))

    assert "what a sudden rush may sell too often is not known" in told.words


def test_a_single_channel_cannot_sell_what_another_one_sold() -> None:
    told = tell(lot("a", None, counting=None))

    assert (told.bound, told.words) == (0, "one channel sells it, and is told all 10 units")


def test_who_does_not_sell_it_is_left_out() -> None:
    told = tell(lot("a", None, counting=None), lot("b", None, counting=None, is_sold=False))

    assert [channel.channel for channel in told.channels] == ["a"]
