"""Reservations on a real database: all or nothing, never more than there is, and every unit given back once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import asyncpg
import pytest
from tests.reservebed import ReserveBed, reserve_bed, result_of

from tidegate.inventory.decide import Refusal, Reservation, Shortage
from tidegate.inventory.reserve import ReservationState
from tidegate.kernel.errors import RejectedError, TransientError
from tidegate.kernel.ids import new_id
from tidegate.runtime.postgres import EmbeddedPostgres
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.store.roles import SUPERUSER
from tidegate.sync.combiner import CombinerSettings, Wish
from tidegate.sync.reservations import Reply
from tidegate.web.database import combiner_on

pytestmark = pytest.mark.asyncio


def held(result: Reservation | Refusal) -> Reservation:
    """Return a reservation that was granted."""
    assert isinstance(result, Reservation), result
    assert result.state is ReservationState.HELD
    return result


def refused(result: Reservation | Refusal, code: str) -> Refusal:
    assert isinstance(result, Refusal), result
    assert result.code == code
    return result


async def test_units_are_held_until_they_are_released(database: Database, owner_pool: Pool) -> None:
    async with reserve_bed(database, owner_pool, stock={"A": 5}) as bed:
        one = held(await bed.reserve(("A", 3)))
        short = refused(await bed.reserve(("A", 3)), "insufficient_stock")
        assert await bed.level("A") == (5, 0, 3)
        released = await bed.release(one.reservation_id)
        again = await bed.release(one.reservation_id)
        assert await bed.level("A") == (5, 0, 0)
        held(await bed.reserve(("A", 5)))
        await bed.check()

    assert short.shortages == (Shortage(sku="A", wanted=3, available=2),)
    assert isinstance(released, Reservation)
    assert released.state is ReservationState.RELEASED
    assert again == released


async def test_all_lines_or_none(database: Database, owner_pool: Pool) -> None:
    async with reserve_bed(database, owner_pool, stock={"A": 5, "B": 1}) as bed:
        short = refused(await bed.reserve(("A", 2), ("B", 2)), "insufficient_stock")
        assert await bed.level("A") == (5, 0, 0)
        held(await bed.reserve(("A", 2), ("B", 1)))
        await bed.check()
    assert [line.sku for line in short.shortages] == ["B"]


async def test_parts_of_bundles_are_added_up_before_they_are_compared(database: Database, owner_pool: Pool) -> None:
    """Two bundles and the part itself may share units that only one of them could have."""
    bundles = {"SET": {"A": 2, "B": 1}, "SIX": {"A": 6}}
    async with reserve_bed(database, owner_pool, stock={"A": 5, "B": 5}, bundles=bundles) as bed:
        short = refused(await bed.reserve(("SET", 2), ("A", 2)), "insufficient_stock")
        refused(await bed.reserve(("SIX", 1)), "insufficient_stock")
        held(await bed.reserve(("SET", 2), ("A", 1)))
        assert (await bed.level("A"), await bed.level("B")) == ((5, 0, 5), (5, 0, 2))
        await bed.check()
    assert {(line.sku, line.available) for line in short.shortages} == {("SET", 2), ("A", 5)}


async def test_a_hundred_at_once_get_exactly_what_is_there(database: Database, owner_pool: Pool) -> None:
    async with reserve_bed(database, owner_pool, stock={"A": 40}) as bed:
        results = await asyncio.gather(*(bed.reserve(("A", 1)) for _ in range(100)))
        await bed.check()
        assert await bed.level("A") == (40, 0, 40)
    assert sum(isinstance(result, Reservation) for result in results) == 40


async def test_a_claim_without_its_order_stands_committed(database: Database, owner_pool: Pool) -> None:
    async with reserve_bed(database, owner_pool, stock={"A": 5}) as bed:
        one = held(await bed.reserve(("A", 3)))
        claimed = await bed.claim(one.reservation_id)
        assert isinstance(claimed, Reservation)
        assert (claimed.state, claimed.awaits_order) == (ReservationState.CLAIMED, True)
        assert await bed.level("A") == (5, 3, 0)
        assert await bed.claim(one.reservation_id) == claimed
        given_up = await bed.release(one.reservation_id)
        assert isinstance(given_up, Reservation)
        assert given_up.state is ReservationState.CLAIMED
        assert await bed.level("A") == (5, 0, 0)
        refused(await bed.release(one.reservation_id), "reservation_claimed")
        refused(await bed.release(new_id()), "reservation_unknown")
        await bed.check()


async def test_what_is_due_counts_no_more_although_nobody_swept(database: Database, owner_pool: Pool) -> None:
    async with reserve_bed(database, owner_pool, stock={"A": 5}) as bed:
        one = held(await bed.reserve(("A", 5)))
        await owner_pool.execute("UPDATE reservation SET due_at = now() - interval '1 second'")
        await owner_pool.execute("UPDATE reservation_hold SET due_at = now() - interval '1 second'")
        held(await bed.reserve(("A", 5)))
        refused(await bed.claim(one.reservation_id), "reservation_expired")
        kinds = [row[0] for row in await owner_pool.fetch("SELECT kind FROM stock_entry ORDER BY version")]
        await bed.check()
    assert kinds == ["adjust", "reserve", "reserve_expire", "reserve"]


async def test_a_reference_names_one_held_reservation(database: Database, owner_pool: Pool) -> None:
    async with reserve_bed(database, owner_pool, stock={"A": 5}) as bed:
        one = held(await bed.reserve(("A", 2), reference="cart-1"))
        again = held(await bed.reserve(("A", 2), reference="cart-1"))
        refused(await bed.reserve(("A", 1), reference="cart-1"), "reference_in_use")
        at_once = await asyncio.gather(*(bed.reserve(("A", 1), reference="cart-2") for _ in range(8)))
        await bed.release(one.reservation_id)
        new = held(await bed.reserve(("A", 1), reference="cart-1"))
        assert await bed.level("A") == (5, 0, 2)
        await bed.check()
    assert (again.reservation_id, again.is_new) == (one.reservation_id, False)
    assert len({held(each).reservation_id for each in at_once}) == 1
    assert new.reservation_id != one.reservation_id


async def test_units_are_taken_where_they_are(database: Database, owner_pool: Pool) -> None:
    """A place that has all of them is preferred; what is kept as safety stock, or stands in a closed place, is nobody's."""
    async with reserve_bed(database, owner_pool, stock={"A": 2}) as bed:
        for name in ("store", "closed"):
            bed.places[name] = new_id()
            await owner_pool.execute(
                "INSERT INTO location (tenant_id, location_id, name, active) VALUES ($1, $2, $3, $4)",
                bed.tenant_id, bed.places[name], name, name == "store",
            )  # fmt: skip
            await bed.count("A", 4, name)
        await owner_pool.execute("UPDATE stock_level SET safety_stock = 1 WHERE location_id = $1", bed.places["store"])
        refused(await bed.reserve(("A", 3), location="main"), "insufficient_stock")
        refused(await bed.reserve(("A", 1), location="closed"), "location_unknown")
        whole = held(await bed.reserve(("A", 3)))
        refused(await bed.reserve(("A", 1), location="store"), "insufficient_stock")
        await bed.release(whole.reservation_id)
        held(await bed.reserve(("A", 5)))
        parts = await owner_pool.fetch(
            "SELECT p.name, h.units FROM reservation_hold h JOIN location p USING (tenant_id, location_id) ORDER BY 1"
        )
        refused(await bed.reserve(("A", 1)), "insufficient_stock")
        await bed.check()
    assert [tuple(row) for row in parts] == [("main", 2), ("store", 3)]


