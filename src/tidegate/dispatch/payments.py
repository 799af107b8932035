"""Commands that move money: their payloads from committed state in T2s, and what their results change in T3.

Both lock the order (T2s only shares it), then its payment and what is asked of it. From T2s on a capture or refund is
`sent`, so that T2 takes nothing that it sees at the other side for the same thing seen first there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from tidegate.commerce.commands import CapturePayment, CommandKind, CreateRefund, Payload, VoidPayment
from tidegate.commerce.states import CommandState
from tidegate.dispatch.decide import Decision
from tidegate.dispatch.records import PendingCommand, Subject, Unbuildable
from tidegate.kernel.ids import public_id
from tidegate.store.connections import Connection

KINDS = (CommandKind.PAYMENT_CAPTURE, CommandKind.PAYMENT_VOID, CommandKind.REFUND_CREATE)

CAPTURE = """
SELECT c.capture_id, c.amount_minor, c.is_final, c.state, p.payment_id, p.external_id, p.currency,
       p.state AS payment_state, o.order_state,
       EXISTS (SELECT FROM fulfillment f WHERE f.tenant_id = $1 AND f.order_id = $2 AND f.state <> 'cancelled')
         OR EXISTS (SELECT FROM order_line l WHERE l.tenant_id = $1 AND l.order_id = $2 AND l.shipped > 0) AS has_left
FROM "order" o JOIN capture c ON c.tenant_id = $1 AND c.order_id = o.order_id AND c.number = $3
JOIN psp_payment p ON p.tenant_id = $1 AND p.payment_id = c.payment_id
WHERE o.tenant_id = $1 AND o.order_id = $2
"""
VOID = """
SELECT p.payment_id, p.external_id, p.state AS payment_state, p.captured_minor, o.order_state,
       EXISTS (SELECT FROM capture c WHERE c.tenant_id = $1 AND c.order_id = $2 AND c.payment_id = p.payment_id
                 AND c.state IN ('sent', 'captured')) AS is_asked_for
FROM "order" o JOIN psp_payment p ON p.tenant_id = $1 AND p.order_id = o.order_id AND p.number = $3
WHERE o.tenant_id = $1 AND o.order_id = $2
"""
REFUND = """
SELECT r.refund_id, r.origin, r.kind, r.amount_minor, r.currency, r.state, r.carry, r.channel_ref, r.psp_ref, r.reason,
       p.external_id AS payment_external_id, o.external_id AS order_external_id
FROM "order" o JOIN refund r ON r.tenant_id = $1 AND r.order_id = o.order_id AND r.number = $3
LEFT JOIN psp_payment p ON p.tenant_id = $1 AND p.payment_id = r.payment_id
WHERE o.tenant_id = $1 AND o.order_id = $2
"""
SHARE_ORDER = 'SELECT FROM "order" WHERE tenant_id = $1 AND order_id = $2 FOR SHARE'
LOCK_PAYMENTS = """
SELECT FROM psp_payment WHERE tenant_id = $1 AND order_id = ANY($2::uuid[]) ORDER BY payment_id FOR NO KEY UPDATE
"""
MARK_CAPTURE = "UPDATE capture SET state = $4 WHERE tenant_id = $1 AND order_id = $2 AND number = $3"
MARK_REFUND = """
UPDATE refund SET carry = $4, code = CASE WHEN $4 = 'done' THEN code END
WHERE tenant_id = $1 AND order_id = $2 AND number = $3
"""
# What was captured never shrinks; the provider's own news may have told it before.
CAPTURED = """
UPDATE psp_payment p
SET captured_minor = greatest(p.captured_minor, least(p.amount_minor, s.captured)),
    state = CASE WHEN s.is_final AND p.state = 'authorised' THEN 'captured' ELSE p.state END,
    capturable_minor = CASE WHEN s.is_final THEN 0 ELSE greatest(0, p.amount_minor - greatest(p.captured_minor, s.captured)) END
FROM (SELECT c.payment_id, sum(c.amount_minor) AS captured, bool_or(c.is_final) AS is_final FROM capture c
      WHERE c.tenant_id = $1 AND c.order_id = $2 AND c.state = 'captured' GROUP BY c.payment_id) s
