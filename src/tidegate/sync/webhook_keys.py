"""The keys of a connection's webhooks change without a pause: two are good for a while, then the old one stops counting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.ids import new_id
from tidegate.kernel.redaction import Secret
from tidegate.sdk.connector import Connector, Field, HandedOver
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.sync.webhook_path import new_webhook_secret
from tidegate.vault import credentials
from tidegate.vault.keys import KeyRing

KEYS_MAX = 2
"""Keys that requests are signed with at once: the new one and the one before it."""
_AUDIT = query("audit_add")
_NAMED = query("connection_for_keys")


class KeyOwner(msgspec.Struct, frozen=True, kw_only=True):
    """A connection whose keys are looked at or changed."""

    tenant_id: UUID
    connection_id: UUID
    name: str
    connector: Connector
    settings: Mapping[str, Any]


async def find_owner(conn: Connection, tenant_id: UUID, name: str, connectors: Mapping[str, Connector]) -> KeyOwner:
    """Return the connection of a name. Raises ConfigurationError when there is none yet."""
    row = await conn.fetchrow(_NAMED, tenant_id, name)
    if row is None or row["connector"] not in connectors:
        raise ConfigurationError(
            f"there is no connection {name!r} yet",
            code="connection_unknown",
            hint=f"tidegate connect {name} makes it; tidegate status lists those that there are",
        )
    return KeyOwner(
        tenant_id=tenant_id,
        connection_id=row["connection_id"],
        name=name,
        connector=connectors[row["connector"]],
        settings=msgspec.json.decode(row["settings"]),
    )


async def handed_over(conn: Connection, ring: KeyRing, owner: KeyOwner) -> list[HandedOver]:
    """Return what the receiver verifies us with, as far as it is public. Raises ConfigurationError where nothing is signed."""
    secrets = await credentials.get_all(conn, ring, owner.tenant_id, owner.connection_id, "credential")
    return [one for one in _hand_over(owner, secrets) if one.is_public]


async def rotate_receiving(conn: Connection, ring: KeyRing, owner: KeyOwner, *, actor: str) -> tuple[Secret, bool]:
    """Make a new secret for deliveries to us; the one before it goes on verifying until `finish_rotation`.

    Returns the secret and whether it is new: while a change is not finished, repeating it gives the secret of that change,
    because the sender may still use the one before it. Raises ConfigurationError for a connection without webhooks, and where the other side makes that secret.
    """
    webhook = owner.connector.webhook
    if webhook is None:
        raise ConfigurationError(f"{owner.name} sends no webhooks", code="no_webhook")
    async with conn.transaction():
        stored = await credentials.get_all(conn, ring, owner.tenant_id, owner.connection_id, "credential")
        if webhook.secret_field in stored and stored[webhook.secret_field].reveal():
            raise ConfigurationError(
                f"the secret of {owner.name} is made at the other side",
                code="secret_is_theirs",
                hint=f"make a new one there, then: tidegate connect {owner.name} --set {webhook.secret_field}=...",
            )
        active = await credentials.active_webhook_secrets(conn, ring, owner.tenant_id, owner.connection_id)
        if len(active) >= credentials.ACTIVE_WEBHOOK_SECRETS:
            return active[0], False
        secret = new_webhook_secret()
        await _put(conn, ring, owner, "intake", credentials.WEBHOOK_SECRET, secret)
        await _note(conn, owner, actor, "webhook.secret_rotated")
    return secret, True


async def rotate_sending(conn: Connection, ring: KeyRing, owner: KeyOwner, *, actor: str) -> tuple[HandedOver, bool]:
    """Make a new key that we sign with; return what the receiver verifies it with, and whether it is new.

    Requests are signed with both until `finish_rotation`; until then repeating it gives the same key again. Raises ConfigurationError for a connection that we do not sign for.
    """
    field = _signing_field(owner)
    assert field.make is not None
    async with conn.transaction():
        before = await _signing_keys(conn, ring, owner, field)
        is_new = len(before) < KEYS_MAX
        value = " ".join([field.make(owner.settings), *before] if is_new else before)
        if is_new:
            await _put(conn, ring, owner, "credential", field.name, Secret(value))
            await _note(conn, owner, actor, "webhook.signing_key_rotated")
    return _hand_over(owner, {field.name: Secret(value)})[0], is_new


async def finish_rotation(conn: Connection, ring: KeyRing, owner: KeyOwner, *, actor: str) -> list[str]:
    """Let only the newest keys count, in both directions; return in words what stopped counting."""
    ended = []
    async with conn.transaction():
        if owner.connector.webhook is not None:
            count = await credentials.retire_older(
                conn, owner.tenant_id, owner.connection_id, "intake", credentials.WEBHOOK_SECRET
            )
            ended += [f"{count} older secret of its deliveries"] if count else []
        field = _field_that_is_made(owner)
        keys = await _signing_keys(conn, ring, owner, field) if field is not None else []
        if field is not None and len(keys) > 1:
            await _put(conn, ring, owner, "credential", field.name, Secret(keys[0]))
            ended.append(f"{len(keys) - 1} older key that we signed with")
        if ended:
            await _note(conn, owner, actor, "webhook.rotation_finished")
    return ended


async def _signing_keys(conn: Connection, ring: KeyRing, owner: KeyOwner, field: Field) -> list[str]:
    stored = await credentials.get_all(conn, ring, owner.tenant_id, owner.connection_id, "credential")
    return stored[field.name].reveal().split() if field.name in stored else []


def _field_that_is_made(owner: KeyOwner) -> Field | None:
    return next((field for field in owner.connector.fields if field.make is not None), None)


def _signing_field(owner: KeyOwner) -> Field:
    field = _field_that_is_made(owner)
    if field is None or owner.connector.hand_over is None:
        raise ConfigurationError(
            f"what is sent to {owner.name} is not signed with a key of ours", code="not_signed_by_us"
        )
    return field


def _hand_over(owner: KeyOwner, secrets: Mapping[str, Secret]) -> list[HandedOver]:
    _signing_field(owner)
    assert owner.connector.hand_over is not None
    return list(owner.connector.hand_over(secrets))


async def _put(conn: Connection, ring: KeyRing, owner: KeyOwner, key_class: Any, field: str, secret: Secret) -> None:
    await credentials.put(conn, ring, owner.tenant_id, owner.connection_id, key_class, field, secret)


async def _note(conn: Connection, owner: KeyOwner, actor: str, action: str) -> None:
    await conn.execute(_AUDIT, owner.tenant_id, new_id(), actor, action, owner.name, "{}")
