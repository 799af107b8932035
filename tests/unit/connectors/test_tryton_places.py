"""Locations belong to the nearest warehouse above them."""

import asyncio
from typing import Any

import msgspec
import pytest

from tidegate.connectors.tryton.places import place_locations, places_of
from tidegate.kernel.errors import ConfigurationError
from tidegate.sdk.http import Response


def location(number: int, kind: str, parent: int | None) -> dict[str, Any]:
    return {"id": number, "type": kind, "parent": parent}


def test_a_location_belongs_to_the_nearest_warehouse_above_it() -> None:
    places = place_locations(
        [
            location(1, "warehouse", None),
            location(2, "storage", 1),
            location(3, "view", 2),
            location(4, "storage", 3),
            location(5, "warehouse", 3),
            location(6, "storage", 5),
            location(7, "customer", None),
        ]
    )

    assert {number: place["warehouse"] for number, place in places.items()} == {
        1: 1, 2: 1, 3: 1, 4: 1, 5: 5, 6: 5, 7: None,
    }  # fmt: skip
    assert places[4] == {"type": "storage", "warehouse": 1}
    assert places[7]["type"] == "customer"


def test_the_order_of_locations_does_not_matter() -> None:
    found = [location(3, "storage", 2), location(2, "storage", 1), location(1, "warehouse", None)]

    assert place_locations(found)[3] == place_locations(found[::-1])[3] == {"type": "storage", "warehouse": 1}


@pytest.mark.parametrize(
    "found",
    [
        [],
        [location(1, "storage", None)],
        [location(1, "storage", 99)],
        [location(1, "storage", 2), location(2, "storage", 1)],
        [location(1, "storage", 1)],
    ],
    ids=["nothing", "no parent", "unseen parent", "a ring of two", "its own parent"],
)
def test_a_location_without_a_warehouse_above_it_has_none(found: list[dict[str, Any]]) -> None:
    assert {place["warehouse"] for place in place_locations(found).values()} <= {None}


class Locations:
    """An ERP that knows some locations and counts how often it was asked."""

    def __init__(self, *found: dict[str, Any]) -> None:
        self.settings: dict[str, Any] = {}
        self.memory: dict[str, Any] = {}
        self.found = list(found)
        self.asked = 0

    async def request(self, _method: str, _path: str, **_options: Any) -> Response:
        self.asked += 1
        return Response(status=200, headers={}, body=msgspec.json.encode(self.found))


def test_locations_are_read_once_and_again_when_there_is_a_new_one() -> None:
    erp = Locations(location(1, "warehouse", None))

    async def ask() -> None:
        await places_of(erp, {1})
        await places_of(erp, {1})
        assert erp.asked == 1
        erp.found.append(location(2, "storage", 1))
        assert (await places_of(erp, {2}))[2]["warehouse"] == 1
        assert erp.asked == 2

    asyncio.run(ask())


def test_a_location_that_the_key_does_not_see_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"\[8\]") as caught:
        asyncio.run(places_of(Locations(location(1, "warehouse", None)), {1, 8}))

    assert caught.value.code == "location_hidden"
