"""docs/reference/errors.md lists every error class with what it says and what is done about it."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator

import tidegate
from tests.house.repository import ROOT
from tidegate.kernel.errors import TidegateError

ROW = re.compile(r"^\| `(\w+)` \| `(\w+)` \| (.+?) \| (.+?) \| (\d+) \|$", re.MULTILINE)


def test_every_error_class_is_listed_as_it_is() -> None:
    """Class, default code and exit status agree with the code; meaning and recovery are said."""
    listed = {name: (code, int(status)) for name, code, _, _, status in _rows()}
    existing = {kind.__name__: (kind.code, kind.exit_status) for kind in _error_classes()}
    assert listed == existing


def test_every_recovery_is_said_in_words() -> None:
    """No row without a meaning and a recovery."""
    assert [name for name, _, meaning, recovery, _ in _rows() if min(len(meaning), len(recovery)) < 10] == []


def _rows() -> list[tuple[str, ...]]:
    return ROW.findall((ROOT / "docs" / "reference" / "errors.md").read_text())


def _error_classes() -> list[type[TidegateError]]:
    """Return TidegateError's subclasses of the product, however deep."""
    for module in pkgutil.walk_packages(tidegate.__path__, "tidegate."):
        if not module.name.startswith("tidegate.sdk.testing") and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return [kind for kind in _below(TidegateError) if kind.__module__.startswith("tidegate.")]


def _below(kind: type[TidegateError]) -> Iterator[type[TidegateError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _below(child)
