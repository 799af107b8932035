"""Sending the failures of an issue again: what it would do, one bounded step of it, and what became of one of them.

A step is one transaction with its row in the audit log: a retry that is interrupted has done what it has done, and the next
one goes on with the rest. Steps of several people wait for each other, so that everything is sent again once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

import msgspec

from tidegate import __version__
from tidegate.commerce.commands import DEADLINE_SECONDS, CommandKind
from tidegate.dispatch.modes import flow_of
from tidegate.dispatch.statements import COMMAND_CHANNEL, FLOW_MODE
from tidegate.kernel.errors import ConfigurationError, ConflictError
from tidegate.kernel.fixes import Fix, fix_of
from tidegate.kernel.ids import new_id
from tidegate.sdk.connector import Connector
from tidegate.store.connections import Connection
from tidegate.store.sql import query

STEP_MAX = 100
"""Failures of one step."""
PREVIEW_MAX = 5000
"""Failures that a preview looks at; more are taken for like them."""
FIRST_SHOWN = 10
_OUR_SIDE = frozenset(("unreadable", "mapper_error", "undecodable", "value_out_of_range", "crashes_worker"))
"""Codes of events that the same code meets again in the same way."""

_FACTS = query("retry_facts")
_PREVIEW = query("retry_preview")
_MEMBERS = query("retry_members")
_ACTIONS = query("retry_actions")
_LOCK_MARKS = query("retry_lock_marks")
_PUSHES = query("retry_pushes")
_REPLAY = query("event_replay_ids")
_NOTE = query("retry_note")
_RESULT = query("retry_result")
_EVENT_RESULT = query("retry_event_result")
_LOCK = query("keeper_lock")
_ADD_AUDIT = query("audit_add")


class Again(StrEnum):
    """Why a failure would end as before."""

    SKU_UNBOUND = "sku_unbound"
    """Its article still has no counterpart there."""
    OVERTAKEN = "overtaken"
    """A later command of its target went out: it may not go any more."""
    SAME_CODE = "same_code"
    """Connector and code are those that could not read it."""


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What a retry would do."""

    standing: int
    """Failures that stand."""
    on_their_way: int
    """Sent again already: left alone."""
    looked_at: int
    """Of those that stand, at most PREVIEW_MAX."""
    takes: int
    """Of those looked at, the ones that would go."""
    left_out: int
    """In doubt, and left alone unless they were looked up at the other side."""
    calls: int
    """Requests that this costs at the least."""
    again: dict[str, int]
    """Why they would be refused again -> how many."""
    first: tuple[str, ...]
    """What the first ones are about: order numbers, SKUs."""
    waits: tuple[str, ...]
    """Why nothing would leave now although it is sent again."""
    fix: Fix


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What one step did."""

    sent: tuple[UUID, ...]
    """Commands and events that go again."""
    events: frozenset[UUID] = frozenset()
    """Those of `sent` that are events."""
    skipped: int
    """Changed meanwhile, overtaken, or in doubt."""
    last: UUID | None
    """Where the next step goes on; None: there is nothing left."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one failure that was sent again."""

    state: Literal["waiting", "succeeded", "failed"]
    code: str = ""
    reason: str = ""


async def preview_retry(
    conn: Connection,
    *,
    tenant_id: UUID,
    issue_id: UUID,
    connectors: Mapping[str, Connector],
    in_doubt: bool = False,
    limit: int | None = None,
) -> Preview:
    """Return what a retry would do, changing nothing. Raises ConfigurationError: no such issue, or nothing to retry in it."""
    facts = await _facts(conn, tenant_id, issue_id)
    at_most = min(limit or PREVIEW_MAX, PREVIEW_MAX)
    rows = await conn.fetch(_PREVIEW, tenant_id, issue_id, in_doubt, at_most)
    taken = [row for row in rows if not row["is_left_out"]]
    again: dict[str, int] = {}
    for row in taken:
        why = _again(row, connectors)
        if why is not None:
            again[why] = again.get(why, 0) + 1
    going = [row for row in taken if not row["is_overtaken"]]
    return Preview(
        standing=facts["standing"],
        on_their_way=facts["retried"],
        looked_at=len(rows),
        takes=len(going),
        left_out=len(rows) - len(taken),
        calls=_calls(going, connectors),
        again=again,
        first=tuple(_about(row) for row in going[:FIRST_SHOWN]),
        waits=_waits(facts),
        fix=fix_of(facts["code"], facts["class"]),
    )


