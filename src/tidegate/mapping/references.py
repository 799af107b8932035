"""Which files a configuration names: value tables as CSV, and modules with hooks. Pure.

These files are kept with each version of the configuration. A name is relative to the project folder and never leaves it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from tidegate.mapping.records import Maps

HOOK_REFERENCE = re.compile(r"(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<function>[A-Za-z_]\w*)")
"""`module.of.the.author:function`; CEL has no such expression."""
_FILE_NAME = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_. -]*/)*[A-Za-z0-9_][A-Za-z0-9_. -]*")
FILE_BYTES_MAX = 2 << 20
FILES_BYTES_MAX = 4 << 20
FILES_MAX = 200

Files = Mapping[str, str]
"""Name (relative, with `/`) -> text."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a configuration needs besides its own text."""

    tables: tuple[str, ...] = ()
    """Names of CSV files, sorted."""
    modules: tuple[str, ...] = ()
    """Top-level modules of hooks, sorted: `flows` is `flows.py` or the package `flows/`."""

    def __bool__(self) -> bool:
        """Whether anything is needed."""
        return bool(self.tables or self.modules)


def wanted_files(maps: Maps, tables: Mapping[str, Any]) -> Wanted:
    """Return the files that maps and tables name."""
    csv = {str(table["csv"]) for table in tables.values() if isinstance(table, dict) and is_file_table(table)}
    modules = {
        match["module"].partition(".")[0]
        for flow in (maps.orders, maps.shipments)
        for text in _texts(flow)
        if (match := HOOK_REFERENCE.fullmatch(text))
    }
    return Wanted(tables=tuple(sorted(csv)), modules=tuple(sorted(modules)))


def is_file_table(table: Mapping[str, Any]) -> bool:
    """Whether a table's entry names a file: it has `csv`, and what else it has belongs to that."""
    return "csv" in table and table.keys() <= {"csv", "key", "value", "rows"}


def is_file_name(name: str) -> bool:
    """Whether a name stays inside of the project folder."""
    return bool(_FILE_NAME.fullmatch(name)) and len(name) <= 200


def belongs(name: str, wanted: Wanted) -> bool:
    """Whether a file is one of the wanted ones."""
    if name in wanted.tables:
        return True
    top = name.split("/", 1)[0].removesuffix(".py")
    return name.endswith(".py") and top in wanted.modules


def missing_files(wanted: Wanted, files: Files) -> list[str]:
    """Return what is wanted and not there, as people would write it."""
    absent = [name for name in wanted.tables if name not in files]
    tops = {name.split("/", 1)[0].removesuffix(".py") for name in files if name.endswith(".py")}
    return absent + [f"{module}.py" for module in wanted.modules if module not in tops]


def digest_files(files: Files) -> bytes:
    """Return the SHA-256 of names and contents; the order of the names does not matter."""
    return hashlib.sha256(msgspec.json.encode(sorted(files.items()))).digest()


def _texts(flow: Mapping[str, Any]) -> Iterator[str]:
    for rule in flow.values():
        for one in rule if isinstance(rule, list) else [rule]:
            if isinstance(one, str):
                yield one
