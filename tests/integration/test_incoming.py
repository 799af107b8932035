"""What is on its way: by the last word of each source, shown beside the stock, and part of nothing that can be sold."""

from __future__ import annotations

import asyncio
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from tests.applybed import Bed, make_bed, shuffled

from tidegate.cli.stock_incoming import read_expectations
from tidegate.config import Config
from tidegate.connectors.standard_webhooks import CONNECTOR
from tidegate.inventory.decide import Refusal
from tidegate.kernel.errors import ConfigurationError
from tidegate.monitor.incoming_view import read_incoming
from tidegate.monitor.stock_view import read_stock
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.sync.expected import Expectation, expect

WISH = Expectation(reference="PO-1", sku="A", location="", units=5, expected_on=date(2026, 12, 5))


async def arranged(database: Database, pool: Pool) -> Bed:
    """A tenant whose ERP sends signed events."""
    bed = await make_bed(database, pool)
    bed.others["erp"] = CONNECTOR
    await pool.execute("UPDATE connection SET connector = 'standard_webhooks' WHERE name = 'erp'")
    return bed


def incoming(number: str, units: int, version: int, *, sku: str = "A", on: str | None = "2026-12-05") -> dict[str, Any]:
    data = {
        "id": number,
        "sku": sku,
        "article_id": f"v-{sku}",
        "quantity": units,
        "location": "main",
        "version": version,
    }
    return {"type": "stock.incoming", "data": {**data, "expected_on": on}}


async def known(bed: Bed) -> list[tuple[str, str | None, str, int, date | None]]:
    async with bed.pool.acquire() as conn:
        found = await read_incoming(conn, bed.tenant_id)
    return [(each.reference, each.source, each.sku, each.units, each.expected_on) for each in found]


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(2))
async def test_the_last_word_of_a_source_counts_whatever_comes_first(
    database: Database, owner_pool: Pool, seed: int
) -> None:
    bed = await arranged(database, owner_pool)
    story = [
        ("erp", incoming("PO-1:1", 40, 1)),
        ("erp", incoming("PO-1:1", 30, 2, on="2026-12-09")),
        ("erp", incoming("PO-1:2", 7, 1, sku="B", on=None)),
        ("erp", incoming("PO-2:1", 9, 1)),
        ("erp", incoming("PO-2:1", 0, 2)),
        ("erp", incoming("PO-3:1", 5, 1)),
        ("erp", incoming("PO-3:1", 5, 2, sku="C", on="2026-12-01")),
    ]
    mixed = shuffled(story, seed)
    for part in (mixed[:4], mixed[4:], mixed):
        # a sender repeats itself under the same message id
        await bed.append(part)
        await bed.apply(processes=2)

    assert await known(bed) == [
        ("PO-3:1", "erp", "C", 5, date(2026, 12, 1)),
        ("PO-1:1", "erp", "A", 30, date(2026, 12, 9)),
        ("PO-1:2", "erp", "B", 7, None),
    ]
    assert await bed.level("A") == (0, 0, 0)
    async with bed.pool.acquire() as conn:
        view = await read_stock(conn, bed.tenant_id, "A", {}, Config(), entries=1)
    assert [(each.reference, each.units) for each in view.incoming] == [("PO-1:1", 30)]


@pytest.mark.asyncio
async def test_people_say_it_once_and_replace_only_their_own(database: Database, owner_pool: Pool) -> None:
    bed = await arranged(database, owner_pool)
    await bed.append([("erp", incoming("PO-1", 3, 1))])
    await bed.apply()

    async def say(*wanted: Expectation, references: list[str] | None) -> Any:
        async with bed.pool.acquire() as conn, conn.transaction():
            return await expect(conn, bed.tenant_id, wanted, references=references, actor="test")

    first, second = await asyncio.gather(say(WISH, references=["PO-1"]), say(WISH, references=["PO-1"]))
    assert sorted((len(first), len(second))) == [0, 1]
    other = Expectation(reference="PO-2", sku="B", location="main", units=2)
    assert len(await say(other, references=["PO-2"])) == 1
    assert [row[:2] for row in await known(bed)] == [("PO-1", "erp"), ("PO-1", None), ("PO-2", None)]
    refused = await say(Expectation(reference="PO-2", sku="NO", location="", units=1), references=["PO-2"])
    assert isinstance(refused, Refusal)
    with pytest.raises(ConfigurationError, match="no location 'moon'"):
        await say(Expectation(reference="PO-2", sku="A", location="moon", units=1), references=["PO-2"])
    (gone,) = await say(other, references=None)
    assert (gone.reference, gone.after) == ("PO-1", ())
    assert [row[:2] for row in await known(bed)] == [("PO-1", "erp"), ("PO-2", None)]
    assert await say(other, references=None) == ()


def test_each_wrong_cell_of_a_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "orders.csv"
    file.write_text("Reference;SKU;units;expected_on\nPO-1;A;40;2026-12-05\nPO-1;B;7;\n")
    assert read_expectations(file, None) == [
        Expectation(reference="PO-1", sku="A", location="", units=40, expected_on=date(2026, 12, 5)),
        Expectation(reference="PO-1", sku="B", location="", units=7),
    ]
    file.write_text("reference,sku,units,expected_on\nPO-1,A,4.5,\nPO-1,A,5,soon\n,A,5,\nPO-2,A,5,\nPO-2,A,6,\n")
    with pytest.raises(ConfigurationError) as caught:
        read_expectations(file, None)
    shown = str(caught.value)
    for words in ("row 2, column units", "row 3, column expected_on", "row 4, column reference", "row 6, column sku"):
        assert words in shown
    file.write_text("reference,sku\nPO-1,A\n")
    with pytest.raises(ConfigurationError, match="units"):
        read_expectations(file, None)