WHERE p.tenant_id = $1 AND p.payment_id = s.payment_id
"""
VOIDED = """
UPDATE psp_payment SET state = 'voided', capturable_minor = 0
WHERE tenant_id = $1 AND order_id = $2 AND number = $3 AND state IN ('unseen', 'pending', 'authorised')
"""
# The id that the other side gave it, unless its own news told that under another refund already.
CARRIED = """
UPDATE refund r
SET carry = 'done', code = NULL,
    psp_ref = CASE WHEN r.origin = 'channel' AND NOT EXISTS (
                SELECT FROM refund x WHERE x.tenant_id = $1 AND x.payment_id = r.payment_id AND x.psp_ref = $4
                  AND x.refund_id <> r.refund_id) THEN coalesce(r.psp_ref, $4) ELSE r.psp_ref END,
    channel_ref = CASE WHEN r.origin = 'provider' AND NOT EXISTS (
                    SELECT FROM refund x WHERE x.tenant_id = $1 AND x.order_id = r.order_id AND x.channel_ref = $4
                      AND x.refund_id <> r.refund_id) THEN coalesce(r.channel_ref, $4) ELSE r.channel_ref END
WHERE r.tenant_id = $1 AND r.order_id = $2 AND r.number = $3
"""


async def build_payment(
    conn: Connection, tenant_id: UUID, command: PendingCommand, *, cell: str
) -> Payload | Unbuildable:
    """Return the payload of a command about an order's money, and mark what it is about as sent. Called inside T2s."""
    order_id = command.entity_id
    await conn.execute(SHARE_ORDER, tenant_id, order_id)
    await conn.execute(LOCK_PAYMENTS, tenant_id, [order_id])
    match command.kind:
        case CommandKind.PAYMENT_CAPTURE:
            return await _capture(conn, tenant_id, command, cell)
        case CommandKind.PAYMENT_VOID:
            return await _void(conn, tenant_id, command, cell)
        case _:
            return await _refund(conn, tenant_id, command, cell)


async def _capture(conn: Connection, tenant_id: UUID, command: PendingCommand, cell: str) -> Payload | Unbuildable:
    ids = (tenant_id, command.entity_id, command.version)
    row = await conn.fetchrow(CAPTURE, *ids)
    why = why_not_capture(row)
    if why is not None:
        if why.state is CommandState.SUCCEEDED:
            await conn.execute(MARK_CAPTURE, *ids, "captured")
        return why
    assert row is not None
    await conn.execute(MARK_CAPTURE, *ids, "sent")
    return CapturePayment(
        reference=public_id("cap", cell, row["capture_id"]),
        order_reference=public_id("ord", cell, command.entity_id),
        payment_external_id=row["external_id"],
        amount_minor=row["amount_minor"],
        currency=row["currency"],
        is_final=row["is_final"],
    )


def why_not_capture(row: Any) -> Unbuildable | None:
    """Return why a capture is not sent, None when it is. Pure; `row` is one of CAPTURE or None."""
    if row is None:
        return Unbuildable(state=CommandState.FAILED, code="capture_missing", reason="it does not exist")
    if row["payment_state"] == "captured":
        reason = f"{row['external_id']} is captured already"
        return Unbuildable(state=CommandState.SUCCEEDED, code="already_captured", reason=reason)
    if row["order_state"] == "cancelled" and not row["has_left"]:
        reason = "the order was cancelled before anything left"
        return Unbuildable(state=CommandState.CANCELLED, code="nothing_left", reason=reason)
    if row["payment_state"] != "authorised":
        reason = f"{row['external_id']} is {row['payment_state']}: there is nothing that could be captured"
        return Unbuildable(state=CommandState.FAILED, code="authorisation_gone", reason=reason)
    return None


async def _void(conn: Connection, tenant_id: UUID, command: PendingCommand, cell: str) -> Payload | Unbuildable:
    row = await conn.fetchrow(VOID, tenant_id, command.entity_id, command.version)
    why = why_not_void(row)
    if why is not None:
        return why
    assert row is not None
    return VoidPayment(
        order_reference=public_id("ord", cell, command.entity_id), payment_external_id=row["external_id"]
    )


