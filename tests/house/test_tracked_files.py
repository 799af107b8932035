"""Nothing of one machine, of one registry or of one moment is under version control."""

from __future__ import annotations

import re
from collections import Counter

from tests.house.repository import ROOT, text_files, tracked_files

FILE_BYTES_MAX = 1 << 20
MACHINE_PATH = re.compile(r"(?<![\w.])/(work|root|home/[a-z]\w*|Users/\w+|tmp/tg|opt/(pypi|wheels)[\w-]*)/")
REGISTRY_HOST = re.compile(
    r"\b([\w-]+\.)*(pypi|pythonhosted|npmjs|npmmirror|yarnpkg|rubygems|crates|debian)\.(org|com|net|io)\b"
)
LEFT_OPEN = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|raise NotImplementedError|mark\.xfail|assert True\b")
PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")


def test_no_file_names_a_path_of_one_machine() -> None:
    """A clone works wherever it stands."""
    assert _hits(MACHINE_PATH) == []


def test_no_file_names_a_package_registry() -> None:
    """Packages come from the registry that the machine is set up for; lock files hold names and hashes."""
    assert _hits(REGISTRY_HOST) == []


def test_nothing_is_left_open() -> None:
    """No stub, no promise, no expected failure."""
    assert _hits(LEFT_OPEN) == []


def test_no_private_key_is_tracked() -> None:
    """Keys are made where they are used."""
    assert _hits(PRIVATE_KEY) == []


def test_no_tracked_file_is_large() -> None:
    """Nothing over 1 MiB: data is fetched or made."""
    large = [str(path.relative_to(ROOT)) for path in tracked_files() if path.stat().st_size > FILE_BYTES_MAX]
    assert large == []


def _hits(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {match[0]}"
        for name, text in text_files()
        if name != "tests/house/test_tracked_files.py" and not name.endswith("package-lock.json")
        for number, line in enumerate(text.splitlines(), start=1)
        if (match := pattern.search(line))
    ] + [
        f"{name}: {match[0]}"
        for name, text in text_files()
        if name.endswith("package-lock.json") and pattern is not LEFT_OPEN and (match := pattern.search(text))
    ]


def test_test_modules_outside_of_packages_have_names_of_their_own() -> None:
    """pytest imports them by their bare name: two of one name cannot be collected in one run."""
    bare = [
        path for path in tracked_files() if path.name.startswith("test_") and not (path.parent / "__init__.py").exists()
    ]
    names = Counter(path.name for path in bare)
    assert [name for name, count in names.items() if count > 1] == []
