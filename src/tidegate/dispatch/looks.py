"""Looks on schedule: each connection is read and compared by itself, as `reconcile` in tidegate.yaml says.

One row per connection says when; whoever moves it begins the look, so two nodes never begin the same one. After downtime a
look that came due begins once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
import structlog

from tidegate.config import Config
from tidegate.config.reconcile import (
    TOGETHER_SHARE,
    LookRules,
    blackout_end,
    look_rules,
    next_look,
)
from tidegate.dispatch import shown_statements as statements
from tidegate.dispatch.drift import SCHEDULE, compared_connections, request_run
from tidegate.dispatch.statements import COMMAND_CHANNEL
from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.ids import first_id_at, new_id
from tidegate.sdk.connector import Connector
from tidegate.store.connections import Connection
from tidegate.store.sql import query

log = structlog.get_logger()

ENTRIES_KEPT = timedelta(days=90)
FORGOTTEN_MAX = 20_000
"""Old entries of the story of differences that one run deletes at most."""
_AUDIT = query("audit_add")


async def plan_look(
    conn: Connection,
    ids: tuple[UUID, UUID],
    name: str,
    config: Config,
    connectors: Mapping[str, Connector],
    now: datetime,
) -> LookRules:
    """Have the connection's looks be due by its configuration; one statement. Nothing changes while the rules stay the same."""
    rules = look_rules(config, name)
    if not rules.enabled or name not in compared_connections(config, connectors):
        await conn.execute(statements.FORGET_LOOK, *ids)
        return rules
    least, most = rules.bounds
    interval = float(min(max(rules.every_seconds, least), most))
    await conn.execute(statements.PLAN_LOOK, *ids, next_look(rules, now, interval, ids[0]), interval, rules.text)
    return rules


async def begin_looks(
    conn: Connection, tenant_id: UUID, config: Config, connectors: Mapping[str, Connector], now: datetime
) -> tuple[str, ...]:
    """Begin what is due, in one transaction; return the connections that will be read."""
    async with conn.transaction():
        await conn.execute(statements.LOCK_REQUESTS, tenant_id)
        rows = await conn.fetch(statements.DUE_LOOKS, tenant_id, TOGETHER_SHARE)
        if not any(row["is_due"] for row in rows):
            return ()
        compared = compared_connections(config, connectors)
        names: list[str] = []
        moves: list[tuple[UUID, datetime, bool]] = []
        for row in rows:
            rules = look_rules(config, row["name"])
            held_until = blackout_end(rules, now)
            may_begin = held_until is None and row["state"] == "active" and rules.enabled and row["name"] in compared
            due = next_look(rules, now, row["interval_seconds"], tenant_id)
            if held_until is not None:
                due = max(held_until, now + timedelta(seconds=1))
            if may_begin:
                names.append(row["name"])
            if may_begin or row["is_due"]:
                moves.append((row["connection_id"], due, may_begin))
        run_id = None
        if names:
            requested = await request_run(conn, tenant_id=tenant_id, actor=SCHEDULE, names=names)
            run_id = requested.run_id
        for connection_id, due, may_begin in moves:
            await conn.execute(statements.MOVE_LOOK, tenant_id, connection_id, due, run_id if may_begin else None)
        await conn.execute(statements.RELEASE_OVERDUE, tenant_id)
        await conn.execute(statements.FORGET_ENTRIES, tenant_id, first_id_at(now - ENTRIES_KEPT), FORGOTTEN_MAX)
    if names:
        log.info("reconcile.begun", tenant_id=tenant_id, connections=names)
    return tuple(names)


async def pause(
    conn: Connection, *, tenant_id: UUID, names: Sequence[str] | None, actor: str, until: datetime | None = None
) -> tuple[str, ...]:
    """Begin no more looks of these connections, all when None, and hold what is under way; return those it holds for.

    Outlives every process; `until` None: until somebody resumes. Raises ConfigurationError when none of them is looked at.
    """
    return await _set_pause(conn, tenant_id, names, actor, "sync.paused", (actor, until))


async def resume(conn: Connection, *, tenant_id: UUID, names: Sequence[str] | None, actor: str) -> tuple[str, ...]:
    """Let looks go on from where they were held; what came due meanwhile is looked at once. Returns those that were paused."""
    return await _set_pause(conn, tenant_id, names, actor, "sync.resumed", None)


async def _set_pause(
    conn: Connection,
    tenant_id: UUID,
    names: Sequence[str] | None,
    actor: str,
    action: str,
    paused: tuple[str, datetime | None] | None,
) -> tuple[str, ...]:
    wanted = list(names) if names is not None else None
    async with conn.transaction():
        if paused is not None:
            rows = await conn.fetch(statements.PAUSE, tenant_id, wanted, *paused)
        else:
            rows = await conn.fetch(statements.RESUME, tenant_id, wanted)
        if not rows and paused is not None:
            raise ConfigurationError(
                "there is nothing to pause",
                code="nothing_to_pause",
                hint="`tidegate sync status` shows which connections are looked at by themselves",
            )
        ids = [row["connection_id"] for row in rows]
        await conn.execute(statements.HOLD_READS, tenant_id, ids, paused is not None)
        if rows:
            found = sorted(row["name"] for row in rows)
            detail = msgspec.json.encode({"connections": found, "until": paused[1] if paused is not None else None})
            await conn.execute(_AUDIT, tenant_id, new_id(), actor, action, ", ".join(found)[:200], detail.decode())
            await conn.execute("SELECT pg_notify($1, '')", COMMAND_CHANNEL)
    return tuple(sorted(row["name"] for row in rows))
