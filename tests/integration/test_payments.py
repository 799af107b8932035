"""T2 and payments: whatever comes first, money is captured once when goods leave, released on cancel, given back once."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from tests.alertbed import watching
from tests.applybed import CONFIG, Bed, order_event, shipment_event
from tests.paymentbed import (
    config_with,
    dispute_event,
    hint_event,
    intent_event,
    make_payment_bed,
    paid_order,
    refund_event,
    shop_refund,
)

from tidegate.kernel.ids import public_id
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.sync.going_live import put_to_work

pytestmark = pytest.mark.asyncio


async def tell(bed: Bed, *events: tuple[str, dict[str, Any]]) -> None:
    """Append events one by one and apply each before the next."""
    for event in events:
        await bed.append([event])
        await bed.apply()


async def order_id_of(bed: Bed, number: str = "1") -> UUID:
    found: UUID = await bed.pool.fetchval('SELECT order_id FROM "order" WHERE external_id = $1', number)
    return found


async def money_commands(bed: Bed) -> list[tuple[str, str, str, int]]:
    """Return (connection, kind, state, version) of the commands that move money."""
    rows = await bed.pool.fetch(
        "SELECT c.name, m.kind, m.state, m.version FROM command m JOIN connection c USING (tenant_id, connection_id)"
        " WHERE m.kind IN ('payment.capture', 'payment.void', 'refund.create') ORDER BY m.kind, m.version, c.name"
    )
    return [(row[0], row[1], row[2], int(row[3])) for row in rows]


async def payment_state(bed: Bed, number: str = "1") -> str:
    return str(await bed.pool.fetchval('SELECT payment_state FROM "order" WHERE external_id = $1', number))


async def ship(bed: Bed, units: int = 2, *, shipment: str = "s-1", number: str = "1") -> None:
    await tell(bed, ("erp", shipment_event(shipment, await order_id_of(bed, number), [("A", units)], tracking="T")))


CAPTURED = [("pay", "payment.capture", "pending", 1)]


@pytest.mark.parametrize("order", list(itertools.permutations(("order", "payment", "shipment"))), ids="-".join)
async def test_goods_that_left_are_captured_once_whatever_was_told_first(
    database: Database, owner_pool: Pool, order: tuple[str, ...]
) -> None:
    """The shipment's own event waits for its order; the payment waits for it too, and nothing is lost."""
    bed = await make_payment_bed(database, owner_pool)
    if order.index("shipment") < order.index("order"):
        pytest.skip("a shipment names our order, so it cannot be told before it is known")
    for what in order:
        if what == "order":
            await tell(bed, ("shop_a", paid_order("1", "pi_1", payment="pending")))
        elif what == "payment":
            await tell(bed, ("pay", intent_event("pi_1", "requires_capture")))
        else:
            await ship(bed)

    assert await money_commands(bed) == CAPTURED
    assert await payment_state(bed) == "authorised"
    row = await owner_pool.fetchrow("SELECT amount_minor, is_final, state FROM capture")
    assert row is not None
    assert tuple(row) == (4498, True, "planned")
    assert await owner_pool.fetchval("SELECT claimed_minor FROM psp_payment") == 4498


async def test_all_of_it_in_one_batch_and_again_changes_nothing(database: Database, owner_pool: Pool) -> None:
    bed = await make_payment_bed(database, owner_pool)
    await bed.append([("pay", intent_event("pi_1", "requires_capture")), ("shop_a", paid_order("1", "pi_1"))])
    await bed.apply()
    await ship(bed)
    await ship(bed, 2, shipment="s-2")
    await tell(
        bed,
        ("shop_a", paid_order("1", "pi_1", revision=2)),
        ("pay", intent_event("pi_1", "requires_capture", at=1)),
        ("pay", intent_event("pi_1", "requires_capture", at=2)),
    )

    assert await money_commands(bed) == CAPTURED
    assert await owner_pool.fetchval("SELECT count(*) FROM capture") == 1


