"""What people say about deleted articles: another one takes the place, or nothing stands for ours any more.

The engine does the clear cases by itself (`sync.listings`). Each function here is one transaction that waits for batches which
are being applied, and is safe to repeat.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

from tidegate.config import Config
from tidegate.config.roles import is_channel
from tidegate.kernel.crashpoint import reach
from tidegate.kernel.errors import ConfigurationError, ConflictError
from tidegate.kernel.ids import new_id
from tidegate.sdk.connector import Connector
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.sync import listing_statements
from tidegate.sync.rebinding import follow_bindings, lock_catalogue, moves_of

_FIND = query("tombstone_find")
_BOUND = query("tombstone_bound")
_OPEN = query("tombstone_successor")
_LINES = query("tombstone_lines")
_DROP = query("tombstone_drop")
_ADD_BINDINGS = query("bindings_add")
_DECIDE = query("matches_decide")
_CLOSE = query("matches_close")
_AUDIT = query("audit_add")


class Relinked(msgspec.Struct, frozen=True, kw_only=True):
    """Which article stands for ours in place of a deleted one."""

    connection: str
    external_id: str
    """The deleted article."""
    sku: str
    """Ours."""
    successor: str
    commands: int
    """Commands that had waited for a binding and go out."""
    is_new: bool
    """False: it stood for ours before."""


class Forgotten(msgspec.Struct, frozen=True, kw_only=True):
    """A deleted article that stands for nothing any more."""

    connection: str
    external_id: str
    sku: str
    """What it stood for."""


async def relink(
    conn: Connection,
    *,
    tenant_id: UUID,
    config: Config,
    connectors: Mapping[str, Connector],
    connection: str,
    external_id: str,
    successor: str | None,
    actor: str,
) -> Relinked:
    """Bind an open article in the place of a deleted one; `successor` None: the only one that waits for it.

    Raises ConfigurationError when one of the two is not known, or several wait; ConflictError when another article has the
    place, orders name the successor as an article of its own, or a number of it is being sent.
    """
    async with conn.transaction():
        await lock_catalogue(conn, tenant_id)
        stone = await _find(conn, tenant_id, connection, external_id)
        if successor is None:
            successor = _only(stone, connection, external_id)
        connection_id, variant_id, sku = stone["connection_id"], stone["variant_id"], stone["sku"]
        done = Relinked(
            connection=connection, external_id=external_id, sku=sku, successor=successor, commands=0, is_new=False
        )
        if stone["replaced_by"] == successor:
            return done
        if stone["replaced_by"] is not None:
            raise ConflictError(
                f"article {stone['replaced_by']!r} of {connection} stands for {sku!r} already",
                code="place_taken",
                hint=f"take it back first: tidegate matches unbind {connection} {stone['replaced_by']}",
            )
        other = await conn.fetchval(_BOUND, tenant_id, connection_id, successor)
        if other is not None:
            raise ConflictError(
                f"article {successor!r} of {connection} stands for {other!r}",
                code="article_bound",
                hint=f"take it back first: tidegate matches unbind {connection} {successor}",
            )
        its_sku = await conn.fetchval(_OPEN, tenant_id, connection_id, successor)
        if its_sku is None:
            raise ConfigurationError(
                f"{successor!r} is no open article of {connection!r}",
                code="article_unknown",
                hint="the open ones: tidegate matches list; a look finds new ones: tidegate sync run",
            )
        pair = ([successor], [variant_id])
        await conn.execute(_ADD_BINDINGS, tenant_id, connection_id, "variant", *pair)
        if await moves_of(conn, tenant_id, connection_id, [(successor, its_sku, None, variant_id)]):
            raise ConflictError(
                f"orders name {successor!r} of {connection} as an article of its own ({its_sku})",
                code="article_ordered",
                hint=f"write bind:{sku} behind it and read it in, their lines go over: tidegate matches import",
            )
        await conn.execute(_DECIDE, tenant_id, connection_id, [successor], ["bind"], [variant_id], actor)
        await conn.execute(_CLOSE, tenant_id, connection_id, [successor])
        entry = ([new_id()], ["relinked"], [connection_id], [successor], [variant_id], [None], actor)
        await conn.execute(listing_statements.ADD_ENTRIES, tenant_id, *entry)
        using = config.connections.get(connection)
        connector = connectors.get(using.use) if using is not None else None
        sells = connector is None or is_channel(config, connection, connector)
        followed = await follow_bindings(
            conn, tenant_id, connection_id, moves=[], bound=[variant_id], is_channel=sells, counts=False
        )
        detail = {"external_id": external_id, "successor": successor, "sku": sku, "commands": followed.commands}
        await _note(conn, tenant_id, actor, "tombstone.relinked", connection, detail)
        reach("tombstone.relinked")
    return msgspec.structs.replace(done, commands=followed.commands, is_new=True)


async def forget(conn: Connection, *, tenant_id: UUID, connection: str, external_id: str, actor: str) -> Forgotten:
    """Let a deleted article stand for nothing any more: should it come back, it is a new one.

    What took its place stays. Raises ConfigurationError when it is not known; ConflictError while open orders name it by
    another SKU than ours, because they would stand for something else then.
    """
    async with conn.transaction():
        await lock_catalogue(conn, tenant_id)
        stone = await _find(conn, tenant_id, connection, external_id)
        sku = stone["sku"]
        lines = await conn.fetchval(_LINES, tenant_id, stone["connection_id"], stone["variant_id"], sku)
        if lines:
            raise ConflictError(
                f"{lines} lines of open orders of {connection} stand for {sku!r} under another SKU",
                code="tombstone_in_use",
                hint="ship or cancel these orders first; `tidegate why sku` names them",
            )
        await conn.execute(_DROP, tenant_id, stone["connection_id"], external_id)
        await _note(conn, tenant_id, actor, "tombstone.forgotten", connection, {"external_id": external_id, "was": sku})
    return Forgotten(connection=connection, external_id=external_id, sku=sku)


async def _find(conn: Connection, tenant_id: UUID, connection: str, external_id: str) -> Any:
    row = await conn.fetchrow(_FIND, tenant_id, connection, external_id)
    if row is None:
        raise ConfigurationError(
            f"{external_id!r} is not known as a deleted article of {connection!r}",
            code="tombstone_unknown",
            hint="the deleted ones: tidegate matches deleted",
        )
    return row


def _only(stone: Any, connection: str, external_id: str) -> str:
    """Return the article that is meant when nobody names one."""
    if stone["replaced_by"] is not None:
        return str(stone["replaced_by"])
    waiting = stone["waiting"]
    if len(waiting) == 1:
        return str(waiting[0])
    if waiting:
        raise ConfigurationError(
            f"several articles may take the place of {external_id!r}: {', '.join(waiting)}",
            code="successor_ambiguous",
            hint="name the one that is meant: --to",
        )
    raise ConfigurationError(
        f"nothing waits to take the place of {external_id!r}",
        code="successor_unknown",
        hint=f"name an open article with --to (tidegate matches list), or look again: tidegate sync run {connection}",
    )


async def _note(
    conn: Connection, tenant_id: UUID, actor: str, action: str, subject: str, detail: Mapping[str, object]
) -> None:
    await conn.execute(_AUDIT, tenant_id, new_id(), actor, action, subject, msgspec.json.encode(detail).decode())
