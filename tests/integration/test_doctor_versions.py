"""A delivery of another API version than the connector's is shown, also while everything still seems to work."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import msgspec
import pytest
from tests.applybed import Bed, make_bed, order_event

from tidegate.cli.checks_remote import Remote, compare_deliveries
from tidegate.sdk.client import HttpApi
from tidegate.sdk.connector import Connector
from tidegate.store.connections import Pool
from tidegate.store.database import Database

pytestmark = pytest.mark.asyncio
HEADER = "x-shopify-api-version"


def pinned(bed: Bed, version: str = "2026-10") -> Connector:
    assert bed.connector.webhook is not None
    return replace(bed.connector, api_version=version, webhook=replace(bed.connector.webhook, version_header=HEADER))


async def found(bed: Bed, connector: Connector, *versions: str | None) -> list[tuple[str, str]]:
    """Deliver one event per version, oldest first, and return the findings."""
    ids = await bed.append([("shop_a", order_event(f"o-{n}", [("A", 1)])) for n in range(len(versions))])
    for event_id, version in zip(ids, versions, strict=True):
        headers = msgspec.json.encode({HEADER: version} if version else {}).decode()
        await bed.pool.execute("UPDATE event SET headers = $2 WHERE event_id = $1", event_id, headers)
    remote = Remote("shop_a", bed.connections["shop_a"], connector, {}, "active", cast("HttpApi", None))
    async with bed.pool.acquire() as conn:
        await compare_deliveries(conn, bed.tenant_id, remote)
    return [(one.code, one.words) for one in remote.findings]


async def test_another_version_is_shown_with_how_many_deliveries_it_has(database: Database, owner_pool: Pool) -> None:
    bed = await make_bed(database, owner_pool)

    findings = await found(bed, pinned(bed), "2026-10", "2026-07", "2027-01", "2027-01", None)

    assert [code for code, _ in findings] == ["webhook_version_drift"]
    assert "2027-01 (2), 2026-07 (1) instead of 2026-10" in findings[0][1]


async def test_the_pinned_version_and_no_version_are_nothing_to_tell(database: Database, owner_pool: Pool) -> None:
    bed = await make_bed(database, owner_pool)

    assert await found(bed, pinned(bed), "2026-10", None) == []
    assert await found(bed, bed.connector) == [], "a connector that pins nothing"
