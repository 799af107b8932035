"""An order and the reservation that was made for it count once, whichever is told first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

import pytest
import pytest_asyncio
from tests.applybed import Bed, make_bed, move_event, order_event
from tests.reservebed import check_reserved, reserve_pool, result_of

from tidegate.inventory.decide import Claim, Release, Reservation
from tidegate.kernel.ids import public_id
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.store.pool import BY_KEY, create_pool
from tidegate.store.roles import Role
from tidegate.sync.combiner import Combiner, Wish
from tidegate.sync.expiry import expire_due
from tidegate.web.database import combiner_on

pytestmark = pytest.mark.asyncio


@dataclass
class Shop:
    """A bed with ten units of A and a combiner beside it."""

    bed: Bed
    combiner: Combiner

    async def reserve(self, units: int = 2, reference: str | None = None) -> UUID:
        wish = Wish((("A", units),), 600, "test", reference=reference)
        result = result_of(await self.combiner.reserve(self.bed.tenant_id, wish))
        assert isinstance(result, Reservation)
        return result.reservation_id

    async def claim(self, reservation_id: UUID, order: str | None = None) -> Reservation:
        connection_id = self.bed.connections["shop_a"] if order is not None else None
        ask = Claim(reservation_id, "test", connection_id, order)
        result = result_of(await self.combiner.change(self.bed.tenant_id, ask))
        assert isinstance(result, Reservation)
        return result

    async def order(self, units: int, *names: str, number: str = "1", **more: object) -> None:
        """Have an order come in that names reservations."""
        event = order_event(number, [("A", units)], **more)  # type: ignore[arg-type]
        event["order"]["reservations"] = list(names)
        await self.bed.append([("shop_a", event)])
        await self.bed.apply()

    async def counters(self) -> tuple[int, int, int]:
        """Return (on_hand, committed, reserved) of A."""
        row = await self.bed.pool.fetchrow(
            "SELECT sum(on_hand)::int, sum(committed)::int, sum(reserved)::int FROM stock_balance WHERE item_id = $1",
            self.bed.items["A"],
        )
        assert row is not None
        return (row[0], row[1], row[2])

    async def row(self, reservation_id: UUID) -> tuple[str, bool, bool]:
        """Return (state, whether its order is awaited, whether an order has it)."""
        row = await self.bed.pool.fetchrow(
            "SELECT state, awaits_order, order_id IS NOT NULL FROM reservation WHERE reservation_id = $1",
            reservation_id,
        )
        assert row is not None
        return (row[0], row[1], row[2])

    async def check(self) -> None:
        await self.bed.check_books()
        await check_reserved(self.bed.pool)


@pytest_asyncio.fixture
async def shop(database: Database, owner_pool: Pool) -> AsyncIterator[Shop]:
    bed = await make_bed(database, owner_pool)
    await bed.append([("erp", move_event("m1", "A", 10))])
    await bed.apply()
    pool = await reserve_pool(database)
    yield Shop(bed, combiner_on(pool))
    await pool.close()


@pytest.mark.parametrize("by", ["id", "reference"])
async def test_an_order_that_names_the_reservation_claims_it(shop: Shop, by: str) -> None:
    made = await shop.reserve(2, reference="cart-1")
    assert await shop.counters() == (10, 0, 2)

    await shop.order(2, public_id("res", "c0", made) if by == "id" else "cart-1")

    assert await shop.counters() == (10, 2, 0)
    assert await shop.row(made) == ("claimed", False, True)
    kinds = await shop.bed.pool.fetch("SELECT kind, committed_delta, reserved_delta FROM stock_entry ORDER BY version")
    assert [tuple(row) for row in kinds] == [("receive", 0, 0), ("reserve", 0, 2), ("commit", 2, 0), ("claim", 0, -2)]
    await shop.order(2, "cart-1", revision=2)
    assert await shop.counters() == (10, 2, 0), "once more it changes nothing"
    await shop.check()


async def test_an_order_that_takes_less_gives_the_rest_back(shop: Shop) -> None:
    made = await shop.reserve(5)
    await shop.order(2, public_id("res", "c0", made))
    assert await shop.counters() == (10, 2, 0)
    await shop.check()


async def test_an_order_without_the_name_leaves_the_reservation_alone(shop: Shop) -> None:
    made = await shop.reserve(2)
    await shop.order(2)
    assert await shop.counters() == (10, 2, 2)
    assert await shop.row(made) == ("held", False, False)
    await shop.check()


async def test_a_claim_that_comes_before_its_order_waits_for_it(shop: Shop) -> None:
    """It stands committed in the order's place, so nobody gets the units in between and nothing counts twice."""
    made = await shop.reserve(2)
    assert (await shop.claim(made, "N1")).awaits_order
    assert await shop.counters() == (10, 2, 0)

    await shop.order(2)

    assert await shop.counters() == (10, 2, 0)
    assert await shop.row(made) == ("claimed", False, True)
    await shop.check()


