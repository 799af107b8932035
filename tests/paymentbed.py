"""The tenant of `applybed` with Stripe as its payment provider, and Stripe's events as a test wants them."""

from __future__ import annotations

from typing import Any

from tests.applybed import CONFIG, Bed, make_bed, order_event
from tidegate.connectors import stripe
from tidegate.kernel.ids import new_id
from tidegate.store.connections import Pool
from tidegate.store.database import Database

T0 = 1_795_600_000
"""Unix seconds of the events; each test adds to it."""


def config_with(payments: str = "mode: live", *, capture: bool = True) -> str:
    """Return the bed's configuration with a payments flow."""
    text = CONFIG.replace("  erp: {use", "  pay: {use: stripe}\n  erp: {use", 1)
    text = text.replace("shipment: erp}", "shipment: erp, payment: pay}")
    if capture:
        text = text.replace("shipments: {from: erp, to: origin", "shipments: {from: erp, to: origin, capture: pay")
    return text + f"  payments: {{from: pay, {payments}}}\n"


async def make_payment_bed(
    database: Database, pool: Pool, *, payments: str = "mode: live", capture: bool = True
) -> Bed:
    """Return the bed with a connection `pay`."""
    bed = await make_bed(database, pool, config=config_with(payments, capture=capture))
    bed.others["pay"] = stripe.CONNECTOR
    bed.connections["pay"] = new_id()
    await pool.execute(
        "INSERT INTO connection (tenant_id, connection_id, name, connector, external_account)"
        " VALUES ($1, $2, 'pay', 'stripe', 'acct_1')",
        bed.tenant_id,
        bed.connections["pay"],
    )
    return bed


def paid_order(number: str, psp: str, *, refunds: tuple[dict[str, Any], ...] = (), **more: Any) -> dict[str, Any]:
    """Return an order of one line of 2 x 19.99 and 5.00 shipping (44.98) whose payment is `psp` at the provider."""
    event = order_event(number, [("A", more.pop("units", 2))], **more)
    payments = [
        {
            "payment_id": f"t-{number}", "kind": "authorise", "state": "ok", "amount_minor": 4498, "method": "card",
            "psp_reference": psp,
        },
        *refunds,
    ]  # fmt: skip
    event["order"]["payments"] = payments
    return event


def hint_event(number: str, revision: int = 1, *, look: int = 1) -> dict[str, Any]:
    """Return what a feed says of an order: that it changed, and its version there."""
    return {"id": f"hint-{number}-{revision}-{look}", "type": "order.hint", "order_id": number, "revision": revision}


def shop_refund(refund_id: str, amount_minor: int, *, psp: str = "", reference: str = "") -> dict[str, Any]:
    """Return a refund as the shop shows it."""
    return {
        "payment_id": refund_id, "kind": "refund", "state": "ok", "amount_minor": amount_minor, "method": "card",
        "psp_reference": psp, "reference": reference,
    }  # fmt: skip


def intent_event(psp: str, status: str, *, at: int = 0, amount: int = 4498, **more: Any) -> dict[str, Any]:
    """Return an event of a payment intent `at` seconds after T0."""
    shown = {
        "id": psp, "object": "payment_intent", "amount": amount, "currency": "eur", "status": status,
        "amount_capturable": amount if status == "requires_capture" else 0,
        "amount_received": amount if status == "succeeded" else 0, "latest_charge": f"ch_{psp}", **more,
    }  # fmt: skip
    return _event(f"evt_{psp}_{status}_{at}", f"payment_intent.{status}", shown, at)


def refund_event(refund_id: str, psp: str, amount: int, *, at: int = 100, **more: Any) -> dict[str, Any]:
    """Return an event of a refund."""
    shown = {
        "id": refund_id, "object": "refund", "amount": amount, "currency": "eur", "payment_intent": psp,
        "status": "succeeded", "metadata": {}, **more,
    }  # fmt: skip
    return _event(f"evt_{refund_id}_{at}", "refund.updated", shown, at)


def dispute_event(dispute_id: str, psp: str, status: str, *, at: int = 200, amount: int = 4498) -> dict[str, Any]:
    """Return an event of a dispute."""
    shown = {
        "id": dispute_id, "object": "dispute", "amount": amount, "currency": "eur", "payment_intent": psp, "status": status,
    }  # fmt: skip
    return _event(f"evt_{dispute_id}_{at}", "charge.dispute.updated", shown, at)


def _event(event_id: str, topic: str, shown: dict[str, Any], at: int) -> dict[str, Any]:
    return {"id": event_id, "object": "event", "type": topic, "created": T0 + at, "data": {"object": shown}}
