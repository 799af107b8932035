"""CSV files and workbooks, row by row: neither is ever held in memory whole."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tidegate.kernel.errors import ConfigurationError
from tidegate.sync.match_file import unguard
from tidegate.sync.stock_file import cell_text

ROWS_MAX = 1_048_576
"""Rows of a file: as many as a workbook can have."""
CELL_MAX = 10_000
UNPACKED_MAX = 512 * 1024 * 1024
"""Bytes that the parts of a workbook may unpack to."""
STRINGS_MAX = 128 * 1024 * 1024
"""Bytes of a workbook's table of texts, which is read whole."""
_SEPARATORS = (",", ";", "\t")
_PROLOGUE = 4096


def digest_of(path: Path) -> str:
    """Return the digest of a file's bytes, in hex. Raises ConfigurationError."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise unreadable(path, error.strerror or "it cannot be opened") from error
    return digest.hexdigest()


def read_sheet(path: Path, sheet: str | None = None) -> Iterator[tuple[int, list[str]]]:
    """Yield (row number, cells) of a CSV file or, by its ending, a workbook; the header comes first, empty rows do not come.

    Raises ConfigurationError, at once or on the way, for what cannot be read.
    """
    is_workbook = path.suffix.lower() in (".xlsx", ".xlsm")
    if sheet is not None and not is_workbook:
        raise unreadable(path, "a CSV file has no sheets", "leave --sheet out")
    rows = _workbook_rows(path, sheet) if is_workbook else _csv_rows(path)
    for line, cells in rows:
        if line > ROWS_MAX:
            raise unreadable(path, f"it has more than {ROWS_MAX} rows", "part it")
        if any(cells):
            if max(map(len, cells)) > CELL_MAX:
                raise unreadable(path, f"row {line} has a cell with more than {CELL_MAX} characters")
            yield line, [unguard(cell) for cell in cells]


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline(65_536)
            file.seek(0)
            reader = csv.reader(file, delimiter=max(_SEPARATORS, key=header.count), strict=True)
            for cells in reader:
                yield reader.line_num, [cell.strip() for cell in cells]
    except OSError as error:
        raise unreadable(path, error.strerror or "it cannot be opened") from error
    except UnicodeDecodeError as error:
        raise unreadable(path, "it is not UTF-8", "save it as 'CSV UTF-8', or as .xlsx") from error
    except csv.Error as error:
        raise unreadable(path, f"row {reader.line_num} is no row of a CSV file ({error})") from error


def _workbook_rows(path: Path, sheet: str | None) -> Iterator[tuple[int, list[str]]]:
    import openpyxl  # type: ignore[import-untyped]  # only who has a workbook waits for it

    _look_into(path)
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True, keep_links=False)
    except Exception as error:  # the library raises whatever its parser meets
        raise unreadable(path, "it is no workbook") from error
    with contextlib.closing(book):
        names = book.sheetnames
        if sheet is not None and sheet not in names:
            raise unreadable(path, f"it has no sheet {sheet!r}", f"it has: {', '.join(names)}")
        try:
            for line, values in enumerate(book[sheet or names[0]].iter_rows(values_only=True), 1):
                yield line, [cell_text(value) for value in values]
        except ConfigurationError:
            raise
        except Exception as error:
            raise unreadable(path, "its sheet cannot be read") from error


def _look_into(path: Path) -> None:
    """Raise ConfigurationError for an archive that is no workbook, unpacks to too much, or has entities of its own."""
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            if sum(part.file_size for part in parts) > UNPACKED_MAX:
                raise unreadable(path, f"it unpacks to more than {UNPACKED_MAX >> 20} MB", "save it as CSV, or part it")
            for part in parts:
                if part.filename.endswith("sharedStrings.xml") and part.file_size > STRINGS_MAX:
                    raise unreadable(path, f"its texts are more than {STRINGS_MAX >> 20} MB", "save it as CSV")
                if part.filename.endswith((".xml", ".rels")):
                    with archive.open(part) as file:
                        if b"<!doctype" in file.read(_PROLOGUE).lower():
                            raise unreadable(path, "it declares entities, as no spreadsheet program does")
    except OSError as error:
        raise unreadable(path, error.strerror or "it cannot be opened") from error
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise unreadable(path, "it is no workbook") from error


@contextlib.contextmanager
def writing_sheet(path: Path, header: Sequence[str]) -> Iterator[Callable[[Iterable[Any]], None]]:
    """Write a CSV file or, by its ending, a workbook, row by row; it is put in place whole when the block ends well."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}", code="file_unwritable") from error
    os.close(handle)
    temporary = Path(name)
    try:
        if path.suffix.lower() == ".xlsx":
            import openpyxl

            book = openpyxl.Workbook(write_only=True)
            sheet = book.create_sheet("stock")
            sheet.append(list(header))
            yield lambda cells: sheet.append(list(cells))
            book.save(temporary)
        else:
            with temporary.open("w", encoding="utf-8-sig", errors="replace", newline="") as file:
                writer = csv.writer(file, lineterminator="\r\n")
                writer.writerow(header)
                yield writer.writerow
        temporary.chmod(0o600)
        temporary.replace(path)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}", code="file_unwritable") from error
    finally:
        temporary.unlink(missing_ok=True)


def unreadable(path: Path, why: str, hint: str | None = None) -> ConfigurationError:
    """Return the error of a file that cannot be read."""
    return ConfigurationError(f"{path.name} cannot be read: {why}", code="file_unreadable", hint=hint)
