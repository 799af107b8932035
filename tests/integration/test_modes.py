"""Modes: observe writes nothing, propose waits for a person, live goes on from what is true; nothing twice, nothing lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from tests.applybed import Bed, make_bed, move_event, order_event, placed_now

from tidegate.config.parse import parse
from tidegate.dispatch.approval import Selection, approve, reject
from tidegate.dispatch.statements import END_OBSERVED
from tidegate.kernel.errors import ConfigurationError
from tidegate.monitor.flows_view import read_proposals, tell_quantities
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.sync.going_live import put_to_work
from tidegate.sync.moving import Move, move_mode
from tidegate.sync.rebinding import follow_bindings, lock_catalogue

pytestmark = pytest.mark.asyncio
TEXT = """\
tenant: main
connections:
  shop_a: {use: hostile, url: http://127.0.0.1:1}
  shop_b: {use: hostile, url: http://127.0.0.1:2}
  erp: {use: hostile, url: http://127.0.0.1:3}
owns: {stock.on_hand: erp, shipment: erp}
groups: {toys: ["B*"]}
flows:
  orders: {from: [shop_a, shop_b], to: erp, since: 2026-01-01, mode: MODE}   # from the shops
  shipments: {from: erp, to: origin, mode: MODE}
  stock:
    from: erp
    to: [shop_a, shop_b]
    mode: MODE        # for all SKUs
"""


def text(mode: str) -> str:
    return TEXT.replace("MODE", mode)


async def put(bed: Bed, mode: str, **more: Any) -> None:
    async with bed.pool.acquire() as conn:
        await put_to_work(conn, text(mode), applied_by="test", **more)


async def move(bed: Bed, flow: Any, mode: Any, *matches: str, **more: Any) -> Any:
    async with bed.pool.acquire() as conn:
        asked = Move(flow=flow, mode=mode, matches=matches, include_since=more.pop("include_since", None))
        return await move_mode(conn, tenant_id=bed.tenant_id, actor="test", move=asked, **more)


async def commands(bed: Bed, kind: str = "order.create") -> list[tuple[str, str | None]]:
    rows = await bed.pool.fetch("SELECT state, code FROM command WHERE kind = $1 ORDER BY command_id", kind)
    return [(row[0], row[1]) for row in rows]


async def marks(bed: Bed, channel: str = "shop_a") -> dict[str, tuple[str, bool, bool]]:
    rows = await bed.pool.fetch(
        "SELECT sku, mode, dirty, sendable FROM channel_stock JOIN inventory_item USING (tenant_id, item_id)"
        " WHERE connection_id = $1",
        bed.connections[channel],
    )
    return {row[0]: (row[1], row[2], row[3]) for row in rows}


async def sold(bed: Bed, number: str, sku: str = "A", **more: Any) -> None:
    await bed.append([("shop_a", placed_now(order_event(number, [(sku, 1)], **more)))])
    await bed.apply()


@pytest_asyncio.fixture
async def bed(database: Database, owner_pool: Pool) -> AsyncIterator[Bed]:
    made = await make_bed(database, owner_pool, config=text("observe"))
    await put(made, "observe")
    yield made


# --- orders ----------------------------------------------------------------------------------------------------------------
async def test_observe_keeps_nothing_that_could_be_sent(bed: Bed) -> None:
    await sold(bed, "1")

    assert await commands(bed) == []
    outcome = await bed.pool.fetchrow("SELECT outcome, code FROM event_outcome")
    assert outcome is not None
    assert tuple(outcome) == ("applied", "observed")


async def test_going_live_creates_nothing_that_was_placed_before_also_when_it_is_touched_later(bed: Bed) -> None:
    await sold(bed, "1")
    await put(bed, "live")
    await bed.append([("shop_a", order_event("1", [("A", 2)], revision=2))])
    await bed.apply()
    assert await commands(bed) == []

    await sold(bed, "2")

    assert await commands(bed) == [("pending", None)]


async def test_what_was_asked_for_is_created_once_and_what_the_erp_knows_is_not(bed: Bed) -> None:
    since = datetime.now(UTC) - timedelta(minutes=5)
    for number in ("1", "2", "3"):
        await sold(bed, number)
    await sold(bed, "3", revision=2, state="cancelled")
    await bed.pool.execute(
        "INSERT INTO binding SELECT tenant_id, $1, 'order', 'SO-2', order_id FROM \"order\" WHERE external_id = '2'",
        bed.connections["erp"],
    )

    for _ in range(2):
        await move(bed, "orders", "live", include_since=since)

    assert await commands(bed) == [("pending", None)]
    await bed.append([("shop_a", order_event("1", [("A", 1)], revision=5))])
    await bed.apply()
    assert await commands(bed) == [("pending", None)], "touched again, it exists once"


async def test_including_older_orders_shuts_none_out_that_counted_before(bed: Bed) -> None:
    """A flow that never observed has no switch: `since` alone decides, and asking for more takes nothing away."""
    await bed.pool.execute("DELETE FROM flow_mode")
    await put(bed, "live")
    early = placed_now(order_event("1", [("A", 1)], payment="pending"))
    await bed.append([("shop_a", early)])
    await bed.apply()
    assert await commands(bed) == []

    await move(bed, "orders", "live", include_since=datetime.now(UTC))
    paid = order_event("1", [("A", 1)], revision=2)
    paid["order"]["placed_at"] = early["order"]["placed_at"]
    await bed.append([("shop_a", paid)])
    await bed.apply()

    assert await commands(bed) == [("pending", None)]


async def test_including_what_is_older_than_since_is_refused(bed: Bed) -> None:
    with pytest.raises(ConfigurationError, match="left alone"):
        await move(bed, "orders", "live", include_since=datetime(2025, 12, 31, tzinfo=UTC))


async def test_going_back_to_observe_ends_what_was_not_sent_and_asking_opens_it_again(bed: Bed) -> None:
    await put(bed, "live")
    await sold(bed, "1")
    await move(bed, "orders", "observe")
    assert await commands(bed) == [("cancelled", "observed")]
    await move(bed, "orders", "live")
    assert await commands(bed) == [("cancelled", "observed")]

    await move(bed, "orders", "live", include_since=datetime.now(UTC) - timedelta(minutes=5))

    assert await commands(bed) == [("pending", None)]


async def test_a_cancel_while_observing_is_sent_when_the_flow_is_live_again(bed: Bed) -> None:
    await put(bed, "live")
    await sold(bed, "1")
    await bed.pool.execute("UPDATE command SET state = 'succeeded', finished_at = now(), call_id = gen_random_uuid()")
    await move(bed, "orders", "observe")
    await sold(bed, "1", revision=2, state="cancelled")
    assert await commands(bed, "order.cancel") == [("cancelled", "observed")]

    await move(bed, "orders", "live")

    assert await commands(bed, "order.cancel") == [("pending", None)]


async def test_proposed_orders_wait_and_a_cancel_annihilates_them(bed: Bed) -> None:
    await put(bed, "propose")
    await sold(bed, "1")
    assert await commands(bed) == [("proposed", None)]

    await sold(bed, "1", revision=2, state="cancelled")

    assert await commands(bed) == [("cancelled", "annihilated")]
    assert await commands(bed, "order.cancel") == []


async def test_propose_to_live_releases_and_live_to_propose_holds(bed: Bed) -> None:
    await put(bed, "propose")
    await sold(bed, "1")
    await move(bed, "orders", "live")
    assert await commands(bed) == [("pending", None)]

    await move(bed, "orders", "propose")

    assert await commands(bed) == [("proposed", None)]


async def test_a_proposed_number_is_the_one_that_would_be_told(bed: Bed) -> None:
    """Less what the configuration keeps back, as when it is sent."""
    kept = text("propose").replace("mode: propose        #", "mode: propose\n    safety: 3   #")
    async with bed.pool.acquire() as conn:
        await put_to_work(conn, kept, applied_by="test")
    await bed.append([("erp", move_event("1", "A", 10))])
    await bed.apply()

    async with bed.pool.acquire() as conn:
        found = await read_proposals(conn, bed.tenant_id)
        told = await tell_quantities(
            conn, bed.tenant_id, found.marks, bed.context().connectors, parse(kept), datetime.now(UTC)
        )

    assert {(mark["sku"], mark["connection"]): number for mark, number in zip(found.marks, told, strict=True)} == {
        ("A", "shop_a"): 7,
        ("A", "shop_b"): 7,
    }


async def test_a_rejected_order_is_not_proposed_again(bed: Bed) -> None:
    await put(bed, "propose")
    await sold(bed, "1")
    async with bed.pool.acquire() as conn:
        verdict = await reject(
            conn, tenant_id=bed.tenant_id, selection=Selection(flows=("orders",)), actor="a", reason="by hand"
        )
    assert verdict.count == 1

    await sold(bed, "1", revision=2)

    assert await commands(bed) == [("cancelled", "rejected_by_operator")]


async def test_old_orders_their_edits_refunds_and_cancels_are_ignored_with_the_reason(bed: Bed) -> None:
    async with bed.pool.acquire() as conn:
        await put_to_work(conn, text("live").replace("2026-01-01", "2026-11-21"), applied_by="test")
    events = [
        order_event("9", [("A", 2)]),
        order_event("9", [("A", 1)], revision=2),
        order_event("9", [("A", 1)], revision=3, payment="refunded"),
        order_event("9", [("A", 1)], revision=4, state="cancelled"),
    ]

    for event in events:
        await bed.append([("shop_a", event)])
        await bed.apply()

    rows = await bed.pool.fetch("SELECT outcome, code, reason FROM event_outcome")
    assert [(row[0], row[1]) for row in rows] == [("ignored", "before_since")] * 4
    assert all("2026-11-21" in row[2] for row in rows)
    assert await bed.pool.fetchval("SELECT count(*) FROM command") == 0
    assert await bed.level("A") == (0, 0, 0)
    await bed.check_books()


async def test_replaying_everything_after_going_live_creates_nothing_historical(bed: Bed) -> None:
    for number in range(5):
        await sold(bed, str(number))
    await put(bed, "live")
    await sold(bed, "new")

    await bed.pool.execute(
        "INSERT INTO event_queue (slot, tenant_id, event_id, run) SELECT slot, tenant_id, event_id, 1 FROM event"
    )
    await bed.apply()

    assert await commands(bed) == [("pending", None)]


# --- stock -----------------------------------------------------------------------------------------------------------------
async def test_one_sku_then_a_group_then_all_go_live(bed: Bed) -> None:
    await bed.append([("erp", move_event(f"m{sku}", sku, 5)) for sku in ("A", "B", "C")])
    await bed.apply()
    assert await marks(bed) == dict.fromkeys("ABC", ("observe", False, False))

    await move(bed, "stock", "live", "sku:A")
    assert await marks(bed) == {
        "A": ("live", True, True), "B": ("observe", False, False), "C": ("observe", False, False)
    }  # fmt: skip
    await move(bed, "stock", "propose", "group:toys")
    assert (await marks(bed))["B"] == ("propose", True, False)
    await move(bed, "stock", "live")
    assert await marks(bed) == {"A": ("live", True, True), "B": ("propose", True, False), "C": ("live", True, True)}

    document = await bed.pool.fetchval("SELECT document FROM config_version ORDER BY version DESC LIMIT 1")
    assert "mode: live        # for all SKUs" in document
    assert "# from the shops" in document


async def test_observing_an_item_stops_what_is_pending_and_changes_are_not_marked(bed: Bed) -> None:
    await put(bed, "live")
    await bed.append([("erp", move_event("m1", "A", 5))])
    await bed.apply()
    await move(bed, "stock", "observe", "sku:A")
    assert (await marks(bed))["A"] == ("observe", False, False)

    await bed.append([("erp", move_event("m2", "A", 5)), ("erp", move_event("m3", "B", 5))])
    await bed.apply()

    assert (await marks(bed))["A"] == ("observe", False, False)
    assert (await marks(bed))["B"] == ("live", True, True)


async def test_what_a_channel_shows_is_not_known_any_more_when_an_item_was_observed(bed: Bed) -> None:
    """While we observed, others may have written there: the number is told although it is the one that we told last."""
    await put(bed, "live")
    await bed.append([("erp", move_event("m1", "A", 5))])
    await bed.apply()
    await bed.pool.execute(
        "UPDATE channel_stock SET dirty = false, dirty_at = NULL, push_version = 1, acked_quantity = 5, acked_at = now()"
    )

    await move(bed, "stock", "observe", "sku:A")
    await move(bed, "stock", "live", "sku:A")

    rows = await bed.pool.fetch(
        "SELECT sku, dirty, acked_quantity FROM channel_stock JOIN inventory_item USING (tenant_id, item_id)"
        " WHERE connection_id = $1 AND sku IN ('A', 'B') ORDER BY sku",
        bed.connections["shop_a"],
    )
    assert [tuple(row) for row in rows] == [("A", True, None), ("B", False, 5)]


async def test_a_new_binding_makes_no_number_up_and_throws_nothing_away(bed: Bed) -> None:
    """What was never counted is not told as 0; what failed stays failed while its flow observes, for it would only end."""
    await put(bed, "live")
    await sold(bed, "1")
    await bed.pool.execute("UPDATE command SET state = 'failed', code = 'sku_unbound', finished_at = now()")
    await move(bed, "orders", "observe")
    variants = {row[0]: row[1] for row in await bed.pool.fetch("SELECT sku, variant_id FROM variant")}

    async def bind(name: str, sku: str, *, is_channel: bool) -> None:
        async with bed.pool.acquire() as conn, conn.transaction():
            await lock_catalogue(conn, bed.tenant_id)
            await follow_bindings(
                conn, bed.tenant_id, bed.connections[name], moves=(), bound=(variants[sku],), is_channel=is_channel, counts=False
            )  # fmt: skip

    await bind("shop_a", "C", is_channel=True)
    await bind("shop_a", "A", is_channel=True)
    await bind("erp", "A", is_channel=False)
    found = await marks(bed)
    assert (found["A"], found["C"]) == (("live", True, True), ("live", False, True))
    assert await commands(bed) == [("failed", "sku_unbound")]

    await move(bed, "orders", "live")
    await bind("erp", "A", is_channel=False)
    assert await commands(bed) == [("pending", "retried_by_operator")]


async def test_an_approval_is_for_one_telling(bed: Bed) -> None:
    await put(bed, "propose")
    await bed.append([("erp", move_event("m1", "A", 5))])
    await bed.apply()
    async with bed.pool.acquire() as conn:
        verdict = await approve(conn, tenant_id=bed.tenant_id, selection=Selection(skus=("A*",)), actor="a")
        again = await approve(conn, tenant_id=bed.tenant_id, selection=Selection(skus=("A*",)), actor="b")

    assert (len(verdict.marks), again.count) == (2, 0)
    assert (await marks(bed))["A"] == ("propose", True, True)


async def test_a_trial_changes_nothing(bed: Bed) -> None:
    await bed.append([("erp", move_event("m1", "A", 5))])
    await bed.apply()
    before = await bed.pool.fetchval("SELECT count(*) FROM config_version")

    moved = await move(bed, "stock", "live", is_trial=True)

    assert (moved.before.numbers, moved.after.numbers) == (0, 2)
    assert await bed.pool.fetchval("SELECT count(*) FROM config_version") == before
    assert await marks(bed) == dict.fromkeys("ABC", ("observe", False, False))


async def test_a_group_or_flow_that_is_not_there_is_refused(bed: Bed) -> None:
    with pytest.raises(ConfigurationError, match="no group"):
        await move(bed, "stock", "live", "group:games")
    with pytest.raises(ConfigurationError, match="only the stock flow"):
        await move(bed, "orders", "live", "sku:A")


# --- races -----------------------------------------------------------------------------------------------------------------
async def test_two_people_move_at_once_and_both_get_what_they_asked_for(bed: Bed) -> None:
    await asyncio.gather(*(move(bed, "stock", "live", f"sku:{sku}") for sku in "ABC"))

    assert {mode for mode, _, _ in (await marks(bed)).values()} == {"live"}


async def test_two_approvers_decide_each_proposal_once(bed: Bed) -> None:
    await put(bed, "propose")
    await bed.append([("shop_a", placed_now(order_event(str(number), [("A", 1)]))) for number in range(40)])
    await bed.apply()

    async def decide(index: int) -> int:
        async with bed.pool.acquire() as conn:
            if index % 2:
                verdict = await reject(
                    conn, tenant_id=bed.tenant_id, selection=Selection(flows=("orders",)), actor="b", reason="no"
                )
            else:
                verdict = await approve(
                    conn, tenant_id=bed.tenant_id, selection=Selection(flows=("orders",)), actor="a"
                )
            return len(verdict.commands)

    counts = await asyncio.gather(*(decide(index) for index in range(4)))

    assert sum(counts) == 40
    audited = await bed.pool.fetchval(
        "SELECT sum(jsonb_array_length(detail->'commands')) FROM audit_log WHERE action LIKE 'proposals.%'"
    )
    assert audited == 40


async def test_approving_and_cancelling_at_once_never_leaves_both(bed: Bed) -> None:
    await put(bed, "propose")
    await bed.append([("shop_a", placed_now(order_event(str(number), [("A", 1)]))) for number in range(20)])
    await bed.apply()

    async def approve_all() -> None:
        async with bed.pool.acquire() as conn:
            await approve(conn, tenant_id=bed.tenant_id, selection=Selection(flows=("orders",)), actor="a")

    await bed.append([
        ("shop_a", placed_now(order_event(str(number), [("A", 1)], revision=2, state="cancelled"))) for number in range(20)
    ])  # fmt: skip
    await asyncio.gather(bed.apply(), approve_all())

    assert set(await commands(bed)) == {("cancelled", "annihilated")}
    assert await commands(bed, "order.cancel") == []


@pytest.mark.parametrize("seed", range(4))
async def test_any_interleaving_of_modes_sales_and_approvals_keeps_the_promises(bed: Bed, seed: int) -> None:
    """Each order is planned at most once; what can be sent was live or approved; what was placed while live is not lost."""
    dice = random.Random(seed)
    mode, placed = "observe", 0
    must: set[str] = set()
    for _ in range(14):
        step = dice.choice(["sell", "sell", "move", "approve", "edit"])
        if step == "sell":
            placed += 1
            await sold(bed, str(placed))
            if mode == "live":
                must.add(str(placed))
        elif step == "move":
            mode = dice.choice(["observe", "propose", "live"])
            await move(bed, "orders", mode)
            if mode == "observe":
                must.clear()
        elif step == "approve":
            async with bed.pool.acquire() as conn:
                await approve(conn, tenant_id=bed.tenant_id, selection=Selection(), actor="a")
        elif placed:
            await sold(bed, str(dice.randint(1, placed)), revision=dice.randint(2, 9))
        rows = await bed.pool.fetch(
            'SELECT o.external_id, c.state, c.approved_at FROM command c JOIN "order" o ON o.order_id = c.entity_id'
        )
        assert len({row["external_id"] for row in rows}) == len(rows), "no duplicates"
        open_rows = [row for row in rows if row["state"] in ("pending", "proposed")]
        assert not (mode == "observe" and open_rows)
        unapproved = [row for row in open_rows if row["state"] == "pending" and row["approved_at"] is None]
        assert not (mode == "propose" and unapproved)
        if mode == "live":
            sendable = {row["external_id"] for row in rows if row["state"] == "pending"}
            assert must <= sendable


async def test_what_a_lane_puts_back_while_the_flow_observes_ends(bed: Bed) -> None:
    await put(bed, "live")
    await sold(bed, "1")
    command_id = await bed.pool.fetchval("SELECT command_id FROM command")

    await bed.pool.execute(
        END_OBSERVED, bed.tenant_id, bed.connections["erp"], [command_id], "observed", "its flow observes"
    )

    assert await commands(bed) == [("cancelled", "observed")]
