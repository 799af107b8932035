"""T2 on a real database: any order, any repetition, poison, cancels, shipments; books that balance."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.applybed import CONFIG, Bed, make_bed, move_event, order_event, shipment_event, shuffled

from tidegate.eventlog.replay import replay
from tidegate.kernel.ids import new_id
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.sync import write

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def bed(database: Database, owner_pool: Pool) -> AsyncIterator[Bed]:
    yield await make_bed(database, owner_pool)


async def test_order_commits_stock_and_plans_one_create(bed: Bed) -> None:
    await bed.append([("erp", move_event("m1", "A", 10)), ("shop_a", order_event("1", [("A", 3), ("B", 1)]))])

    await bed.apply()

    assert await bed.level("A") == (10, 3, 7)
    assert await bed.level("B") == (0, 1, -1)
    commands = await bed.pool.fetch("SELECT kind, connection_id, state FROM command")
    assert [tuple(row) for row in commands] == [("order.create", bed.connections["erp"], "pending")]
    items = [bed.items["A"], bed.items["B"]]
    dirty = await bed.pool.fetchval("SELECT count(*) FROM channel_stock WHERE dirty AND item_id = ANY($1)", items)
    assert dirty == 4
    assert await bed.outcomes() == {"applied": 2}
    await bed.check_books()


async def test_a_number_that_is_low_or_moves_much_does_not_wait_for_company(bed: Bed) -> None:
    """`inventory_critical`: in every channel that is told, and for no other item of the batch."""
    await bed.append([("erp", move_event("m1", "A", 100)), ("erp", move_event("m2", "B", 6))])
    await bed.append([("erp", move_event("m3", "C", 100))])
    await bed.apply()
    await bed.pool.execute("UPDATE channel_stock SET dirty = false, dirty_at = NULL, priority = 50")

    sold = [order_event("1", [("A", 1)]), order_event("2", [("B", 1)]), order_event("3", [("C", 20)])]
    await bed.append([("shop_a", order) for order in sold])
    await bed.apply()

    marks = await bed.pool.fetch("SELECT item_id, priority FROM channel_stock WHERE dirty")
    by_item = {sku: sorted(row[1] for row in marks if row[0] == item) for sku, item in bed.items.items()}
    assert by_item == {"A": [50, 50], "B": [40, 40], "C": [40, 40]}


@pytest.mark.parametrize("seed", range(4))
async def test_any_permutation_and_repetition_ends_in_the_same_state(
    bed: Bed, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I5, LESSONS 16: versions decide, not arrival; nor does it matter how a batch's rows are written."""
    monkeypatch.setattr(write, "COPIED_FROM", 0 if seed % 2 else write.COPIED_FROM)
    story = []
    for number in ("1", "2", "3"):
        story += [
            ("shop_a", order_event(number, [("A", 2), ("B", 2)], revision=1, payment="pending")),
            ("shop_a", order_event(number, [("A", 2), ("B", 2)], revision=2)),
            ("shop_a", order_event(number, [("A", 1), ("B", 2)], revision=3, ordered=[2, 2])),
            ("shop_a", order_event(number, [("A", 1), ("B", 2)], revision=4, payment="paid", ordered=[2, 2])),
        ]
    story.append(
        (
            "shop_a",
            order_event("3", [("A", 1), ("B", 2)], revision=5, state="cancelled", payment="paid", ordered=[2, 2]),
        )
    )
    story += [("erp", move_event(f"m{n}", "A", 10)) for n in range(3)]

    for part in range(3):
        await bed.append(shuffled(story, seed * 10 + part)[: len(story) // 2 + 1])
        await bed.apply(processes=2)
    await bed.append(story)
    await bed.apply()

    found = await bed.snapshot()
    assert [(row[0], row[1], row[2]) for row in found["orders"]] == [
        ("1", "open", "paid"),
        ("2", "open", "paid"),
        ("3", "cancelled", "paid"),
    ]
    assert found["levels"] == {"A": (30, 2, 28), "B": (0, 4, -4), "C": (0, 0, 0)}
    creates = await bed.pool.fetchval("SELECT count(*) FROM command WHERE kind = 'order.create' AND state = 'pending'")
    assert creates == 2
    await bed.check_books()


async def test_replay_of_everything_changes_nothing(bed: Bed) -> None:
    await bed.append(
        [("erp", move_event("m1", "A", 5)), *(("shop_a", order_event(str(n), [("A", 1)])) for n in range(20))]
    )
    await bed.apply()
    before = await bed.snapshot()
    async with bed.pool.acquire() as conn:
        ids = [row[0] for row in await conn.fetch("SELECT event_id FROM event")]
        assert await replay(conn, bed.tenant_id, ids) == 21

    await bed.apply(processes=2)

    assert await bed.snapshot() == before
    runs = await bed.pool.fetch("SELECT run, outcome, count(*) FROM event_outcome GROUP BY 1, 2 ORDER BY 1, 2")
    assert [tuple(row) for row in runs] == [(0, "applied", 21), (1, "superseded", 21)]
    await bed.check_books()


async def test_poison_is_quarantined_alone(bed: Bed) -> None:
    """A NUL passes the mapper and is refused by the database: the batch is halved until the culprit stands alone."""
    poison = order_event("poison", [("A", 1)])
    poison["order"]["number"] = "N\u0000"
    stories = [("shop_a", order_event(str(n), [("A", 1)])) for n in range(40)]
    await bed.append([*stories[:20], ("shop_a", poison), *stories[20:]])

    await bed.apply()

    assert await bed.outcomes() == {"applied": 40, "quarantined": 1}
    parked = await bed.pool.fetchrow("SELECT kind, code FROM event_parked")
    assert parked is not None
    assert parked["kind"] == "quarantined"
    assert parked["code"].startswith("sqlstate_22")
    assert (await bed.level("A"))[1] == 40
    await bed.check_books()


async def test_cancel_before_sending_annihilates_the_create(bed: Bed) -> None:
    await bed.append([("shop_a", order_event("1", [("A", 2)]))])
    await bed.apply()
    await bed.append([("shop_a", order_event("1", [("A", 2)], revision=2, state="cancelled"))])

    await bed.apply()

    commands = await bed.pool.fetch("SELECT kind, state, code FROM command")
    assert [tuple(row) for row in commands] == [("order.create", "cancelled", "annihilated")]
    assert await bed.level("A") == (0, 0, 0)
    await bed.check_books()


async def test_cancel_after_sending_is_sent(bed: Bed) -> None:
    await bed.append([("shop_a", order_event("1", [("A", 2)]))])
    await bed.apply()
    await bed.pool.execute("UPDATE command SET state = 'succeeded', finished_at = now()")
    cancelled = ("shop_a", order_event("1", [("A", 2)], revision=2, state="cancelled"))
    await bed.append([cancelled])
    await bed.apply()

    commands = await bed.pool.fetch("SELECT kind, state FROM command ORDER BY command_id")
    assert [tuple(row) for row in commands] == [("order.create", "succeeded"), ("order.cancel", "pending")]


async def test_shipment_moves_stock_once_and_plans_one_fulfillment(bed: Bed) -> None:
    await bed.append([("erp", move_event("m1", "A", 10)), ("shop_b", order_event("7", [("A", 4)]))])
    await bed.apply()
    order_id = await bed.pool.fetchval('SELECT order_id FROM "order"')
    story = [
        ("erp", move_event("m2", "A", -3, kind="ship", order_id=order_id)),
        ("erp", shipment_event("s1", order_id, [("A", 3)], tracking="T1")),
        ("erp", move_event("m3", "A", -1, kind="ship", order_id=order_id)),
        ("erp", shipment_event("s2", order_id, [("A", 1)], tracking="T2")),
    ]

    for seed in range(3):
        await bed.append(shuffled(story, seed))
        await bed.apply(processes=2)

    assert await bed.level("A") == (6, 0, 6)
    assert (await bed.snapshot())["fulfillments"] == [("s1", "T1"), ("s2", "T2")]
    fulfillments = await bed.pool.fetch("SELECT connection_id FROM command WHERE kind = 'fulfillment.create'")
    assert [row[0] for row in fulfillments] == [bed.connections["shop_b"]] * 2
    assert await bed.pool.fetchval('SELECT fulfillment_state FROM "order"') == "fulfilled"
    await bed.check_books()


async def test_shipment_before_its_order_is_parked(bed: Bed) -> None:
    await bed.append([("erp", shipment_event("s1", new_id(), [("A", 1)], tracking="T"))])

    await bed.apply()

    assert await bed.pool.fetchval("SELECT code FROM event_parked WHERE kind = 'parked'") == "order_unknown"
    assert await bed.outcomes() == {}
    await bed.check_books()


async def test_orders_placed_before_since_are_left_alone(database: Database, owner_pool: Pool) -> None:
    """Whoever sold and shipped them knows nothing of us: they would stand committed for ever."""
    bed = await make_bed(database, owner_pool, config=CONFIG.replace("since: 2026-01-01", "since: 2026-11-21"))
    await bed.append([("shop_a", order_event("1", [("A", 2)]))])

    await bed.apply()

    assert await bed.pool.fetchval("SELECT count(*) FROM command") == 0
    assert await bed.level("A") == (0, 0, 0)
    outcome = await bed.pool.fetchrow("SELECT outcome, code, reason FROM event_outcome")
    assert outcome is not None
    assert (outcome["outcome"], outcome["code"]) == ("ignored", "before_since")
    assert "2026-11-21" in outcome["reason"]


async def test_unknown_article_makes_a_variant(bed: Bed) -> None:
    """Facts always post: an order is kept even when nobody has heard of its article."""
    await bed.append([("shop_a", order_event("1", [("NEW", 2)]))])

    await bed.apply()

    assert await bed.pool.fetchval("SELECT count(*) FROM variant WHERE sku = 'NEW'") == 1
    assert await bed.pool.fetchval("SELECT committed FROM stock_balance") == 2
    await bed.check_books()


async def test_orders_wait_for_an_erp_that_is_not_connected_yet(bed: Bed) -> None:
    """Found by a flaky first day: an order that came before `connect erp` was applied and never sent."""
    await bed.pool.execute("UPDATE connection SET name = 'later' WHERE name = 'erp'")
    await bed.append([("shop_a", order_event("1", [("A", 2)]))])
    await bed.apply()
    assert await bed.pool.fetchval("SELECT code FROM event_parked WHERE kind = 'parked'") == "erp_not_connected"

    await bed.pool.execute("UPDATE connection SET name = 'erp' WHERE name = 'later'")
    await bed.pool.execute("DELETE FROM flow_mode")  # a connection that is new has no modes
    await bed.pool.execute("UPDATE event_parked SET until = now()")
    await bed.apply(until="SELECT count(*) FROM event_parked")

    assert await bed.pool.fetchval("SELECT count(*) FROM command WHERE kind = 'order.create'") == 1
    assert await bed.level("A") == (0, 2, -2)
    await bed.check_books()


async def test_twenty_hints_of_one_thing_ask_for_one_read(bed: Bed) -> None:
    """Each of them ends with an outcome; the later ones say which of them asked. Another thing is asked for by itself."""
    hints = [("shop_a", {"id": f"thin-{n}", "type": "order.touched", "order_id": "77"}) for n in range(20)]
    await bed.append([*hints, ("shop_a", {"id": "thin-other", "type": "order.touched", "order_id": "78"})])

    await bed.apply()

    asked = await bed.pool.fetch("SELECT external_id, hints, tries FROM fetch_request ORDER BY external_id")
    assert [tuple(row) for row in asked] == [("77", 20, 0), ("78", 1, 0)]
    codes = await bed.pool.fetch("SELECT code, count(*) FROM event_outcome WHERE outcome = 'needs_fetch' GROUP BY 1")
    counts = {row[0]: row[1] for row in codes}
    assert sum(counts.values()) == 21
    assert set(counts) <= {"needs_fetch", "bundled"}
    reason = await bed.pool.fetchval("SELECT reason FROM event_outcome WHERE code = 'bundled' LIMIT 1")
    assert reason is None or "evt_" in reason
    await bed.check_books()


async def test_what_counts_is_the_change_since_the_channel_was_told(bed: Bed) -> None:
    """Small changes that were bundled come to count together; a channel whose number is far from its bounds waits."""
    await bed.append([("erp", move_event("m1", "A", 100))])
    await bed.apply()
    await bed.pool.execute(
        "UPDATE channel_stock SET dirty = false, dirty_at = NULL, priority = 50, told_available = 100,"
        " quiet_from = CASE WHEN connection_id = $1 THEN 81 ELSE 61 END, quiet_to = 119",
        bed.connections["shop_a"],
    )
    seen = []
    for number in range(3):
        await bed.append([("shop_b", order_event(f"o{number}", [("A", 8)]))])
        await bed.apply()
        marks = await bed.pool.fetch(
            "SELECT priority FROM channel_stock WHERE item_id = $1 ORDER BY connection_id = $2 DESC",
            bed.items["A"], bed.connections["shop_a"],
        )  # fmt: skip
        seen.append(tuple(row[0] for row in marks))

    assert seen == [(50, 50), (50, 50), (40, 50)]
