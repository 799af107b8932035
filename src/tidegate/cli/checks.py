"""What `tidegate doctor` finds, as values. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

Verdict = Literal["ok", "warn", "fail"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    check: str
    verdict: Verdict
    words: str
    fix: str | None = None
    """What to do; only where something is to do."""


Report = Callable[[Finding], None]


def ok(check: str, words: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(check=check, verdict="ok", words=words)


def warn(check: str, words: str, fix: str) -> Finding:
    """Return a finding that somebody should look at."""
    return Finding(check=check, verdict="warn", words=words, fix=fix)


def fail(check: str, words: str, fix: str) -> Finding:
    """Return a finding that keeps Tidegate from working."""
    return Finding(check=check, verdict="fail", words=words, fix=fix)
