"""A mapper is foreign code: whatever it does to one event, the others are mapped."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from uuid import UUID

import pytest
from tests.foldbed import ERP, SHOP, TENANT

from tidegate.commerce.changes import CanonicalChange, Ignored
from tidegate.eventlog.read import QueuedEvent
from tidegate.kernel.errors import InvariantError
from tidegate.kernel.ids import new_id
from tidegate.sdk.connector import Connector, RawEvent
from tidegate.sdk.testing.hostile_connector import CONNECTOR
from tidegate.sync.normalize import prepare
from tidegate.sync.records import Prepared


def queued(
    body: bytes, *, connection: UUID = SHOP, source: str = "webhook", undecodable: str | None = None
) -> QueuedEvent:
    return QueuedEvent(
        slot=1, tenant_id=TENANT, seq=1, event_id=new_id(), run=0, connection_id=connection, source=source,  # type: ignore[arg-type]
        topic="order.updated", ordering_key="order:1", conflict=False, undecodable=undecodable, external_id=None,
        occurred_at=None, envelope="{}", data_key_id=UUID(int=0), body=body,
    )  # fmt: skip


def normalize(event: RawEvent) -> Sequence[CanonicalChange]:
    match event.body:
        case b"unreadable":
            raise ValueError("line 3: the quantity is no number")
        case b"broken":
            return [{}["secret of a customer"]]
        case b"recursive":
            raise RecursionError
        case _:
            return [Ignored(code=event.body.decode())]


MAPPED: Connector = dataclasses.replace(CONNECTOR, normalize=normalize, mapping_version=3)


def prepared(*events: QueuedEvent) -> list[Prepared]:
    def open_body(event: QueuedEvent) -> bytes:
        if event.body == b"tampered":
            raise InvariantError("the seal is broken", code="tampered")
        return event.body

    return prepare(events, {SHOP: MAPPED}, open_body)


def test_events_keep_their_order_and_what_their_mapper_made_of_them() -> None:
    found = prepared(queued(b"one"), queued(b"two"))

    assert [one.changes for one in found] == [(Ignored(code="one"),), (Ignored(code="two"),)]
    assert {(one.connector_version, one.mapping_version) for one in found} == {(CONNECTOR.version, 3)}


@pytest.mark.parametrize(
    ("event", "outcome", "code", "words"),
    [
        (queued(b"unreadable"), "quarantined", "unreadable", "line 3: the quantity is no number"),
        (queued(b"broken"), "quarantined", "mapper_error", "KeyError at test_normalize.py:"),
        (queued(b"recursive"), "quarantined", "mapper_error", "RecursionError at"),
        (queued(b"tampered"), "quarantined", "tampered", "the seal is broken"),
        (queued(b"x", undecodable="no id"), "quarantined", "undecodable", "no id"),
        (queued(b"x", connection=ERP), "quarantined", "connector_unknown", "no connector"),
        (queued(b"x", source="result"), "ignored", "result", "our own command"),
    ],
)
def test_what_cannot_be_mapped_says_why_and_disturbs_nobody(
    event: QueuedEvent, outcome: str, code: str, words: str
) -> None:
    before, found, after = prepared(queued(b"a"), event, queued(b"b"))

    assert found.failure is not None
    assert (found.failure.outcome, found.failure.code) == (outcome, code)
    assert words in (found.failure.reason or "")
    assert "secret" not in (found.failure.reason or "")
    assert found.changes == ()
    assert (before.failure, after.failure) == (None, None)


def test_a_reason_is_cut() -> None:
    def talk(_event: RawEvent) -> Sequence[CanonicalChange]:
        raise ValueError("x" * 10_000)

    (found,) = prepare([queued(b"")], {SHOP: dataclasses.replace(CONNECTOR, normalize=talk)}, lambda event: event.body)

    assert found.failure is not None
    assert len(found.failure.reason or "") == 300
