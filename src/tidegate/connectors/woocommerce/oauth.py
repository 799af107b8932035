"""Being let in: Basic over https, OAuth 1.0a with one leg over plain http, where Basic is refused.

Neither puts the secret into an address. The parameters of OAuth stand in the query, where WooCommerce documents them: many
hosts drop the Authorization header. The signature they hold is good for one request.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets as random
from collections.abc import Callable, Mapping
from datetime import datetime
from urllib.parse import quote

from tidegate.sdk.http import Session

_METHOD = "HMAC-SHA256"


def basic_session(key: str, secret: str) -> Session:
    """Return the session of a shop on https."""
    pair = base64.b64encode(f"{key}:{secret}".encode()).decode()
    return Session(headers={"Authorization": f"Basic {pair}"})


def oauth_session(key: str, secret: str, *, make_nonce: Callable[[], str] = lambda: random.token_hex(16)) -> Session:
    """Return the session of a shop on plain http: every request is signed by itself, under a new nonce."""

    def sign(method: str, url: str, params: Mapping[str, str], now: datetime) -> Mapping[str, str]:
        signed = {
            "oauth_consumer_key": key,
            "oauth_nonce": make_nonce(),
            "oauth_signature_method": _METHOD,
            "oauth_timestamp": str(int(now.timestamp())),
        }
        return {**signed, "oauth_signature": signature(method, url, {**params, **signed}, secret)}

    return Session(headers={}, sign_query=sign)


def signature(method: str, url: str, params: Mapping[str, str], secret: str) -> str:
    """Return the signature of a request (RFC 5849 3.4, without a token). `url` has no query."""
    pairs = sorted((_escape(name), _escape(value)) for name, value in params.items())
    query = "&".join(f"{name}={value}" for name, value in pairs)
    base = "&".join((method.upper(), _escape(url), _escape(query)))
    digest = hmac.new(f"{secret}&".encode(), base.encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def _escape(text: str) -> str:
    return quote(text, safe="")
