"""Stock read from a file: shown before it is posted, posted once, wrong rows named, and gone on with where it ended."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import openpyxl  # type: ignore[import-untyped]
import pytest
from tests.reservebed import ReserveBed, reserve_bed

from tidegate.cli import kits, stock_files
from tidegate.cli.session import Session
from tidegate.cli.sheets import read_sheet
from tidegate.cli.stock_files import StockImport
from tidegate.config.records import Config, Owns
from tidegate.kernel.errors import ConfigurationError
from tidegate.store.connections import Pool
from tidegate.store.database import Database
from tidegate.sync import stock_import
from tidegate.sync.kits import plan_kits, set_kits

pytestmark = pytest.mark.asyncio


@asynccontextmanager
async def at_hand(bed: ReserveBed, owner: str | None = None) -> AsyncIterator[Session]:
    """A command's way into the database."""
    async with bed.owner.acquire() as conn:
        config = Config(owns=Owns(on_hand=owner))
        yield Session(project=cast("Any", None), config=config, conn=cast("Any", conn), tenant_id=bed.tenant_id)


def written(folder: Path, *rows: str, name: str = "counts.csv") -> Path:
    file = folder / name
    file.write_text("\n".join(rows) + "\n")
    return file


async def entries(bed: ReserveBed) -> int:
    return int(await bed.owner.fetchval("SELECT count(*) FROM stock_entry WHERE actor LIKE 'cli:%'"))


async def test_counts_are_shown_then_posted_once(database: Database, owner_pool: Pool, tmp_path: Path) -> None:
    """A count is a difference to what was seen: what moved since stands."""
    async with reserve_bed(database, owner_pool, stock={"A": 10, "B": 5, "C": 1}) as bed, at_hand(bed) as session:
        await bed.count("A", 4)  # entry 2; whoever wrote the file had seen entry 1
        file = written(tmp_path, "sku,on_hand,version,damaged,safety_stock", "A,9,1,2,1", "B,5,,,", "C,,,1,")
        trial = await StockImport(file, dry_run=True, quiet=True).run(session)
        assert await entries(bed) == 0
        with pytest.raises(ConfigurationError, match="nobody is there to agree"):
            await StockImport(file, quiet=True).run(session)
        done = await StockImport(file, yes=True, quiet=True).run(session)
        again = await StockImport(file, yes=True, quiet=True).run(session)
        more = await StockImport(
            written(tmp_path, "sku,by,reason", "B,2,received"), yes=True, again="2", quiet=True
        ).run(session)
        assert await bed.level("A") == (13, 0, 0)
        assert await bed.level("B") == (7, 0, 0)
        aside = await owner_pool.fetchval("SELECT sum(unavailable) FROM stock_balance")
        safety = await owner_pool.fetchval("SELECT sum(safety_stock) FROM stock_level")
        audit = await owner_pool.fetchval("SELECT count(*) FROM audit_log WHERE action LIKE 'stock.import%'")

    assert [(s["sku"], s["counter"], s["before"], s["after"]) for s in trial.first] == [
        ("A", "on_hand", 14, 13), ("A", "safety_stock", 0, 1), ("A", "damaged", 0, 2), ("C", "damaged", 0, 1),
    ]  # fmt: skip
    assert (trial.is_posted, trial.totals.rows, trial.totals.changes, trial.totals.unchanged) == (False, 3, 4, 1)
    assert (done.is_posted, done.totals.posted, done.rejects) == (True, 4, None)
    assert (again.totals.changes, again.totals.before, again.is_posted) == (0, 3, False)
    assert (more.totals.posted, aside, safety, audit) == (1, 3, 1, 4)


async def test_wrong_rows_are_named_and_written_down(database: Database, owner_pool: Pool, tmp_path: Path) -> None:
    bundles = {"SET": {"A": 2}}
    async with (
        reserve_bed(database, owner_pool, stock={"A": 10, "B": 5}, bundles=bundles) as bed,
        at_hand(bed) as session,
    ):
        file = written(
            tmp_path, "Artikel;Zahl;Farbe", "A;12;rot", "NO;1;", "SET;1;", "B;1,5;", "A;13;", "=B;1;", name="counts.csv"
        )
        wish: dict[str, Any] = {"mapping": [("sku", "Artikel"), ("on_hand", "Zahl")], "quiet": True, "yes": True}
        with pytest.raises(ConfigurationError, match="5 rows are wrong") as caught:
            await StockImport(file, **wish).run(session)
        assert await entries(bed) == 0
        rejects = tmp_path / "counts.csv.rejects.csv"
        with rejects.open(encoding="utf-8-sig", newline="") as opened:
            rows = list(csv.DictReader(opened))
        done = await StockImport(file, skip_wrong=True, **wish).run(session)
        assert await bed.level("A") == (12, 0, 0)

    assert caught.value.code == "rows_wrong"
    assert [(row["rejected_row"], row["rejected_column"], row["sku"]) for row in rows] == [
        ("5", "on_hand", "B"), ("3", "sku", "NO"), ("4", "sku", "SET"), ("6", "on_hand", "A"), ("7", "sku", "'=B"),
    ]  # fmt: skip
    assert (done.totals.posted, done.totals.rejected, done.rejects) == (1, 5, str(rejects))


async def test_where_an_erp_counts_only_what_is_ours_is_changed(
    database: Database, owner_pool: Pool, tmp_path: Path
) -> None:
    async with reserve_bed(database, owner_pool, stock={"A": 10, "B": 5}) as bed, at_hand(bed, "erp") as session:
        file = written(tmp_path, "sku,on_hand,quality_hold", "A,10,3", "B,6,1")
        done = await StockImport(file, yes=True, skip_wrong=True, quiet=True).run(session)
        assert (await bed.level("A"), await bed.level("B")) == ((10, 0, 0), (5, 0, 0))
        aside = await owner_pool.fetchval("SELECT sum(unavailable) FROM stock_balance")
    assert (done.totals.posted, done.totals.rejected, aside) == (1, 1, 3), "a row counts as a whole"
    assert "'erp' counts the goods" in done.faults[0].message


