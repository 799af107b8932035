"""Moving a flow, some SKUs or a group to another mode: the newest document is edited, checked and put to work."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import msgspec

from tidegate.config import Config
from tidegate.config.edit import move_flow, move_skus
from tidegate.config.history import History
from tidegate.config.records import Mode
from tidegate.config.skus import GROUP_PREFIX
from tidegate.config.stock_modes import FlowName
from tidegate.config.versions import ConfigVersion
from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.ids import new_id
from tidegate.sdk.connector import Connector
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.sync.going_live import put_to_work

_LOCK = "SELECT name FROM tenant WHERE tenant_id = $1 FOR NO KEY UPDATE"
_FIGURES = query("modes_figures")
_ADD_AUDIT = query("audit_add")


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """What a person asks for."""

    flow: FlowName
    mode: Mode
    matches: tuple[str, ...] = ()
    """`sku:PATTERN` and `group:NAME`: only these SKUs of the stock flow. None: the whole flow."""
    include_since: datetime | None = None
    """orders, shipments: also send what was placed since then and is not known at the other side. Aware."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """How much would leave, and how much waits for a person."""

    numbers: int
    """Items whose number a channel is told, unless it shows that number already."""
    proposed_numbers: int
    commands: int
    proposed_commands: int


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """What a move came to, or would come to."""

    version: ConfigVersion
    before: Figures
    after: Figures


def moved_document(text: str, config: Config, move: Move) -> str:
    """Return the text of the configuration after a move. Pure.

    Raises ConfigurationError: there is no such flow or group, or SKUs of another flow than stock are named.
    """
    if getattr(config.flows, move.flow) is None:
        raise ConfigurationError(
            f"there is no flow {move.flow!r}", code="flow_missing", hint="add it to tidegate.yaml under `flows`"
        )
    if move.matches and move.flow != "stock":
        raise ConfigurationError("only the stock flow has modes of single SKUs", code="sku_not_here")
    if move.include_since is not None and (move.flow == "stock" or move.mode == "observe"):
        raise ConfigurationError(
            "only orders and shipments that go live can include what was before", code="nothing_to_include"
        )
    _check_since(config, move)
    for match in move.matches:
        name = match.removeprefix(GROUP_PREFIX)
        if match.startswith(GROUP_PREFIX) and name not in config.groups:
            known = ", ".join(sorted(config.groups)) or "none"
            raise ConfigurationError(f"there is no group {name!r}", code="group_unknown", hint=f"there are: {known}")
        text = move_skus(text, match, move.mode).apply(text)
    return text if move.matches else move_flow(text, move.flow, move.mode).apply(text)


async def move_mode(
    conn: Connection,
    *,
    tenant_id: UUID,
    actor: str,
    move: Move,
    connectors: Mapping[str, Connector] | None = None,
    is_trial: bool = False,
) -> Moved:
    """Edit the newest document, check it and put it to work; return what follows. A file on a disk is behind then.

    One transaction, so that two people who move at once both get what they asked for. `is_trial` takes everything back
    and only says what would follow. When it returns, nothing new leaves under the mode that was before. Raises
    ConfigurationError.
    """
    transaction = conn.transaction()
    await transaction.start()
    try:
        moved = await _move(conn, tenant_id, actor, move, connectors)
    except BaseException:
        await transaction.rollback()
        raise
    await (transaction.rollback() if is_trial else transaction.commit())
    return moved


async def _move(
    conn: Connection, tenant_id: UUID, actor: str, move: Move, connectors: Mapping[str, Connector] | None
) -> Moved:
    await conn.fetchval(_LOCK, tenant_id)
    newest = await History(conn, tenant_id).newest()
    if newest is None:
        raise ConfigurationError(
            "no configuration was put to work yet", code="config_missing", hint="run: tidegate config apply"
        )
    before = await _figures(conn, tenant_id)
    include: dict[str, datetime] | None = (
        {str(move.flow): move.include_since} if move.include_since is not None else None
    )
    version = await put_to_work(
        conn,
        moved_document(newest.document, newest.config, move),
        applied_by=actor,
        include_since=include,
        connectors=connectors,
    )
    detail = {
        "mode": move.mode,
        "matches": move.matches,
        "include_since": move.include_since,
        "version": version.version,
    }
    encoded = msgspec.json.encode(detail).decode()
    await conn.execute(_ADD_AUDIT, tenant_id, new_id(), actor, "mode.moved", move.flow, encoded)
    return Moved(version=version, before=before, after=await _figures(conn, tenant_id))


async def _figures(conn: Connection, tenant_id: UUID) -> Figures:
    row = await conn.fetchrow(_FIGURES, tenant_id)
    assert row is not None
    return Figures(**row)


def _check_since(config: Config, move: Move) -> None:
    since = getattr(config.flows, move.flow).since
    if move.include_since is not None and since is not None and move.include_since < since:
        raise ConfigurationError(
            f"orders placed before {since:%Y-%m-%d %H:%M} are left alone: that is `since` of flow {move.flow}",
            code="before_since",
            hint="give a later date, or change `since` in tidegate.yaml first",
        )