async def test_what_facts_took_is_not_promised_and_what_is_missing_in_channels_counts_as_sold(
    database: Database, owner_pool: Pool
) -> None:
    async with reserve_bed(database, owner_pool, stock={"A": 5}) as bed:
        connection_id = new_id()
        await owner_pool.execute(
            "INSERT INTO connection (tenant_id, connection_id, name, connector, external_account)"
            " VALUES ($1, $2, 'shop', 'hostile', 'a')",
            bed.tenant_id, connection_id,
        )  # fmt: skip
        await owner_pool.execute(
            "INSERT INTO channel_stock (tenant_id, connection_id, item_id, mode, unseen) VALUES ($1, $2, $3, 'live', 2)",
            bed.tenant_id, connection_id, bed.items["A"],
        )  # fmt: skip
        refused(await bed.reserve(("A", 4)), "insufficient_stock")
        held(await bed.reserve(("A", 3)))
        is_dirty, priority = await mark_of(owner_pool)
        await bed.count("A", -5)
        short = refused(await bed.reserve(("A", 1)), "insufficient_stock")
        await bed.check()
    assert (is_dirty, priority < 50) == (True, True), "the channel is told at once: little is left"
    assert short.shortages[0].available == 0


async def test_what_channels_may_sell_is_theirs(database: Database, owner_pool: Pool) -> None:
    """Units that are shared out are promised already, at the worst of a number on its way (I11)."""

    async def share(bed: ReserveBed, name: str, settled: int | None, asked: int | None) -> None:
        connection_id = new_id()
        await owner_pool.execute(
            "INSERT INTO connection (tenant_id, connection_id, name, connector, external_account)"
            " VALUES ($1, $2, $3, 'hostile', $3)",
            bed.tenant_id, connection_id, name,
        )  # fmt: skip
        await owner_pool.execute(
            "INSERT INTO channel_allocation (tenant_id, connection_id, item_id, counting, enforces, is_sold, settled, asked,"
            " looked_at, config_version, since) VALUES ($1, $2, $3, 'blind', true, true, $4, $5, now(), 1, now())",
            bed.tenant_id, connection_id, bed.items["A"], settled, asked,
        )  # fmt: skip

    async with reserve_bed(database, owner_pool, stock={"A": 10}) as bed:
        await share(bed, "one", 3, 5)
        await share(bed, "two", 2, None)
        short = refused(await bed.reserve(("A", 4)), "insufficient_stock")
        held(await bed.reserve(("A", 2)))
        await share(bed, "unbounded", None, None)
        refused(await bed.reserve(("A", 1)), "insufficient_stock")
        await bed.check()
    assert short.shortages[0].available == 3


