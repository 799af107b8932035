"""Modes where they count: the rows that T2s looks at, and the items' own. Run under the tenant's configuration lock.

Everything is set-based and touches only what changes, so that it costs little to ask again. Locks are taken in the one
order: modes, marks, commands.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
from asyncpg import Record

from tidegate.commerce.commands import DEADLINE_SECONDS, PRIORITY_OF, CommandKind
from tidegate.commerce.states import HELD_CODE, OBSERVED_CODE, OBSERVED_REASON, RELEASING_PAYMENTS, CommandState
from tidegate.config import Config
from tidegate.config.records import Mode
from tidegate.config.stock_modes import FlowName, StockModes, modes_of
from tidegate.kernel.ids import new_id
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.sync.plan import state_in
from tidegate.sync.statements import SAVE_COMMANDS

CONNECTIONS = "SELECT connection_id, name FROM connection WHERE tenant_id = $1 ORDER BY connection_id"
FLOW_MODES = """
SELECT connection_id, flow, mode, rules, live_from, revision FROM flow_mode WHERE tenant_id = $1
"""
KINDS: dict[FlowName, tuple[CommandKind, ...]] = {
    "orders": (CommandKind.ORDER_CREATE, CommandKind.ORDER_CANCEL),
    "shipments": (CommandKind.FULFILLMENT_CREATE,),
    "payments": (CommandKind.PAYMENT_CAPTURE, CommandKind.PAYMENT_VOID, CommandKind.REFUND_CREATE),
    "events": (CommandKind.EVENT_SEND,),
    "stock": (),  # numbers are no commands before they are sent
}
INCLUDE_ROWS_MAX = 2_000
"""Commands that are planned in one statement."""
_SAVE_MODES = query("flow_modes_save")
_INCLUDE = query("flow_modes_include")
_END_OBSERVED = query("commands_end_observed")
_HOLD = query("commands_hold")
_RELEASE = query("commands_release")
_REVIVE = query("commands_revive")
_ORDERS_TO_INCLUDE = query("orders_to_include")
_FULFILLMENTS_TO_INCLUDE = query("fulfillments_to_include")
_REVIEW_PAYMENTS = query("payments_to_review")
_SETTLE_MARKS = query("marks_settle")
_ITEMS = "SELECT item_id, sku FROM inventory_item WHERE tenant_id = $1"
_WAKE = "SELECT pg_notify('tidegate_command', '')"


class FlowMode(msgspec.Struct, frozen=True, kw_only=True):
    """What a flow may do at a connection."""

    connection_id: UUID
    flow: FlowName
    mode: Mode
    rules: str = ""
    """stock: what decides of single SKUs."""
    before: Mode | None = None
    """The mode that counted so far; None: nobody said."""


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What putting modes to work changed."""

    changed: tuple[FlowMode, ...] = ()
    marks: int = 0
    """Items whose mode in a channel is another one now."""
    included: int = 0
    """Commands for orders and shipments from before the switch, because they were asked for."""


def wanted_modes(config: Config, connections: Mapping[UUID, str]) -> list[FlowMode]:
    """Return the mode of every flow at every connection, sorted. Pure."""
    rules = StockModes(config).rules
    return [
        FlowMode(connection_id=connection_id, flow=flow, mode=mode, rules=rules if flow == "stock" else "")
        for connection_id, name in sorted(connections.items())
        for flow, mode in modes_of(config, name).items()
    ]


def changed_modes(wanted: Sequence[FlowMode], known: Iterable[Record]) -> list[FlowMode]:
    """Return those of `wanted` that differ from the rows that are stored, with what they were before. Pure."""
    stored = {(row["connection_id"], row["flow"]): (row["mode"], row["rules"]) for row in known}
    changed = []
    for each in wanted:
        mode, rules = stored.get((each.connection_id, each.flow), (None, ""))
        if (mode, rules) != (each.mode, each.rules):
            changed.append(msgspec.structs.replace(each, before=mode))
    return changed


async def settle_modes(
    conn: Connection, tenant_id: UUID, config: Config, *, include_since: Mapping[str, datetime] | None = None
) -> Settled:
    """Make the modes of `config` the ones that count; return what changed. The caller holds the configuration lock.

    Going to observe ends what was not sent, and tells no number any more. Going to propose has a person decide what nobody
    approved. Ceasing to observe marks every item that was ever counted, opens again the cancels that waited, and has
    authorised payments read anew, so that what left meanwhile is captured. It creates no order placed before, except those
    of flows in `include_since` (flow -> placed since then) that the other side does not know, each once.
    """
    connections = {row["connection_id"]: row["name"] for row in await conn.fetch(CONNECTIONS, tenant_id)}
    wanted = wanted_modes(config, connections)
    changed = changed_modes(wanted, await conn.fetch(FLOW_MODES, tenant_id))
    if changed:
        columns = [
            [each.connection_id for each in changed],
            [each.flow for each in changed],
            [each.mode for each in changed],
            [each.rules for each in changed],
        ]
        await conn.execute(_SAVE_MODES, tenant_id, *columns)
    marks = await settle_marks(conn, tenant_id, config, connections)
    moved = [each for each in changed if each.mode != each.before]
    if moved:
        await _settle_commands(conn, tenant_id, moved)
        await _review_payments(conn, tenant_id, config, connections, moved)
    included = 0
    for flow, since in (include_since or {}).items():
        writing = [each for each in wanted if each.flow == flow and each.mode != "observe"]
        included += await _include(conn, tenant_id, config, connections, writing, since)
    if moved or included:
        await conn.execute(_WAKE)
    return Settled(changed=tuple(changed), marks=marks, included=included)


