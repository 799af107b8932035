"""What `tidegate doctor` finds, as values. Pure."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import msgspec

from tidegate.cli.session import Session

Verdict = Literal["ok", "warn", "fail"]
Area = Literal[
    "machine", "configuration", "database", "connections", "secrets", "scopes", "webhooks", "clock", "limits", "mappings",
    "work",
]  # fmt: skip
AREAS: tuple[Area, ...] = (
    "machine", "configuration", "database", "connections", "secrets", "scopes", "webhooks", "clock", "limits", "mappings",
    "work",
)  # fmt: skip
"""In the order in which they are shown: what stands further up explains what stands below."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    check: str
    verdict: Verdict
    words: str
    fix: str | None = None
    """What to do; only where something is to do."""
    area: Area = "machine"
    code: str = ""
    """Stable, for programs."""
    why: str | None = None
    """Why it matters; only where something is to do."""
    repair: str | None = None
    """What `--fix` would do, where it can."""


Report = Callable[[Finding], None]


@dataclass(frozen=True, kw_only=True)
class Repair:
    """Something that `--fix` can do. Safe to repeat."""

    finding: Finding
    act: Callable[[Session], Awaitable[str]]
    """Does it; returns what became of it in words. Raises TidegateError."""


def ok(check: str, words: str, *, code: str = "") -> Finding:
    """Return a finding that all is well."""
    return Finding(check=check, verdict="ok", words=words, code=code or _code(check))


def warn(
    check: str, words: str, fix: str, *, code: str = "", why: str | None = None, repair: str | None = None
) -> Finding:
    """Return a finding that somebody should look at."""
    return Finding(check=check, verdict="warn", words=words, fix=fix, code=code or _code(check), why=why, repair=repair)


def fail(
    check: str, words: str, fix: str, *, code: str = "", why: str | None = None, repair: str | None = None
) -> Finding:
    """Return a finding that keeps Tidegate from working."""
    return Finding(check=check, verdict="fail", words=words, fix=fix, code=code or _code(check), why=why, repair=repair)


def within(area: Area, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield the findings as those of an area."""
    for finding in findings:
        yield of_area(area, finding)


def of_area(area: Area, finding: Finding) -> Finding:
    """Return the finding as one of an area."""
    return msgspec.structs.replace(finding, area=area)


def _code(check: str) -> str:
    """Return the code of a check that has none of its own: its name, without the name of what it looks at."""
    return re.sub(r"[^a-z]+", "_", check.partition(" ")[0].lower()).strip("_") or "check"