async def test_a_provider_that_says_authorised_releases_an_order_that_the_shop_calls_pending(
    database: Database, owner_pool: Pool
) -> None:
    bed = await make_payment_bed(database, owner_pool)
    await tell(bed, ("shop_a", paid_order("1", "pi_1", payment="pending")))
    assert await owner_pool.fetchval("SELECT count(*) FROM command WHERE kind = 'order.create'") == 0

    await tell(bed, ("pay", intent_event("pi_1", "requires_capture")))

    assert await owner_pool.fetchval("SELECT state FROM command WHERE kind = 'order.create'") == "pending"


async def test_a_flow_that_observes_reads_and_changes_nothing(database: Database, owner_pool: Pool) -> None:
    bed = await make_payment_bed(database, owner_pool, payments="mode: observe")
    await tell(
        bed,
        ("shop_a", paid_order("1", "pi_1", payment="pending")),
        ("pay", intent_event("pi_1", "requires_capture")),
    )
    await ship(bed)

    assert await money_commands(bed) == []
    assert await payment_state(bed) == "pending", "the shop's word counts while the flow observes"
    assert await owner_pool.fetchval("SELECT state FROM psp_payment") == "authorised"


async def test_what_left_while_the_flow_observed_is_captured_when_it_does_not_any_more(
    database: Database, owner_pool: Pool
) -> None:
    """An authorisation lapses: nobody else captures once the old integration is switched off."""
    bed = await make_payment_bed(database, owner_pool, payments="mode: observe")
    await tell(bed, ("shop_a", paid_order("1", "pi_1")), ("pay", intent_event("pi_1", "requires_capture")))
    await ship(bed)
    async with owner_pool.acquire() as conn:
        await put_to_work(conn, config_with("mode: observe") + "timezone: UTC\n", applied_by="test")
        await put_to_work(conn, config_with("mode: live"), applied_by="test")
    asked = await owner_pool.fetch("SELECT topic, external_id FROM fetch_request")
    assert [tuple(row) for row in asked] == [("payment", "pi_1")], "the payment is read anew, and that has it planned"
    await tell(bed, ("pay", intent_event("pi_1", "requires_capture", at=5)))

    assert await money_commands(bed) == CAPTURED


async def test_payments_from_before_there_was_a_payments_flow_are_joined_when_there_is_one(
    database: Database, owner_pool: Pool
) -> None:
    """One was shown by its provider, one was not, one order is settled and one is older than the flow."""
    bed = await make_payment_bed(database, owner_pool)
    without = config_with().rpartition("  payments:")[0].replace(", capture: pay", "").replace(", payment: pay", "")
    async with owner_pool.acquire() as conn:
        await put_to_work(conn, without, applied_by="test")
    await tell(
        bed,
        ("shop_a", paid_order("1", "pi_1", payment="pending")),
        ("pay", intent_event("pi_1", "requires_capture")),
        ("pay", refund_event("re_1", "pi_1", 500)),
        ("shop_a", paid_order("2", "pi_2", payment="authorised")),
        ("shop_a", paid_order("3", "pi_3", payment="paid")),
    )
    await ship(bed)
    assert await owner_pool.fetchval("SELECT count(*) FROM psp_payment WHERE order_id IS NOT NULL") == 0

    async with owner_pool.acquire() as conn:
        await put_to_work(conn, config_with(), applied_by="test")
        await put_to_work(conn, config_with(), applied_by="test")
    asked = await owner_pool.fetch("SELECT topic, external_id FROM fetch_request ORDER BY external_id")
    assert [tuple(row) for row in asked] == [("payment", "pi_1"), ("payment", "pi_2")]
    for at, psp in enumerate(("pi_1", "pi_2", "pi_1"), 5):
        await bed.append([("pay", intent_event(psp, "requires_capture", at=at))], source="fetch")
        await bed.apply()

    joined = await owner_pool.fetch(
        'SELECT p.external_id, o.external_id FROM psp_payment p JOIN "order" o USING (tenant_id, order_id) ORDER BY 1'
    )
    assert [tuple(row) for row in joined] == [("pi_1", "1"), ("pi_2", "2")]
    assert await money_commands(bed) == CAPTURED, "what was shipped before is captured, and only once"
    assert await payment_state(bed) == "authorised"
    (refund,) = await owner_pool.fetch("SELECT order_id IS NOT NULL, carry, code FROM refund")
    assert tuple(refund) == (True, "left", "before_flow"), "the shop may show it already, and nobody looked"