async def retry_step(
    conn: Connection,
    *,
    tenant_id: UUID,
    issue_id: UUID,
    actor: str,
    after: UUID | None = None,
    limit: int = STEP_MAX,
    rebuild: bool = False,
    in_doubt: bool = False,
) -> Step:
    """Send the next failures of an issue again, in order, at most `limit` (and STEP_MAX); one transaction.

    `rebuild` makes requests anew under new keys; `in_doubt` takes commands in doubt too, which somebody has looked up. Safe
    to repeat: what is on its way is left alone. Where a person must approve what is sent, this is the approval. Raises
    ConfigurationError: no such issue, or nothing to retry in it; ConflictError: its flow observes.
    """
    await _facts(conn, tenant_id, issue_id)
    states = ["failed", "in_doubt"] if in_doubt else ["failed"]
    async with conn.transaction():
        await conn.execute(_LOCK, tenant_id)
        count = min(limit, STEP_MAX)
        rows = await conn.fetch(_MEMBERS, tenant_id, issue_id, after or UUID(int=0), count)
        if not rows:
            return Step(sent=(), skipped=0, last=None)
        pushes = [row for row in rows if row["kind"] == CommandKind.INVENTORY_SET]
        actions = [row for row in rows if row["subject_kind"] == "command" and row not in pushes]
        await _require_writing(conn, tenant_id, actions)
        events = [row["subject_id"] for row in rows if row["subject_kind"] == "event"]
        replayed = [row["event_id"] for row in await conn.fetch(_REPLAY, tenant_id, events)] if events else []
        sent = [
            *await _push(conn, tenant_id, pushes, states, actor=actor),
            *await _act(conn, tenant_id, actions, states, rebuild=rebuild, actor=actor),
            *replayed,
        ]
        if sent:
            await conn.execute(_NOTE, tenant_id, issue_id, sent)
            detail = {"sent": sent, "rebuild": rebuild, "in_doubt": in_doubt}
            audit = (new_id(), actor, "issue.retried", str(issue_id), msgspec.json.encode(detail).decode())
            await conn.execute(_ADD_AUDIT, tenant_id, *audit)
            lanes = sorted({str(row["connection_id"]) for row in (*pushes, *actions)})
            if lanes:
                await conn.execute("SELECT pg_notify($1, $2)", COMMAND_CHANNEL, ",".join(lanes[:100]))
    last = rows[-1]["subject_id"] if len(rows) == count else None
    return Step(sent=tuple(sent), events=frozenset(replayed), skipped=len(rows) - len(sent), last=last)


async def read_result(conn: Connection, *, tenant_id: UUID, subject_id: UUID, is_event: bool) -> Result:
    """Return what became of a failure that a step has sent again."""
    if is_event:
        return read_event_result(await conn.fetchrow(_EVENT_RESULT, tenant_id, subject_id))
    return read_command_result(await conn.fetchrow(_RESULT, tenant_id, subject_id))


def read_command_result(row: Any) -> Result:
    """Return what a row of `retry_result` says. Pure. A stock number counts as sent when its item has nothing to tell."""
    if row is None:
        return Result(state="failed", code="command_missing")
    state, code, reason = row["state"], row["code"] or "", row["reason"] or ""
    if state == "superseded" and row["newer_state"] is None:
        return Result(state="waiting" if row["is_marked"] else "succeeded")
    if state == "superseded":
        if row["is_marked"]:
            return Result(state="waiting")
        state, code, reason = row["newer_state"], row["newer_code"] or "", row["newer_reason"] or ""
    if state in ("succeeded", "superseded"):
        return Result(state="succeeded")
    if state in ("failed", "cancelled") or (state == "in_doubt" and row["not_before"] is None):
        return Result(state="failed", code=code, reason=reason)
    return Result(state="waiting", code=code, reason=reason)


def read_event_result(row: Any) -> Result:
    """Return what a row of `retry_event_result` says. Pure. A replayed event is in the queue until its run is over."""
    if row["is_queued"] or row["parked"] == "parked":
        return Result(state="waiting")
    if row["parked"] == "quarantined" or row["outcome"] == "quarantined":
        return Result(state="failed", code=row["code"] or "", reason=row["reason"] or "")
    return Result(state="succeeded")


