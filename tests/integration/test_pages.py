"""The pages over HTTP: who gets in, what protects them, what they show and do (SECURITY A8, A9, G9, P7)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests import applybed
from tests.pagesbed import Visitor, make_login, running_pages, visiting

from tidegate.store.connections import Pool
from tidegate.store.database import Database

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def bed(database: Database, owner_pool: Pool) -> applybed.Bed:
    made = await applybed.make_bed(database, owner_pool)
    await make_login(owner_pool, made.tenant_id)
    return made


@pytest_asyncio.fixture
async def url(bed: applybed.Bed) -> AsyncIterator[str]:
    async with running_pages(bed.database, connectors={"hostile": bed.connector}) as found:
        yield found


@pytest_asyncio.fixture
async def stranger(url: str) -> AsyncIterator[Visitor]:
    async with visiting(url) as found:
        yield found


@pytest_asyncio.fixture
async def admin(stranger: Visitor) -> Visitor:
    assert (await stranger.sign_in()).status == 303
    return stranger


async def test_the_overview_shows_what_happens(bed: applybed.Bed, admin: Visitor) -> None:
    page = await admin.get("/")

    assert page.status == 200
    assert "What waits" in page.text
    assert "Money at risk" in page.text
    assert "shop_a" in page.text
