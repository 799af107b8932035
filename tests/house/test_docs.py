"""Documents that cannot lie: links, paths, names and commands in them exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.house.repository import PACKAGE, ROOT, documents, tracked_files
from tidegate.cli.main import COMMANDS

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+\s+(.*?)\s*$", re.MULTILINE)
CODE_PLACE = re.compile(r"`([\w./-]+\.(?:py|sql|js|yaml|toml|in|txt))(?:::([\w.]+))?`")
LINKED_NAME = re.compile(r"\[`(\w+)`\]\(([^)#]+\.py)\)")
FENCED_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
MAKE = re.compile(r"\bmake ([a-z0-9-]+)")
TIDEGATE = re.compile(r"(?:^|[`;&\s])tidegate ([a-z][a-z-]*)\b")
ADR_PARTS = ("Tags:", "## Decision", "## Why", "## Refused", "## Reopen when")
ADRS = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
ARCHITECTURE_LINES_MAX = 300
ADR_LINES_MAX = 60

by_document = pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))


@by_document
def test_links_lead_somewhere(path: Path) -> None:
    """A link into the repository names a tracked file, and a heading in it where it has a fragment."""
    missing = []
    for target in LINK.findall(path.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, fragment = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not _is_tracked(file) or (fragment and fragment not in _anchors(file)):
            missing.append(target)
    assert missing == []


@by_document
def test_named_code_exists(path: Path) -> None:
    """`room/file.py` and `room/file.py::Class.method` are there, from the root, from the package or from the document."""
    missing = []
    for name, member in CODE_PLACE.findall(path.read_text()):
        places = [place / name for place in (ROOT, PACKAGE, path.parent) if (place / name).is_file()]
        if not places and "/" in name:
            missing.append(name)
        elif places and member and member not in _definitions(places[0]):
            missing.append(f"{name}::{member}")
    assert missing == []


@by_document
def test_linked_tests_exist(path: Path) -> None:
    """[`test_name`](file.py): the file defines that name."""
    linked = [(name, (path.parent / target).resolve()) for name, target in LINKED_NAME.findall(path.read_text())]
    assert [name for name, file in linked if not file.is_file() or name not in _definitions(file)] == []


@by_document
def test_commands_exist(path: Path) -> None:
    """`make TARGET` and `tidegate COMMAND` can be typed."""
    code = "\n".join(_code(path.read_text()))
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(MAKE.findall(code)) - targets == set()
    named = set(TIDEGATE.findall(code))
    assert named - set(COMMANDS) == set()
    modules = {COMMANDS[command].partition(":")[0] for command in named}
    assert {module for module in modules if not (PACKAGE / "cli" / f"{module}.py").is_file()} == set()


def test_readme_shows_the_two_commands() -> None:
    """A newcomer needs no third one."""
    text = (ROOT / "README.md").read_text()
    assert "make demo" in text
    assert "make test" in text


def test_every_make_target_is_documented() -> None:
    """`make help` lists every target."""
    lines = re.findall(r"^([a-z0-9-]+):(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [target for target, rest in lines if "## " not in rest] == []


def test_architecture_can_be_read_in_one_sitting() -> None:
    """At most 300 lines, with the promise word for word in it and in README."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    assert len(text.splitlines()) <= ARCHITECTURE_LINES_MAX
    promise = (
        "an acknowledged webhook is on disk; a repeated one changes nothing; an unanswered write is checked before it "
        "is resent; here is the command that tries to break it."
    )
    assert promise in " ".join(text.split())
    assert promise in " ".join((ROOT / "README.md").read_text().split())


def test_architecture_names_every_room() -> None:
    """A room that nobody describes is a room that nobody finds."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert {room for room in rooms if f"`{room}`" not in text} == set()


def test_adrs_are_numbered_and_linked() -> None:
    """0001, 0002, ..., each number once and each linked from ARCHITECTURE.md. A number may still be on its way."""
    numbers = [int(path.name[:4]) for path in ADRS]
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 1
    text = (ROOT / "ARCHITECTURE.md").read_text()
    assert [path.name for path in ADRS if f"docs/adr/{path.name}" not in text] == []


@pytest.mark.parametrize("path", ADRS, ids=lambda path: path.name)
def test_an_adr_has_its_parts_on_one_page(path: Path) -> None:
    """Tags, decision, why, what was refused at which cost, what would reopen it."""
    text = path.read_text()
    positions = [text.find(part) for part in ADR_PARTS]
    assert -1 not in positions
    assert positions == sorted(positions)
    assert len(text.splitlines()) <= ADR_LINES_MAX


def _is_tracked(file: Path) -> bool:
    return file in tracked_files() or any(file in path.parents for path in tracked_files())


@cache
def _anchors(file: Path) -> frozenset[str]:
    """Return the fragments of a document's headings, as the usual renderers make them."""
    if file.suffix != ".md":
        return frozenset()
    return frozenset(
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in HEADING.findall(file.read_text())
    )


@cache
def _definitions(file: Path) -> frozenset[str]:
    """Return the names that a module defines: functions, classes, `Class.member`, constants."""
    if file.suffix != ".py":
        return frozenset()
    return frozenset(_names(ast.parse(file.read_text()).body, ""))


def _names(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield prefix + node.name
        if isinstance(node, ast.ClassDef):
            yield from _names(node.body, f"{prefix}{node.name}.")
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        yield from (prefix + target.id for target in targets if isinstance(target, ast.Name))


def _code(text: str) -> Iterator[str]:
    """Yield code blocks, and code in a line."""
    yield from FENCED_BLOCK.findall(text)
    yield from re.findall(r"`[^`\n]+`", FENCED_BLOCK.sub("", text))
