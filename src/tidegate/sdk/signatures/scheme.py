"""What every scheme shares: the two halves, prepared keys, and the comparison that never stops early."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from tidegate.kernel.errors import IntakeError

KEY_BYTES_MIN = 16
"""Shorter keys are a mistake, and the empty key is everybody's. (Standard Webhooks 1.0.0 asks for 24 to 64 bytes.)"""
PREPARED_SECRETS_MAX = 4096
"""Secrets of one scheme whose key state is kept between checks."""
SIGNATURES_MAX = 8
"""Signatures of one delivery that are looked at; a rotation needs two."""
TIMESTAMP_DIGITS_MAX = 12

Key = TypeVar("Key")


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
        """Return the signature headers of a delivery at `now` (Unix seconds), lower-case.

        Raises IntakeError(code='secret_unusable') for a secret that signs nothing: damaged, too short, or the public
        half of a pair.
        """
        ...


def prepare_hmac(key: bytes) -> hmac.HMAC | None:
    """Return an HMAC-SHA256 that has taken in its key, to be copied: half the work of a check on a small body.

    None for a key so short that anybody could guess it.
    """
    return hmac.new(key, None, hashlib.sha256) if len(key) >= KEY_BYTES_MIN else None


def digest(prepared: hmac.HMAC, *parts: bytes) -> bytes:
    """Return the HMAC of the parts, leaving the prepared one as it is."""
    fresh = prepared.copy()
    for part in parts:
        fresh.update(part)
    return fresh.digest()


def usable(secrets: Sequence[str], prepare: Callable[[str], Key | None]) -> list[Key]:
    """Return the keys that can verify anything: one that is damaged must not stop the other one of a rotation.

    Raises IntakeError(code='secret_unusable') when there are some and none can.
    """
    good = [key for secret in secrets if (key := prepare(secret)) is not None]
    if secrets and not good:
        raise secret_unusable()
    return good


def secret_unusable() -> IntakeError:
    """Return what is said of a secret that neither verifies nor signs."""
    return IntakeError("the secret is unusable", code="secret_unusable")


def check_any(candidates: Sequence[bytes], expected: Sequence[bytes]) -> None:
    """Return when one of `candidates` is one of `expected`, having compared all of them in constant time.

    Raises IntakeError(code='signature_mismatch').
    """
    matches = False
    for candidate in candidates:
        for good in expected:
            matches |= hmac.compare_digest(candidate, good)
    if not matches:
        raise mismatch()


def mismatch() -> IntakeError:
    """Return what is said of a delivery that nobody signed who has one of our secrets."""
    return IntakeError("no signature matches", code="signature_mismatch")


def as_sent(text: str) -> bytes:
    """Return a header's bytes: HTTP headers are read as Latin-1; a caller who has real text means UTF-8."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


def read_timestamp(text: str) -> int:
    """Return Unix seconds. Raises IntakeError(code='signature_malformed') for anything but a few ASCII digits."""
    if not (text.isascii() and text.isdigit() and len(text) <= TIMESTAMP_DIGITS_MAX):
        raise IntakeError("the timestamp is no number", code="signature_malformed")
    return int(text)


def check_age(timestamp: int, now: float, tolerance_seconds: int) -> None:
    """Return when `timestamp` is at most `tolerance_seconds` old. Raises IntakeError(code='timestamp_stale')."""
    if now - timestamp > tolerance_seconds:
        raise IntakeError("the timestamp is too old", code="timestamp_stale")
