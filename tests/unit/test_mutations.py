"""Safeguards are needed: each can be taken out, and the test that must notice exists. All of them: `python -m tests.mutations`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from tests.mutations.__main__ import ROOT, make_copy, mutate, try_one
from tests.mutations.catalogue import MUTATIONS, Mutation

NAMES = {mutation.name: mutation for mutation in MUTATIONS}


@pytest.mark.parametrize("name", NAMES)
def test_each_mutation_fits_the_code_and_has_its_test(name: str) -> None:
    mutation = NAMES[name]
    text = mutate((ROOT / mutation.path).read_text(), mutation)
    if mutation.path.endswith(".py"):
        ast.parse(text)
    file, _, function = mutation.test.partition("::")
    assert not function or f"def {function}(" in (ROOT / file).read_text()


def test_each_law_has_a_mutation() -> None:
    assert {"I5", "I7", "I8", "I9", "I10", "I11", "I12"} <= {mutation.law for mutation in MUTATIONS}
    assert len(NAMES) == len(MUTATIONS)


def test_a_safeguard_that_is_taken_out_is_noticed_and_one_that_is_not_needed_is_told(tmp_path: Path) -> None:
    """The whole way of one mutation, and of one that changes nothing that its test looks at."""
    copy = make_copy(tmp_path)
    real = NAMES["an entry says what was wanted, not what moved"]
    idle = Mutation("idle", "I9", real.path, '"""The ledger\'s arithmetic', '"""The arithmetic', real.test)

    assert [try_one(copy, each) for each in (real, idle)] == ["caught", "survived"]
    assert (copy / real.path).read_text() == (ROOT / real.path).read_text()
