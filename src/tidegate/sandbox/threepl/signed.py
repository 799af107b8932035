"""Standard Webhooks 1.0.0 with a shared secret (`v1`), written from its text. Pure.

Source: Standard Webhooks specification, "Symmetric signatures": HMAC-SHA256 over `id.timestamp.body`, base64; the key is the
base64 behind `whsec_`; a receiver refuses what is older or newer than five minutes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

TOLERANCE_SECONDS = 300
PREFIX = "whsec_"
_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


def key_of(secret: str) -> bytes:
    """Return the key of a secret. Raises ValueError for one that is none."""
    if not secret.startswith(PREFIX):
        raise ValueError("a secret begins with whsec_")
    try:
        return base64.b64decode(secret[len(PREFIX) :], validate=True)
    except binascii.Error as error:
        raise ValueError("a secret is base64") from error


def sign(secret: str, message_id: str, seconds: int, body: bytes) -> dict[str, str]:
    """Return the headers of a signed message."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": f"v1,{_digest(key_of(secret), message_id, str(seconds), body)}",
    }


def is_signed(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """Return whether one of the signatures is right and the message is of now."""
    message_id, moment, signatures = (headers.get(name, "") for name in _HEADERS)
    if not message_id or not moment.isascii() or not moment.isdigit() or len(moment) > 12:
        return False
    if abs(now - int(moment)) > TOLERANCE_SECONDS:
        return False
    wanted = f"v1,{_digest(key_of(secret), message_id, moment, body)}".encode()
    return any(hmac.compare_digest(wanted, given.encode()) for given in signatures.split())


def _digest(key: bytes, message_id: str, moment: str, body: bytes) -> str:
    signed = f"{message_id}.{moment}.".encode() + body
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
