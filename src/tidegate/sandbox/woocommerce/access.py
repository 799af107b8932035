"""Who may come in: over plain http one-legged OAuth 1.0a, each nonce once. Basic and bare keys are for https and are refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Mapping
from urllib.parse import quote

from tidegate.sandbox.woocommerce.answers import Refusal

TIMESTAMP_SECONDS = 15 * 60
NONCES_KEPT = 200_000
_NEEDED = ("oauth_consumer_key", "oauth_timestamp", "oauth_nonce", "oauth_signature", "oauth_signature_method")


class Gate:
    """The keys of one shop."""

    def __init__(self, key: str, secret: str, *, may_write: bool = True) -> None:
        self._key, self._secret, self._may_write = key, secret, may_write
        self._spent: OrderedDict[str, float] = OrderedDict()
        self.is_revoked = False

    def admit(self, method: str, url: str, query: Mapping[str, str], now: float) -> None:
        """Return for a request that may come in; `url` has no query. Raises Refusal."""
        given = [name for name in _NEEDED if query.get(name)]
        if not given:
            raise Refusal(401, "woocommerce_rest_cannot_view", "Sorry, you cannot list resources.")
        if len(given) < len(_NEEDED):
            missing = ", ".join(name for name in _NEEDED if name not in given)
            raise Refusal(
                401, "woocommerce_rest_authentication_missing_parameter", f"Missing OAuth parameters {missing}"
            )
        if query["oauth_consumer_key"] != self._key or self.is_revoked:
            raise _wrong("Consumer key is invalid.")
        if query["oauth_signature_method"] not in ("HMAC-SHA1", "HMAC-SHA256"):
            raise _wrong("Invalid signature - signature method is invalid.")
        signed = {name: value for name, value in query.items() if name != "oauth_signature"}
        if not hmac.compare_digest(query["oauth_signature"], self._sign(method, url, signed)):
            raise _wrong("Invalid signature - provided signature does not match.")
        self._spend(query["oauth_nonce"], query["oauth_timestamp"], now)
        if method != "GET" and not self._may_write:
            raise _wrong("The API key provided does not have write permissions.")

    def _sign(self, method: str, url: str, query: Mapping[str, str]) -> str:
        joined = "&".join(f"{_code(name)}={_code(query[name])}" for name in sorted(query))
        text = f"{method}&{_code(url)}&{_code(joined)}"
        kind = hashlib.sha1 if query["oauth_signature_method"] == "HMAC-SHA1" else hashlib.sha256
        return base64.b64encode(hmac.new(f"{self._secret}&".encode(), text.encode(), kind).digest()).decode()

    def _spend(self, nonce: str, timestamp: str, now: float) -> None:
        if not timestamp.isdigit() or abs(int(timestamp) - now) > TIMESTAMP_SECONDS:
            raise _wrong("Invalid timestamp.")
        if nonce in self._spent:
            raise _wrong("Invalid nonce - nonce has already been used.")
        self._spent[nonce] = now
        while len(self._spent) > NONCES_KEPT:
            self._spent.popitem(last=False)


def _wrong(message: str) -> Refusal:
    return Refusal(401, "woocommerce_rest_authentication_error", message)


def _code(text: str) -> str:
    return quote(text, safe="~")
