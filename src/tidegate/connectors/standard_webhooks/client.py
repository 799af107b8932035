"""Sending: each command is one signed request, under an id that stays the same over all tries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from tidegate.commerce.commands import Payload, SendEvent, SetInventory
from tidegate.connectors.standard_webhooks import outbound
from tidegate.connectors.standard_webhooks.errors import error_of
from tidegate.kernel.clock import EPOCH
from tidegate.kernel.errors import ConfigurationError, IntakeError, RejectedError
from tidegate.kernel.ids import parse_public_id, time_of
from tidegate.kernel.redaction import Secret
from tidegate.sdk.connector import Done, HandedOver, Inspection, ItemOutcome, Location
from tidegate.sdk.http import Api, Session
from tidegate.sdk.signatures import new_signing_key, public_key_of, sign_standard_webhooks

NO_ADDRESS = "https://no-address.invalid"
"""Stands for the address of a system that only sends."""
KEYS_MAX = 2
"""Keys that a request is signed with at once: the new one and the one before it."""
BYTES_PER_KB = 1000
EXTERNAL_ID_MAX = 200


class _Answer(msgspec.Struct):
    id: str | int | None = None


# --- keys ----------------------------------------------------------------------------------------------------------
def make_signing_key(settings: Mapping[str, Any]) -> str:
    """Return a fresh key of the kind that the connection signs with. Raises ConfigurationError for another word."""
    match str(settings.get("signs_with", "hmac")):
        case "hmac":
            return new_signing_key("symmetric")
        case "ed25519":
            return new_signing_key("ed25519")
        case other:
            raise ConfigurationError(
                f"signs_with is {other!r}", code="signs_with_unknown", hint="write hmac or ed25519 in tidegate.yaml"
            )


def hand_over(secrets: Mapping[str, Secret]) -> Sequence[HandedOver]:
    """Return the key that the receiver verifies us with: the public half, or the shared secret."""
    handed = []
    for key in _keys(secrets):
        public = public_key_of(key)
        if public is not None:
            handed.append(HandedOver(label="key to verify us with", value=Secret(public), is_public=True))
        else:
            handed.append(HandedOver(label="secret to verify us with", value=Secret(key)))
    return handed[:1]


def _keys(secrets: Mapping[str, Secret]) -> list[str]:
    found = secrets.get("signing_key")
    return found.reveal().split()[:KEYS_MAX] if found is not None else []


async def open_session(_api: Api, secrets: Mapping[str, Secret], _settings: Mapping[str, Any]) -> Session:
    """Return the session: there is no log-in, each request is signed by itself."""
    return Session(headers={}, sign=partial(_sign, tuple(Secret(key) for key in _keys(secrets))))


def _sign(keys: Sequence[Secret], headers: Mapping[str, str], body: bytes, now: float) -> Mapping[str, str]:
    message_id = headers.get("webhook-id", "")
    try:
        signatures = [sign_standard_webhooks(key.reveal(), message_id, int(now), body) for key in keys]
    except IntakeError:
        signatures = []
    if not signatures:
        raise ConfigurationError(
            "the key that we sign with cannot be used",
            code="signing_key_unusable",
            hint="tidegate webhook rotate NAME --sending makes a new one",
        )
    return {"webhook-timestamp": str(int(now)), "webhook-signature": " ".join(signatures)}


async def inspect(api: Api) -> Inspection:
    """Return what the settings say: such a system has nothing to look at."""
    places = [name.strip() for name in str(api.settings.get("locations", "main")).split(",")]
    finding = (
        "it is sent signed requests" if api.settings.get("url") else "it has no url: it sends, and is told nothing"
    )
    return Inspection(
        external_account="",
        account_name="signed events",
        version="1.0.0",
        locations=tuple(Location(external_id=place, name=place) for place in dict.fromkeys(places) if place),
        variants=(),
        findings=(finding,),
    )


# --- commands ------------------------------------------------------------------------------------------------------
async def send_one(api: Api, payloads: Sequence[Payload], key: str) -> Sequence[ItemOutcome]:
    """Send one command; its id for the receiver is the key of the call."""
    (payload,) = payloads
    return [await _post(api, outbound.type_of(payload), outbound.data_of(payload), key)]


async def send_event(api: Api, payloads: Sequence[Payload], key: str) -> Sequence[ItemOutcome]:
    """Tell a listener how something stands."""
    (payload,) = payloads
    if not isinstance(payload, SendEvent):
        raise TypeError(f"SendEvent expected, not {type(payload).__name__}")
    return [await _post(api, payload.event_type, payload.data, key, at=payload.occurred_at)]


async def send_stock(api: Api, payloads: Sequence[Payload], key: str) -> Sequence[ItemOutcome]:
    """Send many numbers as one event; the receiver takes all of them or none."""
    commands = [payload for payload in payloads if isinstance(payload, SetInventory)]
    done = await _post(api, outbound.STOCK_TYPE, outbound.stock_data(commands), key)
    return [done] * len(payloads)


async def _post(api: Api, event_type: str, data: Mapping[str, Any], key: str, *, at: datetime | None = None) -> Done:
    url = api.settings.get("url")
    if not url:
        raise ConfigurationError(
            "the connection has no url", code="url_missing", hint="write its url in tidegate.yaml and connect it again"
        )
    event = {"type": event_type, "timestamp": at or _moment_of(key), "data": data}
    size, limit = len(msgspec.json.encode(event)), _bytes_max(api.settings)
    if size > limit:
        raise RejectedError(
            f"the request has {size} bytes, the receiver takes {limit}",
            code="too_large",
            hint="raise payload_kb of the connection, if the receiver takes more, and send it again",
        )
    path = "/" if str(url).endswith("/") else ""
    response = await api.request("POST", path, json=event, headers={"webhook-id": key})
    if not 200 <= response.status < 300:
        raise error_of(response)
    return Done(external_id=_external_id(response.body))


def _moment_of(key: str) -> datetime:
    """Return when the call was frozen: its key holds that, and every try of it says the same."""
    try:
        return time_of(parse_public_id(key))
    except (ValueError, OverflowError):
        return EPOCH


def _bytes_max(settings: Mapping[str, Any]) -> int:
    try:
        return max(1, int(str(settings.get("payload_kb", 20)))) * BYTES_PER_KB
    except ValueError as error:
        raise ConfigurationError(
            "payload_kb is no number", code="payload_kb", hint="write for example payload_kb: 64 in tidegate.yaml"
        ) from error


def _external_id(body: bytes) -> str:
    """Return the receiver's own id of what it took, where it tells one."""
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (ValueError, RecursionError):
        return ""
    text = "" if answer.id is None else str(answer.id)
    return text if len(text) <= EXTERNAL_ID_MAX and text.isprintable() else ""
