"""The end of one connection's part of a run: its digest in the log, and when the next look is due."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

import msgspec

from tidegate import __version__
from tidegate.config import Config
from tidegate.config.reconcile import LookFigures, adapted_interval, look_rules
from tidegate.dispatch import shown_statements as statements
from tidegate.dispatch.records import ShownRead
from tidegate.dispatch.scope import Scope
from tidegate.eventlog.records import Envelope, NewEvent, unique_dedupe_key
from tidegate.eventlog.results import ResultEvent, append_results
from tidegate.kernel.ids import new_id, public_id, slot_of
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
    tenant_id, connection_id = scope.ids
    event_id, ordering_key = new_id(), public_id("run", scope.cell, run_id)
    content = msgspec.json.encode(body)
    key = await scope.cipher.current(conn, tenant_id, scope.clock.now().date())
    envelope = Envelope(
        connector=scope.connector.name,
        connector_version=scope.connector.version,
        mapping_version=scope.connector.mapping_version,
        code_version=__version__,
    )
    event = NewEvent(
        tenant_id=tenant_id,
        event_id=event_id,
        connection_id=connection_id,
        source="result",
        topic=topic,
        ordering_key=ordering_key,
        slot=slot_of(tenant_id, ordering_key),
        dedupe_key=unique_dedupe_key("result", event_id),
        body_digest=hashlib.sha256(content).digest(),
        data_key_id=key.key_id,
        body=scope.cipher.seal(key, "event", event_id, content),
        external_id=ordering_key,
        envelope=envelope.encode(),
    )
    await append_results(
        conn, [ResultEvent(event=event, envelope=envelope, code=code, reason=reason)], writer=scope.writer
    )
    return event_id


async def _adapt(conn: Connection, scope: Scope, row: Any) -> None:
    interval = await conn.fetchval(statements.LOOK_INTERVAL, *scope.ids)
    if interval is None:
        return
    rules = look_rules(await read_config(conn, scope), scope.connection.name)
    figures = LookFigures(
        articles=row["compared"], differences=row["differences"], reading_seconds=row["reading_seconds"]
    )
    await conn.execute(statements.ADAPT_LOOK, *scope.ids, adapted_interval(rules, interval, figures))
