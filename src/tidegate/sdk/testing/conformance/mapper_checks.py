"""Checks of the mapper: recorded meaning, purity, patience with the unknown, firmness with garbage."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from functools import partial

import msgspec

from tidegate.commerce.changes import (
    CanonicalChange,
    Ignored,
    NeedsFetch,
    NeedsPerson,
    OrdersCounted,
    OrderSeen,
    ShipmentSeen,
)
from tidegate.sdk.connector import RawEvent
from tidegate.sdk.testing.conformance.fixtures import EventFixture
from tidegate.sdk.testing.conformance.mutations import for_each_mutation, with_unknown_fields
from tidegate.sdk.testing.conformance.subject import Subject

VERSION_MAX = 2**63 - 1
UNITS_MAX = 2**31 - 1
_UNIT_PRICE = re.compile(r"-?\d{1,14}(\.\d{1,6})?")


def check_events_are_recorded(subject: Subject) -> None:
    """M1: there are recorded events, each with its source and date."""
    assert subject.events, "record at least one event in fixtures/"
    for recorded in (*subject.events, *subject.errors, *subject.exchanges):
        assert len(recorded.source) >= 8, f"{recorded.name}: say where it was recorded"
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", recorded.date), f"{recorded.name}: date as YYYY-MM-DD"


def check_recorded_changes(subject: Subject) -> None:
    """M2: every recorded event gives the recorded changes."""
    for event in subject.events:
        found = list(_normalize(subject, event))
        assert found == event.changes, f"{event.name}: {found}"


def check_mapper_is_pure(subject: Subject) -> None:
    """M3: the same event gives equal changes every time and stays as it was."""
    for event in subject.events:
        raw = _raw_event(event)
        before = bytes(raw.body)
        first = list(subject.connector.normalize(raw))
        assert first == list(subject.connector.normalize(raw)), f"{event.name}: a second run differs"
        assert raw.body == before, f"{event.name}: the input was changed"
        assert raw.topic == event.topic, f"{event.name}: the input was changed"


def check_unknown_fields_survive(subject: Subject) -> None:
    """M4: fields that nobody knows change nothing."""
    for event in subject.events:
        grown = msgspec.json.encode(with_unknown_fields(msgspec.json.decode(event.raw_body)))
        raw = msgspec.structs.replace(_raw_event(event), body=grown)
        assert list(subject.connector.normalize(raw)) == list(_normalize(subject, event)), event.name


def check_garbage_raises_value_error(subject: Subject) -> None:
    """M5: whatever the body holds, the mapper gives well-formed changes or a ValueError."""
    for event in subject.events:
        for_each_mutation(event.raw_body, partial(_assert_firm, subject, _raw_event(event)))


def _assert_firm(subject: Subject, raw: RawEvent, body: bytes) -> None:
    try:
        changes = list(subject.connector.normalize(msgspec.structs.replace(raw, body=body)))
    except ValueError:
        return
    for change in changes:
        assert_well_formed(change)


def check_changes_are_well_formed(subject: Subject) -> None:
    """M6: changes hold their own types, aware times, three-letter currencies, versions of 63 bits, sane units."""
    for event in subject.events:
        for change in _normalize(subject, event):
            assert_well_formed(change)


def check_order_of_versions(subject: Subject) -> None:
    """M7: of two recordings of one entity the later one has the greater (version, sequence) and the same ordering key."""
    by_name = {event.name: event for event in subject.events}
    pairs = [(event, by_name.get(event.newer_than)) for event in subject.events if event.newer_than is not None]
    assert pairs, "record a later state of an entity (newer_than: name of the earlier file)"
    for later, earlier in pairs:
        assert earlier is not None, f"{later.name}: {later.newer_than} does not exist"
        new, old = _versions(_normalize(subject, later)), _versions(_normalize(subject, earlier))
        common = new.keys() & old.keys()
        assert common, f"{later.name} and {earlier.name} speak of no common entity"
        for entity in common:
            assert new[entity] > old[entity], f"{later.name}: {entity} {new[entity]} is not after {old[entity]}"
        if later.keys is not None and earlier.keys is not None:
            assert later.keys.ordering_key == earlier.keys.ordering_key, f"{later.name}: another ordering key"


def check_hints_can_be_fetched(subject: Subject) -> None:
    """M8: what an event asks to fetch, the connector can fetch."""
    for event in subject.events:
        for change in _normalize(subject, event):
            if isinstance(change, NeedsFetch):
                assert change.topic in subject.connector.fetch, f"{event.name}: no fetch for {change.topic!r}"
                assert change.external_id, f"{event.name}: fetch of what?"


def assert_well_formed(change: CanonicalChange) -> None:
    """Assert that a change can be stored: right types all the way down and values within their bounds."""
    encoded = msgspec.json.encode(change)
    assert msgspec.json.decode(encoded, type=CanonicalChange) == change, f"{change} does not hold its own types"
    if isinstance(change, (NeedsFetch, NeedsPerson, Ignored, OrdersCounted)):
        return
    assert change.external_id, "no external id"
    assert 0 <= change.version <= VERSION_MAX, f"version {change.version}"
    assert 0 <= change.sequence <= VERSION_MAX, f"sequence {change.sequence}"
    for name in change.__struct_fields__:
        value = getattr(change, name)
        assert not isinstance(value, datetime) or value.tzinfo is not None, f"{name} has no time zone"
    if isinstance(change, OrderSeen):
        _assert_order(change)
    if isinstance(change, ShipmentSeen):
        assert all(0 <= line.quantity <= UNITS_MAX for line in change.lines), "units of a shipped line"


def _assert_order(order: OrderSeen) -> None:
    assert re.fullmatch("[A-Z]{3}", order.currency), f"currency {order.currency!r}"
    assert order.discount_minor >= 0, "a negative discount"
    ids = [line.external_id for line in order.lines]
    assert len(ids) == len(set(ids)), "two lines with one id"
    for line in order.lines:
        assert line.external_id, "a line without id"
        assert 0 <= line.current <= UNITS_MAX, f"current {line.current}"
        assert 0 <= line.ordered <= UNITS_MAX, f"ordered {line.ordered}"
        assert _UNIT_PRICE.fullmatch(line.unit_price), f"unit price {line.unit_price!r}"


def _raw_event(event: EventFixture) -> RawEvent:
    return RawEvent(source=event.via, topic=event.topic, body=event.raw_body)


def _normalize(subject: Subject, event: EventFixture) -> Sequence[CanonicalChange]:
    return subject.connector.normalize(_raw_event(event))


def _versions(changes: Sequence[CanonicalChange]) -> dict[tuple[str, str], tuple[int, int]]:
    return {
        (type(change).__name__, change.external_id): (change.version, change.sequence)
        for change in changes
        if not isinstance(change, (NeedsFetch, NeedsPerson, Ignored, OrdersCounted))
    }