async def test_propose_waits_for_a_person(database: Database, owner_pool: Pool) -> None:
    bed = await make_payment_bed(database, owner_pool, payments="mode: propose")
    await tell(bed, ("shop_a", paid_order("1", "pi_1")), ("pay", intent_event("pi_1", "requires_capture")))
    await ship(bed)

    assert await money_commands(bed) == [("pay", "payment.capture", "proposed", 1)]


async def test_orders_from_before_since_are_left_alone(database: Database, owner_pool: Pool) -> None:
    bed = await make_payment_bed(database, owner_pool, payments="mode: live, since: 2026-11-25")
    await tell(bed, ("shop_a", paid_order("1", "pi_1", payment="pending")), ("pay", intent_event("pi_1", "succeeded")))
    await ship(bed)

    assert await money_commands(bed) == []
    assert await payment_state(bed) == "pending"


async def test_a_cancelled_order_is_released_and_one_that_left_is_not(database: Database, owner_pool: Pool) -> None:
    bed = await make_payment_bed(database, owner_pool)
    await tell(
        bed,
        ("shop_a", paid_order("1", "pi_1")),
        ("pay", intent_event("pi_1", "requires_capture")),
        ("shop_a", paid_order("1", "pi_1", revision=2, state="cancelled", units=0, ordered=[2])),
        ("shop_a", paid_order("1", "pi_1", revision=3, state="cancelled", units=0, ordered=[2])),
        ("shop_a", paid_order("2", "pi_2")),
        ("pay", intent_event("pi_2", "requires_capture")),
    )
    await ship(bed, number="2")
    await tell(bed, ("shop_a", paid_order("2", "pi_2", revision=2, state="cancelled")))

    assert await money_commands(bed) == [
        ("pay", "payment.capture", "pending", 1),
        ("pay", "payment.void", "pending", 1),
    ]


async def test_a_payment_that_is_authorised_after_the_cancel_is_released(database: Database, owner_pool: Pool) -> None:
    bed = await make_payment_bed(database, owner_pool)
    await tell(
        bed,
        ("shop_a", paid_order("1", "pi_1", state="cancelled", units=0, ordered=[2])),
        ("pay", intent_event("pi_1", "requires_action")),
        ("pay", intent_event("pi_1", "requires_capture", at=9)),
    )

    assert await money_commands(bed) == [("pay", "payment.void", "pending", 1)]


# --- refunds -----------------------------------------------------------------------------------------------------------
async def captured_order(bed: Bed) -> None:
    await tell(bed, ("shop_a", paid_order("1", "pi_1")), ("pay", intent_event("pi_1", "succeeded", at=10)))


async def refunds(bed: Bed) -> list[tuple[Any, ...]]:
    rows = await bed.pool.fetch(
        "SELECT origin, kind, amount_minor, state, carry, channel_ref, psp_ref FROM refund ORDER BY refund_id"
    )
    return [tuple(row) for row in rows]


async def test_a_refund_that_the_shop_only_recorded_is_made_at_the_provider(
    database: Database, owner_pool: Pool
) -> None:
    bed = await make_payment_bed(database, owner_pool)
    await captured_order(bed)
    refunded = paid_order("1", "pi_1", revision=2, refunds=(shop_refund("r-1", 1500),))
    await tell(bed, ("shop_a", refunded), ("shop_a", {**refunded, "id": "again"}))

    assert await money_commands(bed) == [("pay", "refund.create", "pending", 1)]
    assert await refunds(bed) == [("channel", "refund", 1500, "succeeded", "planned", "r-1", None)]
    waits = await owner_pool.fetchval("SELECT not_before > now() FROM command WHERE kind = 'refund.create'")
    assert waits is True, "it is given time to appear at the provider by itself"

    refund_id = await owner_pool.fetchval("SELECT refund_id FROM refund")
    ours = {"tidegate_refund": public_id("rfn", "c0", refund_id)}
    await owner_pool.execute("UPDATE refund SET carry = 'sent'")
    await tell(bed, ("pay", refund_event("re_1", "pi_1", 1500, metadata=ours)))

    assert len(await money_commands(bed)) == 1, "our own refund that comes back is no news for the shop"
    assert await refunds(bed) == [("channel", "refund", 1500, "succeeded", "done", "r-1", "re_1")]
    assert await payment_state(bed) == "partially_refunded"


