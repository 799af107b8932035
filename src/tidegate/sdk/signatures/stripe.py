"""Stripe: hex HMAC-SHA256 of `timestamp.body`, in one header with its time: `t=...,v1=...`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from tidegate.kernel.errors import IntakeError
from tidegate.sdk.signatures.scheme import (
    PREPARED_SECRETS_MAX,
    SIGNATURES_MAX,
    as_sent,
    check_age,
    check_any,
    digest,
    prepare_hmac,
    read_timestamp,
    secret_unusable,
    usable,
)

if TYPE_CHECKING:
    import hmac

STRIPE_TOLERANCE_SECONDS = 300
"""Source: Stripe's SDKs. They refuse what is older and accept what lies in the future."""
_SIGNATURE = "stripe-signature"
_PARTS_MAX = 2 * SIGNATURES_MAX
"""Parts of the header that are looked at: the time, `v1` of each active secret, `v0` of test mode."""


@dataclass(frozen=True)
class StripeSignature:
    """The scheme as a `Verifier`. The whole secret (`whsec_...`) is the key, as text; a roll gives two `v1`."""

    tolerance_seconds: int = STRIPE_TOLERANCE_SECONDS

    def __call__(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: float) -> None:
        """See `Verifier`. A time in the future is accepted, as Stripe's own libraries do."""
        header = headers.get(_SIGNATURE)
        if not header:
            raise IntakeError("the signature header is missing", code="signature_missing")
        parts = [part.partition("=") for part in header.split(",", _PARTS_MAX)[:_PARTS_MAX]]
        times = [value for name, _, value in parts if name == "t"]
        candidates = [as_sent(value) for name, _, value in parts if name == "v1"][:SIGNATURES_MAX]
        if not times:
            raise IntakeError("the signature has no time", code="signature_malformed")
        at = read_timestamp(times[0])
        keys = usable(secrets, _key)
        check_any(candidates, [digest(key, times[0].encode(), b".", body).hex().encode() for key in keys])
        check_age(at, now, self.tolerance_seconds)


def stripe_headers(secret: str, message_id: str, body: bytes, now: int) -> Mapping[str, str]:  # noqa: ARG001 - the id is in the body
    """Return the header of a delivery by Stripe; a `Signer`."""
    key = _key(secret)
    if key is None:
        raise secret_unusable()
    return {_SIGNATURE: f"t={now},v1={digest(key, str(now).encode(), b'.', body).hex()}"}


@lru_cache(maxsize=PREPARED_SECRETS_MAX)
def _key(secret: str) -> hmac.HMAC | None:
    return prepare_hmac(secret.encode())