def why_not_void(row: Any) -> Unbuildable | None:
    """Return why an authorisation is not released, None when it is. Pure; `row` is one of VOID or None."""
    if row is None:
        return Unbuildable(state=CommandState.FAILED, code="payment_missing", reason="it does not exist")
    if row["payment_state"] == "voided":
        return Unbuildable(state=CommandState.SUCCEEDED, code="already_voided", reason="it is released already")
    if row["order_state"] != "cancelled":
        reason = "the order is not cancelled any more"
        return Unbuildable(state=CommandState.CANCELLED, code="nothing_left", reason=reason)
    if row["captured_minor"] or row["is_asked_for"] or row["payment_state"] == "captured":
        reason = "money was captured meanwhile: it goes back by a refund"
        return Unbuildable(state=CommandState.CANCELLED, code="captured_meanwhile", reason=reason)
    if row["payment_state"] == "failed":
        return Unbuildable(state=CommandState.CANCELLED, code="authorisation_gone", reason="the payment failed")
    return None


async def _refund(conn: Connection, tenant_id: UUID, command: PendingCommand, cell: str) -> Payload | Unbuildable:
    ids = (tenant_id, command.entity_id, command.version)
    row = await conn.fetchrow(REFUND, *ids)
    why = why_not_refund(row)
    if why is not None:
        if why.state is CommandState.SUCCEEDED:
            await conn.execute(MARK_REFUND, *ids, "done")
        return why
    assert row is not None
    await conn.execute(MARK_REFUND, *ids, "sent")
    return CreateRefund(
        reference=public_id("rfn", cell, row["refund_id"]),
        order_reference=public_id("ord", cell, command.entity_id),
        order_external_id=row["order_external_id"],
        payment_external_id=row["payment_external_id"] or "",
        psp_reference=row["psp_ref"] or "",
        amount_minor=row["amount_minor"],
        currency=row["currency"],
        reason=row["reason"],
        kind=row["kind"],
    )


def why_not_refund(row: Any) -> Unbuildable | None:
    """Return why a refund is not carried over, None when it is. Pure; `row` is one of REFUND or None."""
    if row is None:
        return Unbuildable(state=CommandState.FAILED, code="refund_missing", reason="it does not exist")
    there = row["psp_ref"] if row["origin"] == "channel" else row["channel_ref"]
    if there is not None:
        return Unbuildable(state=CommandState.SUCCEEDED, code="already_there", reason=f"it is there as {there}")
    if row["state"] in ("failed", "cancelled"):
        return Unbuildable(state=CommandState.CANCELLED, code="nothing_left", reason="no money goes back after all")
    if row["origin"] == "channel" and row["payment_external_id"] is None:
        reason = "no payment of the order gives it back"
        return Unbuildable(state=CommandState.FAILED, code="payment_missing", reason=reason)
    return None


async def lock_payments_of(conn: Connection, tenant_id: UUID, members: Sequence[Subject]) -> None:
    """Lock the payments that results will touch; their orders are not changed by T3."""
    orders = sorted({member.entity_id for member in members if member.kind in KINDS})
    if orders:
        await conn.execute(LOCK_PAYMENTS, tenant_id, orders)


async def settle_payments(conn: Connection, tenant_id: UUID, applied: Sequence[tuple[Subject, Decision]]) -> None:
    """Store what became of captures, releases and refunds; their commands have moved in this transaction."""
    for member, decision in applied:
        if member.kind not in KINDS:
            continue
        ids = (tenant_id, member.entity_id, member.version)
        if decision.done is not None:
            if member.kind is CommandKind.PAYMENT_CAPTURE:
                await conn.execute(MARK_CAPTURE, *ids, "captured")
                await conn.execute(CAPTURED, tenant_id, member.entity_id)
            elif member.kind is CommandKind.PAYMENT_VOID:
                await conn.execute(VOIDED, *ids)
            else:
                await conn.execute(CARRIED, *ids, decision.done.external_id or None)
        elif decision.state is CommandState.FAILED and member.kind is CommandKind.PAYMENT_CAPTURE:
            await conn.execute(MARK_CAPTURE, *ids, "failed")
