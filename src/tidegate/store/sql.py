"""Named SQL statements from `queries/*.sql`.

A file is a sequence of blocks, each introduced by a line `-- name: words_with_underscores` and
followed by one comment line that says what it does. Names are unique over all files.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from tidegate.kernel.errors import InvariantError

_NAME_LINE = re.compile(r"--\s*name:\s*(\S+)\s*")
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def query(name: str) -> str:
    """Return the statement called `name`; bind it to a module constant, so that a typo fails early.

    Raises:
        InvariantError: there is no statement of that name.
    """
    statements = load_queries()
    if name not in statements:
        raise InvariantError(f"no SQL statement is called {name!r}")
    return statements[name]


@cache
def load_queries() -> Mapping[str, str]:
    """All named statements of the package: name -> text."""
    folder = files("tidegate.store") / "queries"
    entries = folder.iterdir() if folder.is_dir() else iter(())
    sources = sorted(
        (entry.name, entry.read_text(encoding="utf-8")) for entry in entries if entry.name.endswith(".sql")
    )
    return parse_queries(sources)


def parse_queries(sources: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """Split (file name, text) pairs into named statements. Pure.

    Raises:
        InvariantError: a name is repeated or malformed, a block is empty, or a statement stands
            before the first name.
    """
    statements: dict[str, str] = {}
    for file_name, text in sources:
        for name, statement in _blocks(file_name, text):
            if name in statements:
                raise InvariantError(f"{file_name}: the SQL statement {name!r} exists twice")
            statements[name] = statement
    return MappingProxyType(statements)


def _blocks(file_name: str, text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        match = _NAME_LINE.fullmatch(line)
        if match is not None:
            if _NAME.fullmatch(match[1]) is None:
                raise InvariantError(f"{file_name}: {match[1]!r} is not a statement name")
            found.append((match[1], []))
        elif found:
            found[-1][1].append(line)
        elif _is_code(line):
            raise InvariantError(f"{file_name}: a statement stands before the first name")
    for name, lines in found:
        if not any(_is_code(line) for line in lines):
            raise InvariantError(f"{file_name}: the block {name!r} is empty")
    return [(name, "\n".join(lines).strip()) for name, lines in found]


def _is_code(line: str) -> bool:
    stripped = line.strip()
    return bool(stripped) and not stripped.startswith("--")