async def test_a_refund_at_the_provider_is_told_to_the_shop_and_its_echo_is_no_news(
    database: Database, owner_pool: Pool
) -> None:
    bed = await make_payment_bed(database, owner_pool)
    await captured_order(bed)
    await tell(bed, ("pay", refund_event("re_1", "pi_1", 4498)))

    assert await money_commands(bed) == [("shop_a", "refund.create", "pending", 1)]
    assert await payment_state(bed) == "refunded"

    refund_id = await owner_pool.fetchval("SELECT refund_id FROM refund")
    echo = shop_refund("r-9", 4498, reference=public_id("rfn", "c0", refund_id))
    await tell(bed, ("shop_a", paid_order("1", "pi_1", revision=2, refunds=(echo,))))

    assert len(await money_commands(bed)) == 1
    assert await refunds(bed) == [("provider", "refund", 4498, "succeeded", "done", "r-9", "re_1")]


@pytest.mark.parametrize("first", ["shop", "provider"])
@pytest.mark.parametrize("says_id", [True, False], ids=["with-id", "without-id"])
async def test_a_refund_that_the_shop_carries_out_itself_is_one_refund(
    database: Database, owner_pool: Pool, first: str, *, says_id: bool
) -> None:
    """Both sides show it, and nobody is told of it: by the provider's id, or, without one, by payment and amount."""
    bed = await make_payment_bed(database, owner_pool)
    await captured_order(bed)
    refunded = paid_order("1", "pi_1", revision=2, refunds=(shop_refund("r-1", 1500, psp="re_1" if says_id else ""),))
    told = [("shop_a", refunded), ("pay", refund_event("re_1", "pi_1", 1500))]
    await tell(bed, *(told if first == "shop" else reversed(told)))

    (refund,) = await refunds(bed)
    assert refund[-3:] == ("done", "r-1", "re_1")
    assert await owner_pool.fetchval("SELECT code FROM refund") == (None if says_id else "taken_for_one")
    rows = await owner_pool.fetch(
        "SELECT state, not_before > now() AS is_parked FROM command WHERE kind = 'refund.create'"
    )
    assert all(row["state"] == "pending" and row["is_parked"] for row in rows), "T2s ends it: it is there already"


@pytest.mark.parametrize("first", ["shop", "provider"])
async def test_of_equal_amounts_on_both_sides_only_as_many_are_taken_for_one_as_each_side_shows(
    database: Database, owner_pool: Pool, first: str
) -> None:
    """Two recorded in the shop and one made at the provider, all of one amount: one pair, and one that is carried over."""
    bed = await make_payment_bed(database, owner_pool)
    await captured_order(bed)
    shown = (shop_refund("r-1", 1500), shop_refund("r-2", 1500))
    told = [
        ("shop_a", paid_order("1", "pi_1", revision=2, refunds=shown)),
        ("pay", refund_event("re_1", "pi_1", 1500)),
    ]
    await tell(bed, *(told if first == "shop" else reversed(told)))

    rows = await owner_pool.fetch("SELECT carry, code, channel_ref, psp_ref FROM refund ORDER BY channel_ref")
    assert [tuple(row) for row in rows] == [
        ("done", "taken_for_one", "r-1", "re_1"),
        ("planned", None, "r-2", None),
    ]
    assert await owner_pool.fetchval("SELECT refunding_minor FROM psp_payment") in (1500, 3000)


