"""Who may sign in to the pages. Each change is one transaction with a row in the audit log."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import msgspec

from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.ids import new_id
from tidegate.store.connections import Connection
from tidegate.store.sql import query

FIRST_NAME = "admin"
"""Who `tidegate init` makes."""
NAME = re.compile(r"[a-z][a-z0-9._-]{0,39}")
_ADD = query("login_add")
_PUT = query("login_put")
_REMOVE = query("login_remove")
_LIST = query("login_list")
_END_SESSIONS = query("login_sessions_end")
_AUDIT = query("audit_add")


def check_name(name: str) -> str:
    """Return the name. Raises ConfigurationError when no login can be called so."""
    if NAME.fullmatch(name) is None:
        raise ConfigurationError(
            f"{name!r} cannot be the name of a login",
            code="login_name",
            hint="a lower-case letter, then up to 39 letters, digits, dots, dashes and underscores",
        )
    return name


async def add_login(conn: Connection, *, tenant_id: UUID, name: str, password_hash: str, actor: str) -> bool:
    """Make a login; False when the name exists already, and then nothing changes."""
    async with conn.transaction():
        made = await conn.fetchval(_ADD, tenant_id, check_name(name), password_hash) is not None
        if made:
            await record(conn, tenant_id, actor, "login.added", name)
    return made


async def set_password(conn: Connection, *, tenant_id: UUID, name: str, password_hash: str, actor: str) -> None:
    """Give a login another password, make it when it is not there, and end its sessions."""
    async with conn.transaction():
        await conn.execute(_PUT, tenant_id, check_name(name), password_hash)
        await conn.execute(_END_SESSIONS, tenant_id, name)
        await record(conn, tenant_id, actor, "login.password_set", name)


async def remove_login(conn: Connection, *, tenant_id: UUID, name: str, actor: str) -> None:
    """Remove a login and end its sessions. Raises ConfigurationError when there is none of that name."""
    async with conn.transaction():
        if await conn.fetchval(_REMOVE, tenant_id, name) is None:
            raise ConfigurationError(
                f"no login is called {name!r}", code="login_unknown", hint="tidegate login list shows them"
            )
        await record(conn, tenant_id, actor, "login.removed", name)


async def list_logins(conn: Connection, tenant_id: UUID) -> list[Any]:
    """Return name, changed_at, sessions and last_seen_at of each login, by name."""
    return list(await conn.fetch(_LIST, tenant_id))


async def record(conn: Connection, tenant_id: UUID, actor: str, action: str, subject: str, **detail: object) -> None:
    """Add a row to the audit log."""
    await conn.execute(_AUDIT, tenant_id, new_id(), actor, action, subject, msgspec.json.encode(detail).decode())
