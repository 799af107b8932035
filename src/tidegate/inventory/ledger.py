"""The ledger's arithmetic, pure: intents become numbered entries and new counters. Facts always post."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from uuid import UUID

import msgspec

LevelKey = tuple[UUID, UUID]
"""(item_id, location_id); locks are taken in this order."""


@dataclass(slots=True)
class Counters:
    """The counters of one level as the ledger moves them."""

    on_hand: int
    unavailable: int
    committed: int
    reserved: int
    version: int
    """Number of the last entry."""


class Posting(msgspec.Struct, frozen=True, gc=False):
    """A fact that wants to post. `cause_key` is unique for ever: the same fact posts once."""

    item_id: UUID
    location_id: UUID
    kind: str
    cause_key: str
    on_hand_delta: int = 0
    unavailable_delta: int = 0
    committed_delta: int = 0
    reserved_delta: int = 0
    event_id: UUID | None = None
    order_line_id: UUID | None = None
    reservation_id: UUID | None = None

    def key(self) -> LevelKey:
        """Return the level that it moves."""
        return (self.item_id, self.location_id)


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A posting with its number in the level, what it really moved and the counters after it."""

    posting: Posting
    version: int
    unavailable_delta: int
    committed_delta: int
    reserved_delta: int
    on_hand_after: int
    unavailable_after: int
    committed_after: int
    reserved_after: int


def available_changes(entries: Iterable[Entry], counted: Container[LevelKey]) -> dict[UUID, int]:
    """Return by how much entries changed what is available of each item, at the levels that count. Pure."""
    changes: dict[UUID, int] = {}
    for entry in entries:
        posting = entry.posting
        if posting.key() in counted:
            moved = posting.on_hand_delta - entry.unavailable_delta - entry.committed_delta - entry.reserved_delta
            changes[posting.item_id] = changes.get(posting.item_id, 0) + moved
    return changes


def post(levels: dict[LevelKey, Counters], postings: Iterable[Posting]) -> list[Entry]:
    """Apply postings in order to `levels` (changed in place, every key present) and return the entries.

    `available` may become negative; unavailable, committed and reserved may not: a release beyond what is there is cut
    to what is there, and the entry says what really moved, so that counters stay the sum of their entries.
    """
    entries = []
    for posting in postings:
        level = levels[posting.key()]
        unavailable = max(0, level.unavailable + posting.unavailable_delta)
        committed = max(0, level.committed + posting.committed_delta)
        reserved = max(0, level.reserved + posting.reserved_delta)
        entry = Entry(
            posting=posting,
            version=level.version + 1,
            unavailable_delta=unavailable - level.unavailable,
            committed_delta=committed - level.committed,
            reserved_delta=reserved - level.reserved,
            on_hand_after=level.on_hand + posting.on_hand_delta,
            unavailable_after=unavailable,
            committed_after=committed,
            reserved_after=reserved,
        )
        level.on_hand, level.unavailable = entry.on_hand_after, unavailable
        level.committed, level.reserved, level.version = committed, reserved, entry.version
        entries.append(entry)
    return entries
