"""Only what was signed gets in, byte for byte; what is authentic is kept even when it cannot be read."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.doorbed import SECRET, connector, delivery_body

from tidegate.connectors.woocommerce import webhooks as woocommerce
from tidegate.eventlog.records import undecodable_dedupe_key, webhook_dedupe_key
from tidegate.intake.capture import find_unreadable, verify_capture
from tidegate.intake.directory import Endpoint
from tidegate.intake.quota import TenantQuota
from tidegate.intake.receive import receive
from tidegate.kernel.errors import ConfigurationError, IntakeError
from tidegate.kernel.ids import new_id, slot_of
from tidegate.sdk.signatures import sign_standard_webhooks
from tidegate.vault.keys import DataKey
from tidegate.vault.sealing import unseal

SHARED = Path(os.environ.get("TIDEGATE_SHARED", Path(__file__).parents[3] / ".." / "shared"))
VECTORS = SHARED / "facts" / "signature_vectors.json"
NOW = 1_790_000_000
TENANT = new_id()
KEY = DataKey(TENANT, new_id(), AESGCM(b"k" * 32))
PLAIN = connector()
assert PLAIN.webhook is not None
OPEN = Endpoint(
    tenant_id=TENANT,
    connection_id=new_id(),
    connector="plain",
    webhook=PLAIN.webhook,
    secrets=(SECRET,),
    key=KEY,
    body_bytes_max=1000,
)


def signed(body: bytes, event_id: str = "e1") -> dict[str, str]:
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(NOW),
        "webhook-signature": sign_standard_webhooks(SECRET, event_id, NOW, body),
        "content-type": "application/json",
        "authorization": "Bearer canary",
    }


def test_an_event_carries_keys_digest_and_sealed_body() -> None:
    body = delivery_body("e1", "9")

    event = receive(OPEN, signed(body), body, NOW)

    assert (event.topic, event.ordering_key, event.external_id) == ("order.updated", "order:9", "e1")
    assert event.slot == slot_of(TENANT, "order:9")
    assert event.dedupe_key == webhook_dedupe_key("e1", "order.updated")
    assert event.body_digest == hashlib.sha256(body).digest()
    assert unseal(KEY.cipher, event.body, KEY.associate("event", event.event_id.bytes)) == body
    assert json.loads(event.headers) == {"content-type": "application/json"}


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_any_change_of_what_was_signed_is_refused(data: st.DataObject) -> None:
    body = delivery_body("e1")
    headers = signed(body)
    place = data.draw(st.sampled_from(["body", "webhook-id", "webhook-timestamp", "webhook-signature"]))
    value = bytearray(body if place == "body" else headers[place].encode())
    kind = data.draw(st.sampled_from(["flip", "cut", "insert"]))
    position = data.draw(st.integers(0, len(value) - 1))
    if kind == "flip":
        value[position] ^= data.draw(st.integers(1, 127))
    elif kind == "cut":
        del value[position]
    else:
        value.insert(position, data.draw(st.integers(0, 127)))
    changed = bytes(value)
    if place == "body":
        body = changed
    else:
        headers[place] = changed.decode("latin-1")
    same = headers == signed(delivery_body("e1")) and body == delivery_body("e1")
    harmless = place == "webhook-signature" and signed(delivery_body("e1"))[place] in headers[place].split(" ")

    if same or harmless:  # a space in front of the signature leaves it whole
        return
    with pytest.raises(IntakeError) as caught:
        receive(OPEN, headers, body, NOW)
    assert caught.value.status == 401


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "Expecting value"),
        (b"[]", "TypeError"),
        (b'{"id":1,"type":"t","order":"1"}', "no text"),
        (b'{"id":"","type":"t","order":"1"}', "empty"),
        (b'{"id":"a\\u0000","type":"t","order":"1"}', "zero byte"),
        (b'{"id":"\\ud800","type":"t","order":"1"}', "surrogate"),
        (b'{"id":"' + b"a" * 2000 + b'","type":"t","order":"1"}', "too long"),
    ],
)
def test_an_authentic_body_that_cannot_be_read_becomes_a_marked_event(body: bytes, reason: str) -> None:
    event = receive(OPEN, signed(body), body, NOW)

    digest = hashlib.sha256(body).digest()
    assert event.undecodable is not None
    assert reason in event.undecodable
    assert (event.dedupe_key, event.external_id) == (undecodable_dedupe_key(digest), None)
    assert event.ordering_key == f"undecodable:{digest.hex()}"
    assert unseal(KEY.cipher, event.body, KEY.associate("event", event.event_id.bytes)) == body


@pytest.mark.parametrize(
    ("refusal", "status"),
    [("unknown_path", 401), ("disabled", 401), ("secret_missing", 503), ("connector_missing", 503)],
)
def test_a_closed_endpoint_refuses_even_a_genuine_delivery(refusal: str, status: int) -> None:
    body = delivery_body("e1")
    with pytest.raises(IntakeError) as caught:
        receive(dataclasses.replace(OPEN, refusal=refusal), signed(body), body, NOW)
    assert (caught.value.code, caught.value.status) == (refusal, status)


def test_an_unusable_secret_is_our_fault_and_asks_for_a_repetition() -> None:
    body = delivery_body("e1")
    with pytest.raises(IntakeError) as caught:
        receive(dataclasses.replace(OPEN, secrets=("whsec_not base64!",)), signed(body), body, NOW)
    assert (caught.value.code, caught.value.status) == ("secret_unusable", 503)


def test_keys_do_not_run_into_each_other() -> None:
    assert webhook_dedupe_key("ab", "c") != webhook_dedupe_key("a", "bc")
    assert webhook_dedupe_key("1:a", "") != webhook_dedupe_key("", "1:a")


@pytest.mark.skipif(not VECTORS.exists(), reason="the shared facts are not beside the project")
def test_captures_are_judged_as_the_reference_libraries_judge_them() -> None:
    vectors = [v for v in json.loads(VECTORS.read_text())["vectors"] if v["scheme"] == "standard-webhooks-v1"]
    anything = connector(read_keys=lambda _headers, _body: None)
    assert len(vectors) >= 8

    judged = {vector["id"]: verify_capture(anything, vector) is None for vector in vectors}

    assert judged == {vector["id"]: vector["valid"] for vector in vectors}


def test_a_capture_says_why() -> None:
    body = delivery_body("e1")
    capture: dict[str, Any] = {
        "headers": {name.title(): value for name, value in signed(body).items()},
        "body_b64": base64.b64encode(body).decode(),
        "secret": SECRET,
        "now": NOW,
    }
    unreadable = {**capture, "headers": signed(b"?"), "body_b64": base64.b64encode(b"?").decode()}

    assert verify_capture(PLAIN, capture) is None
    assert (verify_capture(PLAIN, {**capture, "now": NOW + 301}) or "").startswith("timestamp_stale: ")
    assert (verify_capture(PLAIN, {**capture, "secret": "whsec_" + "A" * 32}) or "").startswith("signature_mismatch: ")
    assert verify_capture(PLAIN, unreadable) is None
    assert find_unreadable(PLAIN, unreadable)
    assert find_unreadable(PLAIN, capture) is None
    for broken in ({}, {**capture, "body_b64": "?"}, {**capture, "headers": []}):
        with pytest.raises(ConfigurationError):
            verify_capture(PLAIN, broken)
    with pytest.raises(ConfigurationError):
        verify_capture(dataclasses.replace(PLAIN, webhook=None), capture)


def test_a_quota_lets_bursts_pass_and_holds_the_rate() -> None:
    quota = TenantQuota(2.0)
    one, other = new_id(), new_id()

    assert [quota.admits(one, 0.0) for _ in range(11)] == [True] * 10 + [False]
    assert quota.admits(other, 0.0)
    assert [quota.admits(one, 1.0) for _ in range(3)] == [True, True, False]
    assert all(TenantQuota(0.0).admits(one, 0.0) for _ in range(1000))


FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize(
    ("headers", "body", "is_ping"),
    [
        (FORM, b"webhook_id=12", True),
        ({"content-type": "application/x-www-form-urlencoded; charset=utf-8"}, b"webhook_id=1", True),
        (FORM, b"webhook_id=12&order=1", False),
        (FORM, b"webhook_id=", False),
        ({**FORM, "x-wc-webhook-signature": "x"}, b"webhook_id=12", False),
        ({"content-type": "application/json"}, b"webhook_id=12", False),
        (FORM, b'{"id":1}', False),
    ],
)
def test_only_the_bare_question_of_a_new_webhook_is_no_delivery(
    headers: dict[str, str], body: bytes, is_ping: bool
) -> None:
    endpoint = dataclasses.replace(OPEN, webhook=woocommerce.WEBHOOK)

    if is_ping:
        assert receive(endpoint, headers, body, NOW) is None
    else:
        with pytest.raises(IntakeError, match="signature"):
            receive(endpoint, headers, body, NOW)


def test_a_closed_or_unknown_address_answers_no_question() -> None:
    for refusal in ("unknown_path", "disabled"):
        endpoint = dataclasses.replace(OPEN, webhook=woocommerce.WEBHOOK, refusal=refusal)
        with pytest.raises(IntakeError) as caught:
            receive(endpoint, FORM, b"webhook_id=12", NOW)
        assert caught.value.status == 401
