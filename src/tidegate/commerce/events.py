"""The events that listeners are told: states, not steps. Several changes in a row may be told as one, with the newest state."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Literal
from uuid import UUID

EventType = Literal["order.updated", "order.cancelled", "shipment.created", "stock.updated"]
EVENT_TYPES: tuple[EventType, ...] = ("order.updated", "order.cancelled", "shipment.created", "stock.updated")
Subject = Literal["order", "shipment", "item"]


def matches(event_type: str, patterns: Iterable[str]) -> bool:
    """Return whether a listener that asked for `patterns` (`order.*`, `*`, a whole type) is told of a type."""
    return any(fnmatchcase(event_type, pattern) for pattern in patterns)


def target_key(subject: Subject, entity_id: UUID) -> str:
    """Return the target of a command that tells of an entity: events of one entity go in order."""
    return f"event:{subject}:{entity_id}"


def subject_of(key: str) -> str:
    """Return what the target of an event command is about."""
    return key.split(":")[1]
