"""Decrypt and map a batch, pure but for the keys that were loaded before: raw events become canonical changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from tidegate.eventlog import self_test
from tidegate.eventlog.read import QueuedEvent
from tidegate.kernel.errors import InvariantError
from tidegate.sdk.connector import Connector, RawEvent
from tidegate.sync.records import Outcome, Prepared

OpenBody = Callable[[QueuedEvent], bytes]


def prepare(
    events: Sequence[QueuedEvent], connector_of: Mapping[UUID, Connector], open_body: OpenBody
) -> list[Prepared]:
    """Return the events with their changes, in the same order; what cannot be read carries a failure.

    A mapper is foreign code in this place: whatever it raises quarantines its event and nobody else's.
    """
    return [_prepare_one(event, connector_of.get(event.connection_id), open_body) for event in events]


def _prepare_one(event: QueuedEvent, connector: Connector | None, open_body: OpenBody) -> Prepared:
    if connector is None:
        failure = Outcome("quarantined", "connector_unknown", "no connector of this connection is installed")
        return Prepared(event, (), "", 0, failure)
    prepared = Prepared(event, (), connector.version, connector.mapping_version)
    if event.source == "result":
        prepared.failure = Outcome("ignored", "result", "the outcome of our own command; applied when it was stored")
        return prepared
    if event.undecodable:
        prepared.failure = Outcome("quarantined", "undecodable", event.undecodable)
        return prepared
    try:
        body = open_body(event)
    except InvariantError as error:
        prepared.failure = Outcome("quarantined", "tampered", str(error))
        return prepared
    if event.topic == self_test.TOPIC and self_test.read_nonce(body) is not None:
        prepared.failure = Outcome("ignored", self_test.CODE, "a delivery of ours to ourselves")
        return prepared
    try:
        prepared.changes = tuple(connector.normalize(RawEvent(source=event.source, topic=event.topic, body=body)))
    except ValueError as error:
        prepared.failure = Outcome("quarantined", "unreadable", _reason(error))
    except Exception as error:
        prepared.failure = Outcome("quarantined", "mapper_error", f"{type(error).__name__} at {_place(error)}")
    return prepared


def _reason(error: ValueError) -> str:
    """Return the mapper's words, cut: msgspec names the path of a wrong value, never the value."""
    return str(error)[:300]


def _place(error: BaseException) -> str:
    """Return file:line of the innermost frame; no values, they may be a customer's."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "?"
    return f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
