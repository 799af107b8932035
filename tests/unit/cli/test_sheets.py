"""Files of people: CSV as countries save it, workbooks, and what only looks like one."""

from __future__ import annotations

import zipfile
from pathlib import Path

import openpyxl  # type: ignore[import-untyped]
import pytest

from tidegate.cli.sheets import read_sheet, writing_sheet
from tidegate.kernel.errors import ConfigurationError


@pytest.mark.parametrize("name", ["stock.csv", "stock.xlsx"])
def test_what_is_written_comes_back_and_is_no_formula(tmp_path: Path, name: str) -> None:
    """A SKU that a spreadsheet would run is text."""
    file = tmp_path / name
    with writing_sheet(file, ("sku", "on_hand")) as write:
        write(("'=HYPERLINK(1)", 3))
        write(("ä;b", 0))
    assert list(read_sheet(file)) == [(1, ["sku", "on_hand"]), (2, ["=HYPERLINK(1)", "3"]), (3, ["ä;b", "0"])]
    assert (
        b"<f>" not in b"".join(zipfile.ZipFile(file).read(n) for n in zipfile.ZipFile(file).namelist())
        if name.endswith("x")
        else True
    )


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_of_countries_are_read(tmp_path: Path, separator: str) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(f"\ufeffsku{separator}on_hand\r\n\r\nA{separator} 3 \r\n".encode())
    assert list(read_sheet(file)) == [(1, ["sku", "on_hand"]), (3, ["A", "3"])]


def test_a_file_that_fails_on_the_way_leaves_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "stock.csv"
    file.write_text("old")
    with pytest.raises(ZeroDivisionError), writing_sheet(file, ("sku",)) as write:
        write((1 / 0,))
    assert file.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["stock.csv"]


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["sku"])
    book.save(tmp_path / "good.xlsx")
    (tmp_path / "latin.csv").write_bytes("sku\nGröße\n".encode("latin-1"))
    (tmp_path / "open.csv").write_text('sku\n"A\n')
    (tmp_path / "fake.xlsx").write_text("sku,on_hand\n")
    with zipfile.ZipFile(tmp_path / "empty.xlsx", "w") as archive:
        archive.writestr("a.txt", "nothing")
    with zipfile.ZipFile(tmp_path / "entities.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>')
    with zipfile.ZipFile(tmp_path / "bomb.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/sharedStrings.xml", b"\0" * (129 << 20))
    for name, words in (
        ("absent.csv", "No such file"),
        ("latin.csv", "not UTF-8"),
        ("open.csv", "no row of a CSV"),
        ("fake.xlsx", "no workbook"),
        ("empty.xlsx", "no workbook"),
        ("entities.xlsx", "declares entities"),
        ("bomb.xlsx", "more than 128 MB"),
    ):
        with pytest.raises(ConfigurationError, match=words) as caught:
            list(read_sheet(tmp_path / name))
        assert caught.value.code == "file_unreadable"
    with pytest.raises(ConfigurationError, match="no sheet 'B'"):
        list(read_sheet(tmp_path / "good.xlsx", "B"))