async def test_a_claim_that_comes_after_its_order_just_ends(shop: Shop) -> None:
    made = await shop.reserve(2)
    await shop.order(2)
    claimed = await shop.claim(made, "1")
    assert not claimed.awaits_order
    assert await shop.counters() == (10, 2, 0)
    assert await shop.row(made) == ("claimed", False, True)
    await shop.check()


async def test_a_claim_whose_order_never_comes_is_given_up(shop: Shop, database: Database) -> None:
    made = await shop.reserve(2)
    await shop.claim(made, "N404")
    await shop.bed.pool.execute("UPDATE reservation SET due_at = now() - interval '1 second'")
    await shop.bed.pool.execute("UPDATE reservation_hold SET due_at = now() - interval '1 second'")
    pool = await apply_pool(database)
    assert await expire_due(pool) == 1
    await pool.close()
    assert await shop.counters() == (10, 0, 0)
    assert await shop.row(made) == ("claimed", False, False)
    await shop.check()


async def test_a_cancelled_order_gives_back_what_it_claimed(shop: Shop) -> None:
    made = await shop.reserve(2, reference="cart-1")
    await shop.order(2, "cart-1")
    await shop.order(2, "cart-1", state="cancelled", revision=2)
    assert await shop.counters() == (10, 0, 0)
    assert await shop.row(made) == ("claimed", False, True)
    await shop.check()


async def test_an_order_that_was_cancelled_before_it_was_seen_claims_nothing(shop: Shop) -> None:
    made = await shop.reserve(2, reference="cart-1")
    await shop.order(2, "cart-1", state="cancelled")
    assert await shop.counters() == (10, 0, 2)
    assert await shop.row(made) == ("held", False, False)
    await shop.check()


async def test_due_reservations_expire_by_themselves_once(shop: Shop, database: Database) -> None:
    for _ in range(3):
        await shop.reserve(1)
    await shop.bed.pool.execute("UPDATE reservation SET due_at = now() - interval '1 second'")
    pools = [await apply_pool(database) for _ in range(2)]
    ended = await asyncio.gather(*(expire_due(pool) for pool in pools for _ in range(2)))
    for pool in pools:
        await pool.close()
    assert sum(ended) == 3
    assert await shop.counters() == (10, 0, 0)
    kinds = await shop.bed.pool.fetch("SELECT kind, count(*) FROM stock_entry GROUP BY 1")
    assert {row[0]: row[1] for row in kinds} == {"receive": 1, "reserve": 3, "reserve_expire": 3}
    await shop.check()


async def test_an_apply_process_lets_them_expire_when_their_time_is_over(shop: Shop) -> None:
    wish = Wish((("A", 4),), 1, "test")
    await shop.combiner.reserve(shop.bed.tenant_id, wish)
    assert await shop.counters() == (10, 0, 4)
    await shop.bed.apply(until="SELECT count(*) FROM reservation WHERE state = 'held'")
    assert await shop.counters() == (10, 0, 0)
    await shop.check()


async def test_orders_and_requests_for_one_article_at_once(shop: Shop) -> None:
    """Four apply strands and two lanes meet at one level again and again: nothing deadlocks for good, nothing is lost."""
    await shop.bed.append([("erp", move_event("m2", "A", 990))])
    await shop.bed.apply()
    made = [await shop.reserve(1, reference=f"cart-{n}") for n in range(40)]
    events = []
    for n in range(120):
        event = order_event(f"o{n}", [("A", 1)])
        event["order"]["reservations"] = [f"cart-{n}"]
        events.append(("shop_b" if n % 2 else "shop_a", event))
    await shop.bed.append(events)

    async def shoppers() -> None:
        for n in range(60):
            asked = await asyncio.gather(*(shop.reserve(1) for _ in range(5)))
            for reservation_id in asked[: n % 5]:
                await shop.combiner.change(shop.bed.tenant_id, Release(reservation_id, "test"))

    await asyncio.gather(shop.bed.apply(processes=2), shoppers())

    on_hand, committed, reserved = await shop.counters()
    assert (on_hand, committed) == (1000, 120)
    assert reserved == 60 * 5 - sum(n % 5 for n in range(60))
    for reservation_id in made:
        assert await shop.row(reservation_id) == ("claimed", False, True)
    await shop.check()


async def apply_pool(database: Database) -> Pool:
    return await create_pool(
        database.access(Role.APPLY), application_name="test-expiry", size_min=0, size_max=2, server_settings=BY_KEY
    )
