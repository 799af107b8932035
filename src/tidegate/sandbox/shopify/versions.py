"""Versions of the API: four a year, each supported for a year; what has expired falls forward to the oldest supported one.

Source: Shopify, About API versioning.
"""

from __future__ import annotations

import re

LATEST = "2026-10"
SUPPORTED = ("2026-01", "2026-04", "2026-07", "2026-10")
HANDLES = (
    ("2026-01", "2026-01"),
    ("2026-04", "2026-04"),
    ("2026-07", "2026-07"),
    ("2026-10", "2026-10 (Latest)"),
    ("2027-01", "2027-01 (Release candidate)"),
    ("unstable", "unstable"),
)
_HANDLE = re.compile(r"20\d\d-(01|04|07|10)")


def is_supported(handle: str) -> bool:
    """Tell whether a version is a stable and supported one."""
    return handle in SUPPORTED


def served(asked: str) -> str | None:
    """Return the version that runs when `asked` is asked for, None for what is no version."""
    if asked in dict(HANDLES):
        return asked
    if _HANDLE.fullmatch(asked) and asked < SUPPORTED[0]:
        return SUPPORTED[0]
    return None
