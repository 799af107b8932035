"""The database roles: who may connect, with which limits on time.

What each role may touch stands in `grants.sql`. The embedded cluster has one login per role; an
external database where we may create roles lets its user assume them; elsewhere everything runs as
the given user and `tidegate doctor` says so.
"""

import base64
import contextlib
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import asyncpg

from tidegate.store.connections import DirectConnection

SUPERUSER = "postgres"
"""The embedded cluster's superuser: creates roles and the database, nothing else."""
SCRAM_ITERATIONS = 4096
_SALT_BYTES = 16


class Role(StrEnum):
    """A database role; the value is its name in the cluster."""

    MIGRATOR = "tidegate_migrator"
    """Owns every object, runs migrations and maintenance of partitions."""
    DOOR = "tidegate_door"
    """Appends received events; reads no more than dedupe keys and what verification needs."""
    APPLY = "tidegate_apply"
    """Applies events to state, plans commands, runs schedules and reconciliation."""
    DISPATCH = "tidegate_dispatch"
    """Sends commands and records what came of them."""
    WEB = "tidegate_web"
    """Serves the API and the pages: reads, and appends operator actions."""


LOGIN_ROLES: tuple[Role, ...] = tuple(Role)
SERVICE_ROLES: tuple[Role, ...] = tuple(role for role in Role if role is not Role.MIGRATOR)
"""All roles but the owner of the schema."""

BYPASSING_ROLES = frozenset((Role.APPLY,))
"""Works for all tenants and fills tables by COPY, which PostgreSQL refuses under row security."""


@dataclass(frozen=True, kw_only=True)
class RoleLimits:
    """Time limits that the server enforces on every session of a role, in seconds."""

    statement_timeout_seconds: float
    lock_timeout_seconds: float
    idle_in_transaction_timeout_seconds: float

    def server_settings(self) -> dict[str, str]:
        """The limits as PostgreSQL settings."""
        return {
            "statement_timeout": _milliseconds(self.statement_timeout_seconds),
            "lock_timeout": _milliseconds(self.lock_timeout_seconds),
            "idle_in_transaction_session_timeout": _milliseconds(self.idle_in_transaction_timeout_seconds),
        }


ROLE_LIMITS: Mapping[Role, RoleLimits] = {
    Role.MIGRATOR: RoleLimits(
        statement_timeout_seconds=600,
        lock_timeout_seconds=5,
        idle_in_transaction_timeout_seconds=60,
    ),
    Role.DOOR: RoleLimits(
        statement_timeout_seconds=3,
        lock_timeout_seconds=2,
        idle_in_transaction_timeout_seconds=3,
    ),
    Role.APPLY: RoleLimits(
        statement_timeout_seconds=20,
        lock_timeout_seconds=5,
        idle_in_transaction_timeout_seconds=10,
    ),
    Role.DISPATCH: RoleLimits(
        statement_timeout_seconds=10,
        lock_timeout_seconds=5,
        idle_in_transaction_timeout_seconds=5,
    ),
    Role.WEB: RoleLimits(
        statement_timeout_seconds=5,
        lock_timeout_seconds=2,
        idle_in_transaction_timeout_seconds=5,
    ),
}


async def ensure_login_roles(connection: DirectConnection, passwords: Mapping[Role, str]) -> None:
    """Create or bring up to date one login per role, with its password and time limits.

    Needs a superuser connection. Only a salted verifier of the password reaches the server, so
    that no statement log can hold it. Safe to repeat; not safe to run twice at the same time.
    """
    for role, password in passwords.items():
        if not await _role_exists(connection, role):
            await connection.execute(f"CREATE ROLE {role} NOINHERIT")
        await connection.execute(
            f"ALTER ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE {_bypass(role)} "
            f"PASSWORD '{scram_verifier(password)}'"
        )
        for setting, value in ROLE_LIMITS[role].server_settings().items():
            await connection.execute(f"ALTER ROLE {role} SET {setting} = '{value}'")


async def ensure_assumable_roles(connection: DirectConnection) -> None:
    """Create the service roles without login and let the current user assume them.

    Needs CREATEROLE. An operator may later turn one into a login of its own. A role that somebody
    else made and does not share stays as it is. Safe to repeat.
    """
    for role in SERVICE_ROLES:
        if not await _role_exists(connection, role):
            await connection.execute(f"CREATE ROLE {role} NOLOGIN NOINHERIT")
        if not await _may_assume(connection, role):
            with contextlib.suppress(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"GRANT {role} TO CURRENT_USER WITH SET TRUE, INHERIT FALSE")
        if (
            role in BYPASSING_ROLES
        ):  # where we may not, `grants.sql` leaves the tables that it fills without row security
            with contextlib.suppress(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"ALTER ROLE {role} BYPASSRLS")


async def find_assumable_roles(connection: DirectConnection) -> set[Role]:
    """Which service roles exist and may be assumed by the current user (SET ROLE)."""
    return {role for role in SERVICE_ROLES if await _may_assume(connection, role)}


async def may_create_roles(connection: DirectConnection) -> bool:
    """Whether the current user is allowed to create roles."""
    allowed = await connection.fetchval("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
    return bool(allowed)


def scram_verifier(password: str) -> str:
    """Return the SCRAM-SHA-256 verifier that PostgreSQL stores for an ASCII password.

    Source: RFC 5802 section 3 (key derivation); PostgreSQL manual, "pg_authid" (stored form).
    """
    salt = secrets.token_bytes(_SALT_BYTES)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, SCRAM_ITERATIONS)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    encoded_salt, encoded_stored, encoded_server = (
        base64.b64encode(part).decode() for part in (salt, stored_key, server_key)
    )
    return f"SCRAM-SHA-256${SCRAM_ITERATIONS}:{encoded_salt}${encoded_stored}:{encoded_server}"


def _bypass(role: Role) -> str:
    return "BYPASSRLS" if role in BYPASSING_ROLES else "NOBYPASSRLS"


async def _role_exists(connection: DirectConnection, role: Role) -> bool:
    return bool(await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role))


async def _may_assume(connection: DirectConnection, role: Role) -> bool:
    return bool(
        await connection.fetchval("SELECT pg_has_role(current_user, oid, 'SET') FROM pg_roles WHERE rolname = $1", role)
    )


def _milliseconds(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"
