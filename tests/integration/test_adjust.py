"""Adjustments on a real database: posted once, under locks, with who and why; counts are differences to what was seen."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest
from tests.reservebed import ReserveBed, reserve_bed
from tests.stockbed import move_stock

from tidegate.inventory.adjust import Adjustment
from tidegate.inventory.decide import Refusal
from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.ids import new_id
from tidegate.monitor.stock_check import StockAudit, check_levels
from tidegate.monitor.stock_history import HistoryFilter, read_history
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.sync.adjust import (
    Adjusted,
    Place,
    adjust,
    choose_place,
    find_items,
    on_hand_after,
    on_hand_at,
    read_standing,
    set_safety,
)

pytestmark = pytest.mark.asyncio
SUMS = """
SELECT count(*) FROM stock_balance b JOIN LATERAL (
  SELECT count(*) AS n, sum(on_hand_delta) AS a, sum(unavailable_delta) AS b, sum(committed_delta) AS c FROM stock_entry e
  WHERE (e.tenant_id, e.item_id, e.location_id) = (b.tenant_id, b.item_id, b.location_id)) e ON true
WHERE (b.version, b.on_hand, b.unavailable, b.committed) IS DISTINCT FROM (e.n, e.a, e.b, e.c)
"""


def wish(bed: ReserveBed, units: int, sku: str = "A", key: str = "", **more: Any) -> Adjustment:
    given: dict[str, Any] = {"reason": "correction", **more}
    return Adjustment(
        key=key or str(new_id()), item_id=bed.items[sku], location_id=bed.places["main"], units=units, **given
    )


async def post(bed: ReserveBed, *wanted: Adjustment) -> Sequence[Adjusted | Refusal]:
    async with bed.owner.acquire() as conn, conn.transaction():
        return await adjust(conn, bed.tenant_id, wanted, actor="cli:ann")


async def test_it_posts_with_who_and_why(database: Database, owner_pool: Pool) -> None:
    async with reserve_bed(database, owner_pool, stock={"A": 10}) as bed:
        (done,) = await post(bed, wish(bed, -2, reason="lost", note="fell off a lorry"))
        (aside,) = await post(bed, wish(bed, 3, reason="damaged", is_aside=True))
        async with owner_pool.acquire() as conn:
            entries = await read_history(conn, bed.tenant_id, "A", HistoryFilter(), limit=10)
            key = (bed.items["A"], bed.places["main"])
            standing = (await read_standing(conn, bed.tenant_id, [key]))[key]
        assert await owner_pool.fetchval(SUMS) == 0

    assert done == Adjusted(version=2, units=-2, before=10, after=8, is_new=True)
    assert aside == Adjusted(version=3, units=3, before=0, after=3, is_new=True)
    newest, lost, _ = entries
    assert (newest.kind, newest.reason, newest.delta.unavailable, newest.after.available) == ("adjust", "damaged", 3, 5)
    assert (lost.reason, lost.note, lost.actor, lost.before.on_hand, lost.after.on_hand) == (
        "lost", "fell off a lorry", "cli:ann", 10, 8,
    )  # fmt: skip
    assert (standing.counters.on_hand, dict(standing.aside)) == (8, {"damaged": 3})


async def test_the_same_key_posts_once(database: Database, owner_pool: Pool) -> None:
    """Also twice in one batch, and from many at once. (SECURITY G10)"""
    async with reserve_bed(database, owner_pool, stock={"A": 10}) as bed:
        first, again = await post(bed, wish(bed, 5, key="po-1"), wish(bed, 5, key="po-1"))
        at_once = await asyncio.gather(*(post(bed, wish(bed, 1, key="po-2")) for _ in range(6)))
        (other,) = await post(bed, wish(bed, 4, key="po-1"))
        assert await bed.level("A") == (16, 0, 0)
        assert await owner_pool.fetchval(SUMS) == 0

    assert isinstance(first, Adjusted)
    assert isinstance(again, Adjusted)
    assert (first.is_new, again.is_new, again.version) == (True, False, first.version)
    assert sum(each.is_new for (each,) in at_once if isinstance(each, Adjusted)) == 1
    assert isinstance(other, Refusal)
    assert other.code == "key_in_use"


async def test_one_that_is_refused_keeps_nobody_else(database: Database, owner_pool: Pool) -> None:
    async with reserve_bed(database, owner_pool, stock={"A": 1, "B": 1}) as bed:
        results = await post(bed, wish(bed, -1, "B"), wish(bed, -2), wish(bed, 3), wish(bed, -2))
        assert await bed.level("A") == (2, 0, 0)
        assert await bed.level("B") == (0, 0, 0)
    assert [isinstance(each, Adjusted) for each in results] == [True, False, True, True]


async def test_a_level_that_was_never_counted_is_made(database: Database, owner_pool: Pool) -> None:
    async with reserve_bed(database, owner_pool, stock={"A": 1}) as bed:
        place = new_id()
        await owner_pool.execute(
            "INSERT INTO location (tenant_id, location_id, name) VALUES ($1, $2, 'cellar')", bed.tenant_id, place
        )
        async with owner_pool.acquire() as conn, conn.transaction():
            wanted = Adjustment(key="x", item_id=bed.items["A"], location_id=place, units=7, reason="counted")
            results = await adjust(conn, bed.tenant_id, [wanted], actor="cli:ann")
            assert await set_safety(conn, bed.tenant_id, {(bed.items["A"], place): 2}) == 1
            assert await set_safety(conn, bed.tenant_id, {(bed.items["A"], place): 2}) == 0
        assert await bed.level("A") == (8, 0, 0)
    assert results == [Adjusted(version=1, units=7, before=0, after=7, is_new=True)]


async def test_what_the_ledger_had_is_found_by_time_and_by_number(database: Database, owner_pool: Pool) -> None:
    """Whoever counted saw the ledger of that moment: what moved since stands."""
    async with reserve_bed(database, owner_pool, stock={"A": 10}) as bed:
        for units in (1, 2, -4, 8, -16, 32):
            await bed.count("A", units)
        level = (bed.items["A"], bed.places["main"])
        async with owner_pool.acquire() as conn:
            rows = await conn.fetch("SELECT version, at, on_hand_after FROM stock_entry ORDER BY version")
            moments: list[datetime] = [row["at"] for row in rows]
            by_time = await on_hand_at(conn, bed.tenant_id, [(*level, at) for at in moments])
            before = (*level, datetime.fromisoformat("2020-01-01T00:00:00+00:00"))
            earliest = await on_hand_at(conn, bed.tenant_id, [before])
            by_number = await on_hand_after(conn, bed.tenant_id, [(*level, n) for n in range(9)])
    assert (
        [by_time[(*level, at)] for at in moments]
        == [row["on_hand_after"] for row in rows]
        == [10, 11, 13, 9, 17, 1, 33]
    )
    assert earliest == {before: 0}
    assert by_number == {(*level, row["version"]): row["on_hand_after"] for row in rows}


async def test_history_goes_by_place_time_kind_and_page(database: Database, owner_pool: Pool) -> None:
    async with reserve_bed(database, owner_pool, stock={"A": 10}) as bed:
        place = new_id()
        await owner_pool.execute(
            "INSERT INTO location (tenant_id, location_id, name) VALUES ($1, $2, 'cellar')", bed.tenant_id, place
        )
        for n in range(6):
            async with owner_pool.acquire() as conn, conn.transaction():
                where = place if n % 2 else bed.places["main"]
                await move_stock(conn, bed.tenant_id, bed.items["A"], where, on_hand=n + 1)
        await post(bed, wish(bed, -1, reason="counted"))
        async with owner_pool.acquire() as conn:

            async def read(limit: int = 50, **more: Any) -> list[Any]:
                return await read_history(conn, bed.tenant_id, "A", HistoryFilter(**more), limit=limit)

            everything = await read()
            pages: list[Any] = []
            while page := await read(
                3, behind=(pages[-1].at, pages[-1].location_id, pages[-1].version) if pages else None
            ):
                pages += page
            cellar = await read(location="cellar")
            counts = await read(kinds=("count",))
            middle = everything[3].at
            later, earlier = await read(since=middle), await read(until=middle)
            with pytest.raises(ConfigurationError, match="no location 'attic'"):
                await read(location="attic")
    assert len(everything) == 8
    assert pages == everything
    assert [each.location for each in cellar] == ["cellar"] * 3
    assert [each.kind for each in counts] == ["count"]
    assert later + earlier == everything
    assert all(each.before.on_hand + each.delta.on_hand == each.after.on_hand for each in everything), (
        "before and after contradict"
    )


async def test_a_kit_has_no_stock_of_its_own(database: Database, owner_pool: Pool) -> None:
    bundles = {"SET": {"A": 2}}
    async with reserve_bed(database, owner_pool, stock={"A": 10}, bundles=bundles) as bed, owner_pool.acquire() as conn:
        found = await find_items(conn, bed.tenant_id, ["A", "SET", "NO"])
    assert found["A"] == bed.items["A"]
    assert [getattr(found[sku], "code", None) for sku in ("SET", "NO")] == ["is_kit", "sku_unknown"]


async def test_a_place_is_chosen_or_asked_for() -> None:
    main, cellar = Place("main", new_id(), True), Place("cellar", new_id(), True)
    closed = Place("closed", new_id(), False)
    assert choose_place([main, closed], None) == main
    assert choose_place([main, closed], "closed") == closed
    for places, name, code in (
        ([main, cellar], None, "location_needed"),
        ([], None, "location_needed"),
        ([main], "mian", "location_unknown"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            choose_place(places, name)
        assert caught.value.code == code


async def test_a_counter_that_is_not_the_sum_of_its_entries_is_found(database: Database, owner_pool: Pool) -> None:
    """I8: page by page, whichever page it is on."""
    async with reserve_bed(database, owner_pool, stock={"A": 10, "B": 5, "C": 1}) as bed, owner_pool.acquire() as conn:
        await post(bed, wish(bed, -2, reason="lost"))
        pages = [page async for page in check_levels(conn, bed.tenant_id, page_levels=2)]
        assert ([page.levels for page in pages], [page.wrong for page in pages]) == ([2, 1], [(), ()])

        for sku in ("A", "C"):
            await conn.execute(
                "UPDATE stock_entry SET on_hand_delta = on_hand_delta + 1"
                " WHERE (item_id, location_id, version) = ($1, $2, 1)",
                *(bed.items[sku], bed.places["main"]),
            )
        wrong = [one async for page in check_levels(conn, bed.tenant_id, page_levels=2) for one in page.wrong]

    found = {one.sku: (one.counted["on_hand"], one.summed["on_hand"]) for one in wrong}
    assert found == {"A": (8, 9), "C": (1, 2)}


async def test_the_walk_over_all_levels_finds_it_in_bounded_pieces_and_lets_go_of_what_is_mended(
    database: Database, owner_pool: Pool
) -> None:
    """I8, all the time: a long ledger in stretches, every entry in some piece, the same once more after the last."""
    change = (
        "UPDATE stock_entry SET on_hand_delta = on_hand_delta + $4 WHERE (item_id, location_id, version) = ($1, $2, $3)"
    )
    async with reserve_bed(database, owner_pool, stock={"A": 10, "B": 5, "C": 1}) as bed, owner_pool.acquire() as conn:
        for _ in range(6):
            await post(bed, wish(bed, -1, reason="lost"))
        audit = StockAudit(bed.tenant_id, levels=2, entries=3)
        pieces = 0
        while not audit.passes:
            assert await audit.step(conn) == ()
            pieces += 1
        assert pieces == 4, "two levels, more of A with the third, the rest of A, the end"
        level = (bed.items["A"], bed.places["main"])
        await conn.execute(change, *level, 5, 1)
        found = [await audit.step(conn) for _ in range(pieces)]
        assert [(each.sku, each.first, each.last) for each in found[-1]] == [("A", 4, 6)]
        assert found[0] == ()
        await conn.execute(change, *level, 5, -1)
        assert await audit.step(conn) == ()
        await conn.execute("DELETE FROM stock_entry WHERE (item_id, location_id, version) = ($1, $2, 2)", *level)
        found = [await audit.step(conn) for _ in range(2 * pieces)]
        assert found[-1][0].sku == "A"