async def test_what_is_refused_marks_nothing(database: Database, owner_pool: Pool) -> None:
    async with reserve_bed(database, owner_pool, stock={"A": 1}) as bed:
        await owner_pool.execute(
            "WITH c AS (INSERT INTO connection (tenant_id, connection_id, name, connector, external_account)"
            " VALUES ($1, $2, 'shop', 'hostile', 'a') RETURNING 1)"
            " INSERT INTO channel_stock (tenant_id, connection_id, item_id, mode) SELECT $1, $2, $3, 'live' FROM c",
            bed.tenant_id, new_id(), bed.items["A"],
        )  # fmt: skip
        refused(await bed.reserve(("A", 2)), "insufficient_stock")
        is_dirty, _ = await mark_of(owner_pool)
    assert not is_dirty


async def test_a_request_that_cannot_be_stored_spoils_only_itself(database: Database, owner_pool: Pool) -> None:
    async with reserve_bed(database, owner_pool, stock={"A": 100}) as bed:
        results = await asyncio.gather(
            *(bed.reserve(("A", 1), reference="\0" if n == 7 else f"cart-{n}") for n in range(20)),
            return_exceptions=True,
        )
        assert await bed.level("A") == (100, 0, 19)
        await bed.check()
    assert isinstance(results[7], RejectedError)
    assert sum(isinstance(result, Reservation) for result in results) == 19


async def test_too_much_that_waits_is_told_to_come_again(database: Database, owner_pool: Pool) -> None:
    async with reserve_bed(database, owner_pool, stock={"A": 100}) as bed:
        bed.combiner = combiner_on(bed.pool, CombinerSettings(waiting_max=5))
        results = await asyncio.gather(*(bed.reserve(("A", 1)) for _ in range(8)), return_exceptions=True)
        assert sum(isinstance(result, TransientError) for result in results) == 3
        assert await bed.level("A") == (100, 0, 5)
        held(await bed.reserve(("A", 1)))


async def test_a_caller_that_went_away_holds_nobody_up(database: Database, owner_pool: Pool) -> None:
    async with reserve_bed(database, owner_pool, stock={"A": 100}) as bed:
        tasks = [asyncio.create_task(bed.reserve(("A", 1))) for _ in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await bed.check()
    assert sum(isinstance(result, Reservation) for result in results) == 10


async def test_tenants_take_turns_and_do_not_see_each_other(database: Database, owner_pool: Pool) -> None:
    """A lane is shared; a tenant with a long queue does not hold up one with a short one."""
    async with (
        reserve_bed(database, owner_pool, stock={"A": 500}) as loud,
        reserve_bed(database, owner_pool, stock={"A": 5}) as quiet,
    ):
        shared = combiner_on(loud.pool, CombinerSettings(lanes=1, batch_max=20))
        loud.combiner = quiet.combiner = shared
        order: list[str] = []

        async def ask(bed: ReserveBed, name: str) -> None:
            held(await bed.reserve(("A", 1)))
            order.append(name)

        crowd = [asyncio.create_task(ask(loud, "loud")) for _ in range(200)]
        await asyncio.sleep(0)
        await asyncio.gather(ask(quiet, "quiet"), *crowd)
        assert (await loud.level("A"), await quiet.level("A")) == ((500, 0, 200), (5, 0, 1))
    assert order.index("quiet") <= 60


async def test_bills_that_change_are_looked_up_again(database: Database, owner_pool: Pool) -> None:
    async with reserve_bed(database, owner_pool, stock={"A": 10}, bundles={"SET": {"A": 2}}) as bed:
        held(await bed.reserve(("SET", 1)))
        await owner_pool.execute("UPDATE kit_part SET units = 4")
        await owner_pool.execute("UPDATE tenant SET catalogue_version = catalogue_version + 1")
        held(await bed.reserve(("SET", 1)))
        assert await bed.level("A") == (10, 0, 6)
        values = (bed.tenant_id, new_id(), "attic")
        await owner_pool.execute("INSERT INTO location (tenant_id, location_id, name) VALUES ($1, $2, $3)", *values)
        refused(await bed.reserve(("A", 1), location="attic"), "insufficient_stock")


async def test_a_database_that_is_away_is_said_and_the_request_may_come_again(
    postgres: EmbeddedPostgres, database: Database, owner_pool: Pool
) -> None:
    async with reserve_bed(database, owner_pool, stock={"A": 10}) as bed:
        held(await bed.reserve(("A", 1), reference="warm"))
        admin = await asyncpg.connect(postgres.dsn(SUPERUSER, "postgres"))
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'test-reserve' AND datname = $1",
            await owner_pool.fetchval("SELECT current_database()"),
        )
        await admin.close()
        results = [result for _ in range(3) if (result := await told(bed.reserve(("A", 1), reference="cart-1")))]
        assert await bed.level("A") == (10, 0, 2)
        await bed.check()
    assert results


