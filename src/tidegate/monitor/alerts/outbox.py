"""Delivers what is to be told: at least once, with patience, and never by two at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog

from tidegate.kernel import crashpoint
from tidegate.kernel.clock import Clock
from tidegate.kernel.errors import TidegateError
from tidegate.kernel.ids import public_id
from tidegate.kernel.retry import full_jitter
from tidegate.monitor.alerts import metrics
from tidegate.monitor.alerts.addresses import HEARTBEAT_KIND, Target
from tidegate.monitor.alerts.delivery import Message, beat, tell
from tidegate.monitor.alerts.post import Answer
from tidegate.monitor.alerts.settings import AlertSettings
from tidegate.sdk.egress import Network
from tidegate.store.connections import DATABASE_ERRORS, Connection
from tidegate.store.sql import query
from tidegate.vault import alert_targets
from tidegate.vault.keys import KeyRing

log = structlog.get_logger("monitor.alerts")

_CLAIM = query("alerts_notices_claim")
_DONE = query("alerts_notice_done")
_TARGETS = query("alerts_targets")
_USED = query("alerts_target_used")


class Tenant:
    """What the outbox must know of a tenant."""

    def __init__(self, name: str, allow: Sequence[Network]) -> None:
        """`allow` are the private networks that its targets may be in."""
        self.name = name
        self.allow = tuple(allow)


class Outbox:
    """Takes notices whose time has come and tells them. Its statements share one connection, one at a time."""

    def __init__(self, ring: KeyRing, clock: Clock, cell: str, settings: AlertSettings) -> None:
        """`ring` holds the class `alert`."""
        self._ring = ring
        self._clock = clock
        self._cell = cell
        self._settings = settings
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def under_way(self) -> int:
        """How many tries run."""
        return len(self._tasks)

    async def deliver(self, conn: Connection, lock: asyncio.Lock, tenants: Mapping[UUID, Tenant]) -> int:
        """Begin to tell what is due, as far as there is room; return how many tries were begun.

        `lock` is held while `conn` is used, by the tries too.
        """
        room = self._settings.deliveries_max - len(self._tasks)
        if room <= 0:
            return 0
        now = self._clock.now()
        async with lock:
            rows = await conn.fetch(_CLAIM, now, now + timedelta(seconds=self._settings.claim_seconds), room)
        crashpoint.reach("alerts.notices.claimed")
        for row in rows:
            task = asyncio.create_task(self._tell(conn, lock, row, tenants.get(row["tenant_id"])))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return len(rows)

    async def beat(self, conn: Connection, lock: asyncio.Lock, tenants: Mapping[UUID, Tenant]) -> None:
        """Call every heartbeat target, in the background."""
        for tenant_id, tenant in tenants.items():
            async with lock:
                rows = await conn.fetch(_TARGETS, tenant_id)
            for row in rows:
                if row["kind"] == HEARTBEAT_KIND:
                    task = asyncio.create_task(self._beat(conn, lock, tenant_id, tenant, row))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)

    async def drain(self, seconds: float) -> None:
        """Let what is under way finish; what does not is told again later."""
        if self._tasks:
            _, pending = await asyncio.wait(self._tasks, timeout=seconds)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _tell(self, conn: Connection, lock: asyncio.Lock, row: Any, tenant: Tenant | None) -> None:
        try:
            async with lock:
                target = await self._open(conn, row["tenant_id"], row["target"])
            if target is None or tenant is None:
                answer = Answer(ok=False, words="there is no target of that name any more")
            else:
                answer = await tell(target, self._message(row, tenant), tenant.allow)
            crashpoint.reach("alerts.notice.told")
            async with lock:
                await self._note(conn, row, answer, is_hopeless=target is None)
        except DATABASE_ERRORS as error:  # the claim runs out, and it is told again
            log.warning("alerts.notice_unsure", error_class=type(error).__name__, kind=row["kind"])

    async def _beat(self, conn: Connection, lock: asyncio.Lock, tenant_id: UUID, tenant: Tenant, row: Any) -> None:
        try:
            async with lock:
                target = await self._open_row(conn, tenant_id, row)
            answer = await beat(target, tenant.allow) if target is not None else None
            if answer is not None:
                async with lock:
                    words = None if answer.ok else answer.words
                    await conn.execute(_USED, tenant_id, row["name"], self._clock.now(), words)
        except DATABASE_ERRORS as error:
            log.warning("alerts.heartbeat_unsure", error_class=type(error).__name__)

    async def _open(self, conn: Connection, tenant_id: UUID, name: str) -> Target | None:
        for row in await conn.fetch(_TARGETS, tenant_id):
            if row["name"] == name:
                return await self._open_row(conn, tenant_id, row)
        return None

    async def _open_row(self, conn: Connection, tenant_id: UUID, row: Any) -> Target | None:
        try:
            url = await alert_targets.open_address(
                conn, self._ring, tenant_id,
                name=row["name"], kind=row["kind"], key_id=row["data_key_id"], sealed=row["address"],
            )  # fmt: skip
        except TidegateError as error:
            log.error("alerts.target_unusable", code=error.code, tenant_id=tenant_id)
            return None
        return Target(name=row["name"], kind=row["kind"], url=url)

    def _message(self, row: Any, tenant: Tenant) -> Message:
        return Message(
            key=row["notice_key"],
            kind=row["kind"],
            severity=row["severity"],
            title=row["title"],
            body=row["body"],
            tenant=tenant.name,
            cell=self._cell,
            alerts=tuple(public_id("alr", self._cell, each) for each in row["alerts"]),
        )

    async def _note(self, conn: Connection, row: Any, answer: Answer, *, is_hopeless: bool) -> None:
        now, settings = self._clock.now(), self._settings
        metrics.NOTICES.labels("told" if answer.ok else "refused").inc()
        state = "sent" if answer.ok else "pending"
        if not answer.ok and (is_hopeless or row["tries"] >= settings.tries_max):
            state = "failed"
        base, cap = settings.retry_seconds_min, settings.retry_seconds_max
        next_at = now + timedelta(seconds=base + full_jitter(row["tries"], base_seconds=base, cap_seconds=cap))
        error = None if answer.ok else answer.words
        await conn.execute(_DONE, row["tenant_id"], row["notice_id"], row["tries"], state, next_at, error, now)
        await conn.execute(_USED, row["tenant_id"], row["target"], now, error)
        if not answer.ok:
            log.warning("alerts.notice_refused", kind=row["kind"], attempt_number=row["tries"], state=state)