async def test_no_more_goes_back_than_was_captured(database: Database, owner_pool: Pool) -> None:
    bed = await make_payment_bed(database, owner_pool)
    await captured_order(bed)
    many = tuple(shop_refund(f"r-{number}", 1500) for number in range(4))
    await tell(bed, ("shop_a", paid_order("1", "pi_1", revision=2, refunds=many)))

    assert [command[-1] for command in await money_commands(bed)] == [1, 2]
    codes = await owner_pool.fetch("SELECT carry, code FROM refund ORDER BY number")
    assert [tuple(row) for row in codes] == [
        ("planned", None),
        ("planned", None),
        ("open", "exceeds_captured"),
        ("open", "exceeds_captured"),
    ]
    with pytest.raises(asyncpg.CheckViolationError):
        await owner_pool.execute("UPDATE psp_payment SET refunding_minor = captured_minor + 1")
    with pytest.raises(asyncpg.CheckViolationError):
        await owner_pool.execute("UPDATE psp_payment SET claimed_minor = amount_minor + 1")


async def test_a_refund_from_before_the_capture_waits_for_it(database: Database, owner_pool: Pool) -> None:
    bed = await make_payment_bed(database, owner_pool)
    await tell(
        bed,
        ("pay", intent_event("pi_1", "requires_capture")),
        ("shop_a", paid_order("1", "pi_1", refunds=(shop_refund("r-1", 1500),))),
    )
    assert await money_commands(bed) == []

    await tell(bed, ("pay", intent_event("pi_1", "succeeded", at=10)))

    assert await money_commands(bed) == [("pay", "refund.create", "pending", 1)]


async def test_refunds_and_disputes_of_a_payment_wait_for_its_order(database: Database, owner_pool: Pool) -> None:
    bed = await make_payment_bed(database, owner_pool)
    await tell(bed, ("pay", refund_event("re_1", "pi_1", 1500)))
    fetch = await owner_pool.fetchrow("SELECT topic, external_id FROM fetch_request")
    assert fetch is not None
    assert tuple(fetch) == ("payment", "pi_1"), "the payment itself was never seen: it is read"
    await tell(bed, ("pay", intent_event("pi_1", "succeeded", at=10)), ("shop_a", paid_order("1", "pi_1")))

    assert await money_commands(bed) == [("shop_a", "refund.create", "pending", 1)]
    assert await payment_state(bed) == "partially_refunded"


async def test_an_open_dispute_holds_the_order_and_a_lost_one_is_told(database: Database, owner_pool: Pool) -> None:
    bed = await make_payment_bed(database, owner_pool)
    await captured_order(bed)
    await tell(bed, ("pay", dispute_event("du_1", "pi_1", "needs_response")))
    assert await payment_state(bed) == "disputed"
    assert await money_commands(bed) == []

    await tell(bed, ("pay", dispute_event("du_1", "pi_1", "lost", at=300)))

    assert await money_commands(bed) == [("shop_a", "refund.create", "pending", 1)]
    assert await payment_state(bed) == "refunded"


@pytest.mark.parametrize(
    ("direction", "told"),
    [("none", []), ("to_provider", ["pay"]), ("to_channel", ["shop_a"]), ("both", ["pay", "shop_a"])],
)
async def test_refunds_go_the_ways_that_the_flow_says(
    database: Database, owner_pool: Pool, direction: str, told: list[str]
) -> None:
    bed = await make_payment_bed(database, owner_pool, payments=f"mode: live, refunds: {direction}")
    await captured_order(bed)
    await tell(
        bed,
        ("pay", refund_event("re_1", "pi_1", 700)),
        ("shop_a", paid_order("1", "pi_1", revision=2, refunds=(shop_refund("r-1", 1500),))),
    )

    assert sorted(command[0] for command in await money_commands(bed)) == told


async def test_refunds_seen_while_the_flow_observed_are_left_alone(database: Database, owner_pool: Pool) -> None:
    """Somebody else carried them over then: to do it again would give the money back twice."""
    bed = await make_payment_bed(database, owner_pool, payments="mode: observe")
    await captured_order(bed)
    await tell(
        bed,
        ("pay", refund_event("re_1", "pi_1", 700)),
        ("shop_a", paid_order("1", "pi_1", revision=2, refunds=(shop_refund("r-1", 1500),))),
    )
    assert [tuple(row) for row in await owner_pool.fetch("SELECT carry, code FROM refund ORDER BY number")] == [
        ("left", "observed"),
        ("left", "observed"),
    ]


