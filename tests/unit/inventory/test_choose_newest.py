"""Which orders are called off when more is sold than there is: the newest ones that may be, and no older one in their place."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from tidegate.inventory.calling_off import choose_newest

orders = st.lists(st.tuples(st.integers(1, 5), st.booleans(), st.booleans()), max_size=8).map(
    lambda found: [
        {"order_id": UUID(int=number), "units": units, "may_be_called_off": may and not off, "is_called_off": off}
        for number, (units, may, off) in enumerate(found)
    ]
)


@given(st.integers(0, 30), orders)
def test_enough_is_called_off_and_nobody_for_nothing(missing: int, found: list[dict[str, Any]]) -> None:
    chosen = choose_newest(missing, found)

    names = [order["order_id"] for order, _ in chosen]
    assert all(order["may_be_called_off"] and 0 < lacks <= order["units"] for order, lacks in chosen)
    assert names == sorted(names), "the newest first"
    off = sum(order["units"] for order in found if order["is_called_off"])
    short = missing - off
    kept: list[int] = []
    for order in found:
        if short <= 0 or order["is_called_off"]:
            continue
        if order["order_id"] in names:
            short -= order["units"]
        else:
            kept.append(min(short, order["units"]))
            short -= kept[-1]
            assert not order["may_be_called_off"], "a newer one that may be called off is, before any older one"
    assert not names or max(names).int <= len(found)
    assert all(units > 0 for units in kept)
    assert choose_newest(missing, found, set(names)) == [], "what was chosen covers it: nothing more follows"
