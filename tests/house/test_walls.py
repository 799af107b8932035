"""Rooms keep to their walls, and SQL to its places."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

from tests.house.repository import PACKAGE, ROOT, sources

ROW_STATEMENT = re.compile(
    r"\bSELECT\b.+?\bFROM\b\s+[\w\"]|\bINSERT\s+INTO\b|\bUPDATE\b.+?\bSET\b|\bDELETE\s+FROM\b", re.DOTALL
)
"""Reads or changes rows of a table. Calls of server functions (`SELECT pg_notify(...)`) may stand in a function."""
SCHEMA_STATEMENT = re.compile(r"\s*(CREATE|ALTER|DROP|GRANT|REVOKE|LOCK|TRUNCATE)\s+[A-Z]+\s")
MAKES_PARTITIONS = "eventlog/partitions.py"
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "base", "misc"}


ITEMS_BEFORE_CHANNELS = re.compile(r"ORDER BY (\w+\.)?item_id, (\w+\.)?connection_id\b[^;\n]*\bFOR (NO KEY )?UPDATE")


def test_marks_are_locked_by_channel_and_then_by_item() -> None:
    """One lock order everywhere: a statement with the other one meets T2 in a deadlock."""
    texts = [(path.name, path.read_text()) for kind in ("*.py", "*.sql") for path in sorted(PACKAGE.rglob(kind))]
    assert any("ORDER BY connection_id, item_id FOR NO KEY UPDATE" in text for _, text in texts)
    assert [name for name, text in texts if ITEMS_BEFORE_CHANNELS.search(text)] == []


def test_import_contracts_hold() -> None:
    """A room imports only rooms below it; only the composition root imports connectors."""
    status = lint_imports(config_filename=str(ROOT / ".importlinter"), no_cache=True)
    assert status == EXIT_STATUS_SUCCESS, "run `make lint`: it names the imports"


def test_the_slab_needs_the_standard_library_only() -> None:
    """`kernel` can be imported by everybody because it brings nothing along."""
    foreign = [
        (name, module)
        for name, tree in sources().items()
        if name.startswith("kernel/")
        for module in _imported(tree)
        if module.partition(".")[0] not in sys.stdlib_module_names and not module.startswith("tidegate.kernel")
    ]
    assert foreign == []


def test_no_module_is_called_after_nothing() -> None:
    """A module is named by what it holds."""
    vague = [name for name in sources() if EMPTY_NAMES & set(PurePosixPath(name).with_suffix("").parts)]
    assert vague == []


def test_every_room_says_what_it_is() -> None:
    """`__init__.py` of a room: one paragraph, and at most a short list of names."""
    rooms = [path for path in PACKAGE.iterdir() if path.is_dir() and any(path.glob("*.py"))]
    assert len(rooms) > 10
    for room in rooms:
        text = (room / "__init__.py").read_text()
        assert ast.get_docstring(ast.parse(text)), f"{room.name} does not say what it is"
        assert len(text.splitlines()) <= 15, f"{room.name}/__init__.py is more than a sign on the door"


def test_row_statements_stand_outside_of_functions() -> None:
    """SQL is a named constant of its module or a file in `store/queries`, never text in the middle of a function.

    The room `store` talks to the server about itself (roles, migrations) and is free in this.
    """
    misplaced = [
        f"{name}:{line}: {text.strip()[:60]!r}"
        for name, tree in sources().items()
        if not name.startswith("store/")
        for line, text in _texts_in_functions(tree)
        if ROW_STATEMENT.search(text)
    ]
    assert misplaced == []


def test_only_the_store_and_the_partitions_change_the_schema() -> None:
    """Tables are made by migrations, and daily partitions by the log."""
    misplaced = [
        f"{name}:{line}: {text.strip()[:60]!r}"
        for name, tree in sources().items()
        if not name.startswith("store/") and name != MAKES_PARTITIONS
        for line, text in _texts(tree)
        if SCHEMA_STATEMENT.match(text)
    ]
    assert misplaced == []


@pytest.mark.parametrize(
    ("source", "is_found"),
    [
        ('async def f(c):\n    await c.fetch("SELECT a FROM b WHERE c = $1")', True),
        ('async def f(c):\n    await c.execute(f"DELETE FROM {table}")', True),
        ('FIND = "SELECT a FROM b"\nasync def f(c):\n    await c.fetch(FIND)', False),
        ('async def f(c):\n    "Update what was set from here."', False),
        ('async def f(c):\n    await c.execute("SELECT pg_notify($1, $2)")', False),
    ],
)
def test_the_search_for_sql_finds_it(source: str, is_found: bool) -> None:
    """The rule above can fail."""
    found = [text for _, text in _texts_in_functions(ast.parse(source)) if ROW_STATEMENT.search(text)]
    assert bool(found) is is_found


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def _texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of string literals that are no docstrings."""
    documentation = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.lineno, node.value


def _texts_in_functions(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _texts(node)
