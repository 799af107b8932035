"""Checks of deliveries: signatures, times, keys."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import msgspec

from tidegate.kernel.errors import IntakeError
from tidegate.sdk.connector import EventKeys, Webhook
from tidegate.sdk.testing.conformance.fixtures import EventFixture
from tidegate.sdk.testing.conformance.mutations import for_each_mutation, with_unknown_fields
from tidegate.sdk.testing.conformance.subject import NotApplicableError, Signing, Subject

NOW = 1_790_000_000
_FORBIDDEN_HEADERS = ("authorization", "cookie", "secret", "signature", "token", "hmac")


def check_signed_delivery_is_accepted(subject: Subject) -> None:
    """W1: every recorded delivery, signed with any active secret, is accepted."""
    webhook, signing = _parts(subject)
    for event in _deliveries(subject):
        headers = _signed(event, signing)
        for secrets in ([signing.secret], [signing.other_secret, signing.secret]):
            assert not _is_refused(webhook, headers, event.raw_body, secrets), f"{event.name}: refused"


def check_missing_header_is_refused(subject: Subject) -> None:
    """W2: without any one of the signature headers, or with an empty one, a delivery is refused."""
    webhook, signing = _parts(subject)
    event = _deliveries(subject)[0]
    for name in _signature_headers(event, signing):
        headers = _signed(event, signing)
        _assert_refused(webhook, {**headers, name: ""}, event.raw_body, signing, f"an empty {name}")
        del headers[name]
        _assert_refused(webhook, headers, event.raw_body, signing, f"a missing {name}")


def check_wrong_secret_is_refused(subject: Subject) -> None:
    """W3: a signature of another secret is refused, and so is everything when there is no secret."""
    webhook, signing = _parts(subject)
    for event in _deliveries(subject):
        headers = _signed(event, signing)
        for secrets in ([signing.other_secret], []):
            assert _is_refused(webhook, headers, event.raw_body, secrets), (
                f"{event.name}: accepted with {len(secrets)} wrong secrets"
            )


def check_times_are_refused(subject: Subject) -> None:
    """W4: old and future timestamps are refused as far as the scheme signs a time, and fresh ones accepted."""
    webhook, signing = _parts(subject)
    event = _deliveries(subject)[0]
    refused = {"window": (True, True), "age": (True, False), "none": (False, False)}[signing.time_rule]
    beyond = signing.tolerance_seconds + 1
    for shift, expected in ((-beyond, refused[0]), (beyond, refused[1]), (0, False)):
        headers = _signed(event, signing, now=NOW + shift)
        found = _is_refused(webhook, headers, event.raw_body, [signing.secret])
        assert found == expected, f"signed {shift} s from now: {'refused' if found else 'accepted'}"


def check_flipped_bytes_are_refused(subject: Subject) -> None:
    """W5: a body or a signature header with one changed character is refused."""
    webhook, signing = _parts(subject)
    event = _deliveries(subject)[0]
    body = event.raw_body
    headers = _signed(event, signing)
    for index in range(0, len(body), max(1, len(body) // 200)):
        flipped = body[:index] + bytes([body[index] ^ 1]) + body[index + 1 :]
        _assert_refused(webhook, headers, flipped, signing, f"a body changed at {index}")
    for name in _signature_headers(event, signing):
        value = headers[name]
        for index, letter in enumerate(value):
            other = "A" if letter != "A" else "B"
            changed = {**headers, name: value[:index] + other + value[index + 1 :]}
            _assert_refused(webhook, changed, body, signing, f"{name} changed at {index}")


def check_same_delivery_has_one_key(subject: Subject) -> None:
    """W6: a delivery tried again later has the same dedupe key; different events have different ones."""
    webhook, signing = _parts(subject)
    seen: dict[tuple[str, str], str] = {}
    for event in _deliveries(subject):
        first = webhook.read_keys(_signed(event, signing), event.raw_body)
        again = webhook.read_keys(_signed(event, signing, now=NOW + 60), event.raw_body)
        assert first == again, f"{event.name}: a second try has other keys"
        assert first.sender_event_id, f"{event.name}: no sender_event_id"
        key = (first.sender_event_id, first.topic)
        assert key not in seen, f"{event.name} and {seen[key]} are told to be the same event"
        seen[key] = event.name


def check_recorded_keys(subject: Subject) -> None:
    """W7: the door reads the recorded topic, sender's event id and ordering key."""
    webhook, signing = _parts(subject)
    for event in _deliveries(subject):
        assert event.keys is not None, f"{event.name}: a delivery records its keys"
        keys = webhook.read_keys(_signed(event, signing), event.raw_body)
        found = {name: getattr(keys, name) for name in event.keys.__struct_fields__}
        assert found == msgspec.structs.asdict(event.keys), f"{event.name}: {found}"
        assert keys.topic == event.topic, f"{event.name}: the topic is {keys.topic!r}"


