"""What one shop oversold by itself, from the movements that it noted."""

from __future__ import annotations

from typing import Any

import pytest
from e2e.vendure_race import own_oversale


def moved(second: int, kind: str, quantity: int) -> dict[str, Any]:
    return {"createdAt": f"2026-01-01T10:00:{second:02d}.000Z", "type": kind, "quantity": quantity}


@pytest.mark.parametrize(
    ("movements", "units"),
    [
        ([moved(1, "ADJUSTMENT", 3), moved(2, "ALLOCATION", 1), moved(3, "ALLOCATION", 2)], 0),
        ([moved(1, "ADJUSTMENT", 3), moved(20, "ALLOCATION", 3), moved(21, "ALLOCATION", 1)], 1),
        ([moved(1, "ADJUSTMENT", 1), *[moved(20, "ALLOCATION", 1)] * 4], 3),
        ([moved(1, "ADJUSTMENT", 3), moved(10, "ADJUSTMENT", -2), moved(12, "ALLOCATION", 3)], 0),
        ([moved(1, "ADJUSTMENT", 3), moved(10, "ADJUSTMENT", -2), moved(20, "ALLOCATION", 3)], 2),
        ([moved(1, "ADJUSTMENT", 1), moved(9, "ALLOCATION", 2), moved(20, "ADJUSTMENT", 1), moved(30, "ALLOCATION", 1)], 2),
        ([moved(1, "ADJUSTMENT", 1), moved(9, "ALLOCATION", 1), moved(12, "RELEASE", 1), moved(30, "ALLOCATION", 1)], 0),
        ([moved(1, "ADJUSTMENT", 2), moved(9, "ALLOCATION", 2), moved(12, "SALE", -2), moved(30, "ALLOCATION", 1)], 1),
    ],
    ids=["none", "one", "several", "lowered-meanwhile", "lowered-before", "raised-later", "given-back", "shipped"],
)  # fmt: skip
def test_units_that_a_shop_sold_although_it_showed_none(movements: list[dict[str, Any]], units: int) -> None:
    """A purchase that began before a lower number was set is no fault of the shop."""
    assert own_oversale(movements) == units