async def test_what_was_interrupted_goes_on(
    database: Database, owner_pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two parts, and inside of one: nothing is posted twice, nothing is left out."""
    monkeypatch.setattr(stock_import, "PART", 3)
    stock = {f"S{n}": 10 for n in range(8)}
    async with reserve_bed(database, owner_pool, stock=stock) as bed, at_hand(bed) as session:
        file = written(tmp_path, "sku,by,reason", *(f"{sku},{n + 1},found" for n, sku in enumerate(stock)))
        seen = 0
        store = stock_import.set_safety

        async def fail_in_the_second(*given: Any) -> int:
            nonlocal seen
            seen += 1
            if seen == 2:
                raise OSError("the machine is gone")
            return await store(*given)

        monkeypatch.setattr(stock_import, "set_safety", fail_in_the_second)
        with pytest.raises(OSError, match="gone"):
            await StockImport(file, yes=True, quiet=True).run(session)
        between = await entries(bed)
        done = await StockImport(file, yes=True, quiet=True).run(session)
        levels = [await bed.level(sku) for sku in stock]
    assert between == 3
    assert (done.totals.before, done.totals.posted) == (3, 5)
    assert levels == [(11 + n, 0, 0) for n in range(8)]


async def test_what_was_exported_is_changed_and_read_in(
    database: Database, owner_pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sale between export and import stands, and so do units that were set aside: only what a person changed is posted."""
    monkeypatch.setattr(stock_files, "EXPORT_PART", 2)
    stock = {f"S{n}": 10 * n for n in range(5)}
    async with reserve_bed(database, owner_pool, stock=stock) as bed, at_hand(bed) as session:
        file = tmp_path / "stock.xlsx"
        assert await stock_files.write_levels(session, file, location=None, prefix=None) == (5, 0)
        only = tmp_path / "one.csv"
        assert await stock_files.write_levels(session, only, location="main", prefix="S3") == (1, 0)
        book = openpyxl.load_workbook(file)
        sheet = book.active
        assert [sheet.cell(row, 1).value for row in range(2, 7)] == sorted(stock)
        sheet.cell(4, 3).value = 25
        sheet.cell(6, 4).value = 1
        book.save(file)
        await bed.count("S2", -3)
        damaged = tmp_path / "damaged.csv"
        damaged.write_text("sku,damaged\nS3,2\nS4,3\n")
        await StockImport(damaged, yes=True, quiet=True).run(session)
        done = await StockImport(file, yes=True, quiet=True).run(session)
        assert await bed.level("S2") == (22, 0, 0)
        aside = await owner_pool.fetch(
            "SELECT i.sku, b.unavailable FROM stock_balance b JOIN inventory_item i USING (tenant_id, item_id)"
            " WHERE b.unavailable <> 0 ORDER BY 1"
        )
        wrong = tmp_path / "wrong.csv"
        wrong.write_text("sku,damaged,version\nS4,3,99\n")
        refused = await StockImport(wrong, yes=True, quiet=True, skip_wrong=True).run(session)
    assert (done.totals.changes, done.totals.posted, done.totals.rejected) == (2, 2, 0)
    assert [tuple(row) for row in aside] == [("S3", 2), ("S4", 4)]
    assert (refused.totals.changes, refused.totals.rejected) == (0, 1)


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
async def test_kits_go_out_and_come_back_unchanged(
    database: Database, owner_pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """A kit's number stands in the export, also of one that was counted before; reading both files in changes nothing."""
    monkeypatch.setattr(stock_files, "EXPORT_PART", 2)
    monkeypatch.setattr(kits, "EXPORT_PART", 1)
    stock = {"A": 13, "B": 9, "=SET": 0, "SIX": 0}
    async with reserve_bed(database, owner_pool, stock=stock) as bed, at_hand(bed) as session:
        async with session.conn.transaction():
            wanted: dict[str, Mapping[str, int]] = {"=SET": {"A": 2, "B": 1}, "SIX": {"A": 6}}
            made = await set_kits(session.conn, bed.tenant_id, wanted, is_shared=lambda _: False)
        assert not made.faults, made.faults
        levels, recipes = tmp_path / f"stock.{ending}", tmp_path / f"kits.{ending}"
        assert await stock_files.write_levels(session, levels, location=None, prefix=None) == (2, 2)
        assert await stock_files.write_levels(session, tmp_path / "main.csv", location="main", prefix=None) == (2, 0)
        assert await kits.write_kits(session, recipes) == 2
        assert await kits.write_kits(session, tmp_path / "b.csv", part="B") == 1
        told = {cells[0]: cells for _, cells in read_sheet(levels)}
        head = told["sku"]
        done = await StockImport(levels, yes=True, quiet=True).run(session)
        again = await plan_kits(session.conn, bed.tenant_id, kits.read_kits(recipes, None), is_shared=lambda _: False)
    assert {sku: told[sku][head.index("available")] for sku in stock} == {"A": "13", "B": "9", "=SET": "6", "SIX": "2"}
    assert {sku: told[sku][head.index("kit_of")] for sku in wanted} == {"=SET": "2 x A, 1 x B", "SIX": "6 x A"}
    assert (done.totals.rows, done.totals.changes, done.totals.rejected) == (4, 0, 0)
    assert (again.changes, again.faults) == ((), ())
