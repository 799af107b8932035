"""One word per thing: what GLOSSARY.md says is not used, is not used in names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.house.repository import ROOT, sources

WORDS_IN_A_NAME = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")


def banned_words() -> frozenset[str]:
    """Return the words of the glossary's line `Not in names: ...`."""
    line = next(line for line in (ROOT / "GLOSSARY.md").read_text().splitlines() if line.startswith("Not in names:"))
    return frozenset(re.findall(r"`(\w+)`", line))


def test_no_name_uses_a_banned_word() -> None:
    """Classes, functions, arguments and variables of Tidegate use the glossary's words."""
    banned = banned_words()
    assert len(banned) >= 5
    found = [
        f"{name}:{line}: {identifier}"
        for name, tree in sources().items()
        for line, identifier in _identifiers(tree)
        if banned & {word.lower() for word in WORDS_IN_A_NAME.findall(identifier)}
    ]
    assert found == []


def _identifiers(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
