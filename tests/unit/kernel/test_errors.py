"""The tree of errors: every class says what to do next."""

import inspect

import pytest

from tidegate.kernel import errors
from tidegate.kernel.errors import RateLimitedError, TidegateError, TransientError

CLASSES = [found for _, found in inspect.getmembers(errors, inspect.isclass) if issubclass(found, TidegateError)]
LEAVES = [found for found in CLASSES if found is not TidegateError]


def test_the_tree_is_the_one_that_is_drawn() -> None:
    drawn = {line.split()[1] for line in str(errors.__doc__).splitlines() if line.startswith(("├──", "└──"))}

    assert drawn == {found.__name__ for found in LEAVES}


@pytest.mark.parametrize("kind", LEAVES)
def test_every_class_has_a_message_a_code_and_an_exit_status(kind: type[TidegateError]) -> None:
    error = kind()

    assert str(error) == str(kind.__doc__).strip()
    assert error.code == kind.code
    assert error.code.replace("_", "").isalpha()
    assert 64 <= error.exit_status <= 78


def test_codes_are_told_apart() -> None:
    codes = [kind.code for kind in LEAVES]

    assert len(codes) == len(set(codes))


def test_what_is_told_is_kept() -> None:
    told = {"status": 422}

    error = RateLimitedError("slow down", code="bucket_empty", hint="wait", context=told, wait_seconds=2.5)
    told["status"] = 500

    assert (str(error), error.code, error.hint, dict(error.context), error.wait_seconds) == (
        "slow down",
        "bucket_empty",
        "wait",
        {"status": 422},
        2.5,
    )
    assert TransientError().wait_seconds is None
