"""What is recorded from a running system is a fixture that the kit accepts."""

import asyncio
import dataclasses
from pathlib import Path

import msgspec
import pytest
from tests.remotebed import api_of, fill, order, running_remote

from tidegate.kernel.errors import RejectedError
from tidegate.sdk.testing.conformance import CHECKS, Subject, load_subject
from tidegate.sdk.testing.conformance.fixtures import CallMade, ExchangeFixture, load
from tidegate.sdk.testing.conformance.recording import RecordingApi, write_exchanges
from tidegate.sdk.testing.hostile_connector import client
from tidegate.sdk.testing.hostile_faults import Fault

SOURCE, DATE = "hostile remote 1.0, in process", "2026-11-23"


async def record(folder: Path) -> None:
    async with running_remote() as remote, api_of(remote) as api:
        fill(remote.world)
        recorder = RecordingApi(api)
        payload = order("ord_c0_new")
        made = CallMade(do="execute", name="order.create", payloads=[msgspec.to_builtins(payload)])

        page = await client.read_orders(recorder, "")
        feed = CallMade(do="feed", name="orders")
        write_exchanges(folder / "feed.json", recorder, call=feed, result=page, source=SOURCE, date=DATE)
        outcomes = await client.create_order(recorder, [payload], "key-1")
        write_exchanges(folder / "create.json", recorder, call=made, result=outcomes, source=SOURCE, date=DATE)
        remote.put_faults(Fault(kind="status", status=404, code="gone"))
        with pytest.raises(RejectedError) as refused:
            await client.create_order(recorder, [payload], "key-1")
        write_exchanges(folder / "refused.json", recorder, call=made, result=refused.value, source=SOURCE, date=DATE)


def subject_of(folder: Path) -> Subject:
    good = load_subject("tidegate.sdk.testing.hostile_connector")
    return dataclasses.replace(good, exchanges=load(folder, ExchangeFixture))


def test_recordings_are_written_and_read_back(tmp_path: Path) -> None:
    asyncio.run(record(tmp_path))

    recorded = {fixture.name: fixture for fixture in subject_of(tmp_path).exchanges}

    assert recorded.keys() == {"feed.json", "create.json", "refused.json"}
    assert recorded["create.json"].expected[0]["done"]["external_id"] == "so-2"
    assert recorded["refused.json"].expected == {"error": "RejectedError", "code": "not_found"}
    assert [exchange.request.path for exchange in recorded["feed.json"].exchanges] == ["/api/shop/orders"]
    assert "Bearer" not in "".join(path.read_text() for path in tmp_path.iterdir())


def test_the_kit_accepts_what_was_recorded(tmp_path: Path) -> None:
    asyncio.run(record(tmp_path))

    for number in ("X1", "X3", "X4", "X5", "X6", "X7", "X8", "X9", "X10", "X11", "M1"):
        CHECKS[number](subject_of(tmp_path))


def test_a_malformed_recording_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text('{"source": "somewhere", "date": "2026-11-23", "calls": []}')

    with pytest.raises(ValueError, match=r"broken\.json"):
        load(tmp_path, ExchangeFixture)
