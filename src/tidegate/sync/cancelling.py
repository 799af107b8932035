"""Cancelling orders of what is sold too often because a person says so: they are called off, and their shops asked to cancel them.

Unlike the policy a person may name orders that the ERP knows. It is told by the usual way: when the shop says that the order is
cancelled, the ERP is told to cancel it too. So an order never ends over there while its shop might refuse.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from tidegate.commerce.commands import DEADLINE_SECONDS, PRIORITY_OF, CommandKind
from tidegate.config import Config
from tidegate.config.checks_oversell import why_not_cancelled
from tidegate.inventory.calling_off import choose_newest
from tidegate.kernel.crashpoint import reach
from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.ids import new_id, public_id
from tidegate.sdk.connector import Connector
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.sync import statements
from tidegate.sync.adjust import note_action
from tidegate.sync.backorders import end_backorder, missing_of
from tidegate.sync.calling_off import ORDERS_MAX
from tidegate.sync.flow_modes import CONNECTIONS, FLOW_MODES
from tidegate.sync.plan import state_in
from tidegate.sync.policy import Policy
from tidegate.sync.reading import build_policy

_BY_HAND = query("oversold_by_hand")
_LOCK_ORDERS = query("oversold_lock_orders")
_CALL_OFF = query("oversold_call_off")
_NOTE = query("oversold_note")
_WAKE = "SELECT pg_notify('tidegate_command', '')"


@dataclass(frozen=True)
class Cancellation:
    """An order that its shop is to cancel, or why it cannot be asked to."""

    order_id: UUID
    number: str
    channel: str
    units: int
    """Of the article, that it holds."""
    lacks: int
    is_known_to_erp: bool
    why_not: str | None = None


async def cancellations(
    conn: Connection,
    tenant_id: UUID,
    sku: str,
    *,
    config: Config,
    connectors: Mapping[str, Connector],
    orders: Collection[UUID] | None = None,
) -> list[Cancellation]:
    """Return what cancelling because of a SKU would come to, newest first; nothing is changed.

    `orders`: these, with why one cannot be cancelled; none named: those of the newest that lack and can be, and nobody decided
    otherwise about. Raises ConfigurationError: there is no such item.
    """
    item_id, missing = await missing_of(conn, tenant_id, sku)
    policy = await _policy(conn, tenant_id, config, connectors)
    found = await conn.fetch(_BY_HAND, tenant_id, item_id, ORDERS_MAX, policy.erp, policy.orders_from)
    reasons = {row["order_id"]: _why_not(row, policy, config, connectors, missing) for row in found}
    rows = [
        {
            **dict(row),
            "is_called_off": row["called_off_at"] is not None,
            "may_be_called_off": reasons[row["order_id"]] is None and not row["is_decided"],
        }
        for row in found
    ]
    if orders is None:
        chosen = choose_newest(missing, rows)
    else:
        chosen = [(row, min(missing, row["units"])) for row in rows if row["order_id"] in orders]
    return [
        Cancellation(
            order_id=row["order_id"],
            number=row["number"],
            channel=row["channel"],
            units=row["units"],
            lacks=lacks,
            is_known_to_erp=row["is_known_to_erp"],
            why_not=reasons[row["order_id"]],
        )
        for row, lacks in chosen
    ]


async def cancel_orders(
    conn: Connection,
    tenant_id: UUID,
    sku: str,
    *,
    config: Config,
    connectors: Mapping[str, Connector],
    by: str,
    cell: str,
    orders: Collection[UUID] | None = None,
) -> list[UUID]:
    """Hold orders back and have their shops cancel them, because units of a SKU lack; return those that it changed anything for.

    `orders` as in `cancellations`. In the caller's transaction, with a row in the audit log. What is called off already stays so. Raises
    ConfigurationError: there is no such item, or one of `orders` cannot be cancelled.
    """
    wanted = await cancellations(conn, tenant_id, sku, config=config, connectors=connectors, orders=orders)
    ids = sorted(each.order_id for each in wanted)
    locked = {row["order_id"]: row for row in await conn.fetch(_LOCK_ORDERS, tenant_id, ids)} if ids else {}
    if locked:  # what was read before the locks may have changed
        again = await cancellations(conn, tenant_id, sku, config=config, connectors=connectors, orders=ids)
        wanted = [each for each in again if each.order_id in locked]
    absent = set(orders or ()) - {each.order_id for each in wanted}
    fresh = [each for each in wanted if locked[each.order_id]["called_off_at"] is None]
    refused = next((each for each in fresh if each.why_not is not None), None)
    if orders is not None and (absent or refused is not None):
        words = f"{refused.number}: {refused.why_not}" if refused is not None else f"it holds no units of {sku}"
        raise ConfigurationError(
            f"an order cannot be cancelled: {words}",
            code="order_not_cancellable",
            hint="cancel it in its shop by hand, or let it wait",
        )
    chosen = [each for each in fresh if each.why_not is None]
    if not chosen:
        return []
    policy = await _policy(conn, tenant_id, config, connectors)
    item_id, _ = await missing_of(conn, tenant_id, sku)
    ids = sorted(each.order_id for each in chosen)
    versions = {row["order_id"]: row["version"] for row in await conn.fetch(_CALL_OFF, tenant_id, ids, 1)}
    await end_backorder(conn, tenant_id, item_id, ids)
    notes = [
        (
            each.order_id,
            versions[each.order_id],
            item_id,
            "called_off",
            each.lacks,
            locked[each.order_id]["location_id"],
            None,
        )
        for each in chosen
    ]
    await conn.execute(_NOTE, tenant_id, *_columns(notes), by)
    await conn.execute(statements.ANNIHILATE_CREATES, tenant_id, ids)
    kind, until = (
        CommandKind.ORDER_CANCEL,
        datetime.now(UTC) + timedelta(seconds=DEADLINE_SECONDS[CommandKind.ORDER_CANCEL]),
    )
    commands = [
        (
            new_id(), channel, str(kind), order_id, versions[order_id], f"order:{order_id}", int(PRIORITY_OF[kind]), until,
            None, str(state_in(policy.cancels_mode(channel))), None, None, None,
        )
        for order_id in ids
        for channel in (locked[order_id]["connection_id"],)
    ]  # fmt: skip
    await conn.execute(statements.SAVE_COMMANDS, tenant_id, *_columns(commands))
    detail = {"decision": "cancel", "orders": [public_id("ord", cell, order) for order in ids][:100]}
    await note_action(conn, tenant_id, actor=by, action="stock.settled", subject=sku, detail=detail)
    await conn.execute(_WAKE)
    reach("cancelling.stored")
    return ids


def _why_not(row: Any, policy: Policy, config: Config, connectors: Mapping[str, Connector], missing: int) -> str | None:
    """Return why an order's shop cannot be asked to cancel it. Pure."""
    if row["connection_id"] not in policy.order_channels:
        return f"the flow of orders does not take orders from {row['channel']}"
    shop = config.connections.get(row["channel"])
    if shop is None or shop.use not in connectors:
        return f"nobody here can ask {row['channel']}: its connector is not at hand"
    for words, _ in why_not_cancelled(config, connectors, (row["channel"],)):
        return words
    if policy.cancels_mode(row["connection_id"]) == "observe":
        return "the flow of orders observes: nothing is written"
    if row["is_early"]:
        return "it was placed before the flow of orders took over: who told the ERP of it must tell it of its end, too"
    if row["is_shipped"]:
        return "goods of it have left, or were announced to its shop"
    if missing <= 0:
        return "there is enough for it"
    return None


async def _policy(conn: Connection, tenant_id: UUID, config: Config, connectors: Mapping[str, Connector]) -> Policy:
    ids = {row["name"]: row["connection_id"] for row in await conn.fetch(CONNECTIONS, tenant_id)}
    modes = {(row["connection_id"], row["flow"]): row for row in await conn.fetch(FLOW_MODES, tenant_id)}
    return build_policy(config, 0, ids, modes, connectors)


def _columns(rows: Collection[tuple[object, ...]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]
