"""Values that pass between the steps of T2."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Literal, NamedTuple
from uuid import UUID

from tidegate.commerce.changes import CanonicalChange, ShipmentSeen
from tidegate.eventlog.read import QueuedEvent
from tidegate.inventory.ledger import LevelKey, Posting
from tidegate.inventory.reserve import Claimant, Standing
from tidegate.orders.records import ChannelMoney, Order, PspPayment, Refund
from tidegate.sync.gate import Stamp
from tidegate.sync.plan import PlannedCommand
from tidegate.sync.urgent import Mark

GateKey = tuple[UUID, str, str]
"""(connection_id, kind, external_id)"""


class StateMoved(Exception):
    """What a batch touches belongs to more than was locked: load it again."""


class WiderLocks(Exception):
    """Orders and levels that a batch does not name have a say in it: it begins anew, with them locked as well."""

    def __init__(self, orders: Collection[UUID], levels: Collection[LevelKey]) -> None:
        """Name what is to be locked."""
        super().__init__(f"{len(orders)} orders, {len(levels)} levels")
        self.orders, self.levels = set(orders), set(levels)


class Outcome(NamedTuple):
    """What became of an event."""

    outcome: str
    """applied, superseded, ignored, quarantined, parked or needs_fetch."""
    code: str
    reason: str | None = None
    entity_kind: str | None = None
    entity_id: UUID | None = None


@dataclass(slots=True)
class Prepared:
    """An event with what its mapper made of it. `failure` is set instead when it cannot be read."""

    event: QueuedEvent
    changes: Sequence[CanonicalChange]
    connector_version: str
    mapping_version: int
    failure: Outcome | None = None
    crashes: int = 0
    """Processes that ended while they worked on it alone."""


class Listing(NamedTuple):
    """What is known of an article of a connection, beside what it stands for."""

    variant_id: UUID | None
    """What it is bound to, or was until it was deleted; else the variant of its SKU. None: there is none."""
    is_bound: bool
    is_buried: bool
    """It was deleted there, as far as is known."""
    is_taken: bool
    """An article of the connection is bound to the variant: this one, or another one."""
    was_deleted: bool
    """One that was bound to the variant was deleted there."""
    is_ignored: bool
    """A person said that it is to be left alone."""
    rivals: int
    """Others that are there, have the same SKU and are bound to nothing; only counted where it matters."""


class ListingChange(NamedTuple):
    """What becomes of an article of a connection."""

    kind: Literal["deleted", "restored", "relinked", "relink_asked"]
    connection_id: UUID
    external_id: str
    variant_id: UUID
    event_id: UUID
    sku: str = ""
    title: str = ""
    parent_id: str = ""
    counted_id: str = ""


class WindowCount(NamedTuple):
    """How many orders a channel counts in a window, and how many of it are known here."""

    connection_id: UUID
    since: datetime
    until: datetime
    theirs: int
    ours: int
    event_id: UUID


@dataclass(slots=True)
class State:
    """What the database holds of the entities that a batch touches, and then their new state. Orders are locked."""

    gates: dict[GateKey, Stamp] = field(default_factory=dict)
    orders: dict[UUID, Order] = field(default_factory=dict)
    order_of: dict[tuple[UUID, str], UUID] = field(default_factory=dict)
    """(channel connection, external id) -> order id"""
    fulfillment_of: dict[tuple[UUID, str], UUID] = field(default_factory=dict)
    """(source connection, external id) -> fulfillment id"""
    payments: dict[tuple[UUID, str], PspPayment] = field(default_factory=dict)
    """(provider, its id) -> the payment. Those that exist are locked."""
    naming: dict[tuple[UUID, str], UUID] = field(default_factory=dict)
    """Payment that was read and has no order -> the stored order that names it, from before it mattered."""
    loose_refunds: dict[UUID, list[Refund]] = field(default_factory=dict)
    """Payment without an order -> what went back of it."""
    money: dict[tuple[UUID, str], ChannelMoney] = field(default_factory=dict)
    """(channel connection, external id) of orders that are hinted at -> what is known of their money; not locked."""
    standing: dict[UUID, Standing] = field(default_factory=dict)
    """Reservations that orders of the batch name, or that wait for them; not locked."""
    listings: dict[tuple[UUID, str], Listing] = field(default_factory=dict)
    """(connection, external id) of articles that the batch shows, or says to be gone -> what is known of them."""
    parts: dict[tuple[UUID, str], list[str]] = field(default_factory=dict)
    """(connection, product there) that is gone -> bound articles that are part of it."""
    counted: dict[tuple[UUID, datetime, datetime], int] = field(default_factory=dict)
    """(channel, since, until) of windows that it counted -> orders of it that are known here; not locked."""
    items: set[UUID] = field(default_factory=set)
    """Items whose numbers the channels may have to be told anew."""
    is_marked: bool = False
    """The items' marks are locked and dirty: they come before orders that are locked."""
    marks: list[Mark] = field(default_factory=list)
    """Those of them that wait for company so far."""


@dataclass(slots=True)
class NewFulfillment:
    """A shipment that becomes a fulfillment."""

    fulfillment_id: UUID
    order_id: UUID
    source_id: UUID
    shipment: ShipmentSeen
    units: dict[UUID, int]
    """Our line id -> units"""


@dataclass(slots=True)
class FetchRequest:
    """A read that the lane of `connection_id` shall make."""

    connection_id: UUID
    topic: str
    external_id: str
    event_id: UUID
    wait: timedelta = timedelta(0)
    """How long it is given to be shown by itself, or waits for more hints of the same thing."""
    hints_max: int = 100
    """Hints after which it waits no longer."""


@dataclass(slots=True)
class Park:
    """An event that waits for a parent until `until`."""

    prepared: Prepared
    code: str
    reason: str
    until: datetime


class Expected(NamedTuple):
    """Units of an item that are on their way to a location."""

    item_id: UUID
    location_id: UUID
    units: int
    """0: none any more."""
    expected_on: date | None


@dataclass(slots=True)
class Result:
    """What a batch changes. Pure folding makes it, `sync.write` stores it."""

    outcomes: list[tuple[Prepared, Outcome]] = field(default_factory=list)
    new_gates: dict[GateKey, Stamp] = field(default_factory=dict)
    changed_orders: dict[UUID, UUID] = field(default_factory=dict)
    """order id -> event that changed it last"""
    postings: list[Posting] = field(default_factory=list)
    """In the order in which they happened."""
    sold: Counter[tuple[UUID, UUID]] = field(default_factory=Counter)
    """(channel, item) -> units that the channel sold, negative for units that came back to it"""
    expected: dict[tuple[UUID, str], list[Expected]] = field(default_factory=dict)
    """(connection, id there) -> what is on its way by its last word."""
    claimants: dict[UUID, Claimant] = field(default_factory=dict)
    """order id -> what it says about reservations; drafts say nothing."""
    fulfillments: list[NewFulfillment] = field(default_factory=list)
    commands: list[PlannedCommand] = field(default_factory=list)
    cancels: list[PlannedCommand] = field(default_factory=list)
    call_offs: list[PlannedCommand] = field(default_factory=list)
    """For channels, of orders that they are to cancel."""
    fetches: list[FetchRequest] = field(default_factory=list)
    shown: list[tuple[UUID, str, str]] = field(default_factory=list)
    """(connection, topic, id there) of payments and orders that were missed and are shown now: they need not be read any more."""
    listings: list[ListingChange] = field(default_factory=list)
    """In the order in which they happened."""
    counts: list[WindowCount] = field(default_factory=list)
    parks: list[Park] = field(default_factory=list)
