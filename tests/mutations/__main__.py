"""Take each safeguard out of a copy of the code, run the test that must notice, and say which were caught.

Run from the repository: `python -m tests.mutations`, `... --quick` for those that need no database, `... WORD` for those whose
name or law has it. The code itself is never touched. First the tests run with nothing taken out: they must pass. The last line is one JSON object.
Exit code 1 where one was not caught.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutations.catalogue import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parents[2]
TEST_SECONDS_MAX = 600
"""A test that takes longer than this has not noticed."""
PLUGIN = "tests.mutations.no_shrinking"
FAILED = 1
"""Exit code of pytest when tests ran and some failed; other codes say that they did not run."""


def main(arguments: Sequence[str]) -> int:
    """Run the chosen mutations; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="only mutations whose name or law has one of these words")
    parser.add_argument("--quick", action="store_true", help="only those that are caught without a database")
    asked = parser.parse_args(arguments)
    chosen = [
        mutation
        for mutation in MUTATIONS
        if (mutation.is_quick or not asked.quick)
        and (not asked.words or any(word in f"{mutation.law} {mutation.name}" for word in asked.words))
    ]
    if not chosen:
        parser.error("no mutation has such a name or law")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tdg-mutations-") as folder:
        copy = make_copy(Path(folder))
        if (code := run(copy, sorted({mutation.test for mutation in chosen}))) != 0:
            print(f"the tests fail by themselves, with nothing taken out: pytest ended with {code}")
            return 2
        fates = {mutation.name: _say(mutation, try_one(copy, mutation)) for mutation in chosen}
    survived = [name for name, fate in fates.items() if fate != "caught"]
    summary = {
        "mutations": len(chosen),
        "caught": len(chosen) - len(survived),
        "survived": survived,
        "laws": sorted({mutation.law for mutation in chosen}),
        "seconds": round(time.monotonic() - began, 1),
    }
    print(json.dumps(summary))
    return 1 if survived else 0


def make_copy(folder: Path) -> Path:
    """Copy what tests need of the repository into `folder`; return the copy."""
    copy = folder / "repository"
    ignored = shutil.ignore_patterns("__pycache__", ".hypothesis")
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def try_one(copy: Path, mutation: Mutation) -> str:
    """Return what became of a mutation: caught, survived, or why nothing can be said. The copy is as it was afterwards."""
    place = copy / mutation.path
    before = place.read_text()
    place.write_text(mutate(before, mutation))
    try:
        code = run(copy, [mutation.test])
    except subprocess.TimeoutExpired:
        return "no answer"
    finally:
        place.write_text(before)
    if code == FAILED:
        return "caught"
    return "survived" if code == 0 else f"not run: pytest ended with {code}"


def run(copy: Path, tests: Sequence[str]) -> int:
    """Run tests in the copy until one fails; return pytest's exit code. Raises TimeoutExpired."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", PLUGIN, *tests]
    return subprocess.run(
        command, cwd=copy, capture_output=True, timeout=TEST_SECONDS_MAX * len(tests), check=False
    ).returncode


def mutate(text: str, mutation: Mutation) -> str:
    """Return a file's text with the mutation in it. Raises ValueError unless what it replaces stands there exactly once."""
    count = text.count(mutation.old)
    if count != 1:
        raise ValueError(f"{mutation.name!r}: its text stands {count} times in {mutation.path}, not once")
    return text.replace(mutation.old, mutation.new)


def _say(mutation: Mutation, fate: str) -> str:
    print(f"{fate:<8} {mutation.law:<5} {mutation.name} ({mutation.test.rpartition('/')[2]})", flush=True)
    return fate


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