# --- parts -------------------------------------------------------------------------------------------------------------
async def test_parts_are_captured_where_the_card_can_and_the_last_one_takes_the_rest(
    database: Database, owner_pool: Pool
) -> None:
    bed = await make_payment_bed(database, owner_pool, payments="mode: live, partial: per_shipment")
    card = {"payment_method_details": {"type": "card", "card": {"multicapture": {"status": "available"}}}}
    charge = {"id": "ch_1", "object": "charge", **card}
    await tell(
        bed,
        ("shop_a", paid_order("1", "pi_1")),
        ("pay", intent_event("pi_1", "requires_capture", latest_charge=charge)),
    )
    await ship(bed, 1)
    await ship(bed, 1, shipment="s-2")

    rows = await owner_pool.fetch("SELECT number, amount_minor, is_final FROM capture ORDER BY number")
    assert [tuple(row) for row in rows] == [(1, 500 + 1999, False), (2, 1999, True)]


async def test_a_card_that_cannot_be_captured_in_parts_is_captured_whole(database: Database, owner_pool: Pool) -> None:
    bed = await make_payment_bed(database, owner_pool, payments="mode: live, partial: per_shipment")
    await tell(bed, ("shop_a", paid_order("1", "pi_1")), ("pay", intent_event("pi_1", "requires_capture")))
    await ship(bed, 1)
    await ship(bed, 1, shipment="s-2")

    assert [tuple(row) for row in await owner_pool.fetch("SELECT amount_minor, is_final FROM capture")] == [
        (4498, True)
    ]


async def test_what_was_captured_elsewhere_is_not_captured_again(database: Database, owner_pool: Pool) -> None:
    bed = await make_payment_bed(database, owner_pool)
    await tell(bed, ("shop_a", paid_order("1", "pi_1")), ("pay", intent_event("pi_1", "succeeded")))
    await ship(bed)

    assert await money_commands(bed) == []
    assert await payment_state(bed) == "paid"


async def test_orders_without_a_payment_at_the_provider_are_as_before(database: Database, owner_pool: Pool) -> None:
    bed = await make_payment_bed(database, owner_pool)
    await tell(bed, ("shop_a", order_event("1", [("A", 2)])))
    await ship(bed)

    assert await money_commands(bed) == []
    assert await owner_pool.fetchval("SELECT count(*) FROM psp_payment") == 0


async def test_two_processes_and_both_sides_at_once(database: Database, owner_pool: Pool) -> None:
    """Orders and their payments land in different slots: whichever transaction is second sees the first one."""
    bed = await make_payment_bed(database, owner_pool)
    numbers = [str(number) for number in range(20)]
    events: list[tuple[str, dict[str, Any]]] = []
    for number in numbers:
        events.append(("shop_a", paid_order(number, f"pi_{number}", payment="pending")))
        events.append(("pay", intent_event(f"pi_{number}", "requires_capture")))
    await bed.append(events)
    await bed.apply(processes=2)

    joined = await owner_pool.fetchval(
        "SELECT count(*) FROM psp_payment WHERE order_id IS NOT NULL AND state = 'authorised'"
    )
    assert joined == len(numbers)
    released = await owner_pool.fetchval("SELECT count(*) FROM command WHERE kind = 'order.create'")
    assert released == len(numbers)
    await bed.check_books()


async def test_a_payment_that_nobody_showed_is_read_and_one_that_is_shown_in_time_is_not(
    database: Database, owner_pool: Pool
) -> None:
    bed = await make_payment_bed(database, owner_pool)
    await tell(bed, ("shop_a", paid_order("1", "pi_1")), ("shop_a", paid_order("2", "pi_2")))
    rows = await owner_pool.fetch("SELECT external_id, not_before > now() FROM fetch_request ORDER BY 1")
    assert [tuple(row) for row in rows] == [("pi_1", True), ("pi_2", True)]

    await tell(bed, ("pay", intent_event("pi_1", "requires_capture")))

    assert await owner_pool.fetchval("SELECT array_agg(external_id) FROM fetch_request") == ["pi_2"]


