"""The end of one connection's part of a run: its digest in the log, and when the next look is due."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tidegate.config import Config
from tidegate.config.reconcile import LookFigures, adapted_interval, look_rules
from tidegate.dispatch import shown_statements as statements
from tidegate.dispatch.records import ShownRead
from tidegate.dispatch.results import build_result
from tidegate.dispatch.scope import Scope
from tidegate.eventlog.results import append_results
from tidegate.kernel.ids import public_id
from tidegate.store.connections import Connection

DIFFERENCES_TOPIC = "reconcile.differences"
DIGEST_TOPIC = "reconcile.finished"


async def read_config(conn: Connection, scope: Scope) -> Config:
    """Return the configuration that counts now, as planned: a flow that is held back keeps its mode."""
    await scope.snapshots.read(conn)
    found = scope.snapshots.at(scope.connection.tenant_id, scope.clock.now())
    return found.planned if found is not None else Config()


async def finish_read(conn: Connection, scope: Scope, read: ShownRead, state: str, error: str | None = None) -> bool:
    """End a read inside of a transaction, and with the last one its run; return whether it was still this step's turn.

    Appends the digest to the log, and moves the next look by what this one found.
    """
    tenant_id, _ = scope.ids
    await conn.execute(statements.LOCK_RUN, tenant_id, read.run_id)
    row = await conn.fetchrow(statements.END_READ, *scope.ids, read.run_id, read.version, state, error)
    await conn.execute(statements.END_RUN, tenant_id, read.run_id)
    if row is None:
        return False
    words = f"{row['differences']} of {row['compared']} differ" if state == "done" else error or "it was given up"
    if row["healed"] or row["heal_waits"]:
        words += f"; {row['healed']} told anew, {row['heal_waits']} wait for approval"
    body = {
        "connection": scope.connection.name,
        "run": public_id("run", scope.cell, read.run_id),
        "state": state,
        **row,
    }
    await append_fact(conn, scope, DIGEST_TOPIC, read.run_id, body, code=f"look_{state}", reason=words)
    if state == "done":
        await _adapt(conn, scope, row)
    return True


async def append_fact(
    conn: Connection, scope: Scope, topic: str, run_id: UUID, body: Any, *, code: str, reason: str
) -> UUID:
    """Append what a run found to the log, inside of the transaction that stores it; return the event's id."""
    name = public_id("run", scope.cell, run_id)
    result = await build_result(
        conn, scope, body, topic=topic, ordering_key=name, external_id=name, code=code, reason=reason
    )
    await append_results(conn, [result], writer=scope.writer)
    return result.event.event_id


async def _adapt(conn: Connection, scope: Scope, row: Any) -> None:
    interval = await conn.fetchval(statements.LOOK_INTERVAL, *scope.ids)
    if interval is None:
        return
    rules = look_rules(await read_config(conn, scope), scope.connection.name)
    figures = LookFigures(
        articles=row["compared"], differences=row["differences"], reading_seconds=row["reading_seconds"]
    )
    await conn.execute(statements.ADAPT_LOOK, *scope.ids, adapted_interval(rules, interval, figures))
