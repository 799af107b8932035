"""Who is ahead: the file of a folder, or a version that was made elsewhere."""

from __future__ import annotations

import pytest

from tidegate.config.steps import Step, Verdict, compare, digest_of


def step(version: int, text: str) -> Step:
    return Step(tenant="main", version=version, digest=digest_of(text))


@pytest.mark.parametrize(
    ("known", "newest", "file_version", "verdict"),
    [
        (None, None, None, "file"),
        (None, (3, "text"), 3, "same"),
        (None, (3, "other"), 2, "database"),  # an old checkout on another machine
        (None, (3, "other"), None, "file"),  # never seen: somebody edited it
        (step(3, "before"), (3, "before"), None, "file"),  # edited since
        (step(3, "text"), (3, "text and since"), None, "same"),  # the file could not be written
        (step(3, "before"), (3, "before"), 1, "file"),  # taken back on purpose
        (step(2, "text"), (3, "other"), 2, "database"),
        (step(2, "before"), (3, "other"), None, "both"),
    ],
)
def test_who_is_ahead(
    known: Step | None, newest: tuple[int, str] | None, file_version: int | None, verdict: Verdict
) -> None:
    assert compare("text", tenant="main", step=known, newest=newest, file_version=file_version) == verdict


def test_the_step_of_another_tenant_says_nothing() -> None:
    foreign = Step(tenant="other", version=9, digest="x")

    assert compare("text", tenant="main", step=foreign, newest=(3, "other"), file_version=2) == "database"
