"""Who may deliver here: the secret paths, their connections and the secrets that verify.

Kept in memory, read again every two seconds and when a change is announced, so that a delivery costs no query.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby
from typing import Any
from uuid import UUID

import structlog

import tidegate
from tidegate.eventlog.records import Envelope
from tidegate.intake.statements import ENDPOINTS
from tidegate.kernel.errors import TidegateError
from tidegate.sdk.connector import Connector, Webhook
from tidegate.store.connections import Connection
from tidegate.vault.bodies import BodyCipher
from tidegate.vault.credentials import WEBHOOK_SECRET, open_secret
from tidegate.vault.keys import DataKey, KeyRing

log = structlog.get_logger("intake.directory")
_NIL = UUID(int=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a delivery goes. What cannot verify has no `webhook`; see `refusal`."""

    refusal: str = ""
    """Why every delivery is refused: unknown_path, disabled, secret_missing, connector_missing; '' when it is open."""
    tenant_id: UUID = _NIL
    connection_id: UUID = _NIL
    connector: str = ""
    webhook: Webhook | None = field(default=None, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    envelope: str = "{}"
    key: DataKey | None = None
    body_bytes_max: int


class Directory:
    """Path digests -> endpoints."""

    def __init__(self, connectors: Mapping[str, Connector], ring: KeyRing, *, cell: str, body_bytes_max: int) -> None:
        """Know nobody yet; `is_loaded` says whether `refresh` has worked once."""
        self.is_loaded = False
        self._connectors = connectors
        self._ring = ring
        self._cipher = BodyCipher(ring)
        self._prefix = f"/in/{cell}/".encode()
        self._unknown = Endpoint(refusal="unknown_path", body_bytes_max=body_bytes_max)
        self._endpoints: dict[bytes, Endpoint] = {}
        self._secrets: dict[tuple[UUID, int], str] = {}

    def __len__(self) -> int:
        return len(self._endpoints)

    def find(self, target: bytes) -> Endpoint | None:
        """Return the endpoint of a request target; a closed one for a path that nobody has; None outside of `/in/`."""
        if not target.startswith(b"/in/"):
            return None
        path = target.partition(b"?")[0]
        token = path[len(self._prefix) :] if path.startswith(self._prefix) else b""
        return self._endpoints.get(hashlib.sha256(token).digest(), self._unknown)

    async def refresh(self, connection: Connection, today: date) -> None:
        """Read all connections again, with today's key of each tenant. At most a few queries.

        A connection that cannot be used is closed with a reason and logged; the others go on. Raises what asyncpg
        raises; the directory then stays as it was.
        """
        rows = await connection.fetch(ENDPOINTS)
        with contextlib.suppress(TidegateError):  # the others are loaded; whose key it is shows when it is used
            await self._ring.load(
                connection, {(row["tenant_id"], row["data_key_id"]) for row in rows if row["data_key_id"]}
            )
        endpoints: dict[bytes, Endpoint] = {}
        secrets: dict[tuple[UUID, int], str] = {}
        for path_hash, group in groupby(rows, key=lambda row: row["path_hash"]):
            endpoints[path_hash] = await self._describe(connection, list(group), secrets, today)
        self._endpoints, self._secrets = endpoints, secrets
        self.is_loaded = True

    async def _describe(
        self, connection: Connection, rows: list[Any], secrets: dict[tuple[UUID, int], str], today: date
    ) -> Endpoint:
        first = rows[0]
        connector = self._connectors.get(first["connector"])
        webhook = connector.webhook if connector is not None else None
        refusal = ""
        values: tuple[str, ...] = ()
        key: DataKey | None = None
        if first["state"] == "disabled":
            refusal = "disabled"
        elif connector is None or webhook is None:
            refusal = "connector_missing"
        elif first["data_key_id"] is None:
            refusal = "secret_missing"
        else:
            try:
                values = self._open(rows, secrets)
                key = await self._cipher.current(connection, first["tenant_id"], today)
            except TidegateError as error:
                log.exception("endpoint.unusable", connection_id=first["connection_id"], code=error.code)
                refusal = "secret_unusable"
        return Endpoint(
            refusal=refusal,
            tenant_id=first["tenant_id"],
            connection_id=first["connection_id"],
            connector=first["connector"],
            webhook=webhook,
            secrets=values,
            envelope=_envelope(connector),
            key=key,
            body_bytes_max=webhook.body_bytes_max if webhook is not None else self._unknown.body_bytes_max,
        )

    def _open(self, rows: list[Any], secrets: dict[tuple[UUID, int], str]) -> tuple[str, ...]:
        """Return the active secrets of one connection; those that were opened before are not opened again."""
        values = []
        for row in rows:
            name = (row["connection_id"], row["record_version"])
            value = self._secrets.get(name)
            if value is None:
                key = self._ring.get(row["tenant_id"], row["data_key_id"])
                value = open_secret(
                    key,
                    row["connection_id"],
                    "intake",
                    field=WEBHOOK_SECRET,
                    version=row["record_version"],
                    ciphertext=row["ciphertext"],
                ).reveal()
            secrets[name] = value
            values.append(value)
        return tuple(values)


def _envelope(connector: Connector | None) -> str:
    if connector is None:
        return "{}"
    return Envelope(
        connector=connector.name,
        connector_version=connector.version,
        mapping_version=connector.mapping_version,
        code_version=tidegate.__version__,
    ).encode()
