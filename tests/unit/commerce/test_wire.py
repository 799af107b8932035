"""Changes and commands survive being written down, and every kind of command has its class and its time."""

from datetime import UTC, datetime
from typing import get_args

import msgspec
import pytest
from tests.remotebed import fulfillment, order, stock

from tidegate.commerce.changes import CanonicalChange, Ignored, LocationSeen, NeedsFetch, StockMoved, VariantSeen
from tidegate.commerce.commands import (
    DEADLINE_SECONDS,
    PRIORITY_OF,
    CancelOrder,
    CommandKind,
    Payload,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
CHANGES: list[CanonicalChange] = [
    StockMoved(
        external_id="7",
        sku="TEA-1",
        item_external_id="1",
        location_external_id="2",
        kind="ship",
        quantity_delta=-2,
        moved_at=NOW,
        version=9,
    ),
    VariantSeen(external_id="1", sku="TEA-1", title="Tea", version=1),
    LocationSeen(external_id="1", name="Quay", version=1),
    NeedsFetch(topic="order", external_id="1"),
    Ignored(code="unknown_topic"),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: type(change).__name__)
def test_a_change_reads_back(change: CanonicalChange) -> None:
    assert msgspec.json.decode(msgspec.json.encode(change), type=CanonicalChange) == change


@pytest.mark.parametrize(
    "payload",
    [order(), fulfillment(), stock(3), CancelOrder(reference="ord_1", order_external_id="")],
    ids=lambda payload: type(payload).__name__,
)
def test_a_frozen_payload_reads_back(payload: Payload) -> None:
    assert msgspec.json.decode(msgspec.json.encode(payload), type=Payload) == payload


def test_every_kind_of_command_has_a_payload_a_priority_and_a_deadline() -> None:
    tags = {kind.__struct_config__.tag for kind in get_args(Payload)}

    assert tags == {kind.value for kind in CommandKind}
    assert PRIORITY_OF.keys() == DEADLINE_SECONDS.keys() == set(CommandKind)
    assert all(seconds > 0 for seconds in DEADLINE_SECONDS.values())


def test_changes_differ_by_their_tags() -> None:
    tags = [kind.__struct_config__.tag for kind in get_args(CanonicalChange)]

    assert len(tags) == len(set(tags))
