"""The conformance kit: every promise of docs/connectors/SPEC.md as a check.

Adopt it with one line in a test file:

    TestConformance = conformance_suite("tidegate.connectors.acme")

A check is a function of a `Subject` that raises AssertionError (broken) or NotApplicableError (nothing to check).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import cache

import pytest

from tidegate.sdk.http import Api
from tidegate.sdk.testing.conformance import call_checks, manifest_checks, mapper_checks, webhook_checks
from tidegate.sdk.testing.conformance.subject import NotApplicableError, Signing, Subject, load_subject

Check = Callable[[Subject], None]

CHECKS: dict[str, Check] = {
    str(check.__doc__).partition(":")[0]: check
    for module in (manifest_checks, webhook_checks, mapper_checks, call_checks)
    for name, check in vars(module).items()
    if name.startswith("check_")
}
"""Number of the rule -> its check, in the order of SPEC.md."""


def conformance_suite(
    package: str,
    *,
    signing: Signing | None = None,
    remote: Callable[[], AbstractAsyncContextManager[Api]] | None = None,
) -> type:
    """Return a test class with one test per rule for the connector in `package`.

    `signing` is needed where deliveries are not signed by Standard Webhooks; `remote` gives an api that is connected to a
    running fake of the platform.
    """

    @cache
    def subject() -> Subject:
        return load_subject(package, signing=signing, remote=remote)

    class Conformance:
        @pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
        def test_rule(self, check: Check) -> None:
            try:
                check(subject())
            except NotApplicableError as reason:
                pytest.skip(str(reason))

    return Conformance


__all__ = ["CHECKS", "Check", "NotApplicableError", "Signing", "Subject", "conformance_suite", "load_subject"]
