"""How an installation does, read from its database."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from tidegate.dispatch.meter import Usage, usage_of
from tidegate.kernel.ids import time_of
from tidegate.store.connections import Connection
from tidegate.store.sql import query

_QUEUE = query("status_queue")
_COMMANDS = query("status_commands")
_LANES = query("status_lanes")
_FEEDS = query("status_feeds")
_NODES = query("status_nodes")
_SWITCHES = query("status_switches")


class QueueStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Events that are not applied yet."""

    waiting: int
    oldest_at: datetime | None
    """When the oldest waiting event was received; None when nothing waits."""
    parked: int
    quarantined: int


class CommandCount(msgspec.Struct, frozen=True, kw_only=True):
    """Unfinished or failed commands of one kind and state."""

    connection: str
    kind: str
    state: str
    commands: int
    oldest_at: datetime


class LaneStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A connection and its lane."""

    connection: str
    connector: str
    state: str
    state_reason: str | None
    tokens: float | None
    """Budget left when it was last charged; None before the first call."""
    tokens_at: datetime | None
    budget: str | None
    """The stored meter; ask `usage`."""
    snoozed_until: datetime | None
    snooze_reason: str | None
    open_since: datetime | None
    """Since when the other side counts as down: nothing is sent to it but one probe at a time."""
    dirty: int
    """Items whose number in this channel must be looked at."""
    dirty_since: datetime | None
    parked_until: datetime | None
    """Earliest moment at which a parked command may go."""
    differs: int = 0
    """Stock numbers that a look found to differ and that no policy heals by itself; counted up to 10,000."""
    differs_since: datetime | None = None

    def usage(self, now: datetime) -> Usage | None:
        """Return what is left of the budget now and what was used; None before the first call."""
        if self.tokens_at is None:
            return None
        return usage_of(self.budget, (now - self.tokens_at).total_seconds())


class FeedStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A feed that is polled."""

    connection: str
    feed: str
    last_ok_at: datetime | None
    last_error: str | None


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A worker loop on some machine."""

    role: str
    host: str
    pid: int
    started_at: datetime
    heartbeat_at: datetime
    slots: int


class SwitchStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A switch."""

    name: str
    is_on: bool
    reason: str | None
    changed_by: str
    changed_at: datetime


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Everything together, each list sorted by name."""

    queue: QueueStatus
    commands: tuple[CommandCount, ...]
    lanes: tuple[LaneStatus, ...]
    feeds: tuple[FeedStatus, ...]
    nodes: tuple[NodeStatus, ...]
    switches: tuple[SwitchStatus, ...]

    def count(self, state: str) -> int:
        """Return how many commands are in a state."""
        return sum(each.commands for each in self.commands if each.state == state)


async def read_queue(conn: Connection, tenant_id: UUID | None = None) -> QueueStatus:
    """Return what waits for T2, of one tenant or of all. Reads only."""
    row = await conn.fetchrow(_QUEUE, tenant_id)
    assert row is not None
    return QueueStatus(
        waiting=row["waiting"],
        oldest_at=time_of(row["oldest"]) if row["oldest"] is not None else None,
        parked=row["parked"],
        quarantined=row["quarantined"],
    )


async def read_status(conn: Connection, tenant_id: UUID | None = None) -> Status:
    """Return the status of one tenant, or of all. Reads only; the parts are read one after the other."""
    queue = await read_queue(conn, tenant_id)
    commands = await conn.fetch(_COMMANDS, tenant_id)
    lanes = await conn.fetch(_LANES, tenant_id)
    feeds = await conn.fetch(_FEEDS, tenant_id)
    return Status(
        queue=queue,
        commands=tuple(
            CommandCount(
                connection=row["connection"],
                kind=row["kind"],
                state=row["state"],
                commands=row["commands"],
                oldest_at=time_of(row["oldest"]),
            )
            for row in commands
        ),
        lanes=tuple(
            LaneStatus(
                connection=row["name"],
                **{name: row[name] for name in LaneStatus.__struct_fields__ if name != "connection"},
            )
            for row in lanes
        ),
        feeds=tuple(FeedStatus(**row) for row in feeds),
        nodes=tuple(NodeStatus(**row) for row in await conn.fetch(_NODES)),
        switches=tuple(SwitchStatus(**row) for row in await conn.fetch(_SWITCHES)),
    )
