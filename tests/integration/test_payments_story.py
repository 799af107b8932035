"""`why order` tells of the money: what the provider shows, what is asked of it, what goes back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tests.applybed import shipment_event
from tests.paymentbed import intent_event, make_payment_bed, paid_order, shop_refund

from tidegate.monitor.explain import explain_order, find_orders
from tidegate.store.connections import Pool
from tidegate.store.database import Database

pytestmark = pytest.mark.asyncio


async def test_the_story_of_an_order_shows_its_payment_steps(database: Database, owner_pool: Pool) -> None:
    bed = await make_payment_bed(database, owner_pool)
    for event in (("pay", intent_event("pi_1", "requires_capture")), ("shop_a", paid_order("1", "pi_1"))):
        await bed.append([event])
        await bed.apply()
    order_id = await owner_pool.fetchval('SELECT order_id FROM "order"')
    await bed.append([("erp", shipment_event("s-1", order_id, [("A", 2)], tracking="T"))])
    await bed.apply()
    await bed.append([("shop_a", paid_order("1", "pi_1", revision=2, refunds=(shop_refund("r-1", 9_999),)))])
    await bed.apply()

    async with owner_pool.acquire() as conn:
        (order,) = await find_orders(conn, bed.tenant_id, "N1")
        story = await explain_order(conn, bed.tenant_id, order, cell="c0", now=datetime.now(UTC))

    assert [told["words"] for told in story.payments] == [
        "pi_1 in pay is authorised, of 44.98 EUR, asked to capture 44.98 EUR"
    ]
    assert [told["words"] for told in story.refunds] == [
        "refund of 99.99 EUR, succeeded, first shown by the channel: not carried over yet (exceeds_captured)"
    ]
    words = [step.words for step in story.steps]
    assert "planned: capture the payment in pay" in words
    assert any("no order names pi_1 yet" in said for said in words), "also what came before the order"
