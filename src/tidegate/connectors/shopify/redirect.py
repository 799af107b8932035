"""The redirect that ends an authorisation: Shopify signs its parameters with the app's client secret.

Source: Shopify, authorization code grant, verify a request; its own libraries sign the sorted parameters, one as they are and
one encoded as a form. Both are accepted: neither can be made without the secret.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from tidegate.kernel.errors import AuthenticationError
from tidegate.kernel.redaction import Secret

AGE_SECONDS_MAX = 900.0
"""A redirect that is older, or of the future by as much, is not taken."""


def check_redirect(
    pairs: Sequence[tuple[str, str]], settings: Mapping[str, Any], secrets: Mapping[str, Secret], now: float
) -> None:
    """Raise AuthenticationError unless Shopify made this redirect, lately, for this shop."""
    values = dict(pairs)
    given = values.pop("hmac", "")
    key = secrets["client_secret"].reveal().encode()
    made = [hmac.new(key, text.encode(), hashlib.sha256).hexdigest() for text in _texts(values)]
    is_signed = [hmac.compare_digest(one.encode(), given.encode()) for one in made]
    if not key or not any(is_signed):
        raise _refused("it is not signed with the app's client secret")
    if values.get("shop", "").lower() != str(settings.get("store", "")).lower():
        raise _refused("it is of another shop")
    timestamp = values.get("timestamp", "")
    is_number = timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12
    if not is_number or abs(now - int(timestamp)) > AGE_SECONDS_MAX:
        raise _refused("it is not of these minutes; look at the clock of this machine")


def _texts(values: Mapping[str, str]) -> tuple[str, str]:
    """Return what may be signed."""
    ordered = sorted(values.items())
    plain = "&".join(f"{_escape(name)}={_escape(value, is_value=True)}" for name, value in ordered)
    return urlencode(ordered), plain


def _escape(text: str, *, is_value: bool = False) -> str:
    text = text.replace("%", "%25").replace("&", "%26")
    return text if is_value else text.replace("=", "%3D")


def _refused(why: str) -> AuthenticationError:
    return AuthenticationError(
        f"the address that came back is not Shopify's answer: {why}",
        code="redirect_unusable",
        hint="check store, client_id and client_secret, then run it again",
    )
