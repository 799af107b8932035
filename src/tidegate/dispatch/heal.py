"""Healing: a number that differs is told once more, by its mark, the one way in which numbers are told.

A run does it by itself where the policy says so, once everything is compared; a person does it for what waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import msgspec
import structlog

from tidegate.config.reconcile import LookRules
from tidegate.config.skus import matches
from tidegate.dispatch import shown_statements as statements
from tidegate.dispatch.heal_decide import HEALABLE, is_too_much
from tidegate.dispatch.look_end import finish_read
from tidegate.dispatch.records import ShownRead
from tidegate.dispatch.scope import Scope
from tidegate.dispatch.statements import COMMAND_CHANNEL
from tidegate.kernel import crashpoint
from tidegate.kernel.ids import new_id
from tidegate.store.connections import Connection
from tidegate.store.sql import query

log = structlog.get_logger()

STEP_ROWS = 500
"""Numbers that are marked in one transaction."""
RECONCILER = "reconcile"
"""Who heals by policy."""
_AUDIT = query("audit_add")


async def end_comparing(conn: Connection, scope: Scope, read: ShownRead, rules: LookRules, compared: int) -> None:
    """Go on to healing when all is compared, or end the read. More than one run may heal waits for a person."""
    run = (*scope.ids, read.run_id)
    row = await conn.fetchrow(statements.COUNT_DUE, *run)
    due, missing, waits = (row["due"], row["missing"], row["waits"]) if row is not None else (0, 0, 0)
    limit = rules.heal_limit(compared)
    if due and is_too_much(due, missing, limit):
        log.error("reconcile.too_much", connection=scope.connection.name, differences=due, missing=missing, limit=limit)
        await conn.execute(statements.ASK_INSTEAD, *run)
        due, waits = 0, waits + due
    if due and await conn.fetchval(statements.BEGIN_HEALING, *run, read.version, waits):
        return
    await conn.execute(statements.SET_WAITING, *run, read.version, waits)
    await finish_read(conn, scope, read, "done")


async def heal_step(scope: Scope, read: ShownRead) -> None:
    """Tell the next numbers anew, in one transaction; with the last ones the read ends. Raises `Fenced`, `DATABASE_ERRORS`."""

    async def work(conn: Connection) -> None:
        await scope.fence(conn)
        rows = await conn.fetch(statements.DUE_ROWS, *scope.ids, read.run_id, STEP_ROWS)
        if not rows:
            await finish_read(conn, scope, read, "done")
            return
        told = await tell_again(conn, scope.ids, rows, actor=RECONCILER, run_id=read.run_id)
        left = [row for row in rows if row["item_id"] not in told]
        await conn.execute(statements.SET_UNHEALED, *scope.ids, *_keys(left))
        await conn.fetchval(statements.END_HEALED, *scope.ids, read.run_id, read.version, len(rows) - len(left))

    await scope.transact(work)
    crashpoint.reach("dispatch.heal.marked")


async def tell_again(
    conn: Connection, ids: tuple[UUID, UUID], rows: Sequence[Any], *, actor: str, run_id: UUID | None
) -> set[UUID]:
    """Mark the items of these rows of `drift`, inside of a transaction; return the items that will be told.

    Marks are locked first, then the differences: the one order. What is on its way, or observed, is left alone.
    """
    items = sorted({row["item_id"] for row in rows if row["item_id"] is not None})
    told = {row["item_id"] for row in await conn.fetch(statements.TELL_AGAIN, *ids, items)}
    chosen = [row for row in rows if row["item_id"] in told]
    if chosen:
        await conn.execute(statements.SET_HEALING, *ids, actor, *_keys(chosen))
        await add_entries(conn, ids, [(row, "told") for row in chosen], actor=actor, run_id=run_id)
    return told


async def add_entries(
    conn: Connection,
    ids: tuple[UUID, UUID],
    entries: Sequence[tuple[Any, str]],
    *,
    actor: str,
    run_id: UUID | None,
    event_id: UUID | None = None,
) -> None:
    """Write the story of differences on: (row of `drift` or the like, what happened)."""
    if not entries:
        return
    names = ("sku", "external_id", "field", "place")
    await conn.execute(
        statements.ADD_ENTRIES,
        *ids,
        run_id,
        event_id,
        actor,
        [new_id() for _ in entries],
        *([row[name] for row, _ in entries] for name in names),
        [kind for _, kind in entries],
        *([row[name] for row, _ in entries] for name in ("owner_value", "other_value", "cause")),
    )


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """Which differences a person means. What is None narrows nothing down."""

    connection: str | None = None
    skus: tuple[str, ...] | None = None
    """Patterns with `*` and `?`."""
    articles: tuple[str, ...] | None = None
    """Ids of articles there."""
    only_waiting: bool = True
    """What waits for approval; else also what is only reported, or was given up."""


class Healed(msgspec.Struct, frozen=True, kw_only=True):
    """What a person's word changed."""

    chosen: int
    told: int
    """Numbers that will be told anew. The rest is on its way already, or its flow observes."""


async def choose(conn: Connection, tenant_id: UUID, chosen: Chosen) -> list[Any]:
    """Return the differences that are meant and that telling anew may mend. Reads only."""
    causes = sorted(cause.value for cause in HEALABLE)
    rows = await conn.fetch(statements.CHOSEN_DRIFT, tenant_id, chosen.connection, chosen.only_waiting, causes)
    return [
        row
        for row in rows
        if (chosen.skus is None or matches(row["sku"], chosen.skus))
        and (chosen.articles is None or row["external_id"] in chosen.articles)
    ]


async def heal(
    conn: Connection,
    *,
    tenant_id: UUID,
    chosen: Chosen,
    actor: str,
    limit: int | None = None,
    on_progress: Callable[[Healed], None] | None = None,
) -> Healed:
    """Tell the chosen numbers anew, whatever the policy says; batches, each a transaction of its own with its audit row.

    Safe to repeat and to run twice at once: what is on its way is left alone. `limit`: at most so many; who heals inside of an
    open transaction gives one, because the marks stay locked until its end. `on_progress` hears after each batch how many are told.
    Interrupted, it leaves whole batches: the same once more goes on from there.
    """
    rows = (await choose(conn, tenant_id, chosen))[:limit]
    by_connection: dict[UUID, list[Any]] = {}
    for row in rows:
        by_connection.setdefault(row["connection_id"], []).append(row)
    count = 0
    for connection_id, its_rows in by_connection.items():
        for start in range(0, len(its_rows), STEP_ROWS):
            batch = its_rows[start : start + STEP_ROWS]
            async with conn.transaction():
                told = await tell_again(conn, (tenant_id, connection_id), batch, actor=actor, run_id=None)
                if told:
                    detail = msgspec.json.encode({"connection": batch[0]["name"], "items": sorted(map(str, told))})
                    subject = f"{len(told)} numbers of {batch[0]['name']}"
                    await conn.execute(_AUDIT, tenant_id, new_id(), actor, "drift.healed", subject, detail.decode())
                    await conn.execute("SELECT pg_notify($1, $2)", COMMAND_CHANNEL, str(connection_id))
            count += len(told)
            if on_progress is not None:
                on_progress(Healed(chosen=len(rows), told=count))
    return Healed(chosen=len(rows), told=count)


def _keys(rows: Sequence[Any]) -> tuple[list[str], list[str], list[str]]:
    return [row["external_id"] for row in rows], [row["field"] for row in rows], [row["place"] for row in rows]
