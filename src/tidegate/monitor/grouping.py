"""Which failures belong together, and what became of them. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from tidegate.monitor.vocabulary import shape_of

SHAPES_MAX = 50
"""Issues of one cause that differ by their reason only; further ones are one issue without a shape."""
OPEN_STATES = frozenset(("pending", "sending", "in_doubt", "proposed"))

Cause = tuple[str, UUID | None, str, str]
"""(class, connection, operation, code)"""
Fate = Literal["stands", "on_its_way", "over"]


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that failed."""

    subject_id: UUID
    kind: Literal["command", "event"]
    failed_at: datetime
    class_: str
    connection_id: UUID | None
    operation: str
    code: str
    shape: str

    @property
    def cause(self) -> Cause:
        """What it has in common with others, but for the reason's words."""
        return self.class_, self.connection_id, self.operation, self.code


class Group(msgspec.Struct, kw_only=True):
    """Failures of one fingerprint, oldest first."""

    fingerprint: bytes
    cause: Cause
    shape: str
    failures: list[Failure]


def read_failure(row: Mapping[str, Any]) -> Failure:
    """Return the failure that a row of the keeper's queries tells of."""
    return Failure(
        subject_id=row["subject_id"],
        kind="event" if row["state"] == "quarantined" else "command",
        failed_at=row["failed_at"],
        class_=class_of(row["state"], row["code"] or "", row["outcome"], was_sent=row["call_id"] is not None),
        connection_id=row["connection_id"],
        operation=row["operation"],
        code=row["code"] or "",
        shape=shape_of(row["reason"]),
    )


def class_of(state: str, code: str, outcome: str | None, *, was_sent: bool) -> str:
    """Return the class: of a command that failed the one of its last answer, where that speaks of this command alone."""
    if state == "quarantined":
        return "quarantined"
    if state == "in_doubt":
        return "unknown"
    if not was_sent:
        return "unsent"
    if code == "connector_defect":
        return "defect"
    if code == "deadline":
        return "transient" if outcome in (None, "success", "partial") else outcome
    return "rejected" if outcome in (None, "success", "partial", "not_found", "partly") else outcome


def fingerprint_of(cause: Cause, shape: str) -> bytes:
    """Return what makes two failures one issue."""
    class_, connection_id, operation, code = cause
    named = [class_, str(connection_id) if connection_id is not None else None, operation, code, shape]
    return hashlib.sha256(msgspec.json.encode(named)).digest()


def group(
    failures: Iterable[Failure], known: Iterable[bytes] = (), shapes: Mapping[Cause, int] | None = None
) -> list[Group]:
    """Return the failures as groups. `known` fingerprints exist, `shapes` counts the issues of each cause.

    A cause that has SHAPES_MAX issues gets no further ones: what is new of it goes into the one without a shape.
    """
    seen = set(known)
    counts = Counter(shapes or {})
    groups: dict[bytes, Group] = {}
    for failure in failures:
        shape = failure.shape
        fingerprint = fingerprint_of(failure.cause, shape)
        if fingerprint not in groups and fingerprint not in seen:
            if shape and counts[failure.cause] >= SHAPES_MAX:
                shape, fingerprint = "", fingerprint_of(failure.cause, "")
            else:
                counts[failure.cause] += 1
                seen.add(fingerprint)
        found = groups.get(fingerprint)
        if found is None:
            found = groups[fingerprint] = Group(fingerprint=fingerprint, cause=failure.cause, shape=shape, failures=[])
        found.failures.append(failure)
    return list(groups.values())


def fate_of(row: Mapping[str, Any]) -> Fate:
    """Return what became of a failure that was grouped; `row` is one of `keeper_members`."""
    if row["kind"] == "event":  # replayed, it stays as it was put aside until its run is over
        if row["quarantined_at"] is None:
            return "over"
        return "on_its_way" if row["retried"] and row["quarantined_at"] <= row["failed_at"] else "stands"
    state = row["state"]
    if state == "failed" or (state == "in_doubt" and row["not_before"] is None):
        return "stands"
    return "on_its_way" if state in OPEN_STATES else "over"


class Change(msgspec.Struct, kw_only=True):
    """By how much the counters of an issue move."""

    standing: int = 0
    retried: int = 0
    seen: int = 0


def sweep(rows: Sequence[Mapping[str, Any]]) -> tuple[list[UUID], dict[bool, list[UUID]], dict[UUID, Change]]:
    """Return which subjects to forget, which to mark as retried (True) or not (False), and how the counters move."""
    over: list[UUID] = []
    marks: dict[bool, list[UUID]] = {True: [], False: []}
    changes: defaultdict[UUID, Change] = defaultdict(Change)
    for row in rows:
        fate, change = fate_of(row), changes[row["issue_id"]]
        if fate == "over":
            over.append(row["subject_id"])
            change.retried -= int(row["retried"])
            change.standing -= int(not row["retried"])
        elif row["retried"] != (fate == "on_its_way"):
            step = 1 if fate == "on_its_way" else -1
            marks[fate == "on_its_way"].append(row["subject_id"])
            change.retried += step
            change.standing -= step
    return over, marks, {issue: change for issue, change in changes.items() if change.retried or change.standing}
