"""Knobs of the apply process."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.store.nodes import LEASE_SECONDS


@dataclass(frozen=True)
class Settings:
    """Bounds, with units."""

    strands: int = 3
    """Nodes in one process at most: while one waits for the database, another one maps. Each owns slots of its own."""
    strands_at_rest: int = 1
    """How many of them are always there; the others are called by load (see `strength`)."""
    batch_events_max: int = 500
    """Events of one T2."""
    large_claim_events: int = 64
    """A claim of this many is a large one: an eighth of a full batch, where its own work begins to outweigh its round trips."""
    large_claims_in_a_row: int = 2
    """After so many large claims the other strands are called. One alone is a page of a poll, done before they are there."""
    slow_batch_seconds: float = 0.5
    """A batch that takes longer calls them too, so that what it waits for holds up its own slots only."""
    calm_seconds: float = 30.0
    """They leave after so long with less than half a large claim for all together: each change moves all slots."""
    slow_poll_seconds: float = 5.0
    """How often a process looks whether something came that nobody notified it of, or a parked event's time has come."""
    sleep_seconds: float = 30.0
    """How long a strand sleeps at most that has nothing to do, and whose process looks for it."""
    view_seconds: float = 10.0
    """How often configuration and connections are read again when nobody says that they changed."""
    lease_seconds: float = LEASE_SECONDS
    """A strand whose heartbeat is older than this is taken for hung, and its slots are taken over."""
    crashes_until_single: int = 2
    """A slot on which this many processes vanished runs one event at a time until it is empty."""
    crashes_until_quarantine: int = 3
    """An event on which this many processes vanished is quarantined."""


SETTINGS = Settings()
