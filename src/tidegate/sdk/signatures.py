"""Signature schemes. Each check runs on the raw bytes, in constant time, before anything else is looked at."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from tidegate.kernel.errors import IntakeError

STANDARD_WEBHOOKS_TOLERANCE_SECONDS = 300
"""Source: Standard Webhooks 1.0.0 and its reference libraries: older and newer than this is refused."""

KEY_BYTES_MIN = 16
"""Standard Webhooks 1.0.0 asks for 24 to 64; what is shorter than this is a mistake, and the empty key is everybody's."""
PREPARED_SECRETS_MAX = 4096
"""Secrets whose HMAC state is kept between checks."""


class Verifier(Protocol):
    """A signature scheme."""

    def __call__(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: float) -> None:
        """Return when `body` is signed with one of the active `secrets` (1 to 4) and fresh at `now` (Unix seconds).

        `headers` have lower-case names. Raises IntakeError(code=...) otherwise; codes: signature_missing,
        signature_malformed, signature_mismatch, timestamp_stale, timestamp_future, secret_unusable.
        """
        ...


class Signer(Protocol):
    """The other half of a scheme: what a sender puts beside a body."""

    def __call__(self, secret: str, message_id: str, body: bytes, now: int) -> Mapping[str, str]:
        """Return the signature headers of a delivery at `now` (Unix seconds), lower-case. Raises IntakeError."""
        ...


@dataclass(frozen=True)
class StandardWebhooks:
    """`v1` of Standard Webhooks 1.0.0: HMAC-SHA256 over `id.timestamp.body`, base64, several signatures allowed.

    `svix-*` headers are the same scheme under its older names.
    """

    tolerance_seconds: int = STANDARD_WEBHOOKS_TOLERANCE_SECONDS

    def __call__(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: float) -> None:
        """See `Verifier`."""
        prefix = "webhook" if "webhook-signature" in headers else "svix"
        message_id = headers.get(f"{prefix}-id")
        timestamp = headers.get(f"{prefix}-timestamp")
        signatures = headers.get(f"{prefix}-signature")
        if not message_id or not timestamp or not signatures:
            raise IntakeError("a signature header is missing", code="signature_missing")
        signed = b".".join((_as_sent(message_id), _as_sent(timestamp), body))
        expected = [_signature(secret, signed) for secret in usable(secrets)]
        matches = False
        for candidate in signatures.split(" ")[:8]:
            version, _, value = candidate.partition(",")
            for good in expected:
                matches |= version == "v1" and hmac.compare_digest(_as_sent(value), good)
        if not matches:
            raise IntakeError("no signature matches", code="signature_mismatch")
        self._check_time(timestamp, now)

    def _check_time(self, timestamp: str, now: float) -> None:
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
            raise IntakeError("the timestamp is no number", code="signature_malformed")
        age = now - int(timestamp)
        if age > self.tolerance_seconds:
            raise IntakeError("the timestamp is too old", code="timestamp_stale")
        if age < -self.tolerance_seconds:
            raise IntakeError("the timestamp lies in the future", code="timestamp_future")


def standard_webhooks_headers(secret: str, message_id: str, body: bytes, now: int) -> Mapping[str, str]:
    """Return the three headers of Standard Webhooks for a body; a `Signer`."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(now),
        "webhook-signature": sign_standard_webhooks(secret, message_id, now, body),
    }


def usable(secrets: Sequence[str]) -> list[str]:
    """Return the secrets that can verify anything: one that is damaged must not stop the other one of a rotation.

    Raises IntakeError(code='secret_unusable') when there are some and none can.
    """
    good = [secret for secret in secrets if _prepare(secret) is not None]
    if secrets and not good:
        raise IntakeError("the stored secret is unusable", code="secret_unusable")
    return good


def _as_sent(text: str) -> bytes:
    """Return a header's bytes: HTTP headers are read as Latin-1; a caller who has real text means UTF-8."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


def sign_standard_webhooks(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the `webhook-signature` header (`v1,...`) for a body; for senders and tests."""
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    return "v1," + _signature(secret, signed).decode()


def _signature(secret: str, signed: bytes) -> bytes:
    """Return the base64 HMAC-SHA256; `secret` is base64, with or without `whsec_` in front."""
    prepared = _prepare(secret)
    if prepared is None:
        raise IntakeError("the secret is unusable", code="secret_unusable")
    prepared = prepared.copy()
    prepared.update(signed)
    return base64.b64encode(prepared.digest())


@lru_cache(maxsize=PREPARED_SECRETS_MAX)
def _prepare(secret: str) -> hmac.HMAC | None:
    """Return an HMAC that has taken in its key, to be copied: half the work of a check on a small body.

    None for what is no base64 and for a key so short that anybody could guess it.
    """
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return None
    return hmac.new(key, None, hashlib.sha256) if len(key) >= KEY_BYTES_MIN else None
