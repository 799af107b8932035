"""T3: what came back is kept whatever happens, and changes state only for the attempt that the state stands for."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec
import structlog

from tidegate.commerce.commands import CommandKind
from tidegate.commerce.states import OBSERVED_CODE, OBSERVED_REASON, CommandState
from tidegate.dispatch import statements
from tidegate.dispatch.allocation import read_lots, settle_lots, shared_items
from tidegate.dispatch.decide import Decision, LaneEffect
from tidegate.dispatch.modes import flow_of
from tidegate.dispatch.payments import lock_payments_of, settle_payments
from tidegate.dispatch.records import Evidence, Subject
from tidegate.dispatch.results import build_result
from tidegate.dispatch.scope import Scope
from tidegate.eventlog.results import ResultEvent, append_results
from tidegate.kernel import crashpoint
from tidegate.kernel.ids import parse_public_id, public_id
from tidegate.store.connections import Connection
from tidegate.store.fence import Fenced

log = structlog.get_logger()

RESULT_TOPIC = "command.result"


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one T3 writes. The same settlement may be written again after a lost commit: it counts once."""

    call_id: UUID
    sent_attempt_id: UUID
    """The attempt that the commands' state stands for."""
    members: tuple[Subject, ...]
    decisions: tuple[Decision, ...]
    """One per member."""
    answer_id: UUID
    answered_attempt_id: UUID
    """The attempt that the evidence belongs to: the sending itself, or a read-back of it."""
    evidence: Evidence | None
    """None where nobody was asked."""


class Settled(msgspec.Struct, frozen=True):
    """What a T3 did."""

    is_late: bool
    """The state had moved on: only the evidence was kept."""
    is_fenced: bool = False
    """The lane belongs to another node."""


async def settle(conn: Connection, scope: Scope, settlement: Settlement, *, is_repeated: bool) -> Settled:
    """Write a settlement inside one transaction. `is_repeated`: an earlier try may have been committed."""
    if is_repeated and await _is_known(conn, scope, settlement):
        return Settled(is_late=False)
    try:
        await scope.fence(conn)
    except Fenced:
        await _keep_evidence(conn, scope, settlement, is_late=True)
        return Settled(is_late=True, is_fenced=True)
    applied = await _change_state(conn, scope, settlement)
    await _keep_evidence(conn, scope, settlement, is_late=not applied)
    await _touch_lane(conn, scope, settlement)
    crashpoint.reach("dispatch.t3.written")
    return Settled(is_late=not applied)


async def _is_known(conn: Connection, scope: Scope, settlement: Settlement) -> bool:
    ids = (scope.connection.tenant_id, settlement.answered_attempt_id, settlement.answer_id)
    return bool(await conn.fetchval(statements.HAS_ANSWER, *ids))


async def _change_state(conn: Connection, scope: Scope, settlement: Settlement) -> bool:
    """Move the commands that still stand for this attempt, with their effects; return whether there was any."""
    tenant_id = scope.connection.tenant_id
    pairs = list(zip(settlement.members, settlement.decisions, strict=True))
    put_back = [m for m, d in pairs if d.state is CommandState.PENDING]
    mode = await conn.fetchval(statements.FLOW_MODE, *scope.ids, flow_of(put_back[0].kind)) if put_back else None
    shipped = [m.entity_id for m, d in pairs if m.kind is CommandKind.FULFILLMENT_CREATE and d.done is not None]
    seen = [m.entity_id for m, d in pairs if d.shown is not None]
    await _lock(conn, scope, [m.entity_id for m, _ in pairs if m.kind is CommandKind.INVENTORY_SET], shipped, seen)
    await lock_payments_of(conn, tenant_id, settlement.members)
    await conn.execute(statements.LOCK_COMMANDS, tenant_id, [m.command_id for m, _ in pairs])
    rows = await conn.fetch(
        statements.SETTLE,
        tenant_id,
        settlement.sent_attempt_id,
        [m.command_id for m, _ in pairs],
        [str(d.state) for _, d in pairs],
        [d.code for _, d in pairs],
        [d.reason for _, d in pairs],
        [d.wait_seconds if d.state in _WAITING else None for _, d in pairs],
        [d.settle_seconds for _, d in pairs],
        [int(d.is_negative) for _, d in pairs],
        [int(not d.is_counted and d.state is CommandState.PENDING) for _, d in pairs],
        _beat_of(scope, settlement),
    )
    moved = {row["command_id"] for row in rows}
    applied = [(m, d) for m, d in pairs if m.command_id in moved]
    if any(d.is_key_spent for _, d in applied):
        await conn.execute(statements.SPEND_KEY, tenant_id, settlement.call_id)
    await _follow_mode(conn, scope, [m.command_id for m in put_back if m.command_id in moved], mode)
    await _bind(conn, scope, applied)
    await _settle_stock(conn, scope, [(m, d) for m, d in applied if m.kind is CommandKind.INVENTORY_SET])
    await settle_payments(conn, tenant_id, applied)
    await _settle_fulfillments(conn, scope, [m for m, _ in applied if m.entity_id in set(shipped)])
    await _look_at_cancelled(conn, scope, [m for m, d in applied if d.done is not None])
    return bool(moved)