async def settle_marks(conn: Connection, tenant_id: UUID, config: Config, connections: Mapping[UUID, str]) -> int:
    """Give every item the mode that it has in each channel; return how many changed."""
    modes = StockModes(config)
    targets = config.flows.stock.targets if config.flows.stock is not None else ()
    items: list[UUID] = []
    item_modes: list[str] = []
    if modes.has_exceptions:
        for item_id, sku in await conn.fetch(_ITEMS, tenant_id):
            mode = modes.mode_of(sku)
            if mode != modes.base:
                items.append(item_id)
                item_modes.append(mode)
    ids = sorted(connections)
    is_target = [connections[connection_id] in targets for connection_id in ids]
    return int(await conn.fetchval(_SETTLE_MARKS, tenant_id, ids, is_target, modes.base, items, item_modes))


async def _settle_commands(conn: Connection, tenant_id: UUID, moved: Sequence[FlowMode]) -> None:
    """Have the unsent commands follow the modes of their flows."""
    ending = [each for each in moved if "observe" in (each.mode, each.before)]
    holding = [each for each in moved if each.mode == "propose"]
    releasing = [each for each in moved if each.mode == "live" and each.before == "propose"]
    reviving = [each for each in moved if each.before == "observe" and each.flow == "orders"]
    seconds = DEADLINE_SECONDS[CommandKind.ORDER_CREATE]
    await conn.execute(_END_OBSERVED, tenant_id, *_pairs(ending), OBSERVED_CODE, OBSERVED_REASON)
    await conn.execute(_HOLD, tenant_id, *_pairs(holding))
    await conn.execute(_RELEASE, tenant_id, *_pairs(releasing), HELD_CODE, seconds)
    ids = [each.connection_id for each in reviving]
    states = [str(state_in(each.mode)) for each in reviving]
    kinds = [str(CommandKind.ORDER_CANCEL) for _ in reviving]
    await conn.execute(_REVIVE, tenant_id, ids, kinds, states, seconds)


async def _review_payments(
    conn: Connection, tenant_id: UUID, config: Config, connections: Mapping[UUID, str], moved: Sequence[FlowMode]
) -> None:
    """Where the payments flow does not only observe any more, have what it is about read anew, so that it is joined and planned."""
    flow = config.flows.payments
    ceasing = [each for each in moved if each.flow == "payments" and each.before in (None, "observe")]
    provider = next((key for key, name in connections.items() if flow is not None and name == flow.source), None)
    if flow is None or provider not in {each.connection_id for each in ceasing}:
        return
    sources = config.flows.orders.sources if config.flows.orders is not None else ()
    channels = [key for key, name in connections.items() if name in sources]
    await conn.execute(_REVIEW_PAYMENTS, tenant_id, provider, channels, flow.since)


def _pairs(modes: Sequence[FlowMode]) -> tuple[list[UUID], list[str]]:
    """Return (connection, kind of command) as two columns."""
    pairs = [(each.connection_id, str(kind)) for each in modes for kind in KINDS[each.flow]]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


async def _include(
    conn: Connection,
    tenant_id: UUID,
    config: Config,
    connections: Mapping[UUID, str],
    writing: Sequence[FlowMode],
    since: datetime,
) -> int:
    """Plan what was placed since then and was left alone; return how many commands there are for it now."""
    if not writing:
        return 0
    flow = writing[0].flow
    await conn.execute(_INCLUDE, tenant_id, [each.connection_id for each in writing], flow, since)
    rows: list[tuple[UUID, CommandKind, UUID, UUID, CommandState]] = []
    if flow == "orders" and config.flows.orders is not None:
        sources = [key for key, name in connections.items() if name in config.flows.orders.sources]
        payments = [str(state) for state in RELEASING_PAYMENTS]
        for each in (each for each in writing if connections[each.connection_id] == config.flows.orders.target):
            found = await conn.fetch(_ORDERS_TO_INCLUDE, tenant_id, sources, each.connection_id, since, payments)
            state = state_in(each.mode)
            rows += [(each.connection_id, CommandKind.ORDER_CREATE, row[0], row[0], state) for row in found]
    elif flow == "shipments":
        states = {each.connection_id: state_in(each.mode) for each in writing}
        found = await conn.fetch(_FULFILLMENTS_TO_INCLUDE, tenant_id, list(states), since)
        rows += [(row[2], CommandKind.FULFILLMENT_CREATE, row[0], row[1], states[row[2]]) for row in found]
    for start in range(0, len(rows), INCLUDE_ROWS_MAX):
        await _save(conn, tenant_id, rows[start : start + INCLUDE_ROWS_MAX])
    return len(rows)


async def _save(
    conn: Connection, tenant_id: UUID, rows: Sequence[tuple[UUID, CommandKind, UUID, UUID, CommandState]]
) -> None:
    """Plan commands of version 1 under their keys; those that exist stay, and those that ended unsent are open again."""
    now = datetime.now(UTC)
    columns: list[list[object]] = [
        [new_id() for _ in rows],
        [connection_id for connection_id, *_ in rows],
        [str(row[1]) for row in rows],
        [row[2] for row in rows],
        [1 for _ in rows],
        [f"order:{row[3]}" for row in rows],
        [int(PRIORITY_OF[row[1]]) for row in rows],
        [now + timedelta(seconds=DEADLINE_SECONDS[row[1]]) for row in rows],
        [None for _ in rows],
        [str(row[4]) for row in rows],
        [None for _ in rows],
        [None for _ in rows],
        [None for _ in rows],
    ]
    await conn.execute(SAVE_COMMANDS, tenant_id, *columns)
