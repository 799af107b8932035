"""How many strands a process has at work: decided from what their claims brought. Pure.

Events that come one by one are applied soonest by one strand, because what came during one batch is the next one, and
every batch pays the same round trips. Several strands make several small batches of it. Where much waits, a batch is
large whoever takes it, and then several strands do more, because one works while another waits for the database.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Strength:
    """Whether the strands in reserve are wanted. Times are seconds of one monotonic clock."""

    large: int
    """A claim of this many events is a large one."""
    large_in_a_row: int
    """After this many large claims of one strand, one after the other, the reserve is called."""
    slow_seconds: float
    """A batch in hand for this long calls the reserve too: whatever it waits for, other slots shall not wait with it."""
    calm_seconds: float
    """The reserve goes again when all strands together had less than half a large claim in hand for so long."""
    is_reserve_wanted: bool = False
    busy_at: float = float("-inf")
    """When there was last enough for more than one."""
    _claimed: dict[int, int] = field(default_factory=dict)
    _in_a_row: dict[int, int] = field(default_factory=dict)

    def claimed(self, strand: int, events: int, now: float) -> None:
        """Take in what a strand's claim brought: `events` of any number, 0 when nothing waits.

        What the newest claims of all strands brought together is what one strand alone would have found.
        """
        self._claimed[strand] = events
        self._in_a_row[strand] = self._in_a_row.get(strand, 0) + 1 if events >= self.large else 0
        if self._in_a_row[strand] >= self.large_in_a_row:
            self.is_reserve_wanted = True
        if sum(self._claimed.values()) * 2 >= self.large:
            self.busy_at = now

    def slow(self, now: float) -> None:
        """Take in that a batch has been in hand for another `slow_seconds`."""
        self.is_reserve_wanted = True
        self.busy_at = now

    def left(self, strand: int) -> None:
        """Take in that a strand claims nothing any more."""
        self._claimed.pop(strand, None)
        self._in_a_row.pop(strand, None)

    def look(self, now: float) -> float | None:
        """Send the reserve away if it has been calm for long enough; return in how many seconds to look again.

        None when there is nothing to look at: the reserve is not wanted.
        """
        if not self.is_reserve_wanted:
            return None
        left = self.busy_at + self.calm_seconds - now
        if left > 0:
            return left
        self.is_reserve_wanted = False
        return None