async def test_what_ended_because_the_flow_observed_meanwhile_is_open_again(
    database: Database, owner_pool: Pool
) -> None:
    """Sent, told to wait, and then ended by a flow that observes for a while: the money must still be captured."""
    bed = await make_payment_bed(database, owner_pool)
    await tell(bed, ("shop_a", paid_order("1", "pi_1")), ("pay", intent_event("pi_1", "requires_capture")))
    await ship(bed)
    await owner_pool.execute("UPDATE capture SET state = 'sent'")
    await owner_pool.execute(
        "UPDATE command SET state = 'cancelled', code = 'observed', finished_at = now(), call_id = gen_random_uuid()"
        " WHERE kind = 'payment.capture'"
    )
    await tell(bed, ("pay", intent_event("pi_1", "requires_capture", at=3)))

    assert await money_commands(bed) == CAPTURED


# --- the delivery that names the payment is lost ---------------------------------------------------------------------
async def reads_asked_for(bed: Bed) -> list[tuple[str, str]]:
    rows = await bed.pool.fetch("SELECT topic, external_id FROM fetch_request ORDER BY 1, 2")
    return [(row[0], row[1]) for row in rows]


async def outcome_of_hint(bed: Bed, number: str = "1", revision: int = 1, look: int = 1) -> str:
    """Tell a hint and return the code that it ended with."""
    (event_id,) = await bed.append([("shop_a", hint_event(number, revision, look=look))])
    await bed.apply()
    found: str = await bed.pool.fetchval("SELECT code FROM event_outcome WHERE event_id = $1", event_id)
    return found


@pytest.mark.parametrize("is_shown", [False, True], ids=["payment-unseen", "payment-shown"])
async def test_an_order_whose_payment_was_not_told_is_read_and_captured(
    database: Database, owner_pool: Pool, *, is_shown: bool
) -> None:
    """The goods have left before anybody told by which payment they are paid: a feed's hint is enough."""
    bed = await make_payment_bed(database, owner_pool)
    if is_shown:
        await tell(bed, ("pay", intent_event("pi_1", "requires_capture")))
    await tell(bed, ("shop_a", order_event("1", [("A", 2)])))
    await ship(bed)
    assert await money_commands(bed) == []

    assert await outcome_of_hint(bed) == "payment_unknown"
    assert await reads_asked_for(bed) == [("order", "1")]
    await bed.append([("shop_a", paid_order("1", "pi_1"))], source="fetch")
    await bed.apply()
    if not is_shown:
        await tell(bed, ("pay", intent_event("pi_1", "requires_capture")))

    assert await money_commands(bed) == CAPTURED
    assert await outcome_of_hint(bed, look=2) == "known_version", "it is told now"
    await bed.check_books()


async def test_an_order_without_a_payment_at_the_provider_is_not_read_again_once_that_is_known(
    database: Database, owner_pool: Pool
) -> None:
    """Cash on delivery: the read shows a payment without an id at the provider, and nothing is asked for any more."""
    bed = await make_payment_bed(database, owner_pool)
    await tell(bed, ("shop_a", order_event("1", [("A", 2)])))
    assert await outcome_of_hint(bed) == "payment_unknown"
    await owner_pool.execute("DELETE FROM fetch_request")
    await bed.append([("shop_a", paid_order("1", ""))], source="fetch")
    await bed.apply()

    assert await outcome_of_hint(bed, look=2) == "known_version"
    await tell(bed, ("shop_a", order_event("1", [("A", 2)], revision=2)))
    assert await outcome_of_hint(bed, revision=2) == "known_version"
    assert await reads_asked_for(bed) == []