def _beat_of(scope: Scope, settlement: Settlement) -> float:
    """Return how far apart retries become due, in seconds: those of different calls come together where they may share one."""
    spec = scope.spec(settlement.members[0].kind) if settlement.members else None
    can_share = spec is not None and spec.bulk_max > 1 and spec.charge_each > 0 and spec.safe_to_resend
    return scope.settings.retry_beat_seconds if can_share else 0.0


async def _follow_mode(conn: Connection, scope: Scope, put_back: list[UUID], mode: str | None) -> None:
    """What would be sent again follows the mode that its flow has by now."""
    if put_back and mode == "observe":
        await conn.execute(statements.END_OBSERVED, *scope.ids, put_back, OBSERVED_CODE, OBSERVED_REASON)
    elif put_back and mode == "propose":
        await conn.execute(statements.PROPOSE, *scope.ids, put_back)


_WAITING = (CommandState.PENDING, CommandState.IN_DOUBT)


async def _lock(conn: Connection, scope: Scope, pushed: list[UUID], shipped: list[UUID], seen: list[UUID]) -> None:
    """Lock the marks, then the orders, that effects will touch; of items that were seen to differ, the marks of all channels."""
    tenant_id = scope.connection.tenant_id
    items = set(pushed)
    if shipped and scope.connector.deducts_fulfilled:
        items.update(row["item_id"] for row in await conn.fetch(statements.ITEMS_OF, tenant_id, shipped))
    everywhere = {*seen, *await shared_items(conn, scope, pushed)}
    if everywhere:
        await conn.fetch(statements.LOCK_MARKS_EVERYWHERE, *scope.ids, sorted(items), sorted(everywhere))
    elif items:
        await conn.fetch(statements.LOCK_MARKS, *scope.ids, sorted(items))
    if shipped:
        await conn.fetch(statements.LOCK_ORDERS_OF_FULFILLMENTS, tenant_id, shipped)


async def _bind(conn: Connection, scope: Scope, applied: Sequence[tuple[Subject, Decision]]) -> None:
    """Remember what the other side calls the things that we made there."""
    rows = []
    for member, decision in applied:
        kind = _BINDING_OF.get(member.kind)
        if decision.done is None or kind is None:
            continue
        if decision.done.external_id:
            rows.append((kind, decision.done.external_id, member.entity_id))
        for reference, external_id in decision.done.bindings.items():
            line_id = _line_id(reference)
            if line_id is not None:
                rows.append(("order_line", external_id, line_id))
    if not rows:
        return
    columns = [list(column) for column in zip(*rows, strict=True)]
    if await conn.execute(statements.BIND, *scope.ids, *columns) == f"INSERT 0 {len(rows)}":
        return
    bound = {row["internal_id"] for row in await conn.fetch(statements.BOUND_AS, *scope.ids, *columns)}
    for kind, _, internal_id in rows:
        if internal_id not in bound:
            log.error("binding.conflict", kind=kind, connection=scope.connection.name)


def _line_id(reference: str) -> UUID | None:
    try:
        return parse_public_id(reference, kind="lin")
    except ValueError:
        return None


_BINDING_OF = {CommandKind.ORDER_CREATE: "order", CommandKind.FULFILLMENT_CREATE: "fulfillment"}


async def _settle_stock(conn: Connection, scope: Scope, applied: Sequence[tuple[Subject, Decision]]) -> None:
    """Set the items of pushes that are over free, and remember what their channel shows now.

    Units that are gone there unexplained are missing everywhere.
    """
    over = [(m, d) for m, d in applied if d.state is not CommandState.IN_DOUBT]
    if over:
        lots = await read_lots(conn, scope, [m.entity_id for m, _ in over])
        rows = await conn.fetch(
            statements.RELEASE_MARKS,
            *scope.ids,
            [m.command_id for m, _ in over],
            [m.entity_id for m, _ in over],
            [m.quantity for m, _ in over],
            [d.state is CommandState.SUCCEEDED for _, d in over],
            [d.forget_acked for _, d in over],
            [d.remark for _, d in over],
            [d.wait_seconds for _, d in over],
            [int(d.is_counted) for _, d in over],
            [d.is_apart for _, d in over],
            [d.shown for _, d in over],
            scope.settings.unseen_look_seconds,
            [d.late_seconds for _, d in over],
        )
        await settle_lots(conn, scope, over, lots)
        gone = sorted(row["item_id"] for row in rows if row["gone"])
        if gone:
            log.warning("stock.unseen", connection=scope.connection.name, count=len(gone))
            await conn.execute(statements.MARK_EVERYWHERE, scope.ids[0], gone)
            await conn.execute("SELECT pg_notify($1, '')", statements.COMMAND_CHANNEL)


