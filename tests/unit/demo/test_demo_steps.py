from __future__ import annotations

import threading

import pytest
from demo.progress import STILL_SECONDS, Lines
from demo.steps import Step, StepFailedError, Steps
from realsystems.packages import PackagesUnavailableError, RegistryUnreachableError, explain_failure


def test_a_step_begins_when_those_it_needs_are_done() -> None:
    order: list[str] = []
    both = threading.Barrier(2, timeout=100)

    def meet(name: str) -> None:
        both.wait()  # only passed when both run at the same time
        order.append(name)

    steps = Steps(
        [
            Step("last", "Last", lambda: order.append("last"), needs=("one", "two")),
            Step("one", "One", lambda: meet("one")),
            Step("two", "Two", lambda: meet("two")),
        ]
    )

    steps.run()

    assert sorted(order[:2]) == ["one", "two"]
    assert order[2:] == ["last"]
    assert steps.join(1)


def test_the_first_failure_is_raised_and_nothing_begins_after_it() -> None:
    begun: list[str] = []

    def fail() -> None:
        raise OSError("no room")

    steps = Steps([Step("one", "One", fail), Step("two", "Two", lambda: begun.append("two"), needs=("one",))])

    with pytest.raises(StepFailedError, match="One: no room") as caught:
        steps.run()

    assert isinstance(caught.value.step.error, OSError)
    assert begun == []
    assert [step.state for step in steps.steps] == ["failed", "waits"]


def test_a_need_that_is_no_step_is_refused() -> None:
    with pytest.raises(ValueError, match="three"):
        Steps([Step("one", "One", lambda: None, needs=("three",))])


def test_lines_tell_each_change_once_and_what_takes_long() -> None:
    step = Step("one", "Build it", lambda: None)
    lines = Lines([step])
    assert lines.news(0.0) == []

    step.state, step.started = "runs", 0.0
    assert lines.news(1.0) == ["... Build it"]
    assert lines.news(2.0) == []
    assert len(lines.news(1.0 + STILL_SECONDS)) == 1
    step.state, step.ended, step.note = "done", 31.5, "there already"
    assert lines.news(40.0) == ["ok  Build it: 31.5 s, there already"]
    assert lines.news(90.0) == []


@pytest.mark.parametrize(
    "said",
    [
        "npm error code ENOTFOUND\nnpm error network request to ... failed",
        "npm error code ECONNREFUSED",
        "WARNING: Retrying after connection broken by 'NewConnectionError(...)'\nERROR: No matching distribution found",
        "npm error 503 Service Unavailable - GET ...",
    ],
)
def test_a_registry_that_does_not_answer_is_told_from_a_broken_package(said: str) -> None:
    error = explain_failure(said, "the registry")
    assert isinstance(error, RegistryUnreachableError)
    assert said.splitlines()[-1] in str(error)


def test_another_failure_is_not_blamed_on_the_network() -> None:
    error = explain_failure("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "the registry")
    assert type(error) is PackagesUnavailableError