@pytest.mark.parametrize(
    ("payments", "payment"),
    [("mode: live", "pending"), ("mode: live, since: 2026-11-25", "authorised"), (None, "authorised")],
    ids=["unpaid", "before-since", "no-flow"],
)
async def test_known_orders_are_not_read_where_their_payment_does_not_matter(
    database: Database, owner_pool: Pool, payments: str | None, payment: str
) -> None:
    bed = await make_payment_bed(database, owner_pool, payments=payments or "mode: live")
    if payments is None:
        async with owner_pool.acquire() as conn:
            await put_to_work(conn, CONFIG, applied_by="test")
    await tell(bed, ("shop_a", order_event("1", [("A", 2)], payment=payment)))

    assert await outcome_of_hint(bed) == "known_version"
    assert await reads_asked_for(bed) == []


async def test_an_order_and_its_hint_in_one_batch_are_one_read(database: Database, owner_pool: Pool) -> None:
    bed = await make_payment_bed(database, owner_pool)
    await bed.append(
        [
            ("shop_a", order_event("1", [("A", 2)])),
            ("shop_a", hint_event("1")),
            ("shop_a", hint_event("1", look=2)),
            ("shop_a", paid_order("2", "pi_2")),
            ("shop_a", hint_event("2")),
        ]
    )
    await bed.apply()

    rows = await owner_pool.fetch("SELECT topic, external_id, hints FROM fetch_request ORDER BY 1, 2")
    assert [tuple(row) for row in rows] == [("order", "1", 2), ("payment", "pi_2", 1)]


async def test_goods_that_left_without_a_capture_are_an_alert_until_the_payment_is_known(
    database: Database, owner_pool: Pool
) -> None:
    bed = await make_payment_bed(database, owner_pool)
    await tell(
        bed,
        ("shop_a", order_event("1", [("A", 2)])),
        ("shop_a", order_event("2", [("A", 2)])),
        ("shop_a", order_event("3", [("A", 2)], payment="paid")),
        ("shop_a", paid_order("4", "pi_4")),
        ("pay", intent_event("pi_4", "requires_capture")),
    )
    for number in ("1", "3", "4"):
        await ship(bed, number=number, shipment=f"s-{number}")
    connectors = {"hostile": bed.connector, "stripe": bed.others["pay"]}
    async with watching(database, owner_pool, connectors) as watch:
        for _ in range(6):
            await watch.round()
        assert "capture_missing" not in {rule for rule, _ in await watch.firing()}
        watch.clock.move(timedelta(minutes=15))

        fired = await watch.until_firing("capture_missing", "shop_a")
        assert fired["next_command"] == "tidegate why order N1"
        assert "1 orders" in fired["cause"]

        await bed.append([("shop_a", paid_order("1", "pi_1", revision=2))])
        await bed.append([("pay", intent_event("pi_1", "requires_capture"))])
        await bed.apply()
        await watch.until_over("capture_missing")


async def test_an_order_that_its_channel_never_told_is_read_because_its_payment_names_it(
    database: Database, owner_pool: Pool
) -> None:
    """After ten minutes, in every channel, once; one that comes by itself is not read, and one hinted at by its channel is."""
    bed = await make_payment_bed(database, owner_pool)
    for number in ("1", "2", "3"):
        shown = intent_event(f"pi_{number}", "requires_capture", metadata={"order_id": number})
        await tell(bed, ("pay", shown), ("pay", intent_event(f"pi_{number}", "succeeded", at=5)))
    await tell(bed, ("pay", intent_event("pi_4", "requires_capture", metadata={"order_id": "../4"})))
    asked = await owner_pool.fetch(
        "SELECT external_id, min(not_before) > now() + interval '9 minutes', count(*)"
        " FROM fetch_request GROUP BY 1 ORDER BY 1"
    )
    assert [tuple(row) for row in asked] == [("1", True, 2), ("2", True, 2), ("3", True, 2)]

    await tell(bed, ("shop_a", {"id": "h", "type": "order.hint", "order_id": "2"}))
    await tell(bed, ("shop_a", paid_order("1", "pi_1")), ("shop_a", paid_order("2", "pi_2")))

    rows = await owner_pool.fetch(
        "SELECT c.name, f.external_id FROM fetch_request f JOIN connection c USING (tenant_id, connection_id) ORDER BY 1, 2"
    )
    assert [tuple(row) for row in rows] == [
        ("shop_a", "2"),
        ("shop_a", "3"),
        ("shop_b", "3"),
    ]
