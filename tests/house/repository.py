"""What the house tests look at: the tracked files, the parsed sources, the documents."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "tidegate"


@cache
def tracked_files() -> tuple[Path, ...]:
    """Return the files under version control; outside of a checkout (a source archive) all files that git would take."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return tuple(sorted(ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()))


def text_files() -> Iterator[tuple[str, str]]:
    """Yield (path from the root, text) of every tracked file that is text."""
    for path in tracked_files():
        try:
            yield path.relative_to(ROOT).as_posix(), path.read_text()
        except UnicodeDecodeError:
            continue


def documents() -> list[Path]:
    """Return the Markdown files."""
    return [path for path in tracked_files() if path.suffix == ".md"]


@cache
def sources() -> dict[str, ast.Module]:
    """Return path inside the package -> parsed module, for every module of Tidegate."""
    return {
        path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(), filename=str(path))
        for path in sorted(PACKAGE.rglob("*.py"))
        if "node_modules" not in path.parts
    }