async def told(asked: Awaitable[Reservation | Refusal]) -> Reservation | Refusal | None:
    """Return the answer, None where the database was away."""
    try:
        return await asked
    except TransientError:
        return None


async def mark_of(owner: Pool) -> tuple[bool, int]:
    row = await owner.fetchrow("SELECT dirty, priority FROM channel_stock")
    assert row is not None
    return (row[0], row[1])


async def test_units_that_channels_may_sell_are_not_held(database: Database, owner_pool: Pool) -> None:
    """I11: of an item that is shared out among channels only the free pool is left, and nothing while a lot is not bounded."""
    add = (
        "INSERT INTO channel_allocation (tenant_id, connection_id, item_id, counting, enforces, is_sold, settled, asked, looked_at,"
        " since, config_version) VALUES ($1, $2, $3, 'compared', true, true, $4, $5, now(), now(), 1)"
    )
    async with reserve_bed(database, owner_pool, stock={"A": 10}) as bed:
        await owner_pool.execute(add, bed.tenant_id, new_id(), bed.items["A"], 3, None)
        await owner_pool.execute(add, bed.tenant_id, new_id(), bed.items["A"], 1, 5)
        refused(await bed.reserve(("A", 3)), "insufficient_stock")
        held(await bed.reserve(("A", 2)))
        await owner_pool.execute("DELETE FROM channel_allocation WHERE tenant_id = $1 AND settled = 3", bed.tenant_id)
        held(await bed.reserve(("A", 1)))
        await owner_pool.execute(add, bed.tenant_id, new_id(), bed.items["A"], None, None)
        refused(await bed.reserve(("A", 1)), "insufficient_stock")


async def test_of_several_that_wait_together_each_has_its_own_outcome(database: Database, owner_pool: Pool) -> None:
    """One whose values cannot be stored, and one that asks for too much, are nobody else's trouble."""
    async with reserve_bed(database, owner_pool, stock={"A": 5}) as bed:
        wishes = [
            Wish((("A", 2),), 600, "test", reference="one"),
            Wish((("A", 1),), 600, "test", reference="no\x00text"),
            Wish((("A", 4),), 600, "test"),
            Wish((("A", 3),), 600, "test"),
        ]
        first, strange, short, last = await bed.combiner.reserve_each(bed.tenant_id, [(wish, None) for wish in wishes])
        assert isinstance(first, Reply)
        assert isinstance(short, Reply)
        assert isinstance(last, Reply)
        held(result_of(first))
        refused(result_of(short), "insufficient_stock")
        held(result_of(last))
        assert isinstance(strange, RejectedError)
        assert strange.code == "value_invalid"
        await bed.check()


async def test_who_goes_away_while_several_wait_leaves_nothing_behind(database: Database, owner_pool: Pool) -> None:
    """What was not begun is not done, and the room that they took is free again."""
    async with reserve_bed(database, owner_pool, stock={"A": 50}) as bed:
        combiner = combiner_on(bed.pool, CombinerSettings(lanes=1, batch_max=1, waiting_max=10))
        wishes = [(Wish((("A", 1),), 600, "test"), None) for _ in range(10)]
        async with bed.owner.acquire() as other:
            transaction = other.transaction()
            await transaction.start()
            await other.execute("SELECT FROM stock_level WHERE tenant_id = $1 FOR UPDATE", bed.tenant_id)
            waiting = asyncio.create_task(combiner.reserve_each(bed.tenant_id, wishes))
            await asyncio.sleep(0)
            with pytest.raises(TransientError, match="too many"):
                await combiner.reserve_each(bed.tenant_id, wishes[:1])
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await transaction.rollback()
        after = await combiner.reserve_each(bed.tenant_id, wishes)
        assert len([each for each in after if isinstance(each, Reply)]) == 10
        assert (await bed.level("A"))[2] in (10, 11)  # the first was begun, and may have been done
        await bed.check()
