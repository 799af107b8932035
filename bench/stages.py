"""Where an order's time goes between its 2xx and the remote: read from the ids of its rows, which carry their time.

Ids have milliseconds, so a stage of less is 0 or 1. The sender and the remote note monotonic seconds of the same machine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import asyncpg
from tests.acceptance.installation import Installation

from tidegate.runtime.postgres import EmbeddedPostgres
from tidegate.runtime.project import Project
from tidegate.store.roles import SUPERUSER

IDS = """
SELECT o.number, c.command_id, c.attempt_id
FROM "order" o JOIN command c ON c.tenant_id = o.tenant_id AND c.entity_id = o.order_id AND c.kind IN ('order.create', 'payment.capture')
WHERE o.number = ANY($1::text[]) AND c.attempt_id IS NOT NULL
"""
SHARES = (50, 95, 99)


async def ask(installation: Installation, statement: str, *values: object) -> list[asyncpg.Record]:
    """Return the rows of a statement in the installation's database, as its superuser."""
    project = Project(installation.folder)
    postgres = EmbeddedPostgres(project.postgres_dir, run_dir=project.run_dir)
    connection = await asyncpg.connect(postgres.dsn(SUPERUSER, "tidegate"))
    try:
        return list(await connection.fetch(statement, *values))
    finally:
        await connection.close()


def read_stages(
    installation: Installation, accepted: Mapping[str, float], seen: Mapping[str, float]
) -> dict[str, list[float]]:
    """Return p50, p95 and p99 in ms of: 2xx until the command is planned, then until T2s froze it, then until it arrived."""
    offset = time.time() - time.monotonic()
    times: dict[str, list[float]] = {"planned": [], "begun": [], "arrived": []}
    for row in asyncio.run(ask(installation, IDS, list(seen.keys() & accepted.keys()))):
        planned, begun, number = _seconds_of(row[1]) - offset, _seconds_of(row[2]) - offset, row[0]
        times["planned"].append(planned - accepted[number])
        times["begun"].append(begun - planned)
        times["arrived"].append(seen[number] - begun)
    return {name: _percentiles(found) for name, found in times.items()}


def _seconds_of(identifier: UUID) -> float:
    return (identifier.int >> 80) / 1000


def _percentiles(found: list[float]) -> list[float]:
    ordered: list[Any] = sorted(found)
    return [round(1e3 * ordered[min(len(ordered) - 1, len(ordered) * share // 100)], 1) for share in SHARES if ordered]