def check_garbage_keys_raise_value_error(subject: Subject) -> None:
    """W8: whatever the body holds, reading the keys gives keys or a ValueError."""
    webhook, signing = _parts(subject)
    for event in _deliveries(subject):
        for_each_mutation(event.raw_body, partial(_assert_keys, webhook, _signed(event, signing)))


def _assert_keys(webhook: Webhook, headers: Mapping[str, str], body: bytes) -> None:
    try:
        keys = webhook.read_keys(headers, body)
    except ValueError:
        return
    assert isinstance(keys, EventKeys), f"{keys!r} are no keys"
    for name in ("topic", "sender_event_id", "ordering_key"):
        assert isinstance(getattr(keys, name), str), f"{name} is {getattr(keys, name)!r}"


def check_unknown_fields_keep_keys(subject: Subject) -> None:
    """W9: fields that nobody knows do not change the keys, but for a digest that stands in for the sender's event id."""
    webhook, signing = _parts(subject)
    for event in _deliveries(subject):
        headers = _signed(event, signing)
        grown = msgspec.json.encode(with_unknown_fields(msgspec.json.decode(event.raw_body)))
        found, known = webhook.read_keys(headers, grown), webhook.read_keys(headers, event.raw_body)
        if webhook.keyed_by_body:
            found = msgspec.structs.replace(found, sender_event_id=known.sender_event_id)
        assert found == known, event.name


def check_stored_headers_are_harmless(subject: Subject) -> None:
    """W10: the headers kept with an event are lower-case and none of them is a secret or a signature."""
    webhook, _ = _parts(subject)
    for name in webhook.stored_headers:
        assert name == name.lower(), f"{name} is not lower-case"
        assert not any(word in name.lower() for word in _FORBIDDEN_HEADERS), f"{name} must not be stored"
    assert 0 < webhook.body_bytes_max <= 10 << 20, "bodies of at most 10 MiB"


def check_own_signature_is_accepted(subject: Subject) -> None:
    """W11: what `sign` signs is accepted with that secret and no other; self-tests are signed with it."""
    webhook, signing = _parts(subject)
    if webhook.sign is None:
        raise NotApplicableError("the connector cannot sign, so its webhook is not self-tested")
    body = b'{"self":"test"}'
    headers = webhook.sign(signing.secret, "msg_conformance", body, NOW)
    assert not _is_refused(webhook, dict(headers), body, [signing.secret]), "refused"
    assert _is_refused(webhook, dict(headers), body, [signing.other_secret]), "accepted with another secret"


def _parts(subject: Subject) -> tuple[Webhook, Signing]:
    if subject.connector.webhook is None:
        raise NotApplicableError("the connector takes no webhooks")
    assert subject.signing is not None, "tell the kit how the platform signs (signing=...)"
    return subject.connector.webhook, subject.signing


def _deliveries(subject: Subject) -> tuple[EventFixture, ...]:
    deliveries = subject.events_via("webhook")
    assert deliveries, "record at least one delivery (via: webhook)"
    return deliveries


def _signed(event: EventFixture, signing: Signing, *, now: int = NOW) -> dict[str, str]:
    return {**event.headers, **signing.sign(event.headers, event.raw_body, signing.secret, now)}


def _signature_headers(event: EventFixture, signing: Signing) -> tuple[str, ...]:
    return tuple(signing.sign(event.headers, event.raw_body, signing.secret, NOW))


def _is_refused(webhook: Webhook, headers: Mapping[str, str], body: bytes, secrets: list[str]) -> bool:
    try:
        webhook.verify(headers, body, secrets, NOW)
    except IntakeError:
        return True
    return False


def _assert_refused(webhook: Webhook, headers: Mapping[str, str], body: bytes, signing: Signing, what: str) -> None:
    assert _is_refused(webhook, headers, body, [signing.secret]), f"{what} was accepted"
