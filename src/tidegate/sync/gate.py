"""Version gates, pure: which of two observations of one entity is newer."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Stamp(NamedTuple):
    """What is remembered of the newest applied observation of (entity, source, facet)."""

    version: int
    sequence: int
    mapping_version: int
    digest: bytes


class Verdict(Enum):
    """What to do with an observation."""

    APPLY = "apply"
    SAME = "same"
    OLDER = "older"
    FETCH = "fetch"
    """Equal version, other content, and nothing to tell them apart: ask the source."""


def judge(stored: Stamp | None, seen: Stamp, *, is_fetch: bool) -> Verdict:
    """Return what to do with `seen`, given the stamp that is stored (None: nothing yet).

    Order: version, then sequence where both sides have one (0: a read, which has none), then mapping version, so that
    a re-run after a mapper fix passes. A fetch is the source's own answer and wins at an equal version.
    """
    if stored is None or seen.version > stored.version:
        return Verdict.APPLY
    has_sequences = bool(seen.sequence and stored.sequence)
    if seen.version < stored.version or (has_sequences and seen.sequence < stored.sequence):
        return Verdict.OLDER
    if seen.mapping_version > stored.mapping_version:
        return Verdict.APPLY
    if seen.digest == stored.digest:
        return Verdict.SAME
    if is_fetch:
        return Verdict.APPLY
    if has_sequences:
        return Verdict.APPLY if seen.sequence > stored.sequence else Verdict.OLDER
    return Verdict.FETCH


def remember(stored: Stamp | None, seen: Stamp, verdict: Verdict) -> Stamp | None:
    """Return the stamp to keep after `verdict`. Equal content that came later counts: what lies between is older."""
    if verdict is Verdict.APPLY:
        return seen
    if verdict is Verdict.SAME and stored is not None and seen.sequence > stored.sequence:
        return stored._replace(sequence=seen.sequence)
    return stored
