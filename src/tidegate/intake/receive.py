"""From a whole request to an event that is ready to be stored: verify, read the keys, seal. No I/O."""

from __future__ import annotations

import contextlib
import hashlib
import os
from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime

import msgspec

from tidegate.eventlog import self_test
from tidegate.eventlog.records import NewEvent, undecodable_dedupe_key, webhook_dedupe_key
from tidegate.intake.directory import Endpoint
from tidegate.kernel.errors import IntakeError
from tidegate.kernel.ids import new_id, slot_of
from tidegate.sdk.connector import EventKeys, Webhook
from tidegate.sdk.signatures import StandardWebhooks
from tidegate.vault.sealing import seal

KEY_CHARACTERS_MAX = 1024
"""Longest topic, event id or ordering key; anything longer is treated as unreadable."""
REASON_CHARACTERS_MAX = 300
_HEADER_CHARACTERS_MAX = 512
_encode = msgspec.json.Encoder().encode
_NOBODY = StandardWebhooks()
_NOBODYS_SECRETS = (b64encode(os.urandom(32)).decode(),)


def receive(endpoint: Endpoint, headers: Mapping[str, str], body: bytes, now: float) -> NewEvent | None:
    """Return the event of a delivery that is genuine. `headers` have lower-case names, `now` is in Unix seconds.

    None for a question whether somebody is there, which some platforms ask unsigned when a subscription is made.

    An authentic body whose keys cannot be read becomes an event too: it is marked undecodable and T2 quarantines it.
    Raises IntakeError: status 401 for anything that does not verify (with the same work done for a path that nobody
    has), 503 for a connection that cannot verify because its secret is missing.
    """
    webhook, key = endpoint.webhook, endpoint.key
    if endpoint.refusal or webhook is None or key is None:
        raise _closed(endpoint, headers, body, now)
    if webhook.is_ping is not None and webhook.is_ping(headers, body):
        return None
    try:
        webhook.verify(headers, body, endpoint.secrets, now)
    except IntakeError as error:
        if error.code == "secret_unusable":
            error.status = 503  # our fault: a sender that is told 401 may give up
        raise
    digest = hashlib.sha256(body).digest()
    undecodable = None
    try:
        keys = _read_keys(webhook, headers, body)
        dedupe_key = webhook_dedupe_key(keys.sender_event_id, keys.topic)
    except ValueError as error:
        undecodable = str(error).replace("\x00", "")[:REASON_CHARACTERS_MAX] or "unreadable"
        keys = EventKeys(topic="undecodable", sender_event_id="", ordering_key=f"undecodable:{digest.hex()}")
        dedupe_key = undecodable_dedupe_key(digest)
    event_id = new_id()
    return NewEvent(
        tenant_id=endpoint.tenant_id,
        event_id=event_id,
        connection_id=endpoint.connection_id,
        source="webhook",
        topic=keys.topic,
        ordering_key=keys.ordering_key,
        slot=slot_of(endpoint.tenant_id, keys.ordering_key),
        dedupe_key=dedupe_key,
        body_digest=digest,
        data_key_id=key.key_id,
        body=seal(key.cipher, body, key.associate("event", event_id.bytes)),
        undecodable=undecodable,
        external_id=keys.sender_event_id or None,
        occurred_at=_moment(keys.occurred_at),
        headers=_kept_headers(webhook, headers),
        envelope=endpoint.envelope,
    )


def _closed(endpoint: Endpoint, headers: Mapping[str, str], body: bytes, now: float) -> IntakeError:
    """Return the refusal of a closed endpoint, after about the work that an open one has."""
    with contextlib.suppress(IntakeError):
        _NOBODY(headers, body, _NOBODYS_SECRETS, now)
    if endpoint.refusal in {"unknown_path", "disabled"}:
        return IntakeError("nobody is here", code=endpoint.refusal)
    return IntakeError("the connection cannot verify", code=endpoint.refusal or "secret_missing", status=503)


def _read_keys(webhook: Webhook, headers: Mapping[str, str], body: bytes) -> EventKeys:
    """Return the keys, checked for what a database column cannot hold. Raises ValueError."""
    nonce = self_test.read_nonce(body)
    try:
        keys = webhook.read_keys(headers, body) if nonce is None else _keys_of_test(nonce)
    except ValueError:
        raise
    except Exception as error:  # whatever a connector does with an authentic body: losing it would be worse
        raise ValueError(f"the key fields are not as expected: {type(error).__name__}") from error
    for text in (keys.topic, keys.sender_event_id, keys.ordering_key):
        if not isinstance(text, str):
            raise ValueError("a key field is no text")  # noqa: TRY004 - everything unreadable is a ValueError here
        if not text or len(text) > KEY_CHARACTERS_MAX or "\x00" in text:
            raise ValueError("a key field is empty, too long or holds a zero byte")
        if not text.isascii():
            text.encode()  # half a surrogate pair is a ValueError here, and would be an error of the database later
    return keys


def _keys_of_test(nonce: str) -> EventKeys:
    return EventKeys(topic=self_test.TOPIC, sender_event_id=nonce, ordering_key=f"self_test:{nonce}")


def _moment(text: str | None) -> datetime | None:
    """Return the sender's time, None when it is no complete time: it decides nothing here."""
    if not isinstance(text, str) or not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None and 1970 <= moment.year <= 9000 else None


def _kept_headers(webhook: Webhook, headers: Mapping[str, str]) -> str:
    kept = {name: headers[name][:_HEADER_CHARACTERS_MAX] for name in webhook.stored_headers if name in headers}
    return _encode(kept).decode()
