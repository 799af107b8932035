"""Standard Webhooks 1.0.0, symmetric and asymmetric, and who uses it under other names: Svix, ShipBob, BigCommerce.

Signed is `id.timestamp.body`. `v1` is HMAC-SHA256 with a secret that both sides have (`whsec_`), `v1a` is Ed25519: the
sender keeps `whsk_`, the receiver needs only `whpk_`, which lets nobody sign.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets as randomness
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tidegate.kernel.errors import IntakeError
from tidegate.sdk.signatures.scheme import (
    PREPARED_SECRETS_MAX,
    SIGNATURES_MAX,
    as_sent,
    check_age,
    digest,
    mismatch,
    prepare_hmac,
    read_timestamp,
    secret_unusable,
    usable,
)

STANDARD_WEBHOOKS_TOLERANCE_SECONDS = 300
"""Source: Standard Webhooks 1.0.0 and its reference libraries: older and newer than this is refused."""
SYMMETRIC_PREFIX = "whsec_"
PUBLIC_PREFIX = "whpk_"
PRIVATE_PREFIX = "whsk_"
SYMMETRIC_KEY_BYTES = 32
_ED25519_KEY_BYTES = 32
_ED25519_SIGNATURE_CHARACTERS = 88
"""64 bytes in base64; anything longer is not decoded."""

_Key = hmac.HMAC | Ed25519PublicKey


@dataclass(frozen=True)
class StandardWebhooks:
    """The scheme as a `Verifier`. Each secret says by its prefix what it is; both kinds may be active at once.

    Several signatures in one header are allowed (a sender that rotates sends two), several secrets as well (a receiver
    that rotates keeps two). `svix-*` headers are the same scheme under its older names.
    """

    tolerance_seconds: int = STANDARD_WEBHOOKS_TOLERANCE_SECONDS
    secret_is: Literal["base64", "text"] = "base64"  # noqa: S105 - a format
    """'base64': the key in base64, with or without its prefix. 'text': the secret's own bytes are the HMAC key, as
    BigCommerce takes an app's client secret."""

    def __call__(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: float) -> None:
        """See `Verifier`."""
        prefix = "webhook" if "webhook-signature" in headers else "svix"
        message_id = headers.get(f"{prefix}-id")
        timestamp = headers.get(f"{prefix}-timestamp")
        signatures = headers.get(f"{prefix}-signature")
        if not message_id or not timestamp or not signatures:
            raise IntakeError("a signature header is missing", code="signature_missing")
        signed = b".".join((as_sent(message_id), as_sent(timestamp), body))
        prepare: Callable[[str], _Key | None] = _text_key if self.secret_is == "text" else _key  # noqa: S105 - a format
        keys: list[_Key] = usable(secrets, prepare)
        matches = False
        candidates = [part.partition(",") for part in signatures.split(" ", SIGNATURES_MAX)[:SIGNATURES_MAX]]
        for key in keys:
            if isinstance(key, hmac.HMAC):
                good = base64.b64encode(digest(key, signed))
                for version, _, value in candidates:
                    matches |= version == "v1" and hmac.compare_digest(as_sent(value), good)
            else:
                for version, _, value in candidates:
                    matches |= version == "v1a" and _is_signed(key, value, signed)
        if not matches:
            raise mismatch()
        at = read_timestamp(timestamp)
        check_age(at, now, self.tolerance_seconds)
        if at - now > self.tolerance_seconds:
            raise IntakeError("the timestamp lies in the future", code="timestamp_future")


def standard_webhooks_headers(secret: str, message_id: str, body: bytes, now: int) -> Mapping[str, str]:
    """Return the three headers of Standard Webhooks for a body; a `Signer`."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(now),
        "webhook-signature": sign_standard_webhooks(secret, message_id, now, body),
    }


def sign_standard_webhooks(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the `webhook-signature` of a body: `v1,...` for a shared secret, `v1a,...` for a private key (`whsk_`).

    A sender that rotates joins the signatures of both secrets with a space. Raises IntakeError(code='secret_unusable').
    """
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    private = _private_key(secret)
    if private is not None:
        return "v1a," + base64.b64encode(private.sign(signed)).decode()
    key = _key(secret)
    if not isinstance(key, hmac.HMAC):
        raise secret_unusable()
    return "v1," + base64.b64encode(digest(key, signed)).decode()


def new_signing_key(kind: Literal["symmetric", "ed25519"]) -> str:
    """Return a fresh secret: `whsec_` and 32 random bytes, or a private key `whsk_` (its seed and public half)."""
    if kind == "symmetric":
        return SYMMETRIC_PREFIX + base64.b64encode(randomness.token_bytes(SYMMETRIC_KEY_BYTES)).decode()
    private = Ed25519PrivateKey.generate()
    raw = private.private_bytes_raw() + private.public_key().public_bytes_raw()
    return PRIVATE_PREFIX + base64.b64encode(raw).decode()


def public_key_of(secret: str) -> str | None:
    """Return the `whpk_` that belongs to a `whsk_`: to be shown and pasted at the receiver. None for a shared secret."""
    private = _private_key(secret)
    if private is None:
        return None
    return PUBLIC_PREFIX + base64.b64encode(private.public_key().public_bytes_raw()).decode()


def _is_signed(key: Ed25519PublicKey, value: str, signed: bytes) -> bool:
    signature = _decode(value) if len(value) <= _ED25519_SIGNATURE_CHARACTERS else None
    if signature is None:
        return False
    try:
        key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True


@lru_cache(maxsize=PREPARED_SECRETS_MAX)
def _key(secret: str) -> hmac.HMAC | Ed25519PublicKey | None:
    """Return what verifies; None for what is no key, and for one that anybody could guess."""
    if secret.startswith(PUBLIC_PREFIX):
        raw = _decode(secret.removeprefix(PUBLIC_PREFIX))
        return None if raw is None or len(raw) != _ED25519_KEY_BYTES else Ed25519PublicKey.from_public_bytes(raw)
    if secret.startswith(PRIVATE_PREFIX):
        private = _private_key(secret)
        return None if private is None else private.public_key()
    raw = _decode(secret.removeprefix(SYMMETRIC_PREFIX))
    return None if raw is None else prepare_hmac(raw)


@lru_cache(maxsize=PREPARED_SECRETS_MAX)
def _text_key(secret: str) -> hmac.HMAC | None:
    return prepare_hmac(secret.encode())


@lru_cache(maxsize=PREPARED_SECRETS_MAX)
def _private_key(secret: str) -> Ed25519PrivateKey | None:
    """Return the key of a `whsk_`: the 32 bytes of the seed, alone or followed by the public half that belongs to it."""
    if not secret.startswith(PRIVATE_PREFIX):
        return None
    raw = _decode(secret.removeprefix(PRIVATE_PREFIX))
    if raw is None or len(raw) not in {_ED25519_KEY_BYTES, 2 * _ED25519_KEY_BYTES}:
        return None
    private = Ed25519PrivateKey.from_private_bytes(raw[:_ED25519_KEY_BYTES])
    public = raw[_ED25519_KEY_BYTES:]
    return None if public and public != private.public_key().public_bytes_raw() else private


def _decode(text: str) -> bytes | None:
    """Return the bytes of base64, with or without its padding; None for anything else."""
    try:
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
