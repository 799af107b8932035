"""Shopify: base64 HMAC-SHA256 of the body with the app's client secret. No time is signed: a repeat is caught by its id."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from tidegate.kernel.errors import IntakeError
from tidegate.sdk.signatures.scheme import (
    PREPARED_SECRETS_MAX,
    as_sent,
    check_any,
    digest,
    prepare_hmac,
    secret_unusable,
    usable,
)

if TYPE_CHECKING:
    import hmac

_SIGNATURE = "x-shopify-hmac-sha256"
_REQUIRED = ("x-shopify-topic", "x-shopify-shop-domain", "x-shopify-api-version", "x-shopify-webhook-id")
"""What every delivery of Shopify has beside its signature, and what its own SDK asks for."""


@dataclass(frozen=True)
class ShopifyHmac:
    """The scheme as a `Verifier`. After a rotation of the client secret Shopify may sign with the old one for an hour."""

    def __call__(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: float) -> None:  # noqa: ARG002 - no time is signed
        """See `Verifier`."""
        signature = headers.get(_SIGNATURE)
        if not signature:
            raise IntakeError("the signature header is missing", code="signature_missing")
        keys = usable(secrets, _key)
        check_any([as_sent(signature)], [base64.b64encode(digest(key, body)) for key in keys])
        if not all(headers.get(name) for name in _REQUIRED):
            raise IntakeError("a header of a delivery is missing", code="signature_missing")


def shopify_headers(secret: str, message_id: str, body: bytes, now: int) -> Mapping[str, str]:  # noqa: ARG001 - no time is signed
    """Return the headers of a delivery by Shopify; a `Signer`. Topic, shop and version are those of a test."""
    key = _key(secret)
    if key is None:
        raise secret_unusable()
    return {
        "x-shopify-topic": "tidegate/test",
        "x-shopify-shop-domain": "test.myshopify.com",
        "x-shopify-api-version": "unstable",
        "x-shopify-webhook-id": message_id,
        _SIGNATURE: base64.b64encode(digest(key, body)).decode(),
    }


@lru_cache(maxsize=PREPARED_SECRETS_MAX)
def _key(secret: str) -> hmac.HMAC | None:
    return prepare_hmac(secret.encode())
