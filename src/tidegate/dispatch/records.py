"""Rows and values of this room."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from tidegate.commerce.commands import CommandKind, Payload
from tidegate.commerce.states import CommandState


class ConnectionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A connection that has a lane."""

    tenant_id: UUID
    connection_id: UUID
    name: str
    connector: str
    external_account: str
    settings: Mapping[str, Any]
    credentials: int = 0
    """Rises when a stored credential is replaced: the lane then begins anew with the new one."""


class Ownership(msgspec.Struct, frozen=True, kw_only=True):
    """Under which node and epoch a lane works. Every transaction of the lane is fenced with it."""

    node_id: UUID
    slot: int
    epoch: int


class PendingCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A command that may be sent: pending, not parked, the oldest open one of its target."""

    command_id: UUID
    kind: CommandKind
    target_key: str
    entity_id: UUID
    version: int
    priority: int
    attempt_number: int
    """Attempts so far."""
    call_id: UUID | None
    """The frozen call to send again; None before the first attempt."""
    planned_at: datetime
    deadline_at: datetime
    code: str | None = None
    """Why it was put back, None before the first attempt."""
    is_approved: bool = False
    """A person let it go: what would hold it holds it no more."""
    items: tuple[UUID, ...] = ()
    """fulfillment.create: the inventory items that it touches, sorted."""


class DirtyMark(msgspec.Struct, frozen=True, kw_only=True):
    """An item whose number in this channel must be looked at."""

    item_id: UUID
    priority: int
    dirty_at: datetime
    tries: int
    alone: bool = False
    """Its last call was refused as a whole: it goes without company."""
    is_unexplained: bool = False
    """Units were gone there unexplained when the mark was read; what comes to be so later is looked at again later."""


class DoubtfulCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A command in doubt that is due for a look."""

    command_id: UUID
    kind: CommandKind
    target_key: str
    entity_id: UUID
    version: int
    priority: int
    attempt_number: int
    call_id: UUID
    attempt_id: UUID
    quantity: int | None
    negatives: int
    settles_in_seconds: float
    """Until a 'not found' may be believed; 0 when it may."""
    due_at: datetime
    deadline_at: datetime

    def subject(self) -> Subject:
        """Return the command as a part of its call."""
        return Subject(
            command_id=self.command_id,
            kind=self.kind,
            entity_id=self.entity_id,
            version=self.version,
            attempt_number=self.attempt_number,
            deadline_at=self.deadline_at,
            quantity=self.quantity,
        )


class FetchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An entity that must be read because an event was too thin."""

    topic: str
    external_id: str
    requested_by: UUID
    due_at: datetime
    tries: int
    hints: int = 1
    """Events that one read will serve."""


class ShownRead(msgspec.Struct, frozen=True, kw_only=True):
    """One connection's part of a run that reads what systems show."""

    run_id: UUID
    state: Literal["waiting", "reading", "comparing", "healing"]
    cursor: str
    """Of the next page; while comparing: the last article that was compared."""
    version: int
    """Of the row: a step that was overtaken changes nothing."""
    tries: int
    due_at: datetime


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """What waits in a lane, the most urgent part of it."""

    commands: tuple[PendingCommand, ...] = ()
    marks: tuple[DirtyMark, ...] = ()
    doubtful: tuple[DoubtfulCommand, ...] = ()
    fetches: tuple[FetchRequest, ...] = ()
    reads: tuple[ShownRead, ...] = ()
    blocked_items: frozenset[UUID] = frozenset()
    """Items with an inventory.set in flight or in doubt: no fulfillment of them may start."""
    held_items: frozenset[UUID] = frozenset()
    """Items of fulfillments in flight or in doubt: no number of them may be pushed."""
    due_seconds: float | None = None
    """From when it was read until more of what waits is due; None: nothing is parked."""


class Unbuildable(msgspec.Struct, frozen=True, kw_only=True):
    """Why a command is not sent, and how it ends."""

    state: CommandState
    code: str
    reason: str


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """One command as a part of a call."""

    command_id: UUID
    kind: CommandKind
    entity_id: UUID
    version: int
    attempt_number: int
    """This attempt included; for stock: failures of this item in a row, this attempt included."""
    deadline_at: datetime
    quantity: int | None = None
    """inventory.set: the number, in units of the item."""


class OpenCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call whose T2s is committed: it may be sent once under this attempt."""

    call_id: UUID
    attempt_id: UUID
    kind: CommandKind
    idempotency_key: str
    members: tuple[Subject, ...]
    payloads: tuple[Payload, ...]
    """One per member."""
    is_resend: bool


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What came back, for the books."""

    outcome: str
    """success, partial, or an error class."""
    code: str
    http_status: int | None
    duration_ms: int
    excerpt: bytes
    """JSON, at most 4 kB."""
