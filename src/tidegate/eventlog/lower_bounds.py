"""Where to begin reading a queue, so that an old snapshot elsewhere cannot slow its head down.

Deleted rows stay in an index until no transaction can see them. A reader that always begins at the front steps over
all of them; one that remembers what is finished does not. `LowerBounds` is pure: it is told what the server said.

A number of the sequence may be remembered as finished when nobody can still insert a row below it. Whoever inserts
into the queue has a transaction id before it takes a number (see `statements`), so: read the sequence, then take a
transaction id; when a later snapshot's xmin has reached that id, every transaction that had taken one of these numbers is
over. A snapshot's own xmax will not do: it stands behind the last transaction that ended, and those that began later and
still run have larger ids. And a crash must not hand out the same numbers again: the sequence's own record has to be on
disk, which it is when the log was flushed up to where it stood after the reading.

After a crash both the log and the transaction ids may be given out again from an earlier point, while the server is still
the one that was started once: only its processes are new. So both observations must come from one and the same process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

import msgspec

CANDIDATES_MAX = 64
"""Observations that are kept, one for each process that answered; more than a pool has connections."""


class Observation(msgspec.Struct, frozen=True, gc=False):
    """What the server said at one moment. `last_seq` was read before the snapshot was taken, see `wants_xid`."""

    server: str
    """Changes when another server, or the same one started anew, answers."""
    backend: int
    """The server's process that answered. A crash ends them all."""
    last_seq: int
    xmin: int
    """Of all transactions that still ran, or were to begin, none had a smaller id."""
    later_xid: int | None
    """A transaction id that was given out after `last_seq` had been read; None when nobody asked for one."""
    inserted_lsn: int
    """End of the log that was written when `last_seq` had been read."""
    flushed_lsn: int


class LowerBounds:
    """For each (tenant, slot): all rows up to this seq are finished. Belongs to one reader."""

    def __init__(self) -> None:
        """Know nothing: reading begins at the front."""
        self._finished: dict[UUID, dict[int, int]] = {}
        self._settled = 0
        self._candidates: dict[int, Observation] = {}
        self._server = ""

    @property
    def settled(self) -> int:
        """No row with a seq up to this one can appear any more."""
        return self._settled

    @property
    def server(self) -> str:
        """The server that `settled` is about; '' before the first observation."""
        return self._server

    def wants_xid(self, last_seq: int) -> bool:
        """Whether an observation with this number needs a transaction id: without one it settles nothing later."""
        return last_seq > self._settled

    def observe(self, seen: Observation) -> None:
        """Take in what the server says; moves `settled` up when an earlier observation of the same process is safe now."""
        if seen.server != self._server:
            self._finished.clear()
            self._candidates.clear()
            self._settled, self._server = 0, seen.server
        kept = self._candidates.get(seen.backend)
        if kept is not None and _is_over(kept, seen):
            self._settled = max(self._settled, kept.last_seq)
            del self._candidates[seen.backend]
            kept = None
        if kept is None and seen.later_xid is not None:
            if len(self._candidates) >= CANDIDATES_MAX:
                self._candidates.clear()
            self._candidates[seen.backend] = seen

    def lower(self, tenant_id: UUID, slots: Sequence[int]) -> list[int]:
        """Return for each slot the seq behind which reading begins."""
        finished = self._finished.get(tenant_id)
        return [0] * len(slots) if finished is None else [finished.get(slot, 0) for slot in slots]

    def note_read(
        self, tenant_id: UUID, slots: Iterable[int], first_seqs: dict[int, int], settled: int, *, whole: bool
    ) -> None:
        """Take in what a claim found. `settled` is the value from before that claim.

        `first_seqs` holds the first live seq of each slot that had rows; `whole` says that all `slots` were looked
        into, so that the others are empty up to `settled`.
        """
        finished = self._finished.setdefault(tenant_id, {})
        for slot in slots if whole else first_seqs:
            first = first_seqs.get(slot)
            bound = settled if first is None else min(settled, first - 1)
            if bound > finished.get(slot, 0):
                finished[slot] = bound


def _is_over(kept: Observation, seen: Observation) -> bool:
    """Whether every transaction that had taken one of the numbers up to `kept.last_seq` is over, also after a crash."""
    return kept.later_xid is not None and seen.xmin >= kept.later_xid and seen.flushed_lsn >= kept.inserted_lsn
