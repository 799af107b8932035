"""WooCommerce: base64 HMAC-SHA256 of the body. No time is signed, and the delivery id repeats: see the connector."""

from __future__ import annotations

import base64
import re
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

_SIGNATURE = "x-wc-webhook-signature"
_ENTITY = re.compile(r"&(?:(lt|gt|amp|quot)|#0*(60|62|38|34|39)|#[xX]0*(26|22|27));")
_CHARACTERS = {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}


@dataclass(frozen=True)
class WooCommerceHmac:
    """The scheme as a `Verifier`. The shop decodes the HTML entities of the stored secret before it signs; so do we."""

    def __call__(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: float) -> None:  # noqa: ARG002 - no time is signed
        """See `Verifier`."""
        signature = headers.get(_SIGNATURE)
        if not signature:
            raise IntakeError("the signature header is missing", code="signature_missing")
        keys = usable(secrets, _key)
        check_any([as_sent(signature)], [base64.b64encode(digest(key, body)) for key in keys])


def woocommerce_headers(secret: str, message_id: str, body: bytes, now: int) -> Mapping[str, str]:  # noqa: ARG001 - no time is signed
    """Return the headers of a delivery by WooCommerce; a `Signer`. Topic and webhook are those of a test."""
    key = _key(secret)
    if key is None:
        raise secret_unusable()
    return {
        "x-wc-webhook-topic": "tidegate.test",
        "x-wc-webhook-resource": "tidegate",
        "x-wc-webhook-event": "test",
        "x-wc-webhook-id": "0",
        "x-wc-webhook-delivery-id": message_id,
        _SIGNATURE: base64.b64encode(digest(key, body)).decode(),
    }


def decode_entities(secret: str) -> str:
    """Return the secret as `wp_specialchars_decode(secret, ENT_QUOTES)` of WordPress makes it, in one pass.

    That function knows the five characters of markup only, in these spellings only: `&lt;` `&gt;` `&amp;` `&quot;`,
    their decimal forms, and the hexadecimal ones of ampersand and both quotes.
    """
    return _ENTITY.sub(_character, secret)


def _character(found: re.Match[str]) -> str:
    name, decimal, hexadecimal = found.groups()
    if name:
        return _CHARACTERS[name]
    return chr(int(decimal)) if decimal else chr(int(hexadecimal, 16))


@lru_cache(maxsize=PREPARED_SECRETS_MAX)
def _key(secret: str) -> hmac.HMAC | None:
    return prepare_hmac(decode_entities(secret).encode())
