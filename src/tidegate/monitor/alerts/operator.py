"""What people do about alerts: see them, be quiet about them, and say who is told. Each act is in the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from tidegate.config.alerts import is_target_name
from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.ids import new_id
from tidegate.monitor.alerts.addresses import Target
from tidegate.monitor.alerts.records import Alert, Silence
from tidegate.monitor.alerts.rules import RULES
from tidegate.monitor.alerts.store import as_alert
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.vault import alert_targets
from tidegate.vault.keys import KeyRing

_LIST = query("alerts_list")
_ONE = query("alerts_one")
_ACK = query("alerts_ack")
_SILENCES = query("alerts_silences")
_SILENCE_ADD = query("alerts_silence_add")
_SILENCE_END = query("alerts_silence_end")
_TARGETS = query("alerts_targets")
_TARGET_REMOVE = query("alerts_target_remove")
_NOTICES = query("alerts_notices_recent")
_LAST_ROUND = query("alerts_last_round")
_AUDIT = query("audit_add")
_NOTIFY = "SELECT pg_notify('tidegate_alert', '')"
REASON_CHARS_MAX = 500


class TargetView(msgspec.Struct, frozen=True, kw_only=True):
    """A target as people may see it: without its address."""

    name: str
    kind: str
    fingerprint: str
    created_by: str
    created_at: datetime
    last_ok_at: datetime | None
    last_error: str | None


async def list_alerts(conn: Connection, tenant_id: UUID, *, include_resolved: bool, limit: int) -> list[Alert]:
    """Return alerts that fire, newest first, then those that are over where asked for. Reads only."""
    return [as_alert(row) for row in await conn.fetch(_LIST, tenant_id, include_resolved, limit)]


async def find_alert(conn: Connection, tenant_id: UUID, alert_id: UUID) -> Alert:
    """Return one alert. Reads only. Raises ConfigurationError when there is no such one."""
    row = await conn.fetchrow(_ONE, tenant_id, alert_id)
    if row is None:
        raise ConfigurationError("there is no such alert", code="alert_unknown", hint="tidegate alerts list")
    return as_alert(row)


async def list_silences(conn: Connection, tenant_id: UUID, now: datetime) -> list[Silence]:
    """Return the silences that have not ended, the next to end first. Reads only."""
    return [Silence(**row) for row in await conn.fetch(_SILENCES, tenant_id, now)]


async def list_targets(conn: Connection, tenant_id: UUID) -> list[TargetView]:
    """Return who is told, by name. Reads only; no address is opened."""
    names = TargetView.__struct_fields__
    return [TargetView(**{name: row[name] for name in names}) for row in await conn.fetch(_TARGETS, tenant_id)]


async def list_notices(conn: Connection, tenant_id: UUID, limit: int) -> list[Any]:
    """Return rows of `alerts_notices_recent`, newest first. Reads only."""
    return list(await conn.fetch(_NOTICES, tenant_id, limit))


async def read_last_round(conn: Connection) -> datetime | None:
    """Return when the rules were looked at last, None when they never were. Reads only."""
    row = await conn.fetchrow(_LAST_ROUND)
    return row["evaluated_at"] if row is not None else None


async def acknowledge(
    conn: Connection, *, tenant_id: UUID, actor: str, alert_ids: Sequence[UUID], now: datetime
) -> list[UUID]:
    """Say that a person has seen alerts: they are not told again, only that they are over.

    Returns those that fire and were not acknowledged before. Safe to repeat.
    """
    async with conn.transaction():
        done = [row["alert_id"] for row in await conn.fetch(_ACK, tenant_id, list(alert_ids), actor, now)]
        for alert_id in done:
            await conn.execute(_AUDIT, tenant_id, new_id(), actor, "alert.acknowledged", str(alert_id), "{}")
        await conn.execute(_NOTIFY)
    return done


async def silence(
    conn: Connection,
    *,
    tenant_id: UUID,
    actor: str,
    rule: str | None,
    subject: str | None,
    until: datetime,
    reason: str,
    now: datetime,
) -> UUID:
    """Tell nobody of a rule, of a subject, or of both together until a moment; None is every rule or subject.

    It takes the place of an earlier silence of the same rule and subject. `until` in the past only ends that one. Raises
    ConfigurationError when there is no such rule.
    """
    if rule is not None and rule not in RULES:
        raise ConfigurationError(f"there is no rule {rule!r}", code="rule_unknown", hint="tidegate alerts rules")
    silence_id, words = new_id(), reason[:REASON_CHARS_MAX]
    detail = msgspec.json.encode({"until": until, "reason": words}).decode()
    async with conn.transaction():
        await conn.execute(_SILENCE_END, tenant_id, rule, subject, now)
        if until > now:
            await conn.execute(_SILENCE_ADD, tenant_id, silence_id, rule, subject, until, words, actor)
        about = f"{rule or 'every rule'} {subject or ''}".strip()
        await conn.execute(_AUDIT, tenant_id, new_id(), actor, "alert.silenced", about, detail)
        await conn.execute(_NOTIFY)
    return silence_id


async def add_target(conn: Connection, ring: KeyRing, *, tenant_id: UUID, actor: str, target: Target) -> None:
    """Store who is told, encrypted; one of that name is replaced.

    `ring` holds the class `alert`. Raises ConfigurationError for a name that a route could not name.
    """
    if not is_target_name(target.name):
        raise ConfigurationError(
            f"{target.name!r} cannot be the name of a target",
            code="target_invalid",
            hint="use small letters, digits, - and _, beginning with a letter",
        )
    async with conn.transaction():
        await alert_targets.put(
            conn, ring, tenant_id, name=target.name, kind=target.kind, address=target.url, actor=actor
        )
        await conn.execute(_AUDIT, tenant_id, new_id(), actor, "alert.target_stored", target.name, "{}")
        await conn.execute(_NOTIFY)


async def remove_target(conn: Connection, *, tenant_id: UUID, actor: str, name: str) -> bool:
    """Forget a target; return whether there was one. Safe to repeat."""
    async with conn.transaction():
        found = await conn.fetchval(_TARGET_REMOVE, tenant_id, name) is not None
        if found:
            await conn.execute(_AUDIT, tenant_id, new_id(), actor, "alert.target_removed", name, "{}")
            await conn.execute(_NOTIFY)
    return found


async def open_targets(conn: Connection, ring: KeyRing, tenant_id: UUID) -> list[Target]:
    """Return the targets with their addresses. Raises InvariantError when a stored address does not belong there."""
    targets = []
    for row in await conn.fetch(_TARGETS, tenant_id):
        url = await alert_targets.open_address(
            conn, ring, tenant_id, name=row["name"], kind=row["kind"], key_id=row["data_key_id"], sealed=row["address"]
        )
        targets.append(Target(name=row["name"], kind=row["kind"], url=url))
    return targets
