"""The keeper of issues: reads what failed since it last looked, a bounded piece at a time, and keeps the groups.

It runs beside the lanes, which have the keys that a sample needs; the lanes and T2 know nothing of it. Several keepers may
run: a tenant has one at a time. Each step is one short transaction and may be repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import structlog

from tidegate.kernel.clock import Clock, seconds_to_beat
from tidegate.kernel.errors import TidegateError
from tidegate.kernel.ids import new_id, public_id
from tidegate.monitor.grouping import Cause, Change, Failure, Group, fingerprint_of, group, read_failure, sweep
from tidegate.monitor.issues import Affected
from tidegate.monitor.samples import bounded, redact_answer, redact_json
from tidegate.monitor.vocabulary import shape_of
from tidegate.store.connections import DATABASE_ERRORS, Connection, Pool
from tidegate.store.context import Context
from tidegate.store.pool import create_pool
from tidegate.store.sql import query
from tidegate.vault.bodies import BodyCipher
from tidegate.vault.keys import KeyRing

log = structlog.get_logger()

LOOK_SECONDS = 5.0
"""How often the keeper looks whether there is something to do: one query."""
BATCH_MAX = 1000
"""Failures of one step."""
STEPS_MAX = 20
"""Steps of one look and source: what is left is read at the next look."""
SWEEP_MAX = 2000
AFFECTED_MAX = 5000
OVERLAP = timedelta(seconds=30)
"""A transaction may commit so long after the moment that it stored. What is read again is known and left out."""
REFUSED_WITHIN = timedelta(hours=2)
REFUSAL_CODES = (
    "signature_missing", "signature_malformed", "signature_mismatch", "timestamp_stale", "timestamp_future",
    "secret_missing", "secret_unusable", "connector_missing",
)  # fmt: skip
"""Refusals that a sender of ours may get. An unknown path is not among them: that is whoever scans the internet."""
_NIL = UUID(int=0)

_PULSE = query("keeper_pulse")
_TRY_LOCK = query("keeper_try_lock")
_PROGRESS = query("keeper_progress")
_SET_PROGRESS = query("keeper_set_progress")
_FAILED = query("keeper_failed")
_ASKING = query("keeper_asking")
_KNOWN = query("keeper_known")
_QUARANTINED = query("keeper_quarantined")
_SHAPES = query("keeper_shapes")
_FINGERPRINTS = query("keeper_fingerprints")
_ISSUES = query("keeper_issues")
_FORGET = query("keeper_forget")
_REMEMBER = query("keeper_remember")
_COUNT = query("keeper_count")
_MEMBERS = query("keeper_members")
_MARK = query("keeper_mark")
_RESOLVE = query("keeper_resolve")
_STATES = query("keeper_states")
_KNOWN_STATES = query("keeper_known_states")
_SET_STATE = query("keeper_set_state")
_AFFECTED = query("keeper_affected")
_KEEP = query("keeper_keep")
_CALL = query("keeper_call")
_EVENT = query("keeper_event")


async def serve(context: Context, stop: asyncio.Event) -> None:
    """Keep issues until `stop` is set. Whatever goes wrong is logged and tried again: nobody else may be disturbed."""
    pool = await create_pool(
        context.access, application_name=f"tidegate-keeper-{context.index}", size_min=0, size_max=1
    )
    keeper = IssueKeeper(pool, BodyCipher(KeyRing(context.keys)), cell=context.cell, clock=context.clock)
    try:
        while not stop.is_set():
            try:
                await keeper.look()
            except DATABASE_ERRORS as error:
                log.warning("keeper.database_away", error_class=type(error).__name__)
            except Exception as error:
                log.error("keeper.failed", exc_info=error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), seconds_to_beat(LOOK_SECONDS, asyncio.get_running_loop().time()))
    finally:
        await pool.close()


class IssueKeeper:
    """Keeps the issues of all tenants."""

    def __init__(self, pool: Pool, cipher: BodyCipher, *, cell: str, clock: Clock) -> None:
        """`cipher` opens the samples."""
        self._pool = pool
        self._cipher = cipher
        self._cell = cell
        self._clock = clock

    async def look(self) -> None:
        """Do what there is to do, up to the bounds. Raises what the database raises."""
        since = self._refused_since()
        async with self._pool.acquire() as conn:
            tenants = [row["tenant_id"] for row in await conn.fetch(_PULSE, since)]
            for tenant_id in tenants:
                await _Round(self, conn, tenant_id).run()

    def _refused_since(self) -> datetime:
        return (self._clock.now() - REFUSED_WITHIN).replace(minute=0, second=0, microsecond=0)


class _Round:
    """One look at one tenant."""

    def __init__(self, keeper: IssueKeeper, conn: Connection, tenant_id: UUID) -> None:
        self._keeper = keeper
        self._conn = conn
        self._tenant_id = tenant_id
        self._touched: dict[UUID, Failure | None] = {}
        """Issue -> the failure to make a sample of, None for an issue that has one."""

    async def run(self) -> None:
        conn, tenant_id = self._conn, self._tenant_id
        progress = await conn.fetchrow(_PROGRESS, tenant_id)
        assert progress is not None
        await self._follow(_FAILED, progress["failed_at"], "failed")
        await self._follow(_QUARANTINED, progress["quarantined_at"], "quarantined")
        await self._ask(progress["doubtful_after"])
        await self._states()
        await self._sweep(progress["swept_after"])
        for issue_id, failure in self._touched.items():
            await self._describe(issue_id, failure)

    # --- what failed ---------------------------------------------------------------------------------------------
    async def _follow(self, statement: str, read_until: datetime, source: str) -> None:
        """Group what failed after `read_until`. The place is kept behind by OVERLAP, for commits that come late."""
        now = self._keeper._clock.now()
        moment, last = read_until, _NIL
        for _ in range(STEPS_MAX):
            async with self._conn.transaction():
                if not await self._conn.fetchval(_TRY_LOCK, self._tenant_id):
                    return
                rows: list[Any] = await self._conn.fetch(statement, self._tenant_id, moment, last, BATCH_MAX)
                await self._group([read_failure(row) for row in rows])
                if rows:
                    moment, last = rows[-1]["failed_at"], rows[-1]["subject_id"]
                reached = now - OVERLAP if len(rows) < BATCH_MAX else min(moment, now - OVERLAP)
                reached = max(reached, read_until)
                kept = (None, reached) if source == "quarantined" else (reached, None)
                await self._conn.execute(_SET_PROGRESS, self._tenant_id, *kept, None, None)
            if len(rows) < BATCH_MAX:
                return

    async def _ask(self, after: UUID) -> None:
        """Group commands that only a person can decide: a piece per look, in turn."""
        async with self._conn.transaction():
            if not await self._conn.fetchval(_TRY_LOCK, self._tenant_id):
                return
            rows: list[Any] = await self._conn.fetch(_ASKING, self._tenant_id, after, BATCH_MAX)
            known = await self._conn.fetch(_KNOWN, self._tenant_id, [row["subject_id"] for row in rows])
            seen = {(row["subject_id"], row["failed_at"]) for row in known}
            await self._group([read_failure(r) for r in rows if (r["subject_id"], r["failed_at"]) not in seen])
            reached = rows[-1]["subject_id"] if len(rows) == BATCH_MAX else _NIL
            if reached != after:
                await self._conn.execute(_SET_PROGRESS, self._tenant_id, None, None, reached, None)

    async def _group(self, failures: Sequence[Failure]) -> None:
        """Store failures that are new, and move their issues once."""
        if not failures:
            return
        conn, tenant_id = self._conn, self._tenant_id
        groups = group(failures, *await self._known(failures))
        rows = await conn.fetch(_ISSUES, tenant_id, *_columns_of(groups))
        issue_of = {row["fingerprint"]: row["issue_id"] for row in rows}
        wants_sample = {row["issue_id"]: row["wants_sample"] for row in rows}
        changes = {issue_id: Change() for issue_id in issue_of.values()}
        subjects = [failure.subject_id for failure in failures]
        for row in await conn.fetch(_FORGET, tenant_id, subjects):
            change = changes.setdefault(row["issue_id"], Change())
            if row["retried"]:
                change.retried -= row["members"]
            else:
                change.standing -= row["members"]
        members = []
        for one in groups:
            issue_id = issue_of[one.fingerprint]
            changes[issue_id].standing += len(one.failures)
            changes[issue_id].seen += len(one.failures)
            members += [(each.subject_id, issue_id, each.kind, each.failed_at) for each in one.failures]
            newest = one.failures[-1] if wants_sample[issue_id] else None
            self._touched[issue_id] = newest or self._touched.get(issue_id)
        await conn.execute(_REMEMBER, tenant_id, *[list(column) for column in zip(*members, strict=True)])
        await self._count(changes)

    async def _known(self, failures: Sequence[Failure]) -> tuple[set[bytes], Mapping[Cause, int]]:
        fingerprints = list({fingerprint_of(failure.cause, failure.shape) for failure in failures})
        found = await self._conn.fetch(_FINGERPRINTS, self._tenant_id, fingerprints)
        causes = sorted({failure.cause for failure in failures}, key=str)
        rows = await self._conn.fetch(_SHAPES, self._tenant_id, *[list(column) for column in zip(*causes, strict=True)])
        shapes = {(row["class"], row["connection_id"], row["operation"], row["code"]): row["shapes"] for row in rows}
        return {row["fingerprint"] for row in found}, shapes

    async def _count(self, changes: Mapping[UUID, Change]) -> None:
        moved = {issue_id: changes[issue_id] for issue_id in sorted(changes)}
        await self._conn.execute(
            _COUNT,
            self._tenant_id,
            list(moved),
            [change.standing for change in moved.values()],
            [change.retried for change in moved.values()],
            [change.seen for change in moved.values()],
        )
        for issue_id in moved:
            self._touched.setdefault(issue_id, None)

    # --- what stands still by itself -----------------------------------------------------------------------------
    async def _states(self) -> None:
        """Bring the issues of connections, feeds and refused deliveries up to date with what is so now."""
        conn, tenant_id, now = self._conn, self._tenant_id, self._keeper._clock.now()
        async with conn.transaction():
            if not await conn.fetchval(_TRY_LOCK, tenant_id):
                return
            rows = await conn.fetch(_STATES, tenant_id, self._keeper._refused_since(), list(REFUSAL_CODES))
            standing: dict[bytes, int] = {}
            fresh: list[Group] = []
            for row in rows:
                cause: Cause = (row["class"], row["connection_id"], row["operation"], row["code"])
                shape = shape_of(row["reason"])
                fingerprint = fingerprint_of(cause, shape)
                standing[fingerprint] = row["standing"]
                failure = Failure(
                    subject_id=_NIL, kind="event", failed_at=now, class_=cause[0], connection_id=cause[1],
                    operation=cause[2], code=cause[3], shape=shape,
                )  # fmt: skip
                fresh.append(Group(fingerprint=fingerprint, cause=cause, shape=shape, failures=[failure]))
            known = {row["fingerprint"]: row for row in await conn.fetch(_KNOWN_STATES, tenant_id, list(standing))}
            new = [one for one in fresh if one.fingerprint not in known]
            if new:
                for row in await conn.fetch(_ISSUES, tenant_id, *_columns_of(new)):
                    count = standing[row["fingerprint"]]
                    await conn.execute(_SET_STATE, tenant_id, row["issue_id"], "open", count, count, False, True)
            for fingerprint, row in known.items():
                await self._set_state(row, standing.get(fingerprint, 0))

    async def _set_state(self, row: Any, standing: int) -> None:
        """Closed by hand while it stands, it stays closed; ended and come again, it has regressed."""
        state, came_again = row["state"], False
        if not standing:
            state = "resolved"
        elif row["state"] == "resolved" and not row["standing"]:
            state, came_again = "regressed", True
        seen = row["seen"] + max(0, standing - row["standing"])
        if (state, standing, seen) != (row["state"], row["standing"], row["seen"]):
            await self._conn.execute(
                _SET_STATE,
                self._tenant_id,
                row["issue_id"],
                state,
                standing,
                seen,
                came_again,
                standing > row["standing"],
            )

    # --- what ended ----------------------------------------------------------------------------------------------
    async def _sweep(self, after: UUID) -> None:
        """Look at grouped failures in turn; forget what is over, and close issues of which nothing is left."""
        for _ in range(STEPS_MAX):
            async with self._conn.transaction():
                if not await self._conn.fetchval(_TRY_LOCK, self._tenant_id):
                    return
                rows: list[Any] = await self._conn.fetch(_MEMBERS, self._tenant_id, after, SWEEP_MAX)
                over, marks, changes = sweep(rows)
                if over:
                    await self._conn.fetch(_FORGET, self._tenant_id, over)
                for is_retried, subjects in marks.items():
                    if subjects:
                        await self._conn.execute(_MARK, self._tenant_id, subjects, is_retried)
                if changes:
                    await self._count(changes)
                reached = rows[-1]["subject_id"] if len(rows) == SWEEP_MAX else _NIL
                if reached != after:
                    await self._conn.execute(_SET_PROGRESS, self._tenant_id, None, None, None, reached)
                for row in await self._conn.fetch(_RESOLVE, self._tenant_id):
                    log.info("issue.resolved", count=1, reason=public_id("iss", self._keeper._cell, row["issue_id"]))
            after = reached
            if reached == _NIL or not over:
                return

    # --- what people see -----------------------------------------------------------------------------------------
    async def _describe(self, issue_id: UUID, failure: Failure | None) -> None:
        """Keep what the issue holds up, and a sample when it has none."""
        row = await self._conn.fetchrow(_AFFECTED, self._tenant_id, issue_id, AFFECTED_MAX)
        assert row is not None
        affected = Affected(
            orders=row["orders"],
            skus=row["skus"],
            value=msgspec.json.decode(row["value"]),
            is_partial=row["members"] >= AFFECTED_MAX,
        )
        sample = await self._sample(failure) if failure is not None else None
        await self._conn.execute(
            _KEEP, self._tenant_id, issue_id, _json(affected), _json(bounded(sample)) if sample is not None else None
        )

    async def _sample(self, failure: Failure) -> dict[str, Any]:
        prefix = "cmd" if failure.kind == "command" else "evt"
        sample: dict[str, Any] = {
            "of": public_id(prefix, self._keeper._cell, failure.subject_id), "at": failure.failed_at.isoformat()
        }  # fmt: skip
        try:
            if failure.kind == "event":
                return {**sample, **await self._event(failure.subject_id)}
            return {**sample, **await self._call(failure.subject_id)}
        except TidegateError as error:
            return {**sample, "unavailable": error.code}

    async def _event(self, event_id: UUID) -> dict[str, Any]:
        row = await self._conn.fetchrow(_EVENT, self._tenant_id, event_id)
        if row is None:
            return {"unavailable": "event_missing"}
        return {
            "topic": shape_of(row["topic"].replace(".", " ")),
            "event": redact_json(await self._open(row, "event", event_id)),
        }

    async def _call(self, command_id: UUID) -> dict[str, Any]:
        row = await self._conn.fetchrow(_CALL, self._tenant_id, command_id)
        if row is None:
            return {"request": None, "answer": None}
        payload = await self._open({"data_key_id": row["call_key_id"], "body": row["payload"]}, "call", row["call_id"])
        payloads = msgspec.json.decode(payload)
        position = row["members"].index(command_id) if command_id in row["members"] else 0
        shown: dict[str, Any] = {"request": redact_json(msgspec.json.encode(payloads[position])), "answer": None}
        if row["attempt_id"] is not None and row["answer"] is not None:
            answer = await self._open(
                {"data_key_id": row["answer_key_id"], "body": row["answer"]}, "answer", row["attempt_id"]
            )
            shown["answer"] = {
                "http_status": row["http_status"],
                "outcome": row["outcome"],
                "code": row["code"],
                "duration_ms": row["duration_ms"],
                **redact_answer(answer, str(command_id)),
            }
        return shown

    async def _open(self, row: Any, purpose: Any, subject_id: UUID) -> bytes:
        cipher, key_id = self._keeper._cipher, row["data_key_id"]
        await cipher.opener(self._conn, [(self._tenant_id, key_id)])
        return cipher.open(self._tenant_id, key_id, purpose, subject_id, row["body"])


def _columns_of(groups: Sequence[Group]) -> list[list[Any]]:
    return [
        [new_id() for _ in groups],
        [one.fingerprint for one in groups],
        [one.cause[0] for one in groups],
        [one.cause[1] for one in groups],
        [one.cause[2] for one in groups],
        [one.cause[3] for one in groups],
        [one.shape for one in groups],
        [min(each.failed_at for each in one.failures) for one in groups],
        [max(each.failed_at for each in one.failures) for one in groups],
    ]


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
