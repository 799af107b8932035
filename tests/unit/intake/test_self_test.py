"""A delivery is a self-test by its signed body alone; how far one came is told by what was met."""

from __future__ import annotations

import base64
import ssl
import time
from uuid import UUID

import aiohttp
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from tidegate.cli.checks_remote import judge_self_test
from tidegate.eventlog import self_test
from tidegate.eventlog.read import QueuedEvent
from tidegate.intake.directory import Endpoint
from tidegate.intake.receive import receive
from tidegate.intake.self_test import Leg, SelfTest, leg_of_error, leg_of_status
from tidegate.kernel.errors import IntakeError
from tidegate.kernel.ids import new_id
from tidegate.sdk.signatures import standard_webhooks_headers
from tidegate.sdk.testing.hostile_connector import CONNECTOR
from tidegate.sync.normalize import prepare
from tidegate.vault.keys import DataKey

SECRET = "whsec_" + base64.b64encode(b"the secret of this connection").decode()
OTHER = "whsec_" + base64.b64encode(b"the secret of another connection").decode()
TENANT = new_id()


def queued(connection: UUID, body: bytes) -> QueuedEvent:
    return QueuedEvent(
        slot=1, tenant_id=TENANT, seq=1, event_id=new_id(), run=0, connection_id=connection, source="webhook",
        topic=self_test.TOPIC, ordering_key="order:1", conflict=False, undecodable=None, external_id=None,
        occurred_at=None, envelope="{}", data_key_id=UUID(int=0), body=body,
    )  # fmt: skip


@given(st.binary(max_size=300))
def test_no_other_body_is_taken_for_one(body: bytes) -> None:
    assert self_test.read_nonce(body) is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"tidegate_self_test":""}',
        b'{"tidegate_self_test":"x","id":"evt-1"}',
        b'{"tidegate_self_test":7}',
        b'{"tidegate_self_test":"x"}{"order":1}',
        b' {"tidegate_self_test":"x"}',
        b'{"id":"evt-1","tidegate_self_test":"x"}',
        b'{"tidegate_self_test":"' + b"x" * 300 + b'"}',
    ],
)
def test_a_genuine_delivery_cannot_be_dressed_as_one(body: bytes) -> None:
    assert self_test.read_nonce(body) is None
    assert self_test.read_nonce(self_test.build_body("n1")) == "n1"


def test_only_who_has_the_secret_can_send_one() -> None:
    """A4: a self-test with another connection's secret, or a changed body, is refused like any delivery."""
    now = int(time.time())
    body = self_test.build_body("n1")
    endpoint = Endpoint(
        tenant_id=TENANT, connection_id=new_id(), connector="hostile", webhook=CONNECTOR.webhook, secrets=(SECRET,),
        key=DataKey(TENANT, new_id(), AESGCM(b"k" * 32)), body_bytes_max=1000,
    )  # fmt: skip
    with pytest.raises(IntakeError):
        receive(endpoint, standard_webhooks_headers(OTHER, "n1", body, now), body, now)
    with pytest.raises(IntakeError):
        receive(endpoint, standard_webhooks_headers(SECRET, "n1", body, now), self_test.build_body("n2"), now)
    event = receive(endpoint, standard_webhooks_headers(SECRET, "n1", body, now), body, now)
    assert (event.topic, event.external_id, event.undecodable) == (self_test.TOPIC, "n1", None)


def test_an_event_that_only_carries_the_topic_goes_to_the_mapper() -> None:
    """A platform whose own topic is called like ours loses nothing."""
    connection = new_id()
    own, ours = b'{"id":"e","type":"tidegate.self_test"}', self_test.build_body("n1")
    events = [queued(connection, own), queued(connection, ours)]

    prepared = prepare(events, {connection: CONNECTOR}, lambda event: event.body)

    assert prepared[0].failure is None
    assert [change.code for change in prepared[0].changes] == ["unknown_topic"], "the mapper was asked"  # type: ignore[union-attr]
    assert prepared[1].failure is not None
    assert (prepared[1].failure.outcome, prepared[1].failure.code) == ("ignored", "self_test")


def test_every_leg_has_words_and_a_fix() -> None:
    for leg in Leg:
        finding = judge_self_test(
            "connection shop", SelfTest(leg=leg, answer_ms=1, applied_ms=2), "https://gate.example"
        )
        assert finding.verdict == ("ok" if leg is Leg.DONE else "fail")
        assert leg is Leg.DONE or finding.fix


@pytest.mark.parametrize(
    ("status", "leg"),
    [(200, Leg.DONE), (401, Leg.REFUSED), (404, Leg.NOT_OURS), (301, Leg.NOT_OURS), (503, Leg.UNAVAILABLE)],
)
def test_what_an_answer_says(status: int, leg: Leg) -> None:
    assert leg_of_status(status) is leg


def test_what_no_answer_says() -> None:
    assert leg_of_error(TimeoutError()) is Leg.ANSWER
    assert leg_of_error(ssl.SSLError()) is Leg.TLS
    assert leg_of_error(aiohttp.ServerDisconnectedError()) is Leg.ANSWER