async def _facts(conn: Connection, tenant_id: UUID, issue_id: UUID) -> Any:
    facts = await conn.fetchrow(_FACTS, tenant_id, issue_id)
    if facts is None:
        raise ConfigurationError("there is no such issue", code="issue_unknown", hint="tidegate issues list --all")
    if facts["class"] in ("connection", "feed", "intake"):
        fix = fix_of(facts["code"], facts["class"])
        raise ConfigurationError(
            f"there is nothing to send again: {fix.meaning}", code="not_retryable", hint=fix.action
        )
    return facts


async def _require_writing(conn: Connection, tenant_id: UUID, rows: Sequence[Any]) -> None:
    """Hold the modes of what these commands belong to. Raises ConflictError when one observes: T2s would end them."""
    flows = sorted({(row["connection_id"], flow_of(CommandKind(row["kind"]))) for row in rows if row["kind"]})
    for connection_id, flow in flows:
        if await conn.fetchval(FLOW_MODE, tenant_id, connection_id, flow) == "observe":
            raise ConflictError(
                f"the {flow} flow observes: nothing of it is sent",
                code="flow_observes",
                hint=f"tidegate live {flow}, then retry",
            )


async def _push(conn: Connection, tenant_id: UUID, rows: Sequence[Any], states: list[str], *, actor: str) -> list[UUID]:
    if not rows:
        return []
    marks = sorted({(row["connection_id"], row["entity_id"]) for row in rows})
    await conn.fetch(_LOCK_MARKS, tenant_id, [one for one, _ in marks], [item for _, item in marks])
    ended = await conn.fetch(_PUSHES, tenant_id, [row["subject_id"] for row in rows], states, actor)
    return sorted(row["command_id"] for row in ended)


async def _act(
    conn: Connection, tenant_id: UUID, rows: Sequence[Any], states: list[str], *, rebuild: bool, actor: str
) -> list[UUID]:
    if not rows:
        return []
    deadlines = {kind: DEADLINE_SECONDS[kind] for kind in CommandKind if kind is not CommandKind.INVENTORY_SET}
    commands = [row["subject_id"] for row in rows]
    limits = ([str(kind) for kind in deadlines], list(deadlines.values()))
    moved = await conn.fetch(_ACTIONS, tenant_id, commands, rebuild, states, *limits, actor)
    return sorted(row["command_id"] for row in moved)


def _again(row: Any, connectors: Mapping[str, Connector]) -> Again | None:
    """Return why this failure would end as before, None when nothing says so."""
    if row["is_overtaken"]:
        return Again.OVERTAKEN
    if row["is_unbound"]:
        return Again.SKU_UNBOUND
    connector = connectors.get(row["connector"] or "")
    code = row["parked_code"] or ""
    if connector is not None and (code in _OUR_SIDE or code.startswith("sqlstate_")):
        then = (row["connector_version"], str(row["mapping_version"]), row["code_version"])
        if then == (connector.version, str(connector.mapping_version), __version__):
            return Again.SAME_CODE
    return None


def _calls(rows: Sequence[Any], connectors: Mapping[str, Connector]) -> int:
    """Return how many requests these failures cost: stock numbers share calls, every action has its own."""
    numbers: dict[str, set[str]] = {}
    actions = 0
    for row in rows:
        if row["kind"] == CommandKind.INVENTORY_SET:
            numbers.setdefault(row["connector"] or "", set()).add(row["target_key"])
        elif row["kind"] is not None:
            actions += 1
    for name, targets in numbers.items():
        connector = connectors.get(name)
        spec = connector.commands.get(CommandKind.INVENTORY_SET) if connector is not None else None
        bulk = spec.bulk_max if spec is not None else 1
        actions += -(-len(targets) // bulk)
    return actions


def _about(row: Any) -> str:
    name = row["number"] or row["sku"]
    return f"{row['kind']} {name}" if name else str(row["kind"] or "event")


def _waits(facts: Any) -> tuple[str, ...]:
    waits = []
    if facts["writes_stopped"]:
        waits.append("all writes are stopped: tidegate writes resume")
    if facts["flow_mode"] == "observe":
        waits.append("its flow observes: nothing of it is sent before it is live")
    if facts["connection_state"] not in (None, "active"):
        waits.append(f"{facts['connection']} is {facts['connection_state']}: tidegate connect {facts['connection']}")
    return tuple(waits)