async def _look_at_cancelled(conn: Connection, scope: Scope, done: Sequence[Subject]) -> None:
    """Have orders read that their own channel cancelled because it was asked to: what follows, follows from what it shows."""
    ids = [member.command_id for member in done if member.kind is CommandKind.ORDER_CANCEL]
    if ids and "order" in scope.connector.fetch:
        await conn.execute(statements.READ_CANCELLED, *scope.ids, ids, scope.settings.cancel_look_seconds)


async def _settle_fulfillments(conn: Connection, scope: Scope, members: Sequence[Subject]) -> None:
    """Count the units as fulfilled in the channel; an on-hand channel takes them off its own number."""
    if not members:
        return
    tenant_id = scope.connection.tenant_id
    wanted = [member.entity_id for member in members]
    rows = await conn.fetch(statements.CONFIRM_FULFILLMENTS, tenant_id, wanted)
    confirmed = [row["fulfillment_id"] for row in rows]
    if confirmed:
        await conn.execute(statements.FULFILL_LINES, tenant_id, confirmed)
        if scope.connector.deducts_fulfilled:
            await conn.execute(statements.SETTLE_FULFILLED_STOCK, *scope.ids, confirmed)


async def _keep_evidence(conn: Connection, scope: Scope, settlement: Settlement, *, is_late: bool) -> None:
    evidence = settlement.evidence
    if evidence is None:
        return
    tenant_id = scope.connection.tenant_id
    key = await scope.cipher.current(conn, tenant_id, scope.clock.now().date())
    await conn.execute(
        statements.ADD_ANSWER,
        tenant_id,
        settlement.answered_attempt_id,
        settlement.answer_id,
        evidence.outcome,
        evidence.code,
        evidence.http_status,
        evidence.duration_ms,
        is_late,
        key.key_id,
        scope.cipher.seal(key, "answer", settlement.answered_attempt_id, evidence.excerpt),
    )
    await append_results(conn, [await _result_event(conn, scope, settlement, is_late=is_late)], writer=scope.writer)


async def _result_event(conn: Connection, scope: Scope, settlement: Settlement, *, is_late: bool) -> ResultEvent:
    """Return the fact for the log: what the attempt came to, as one event."""
    first, is_alone = settlement.members[0], len(settlement.members) == 1
    return await build_result(
        conn,
        scope,
        {
            "call_id": settlement.call_id,
            "attempt_id": settlement.answered_attempt_id,
            "is_late": is_late,
            "members": [_fate(m, d) for m, d in zip(settlement.members, settlement.decisions, strict=True)],
        },
        topic=RESULT_TOPIC,
        ordering_key=public_id("cal", scope.cell, settlement.call_id),
        external_id=public_id("att", scope.cell, settlement.answered_attempt_id),
        code="late_answer" if is_late else settlement.evidence.outcome if settlement.evidence else "settled",
        stored_once_as=settlement.answer_id,
        entity=(_ENTITY_OF[first.kind], first.entity_id) if is_alone else None,
    )


_ENTITY_OF = {
    CommandKind.ORDER_CREATE: "order",
    CommandKind.ORDER_CANCEL: "order",
    CommandKind.FULFILLMENT_CREATE: "fulfillment",
    CommandKind.INVENTORY_SET: "item",
    CommandKind.PAYMENT_CAPTURE: "order",
    CommandKind.PAYMENT_VOID: "order",
    CommandKind.REFUND_CREATE: "order",
    CommandKind.EVENT_SEND: "event",
}


def _fate(member: Subject, decision: Decision) -> dict[str, object]:
    return {
        "command_id": member.command_id,
        "kind": member.kind,
        "entity_id": member.entity_id,
        "version": member.version,
        "state": decision.state,
        "code": decision.code,
        "external_id": decision.done.external_id if decision.done is not None else None,
    }


async def _touch_lane(conn: Connection, scope: Scope, settlement: Settlement) -> None:
    """Store what the whole lane learned: to wait, or that it cannot go on without a person."""
    decisions = settlement.decisions
    spec = scope.spec(settlement.members[0].kind) if settlement.members else None
    operation = spec.operation if spec is not None else ""
    snooze = max((d.lane_wait_seconds for d in decisions if d.lane is LaneEffect.SNOOZE), default=0.0)
    if snooze > 0 and not scope.book.rule.is_own(operation):
        await conn.execute(statements.SNOOZE_LANE, *scope.ids, snooze, "rate_limited")
    for effect, state in ((LaneEffect.PAUSE, "paused"), (LaneEffect.WAIT_FOR_AUTH, "waiting_auth")):
        why = next((d.reason for d in decisions if d.lane is effect), None)
        if why is not None:
            await conn.execute(statements.STOP_CONNECTION, *scope.ids, state, why)
            await conn.execute("SELECT pg_notify('tidegate_connection', $1)", str(scope.connection.connection_id))
            return
