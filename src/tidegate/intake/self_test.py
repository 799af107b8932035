"""Sending a delivery to our own door, as a sender would, and saying how far it came."""

from __future__ import annotations

import asyncio
import ssl
import time
from enum import StrEnum
from uuid import UUID

import aiohttp
import msgspec
from aiohttp.resolver import ThreadedResolver

from tidegate.eventlog.records import webhook_dedupe_key
from tidegate.eventlog.self_test import TOPIC, build_body
from tidegate.kernel.ids import new_id
from tidegate.kernel.redaction import Secret
from tidegate.sdk.connector import Webhook
from tidegate.store.connections import Connection
from tidegate.store.sql import query

SEND_SECONDS = 10.0
APPLY_SECONDS = 15.0
POLL_SECONDS = 0.2
_OUTCOME = query("self_test_outcome")


class Leg(StrEnum):
    """Where a self-test stopped."""

    NAME = "name"
    """The host's name does not resolve."""
    CONNECT = "connect"
    """Nobody takes the connection."""
    TLS = "tls"
    """The certificate is not trusted, or it is no TLS."""
    ANSWER = "answer"
    """No whole answer came in time."""
    REFUSED = "refused"
    """401: another secret, another path, or a clock that is wrong."""
    NOT_OURS = "not_ours"
    """Something answers that is not our door: 404, a redirect, a page."""
    UNAVAILABLE = "unavailable"
    """503: the door cannot store."""
    ELSEWHERE = "elsewhere"
    """Accepted, and not in this database: the address leads to another installation."""
    NOT_APPLIED = "not_applied"
    """Stored, and not applied in time."""
    DONE = "done"


class SelfTest(msgspec.Struct, frozen=True, kw_only=True):
    """How far a delivery to ourselves came."""

    leg: Leg
    status: int | None = None
    """Of the answer."""
    answer_ms: int | None = None
    applied_ms: int | None = None
    """From sending until its outcome was there."""


async def deliver(
    conn: Connection, tenant_id: UUID, connection_id: UUID, webhook: Webhook, *, url: str, secret: Secret, cell: str
) -> SelfTest:
    """Send one signed delivery to `url` and wait for its outcome; at most SEND_SECONDS and APPLY_SECONDS.

    `webhook.sign` must be there. Nothing but the event is stored.
    """
    assert webhook.sign is not None
    nonce = f"self_test_{cell}_{new_id().hex}"
    body = build_body(nonce)
    headers = {"content-type": "application/json", **webhook.sign(secret.reveal(), nonce, body, int(time.time()))}
    started = time.monotonic()
    sent = await _send(url, headers, body)
    if sent.leg is not Leg.DONE:
        return sent
    is_stored = False
    deadline = time.monotonic() + APPLY_SECONDS
    while time.monotonic() < deadline:
        row = await conn.fetchrow(_OUTCOME, tenant_id, connection_id, webhook_dedupe_key(nonce, TOPIC))
        is_stored = is_stored or row is not None
        if row is not None and row["outcome"] is not None:
            applied_ms = round((time.monotonic() - started) * 1000)
            return msgspec.structs.replace(sent, applied_ms=applied_ms)
        if not is_stored and time.monotonic() > deadline - APPLY_SECONDS + 2:
            return msgspec.structs.replace(sent, leg=Leg.ELSEWHERE)
        await asyncio.sleep(POLL_SECONDS)
    return msgspec.structs.replace(sent, leg=Leg.NOT_APPLIED)


async def _send(url: str, headers: dict[str, str], body: bytes) -> SelfTest:
    """Send it once, through no proxy and to wherever the operator's own address leads."""
    started = time.monotonic()
    try:
        async with (
            asyncio.timeout(SEND_SECONDS),
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=ThreadedResolver()), trust_env=False) as http,
            http.post(url, data=body, headers=headers, allow_redirects=False) as answer,
        ):
            await answer.content.read(4096)
            return SelfTest(
                leg=leg_of_status(answer.status),
                status=answer.status,
                answer_ms=round((time.monotonic() - started) * 1000),
            )
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        return SelfTest(leg=leg_of_error(error))


def leg_of_status(status: int) -> Leg:
    """Return how far a delivery with this answer came. Pure."""
    if status // 100 == 2:
        return Leg.DONE
    if status == 401:
        return Leg.REFUSED
    return Leg.UNAVAILABLE if status in (429, 502, 503, 504) else Leg.NOT_OURS


def leg_of_error(error: BaseException) -> Leg:
    """Return how far a delivery came that got no answer. Pure."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Leg.NAME
    if isinstance(error, (aiohttp.ClientSSLError, ssl.SSLError)):
        return Leg.TLS
    if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.InvalidURL)):
        return Leg.CONNECT
    return Leg.ANSWER
