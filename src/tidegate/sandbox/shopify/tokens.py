"""Access tokens: one that never expires, and pairs of an hour with a refresh token that is replaced at each use.

Source: Shopify, offline access tokens; changelog, more resilient refreshes for expiring offline access tokens: the refresh
token before the last one stays usable until the last one is used.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from tidegate.sandbox.shopify.shop import Options
from tidegate.sandbox.world import Place

ACCESS_SECONDS = 3600.0
REFRESH_SECONDS = 90 * 86_400.0
TOKENS_KEPT = 10_000
CODES_KEPT = 100
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - a name


class Tokens:
    """The tokens of one app in one shop."""

    def __init__(self, place: Place, options: Options) -> None:
        self._place, self._options = place, options
        self._ends: dict[str, float | None] = {}
        self._previous_refresh: str | None = None
        self._refresh = options.refresh_token
        self._codes: dict[str, str] = {}
        self._made = 0
        self._keep(options.access_token, self._seconds(ACCESS_SECONDS) if options.refresh_token else None)

    def is_good(self, token: str) -> bool:
        """Tell whether a token is one of ours and has not run out."""
        if token not in self._ends:
            return False
        end = self._ends[token]
        return end is None or self._place.clock.monotonic() < end

    def expire(self) -> None:
        """Let everything run out that can."""
        for token, end in self._ends.items():
            if end is not None:
                self._ends[token] = self._place.clock.monotonic()

    def revoke(self) -> None:
        """End what the app was given, refresh tokens too: it must be allowed anew."""
        self.expire()
        self._refresh = self._previous_refresh = None

    def allow(self, asked: Mapping[str, str], *, shop: str) -> str | None:
        """Return where a merchant's browser goes who allows the app, None for a request that is refused."""
        redirect_uri, state = asked.get("redirect_uri", ""), asked.get("state", "")
        if asked.get("client_id") != self._options.client_id or not redirect_uri.startswith(("http://", "https://")):
            return None
        code = self._name("code")
        self._codes = {**dict(list(self._codes.items())[-CODES_KEPT:]), code: redirect_uri}
        told = {"code": code, "shop": shop, "state": state, "timestamp": str(int(self._place.now()))}
        text = urlencode(sorted(told.items()))
        told["hmac"] = hmac.new(self._options.client_secret.encode(), text.encode(), hashlib.sha256).hexdigest()
        return f"{redirect_uri}?{urlencode(told)}"

    def exchange(self, asked: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Answer a request for a token: status and body."""
        options = self._options
        if asked.get("client_id") != options.client_id or asked.get("client_secret") != options.client_secret:
            return 400, {"error": "invalid_client", "error_description": "Client id or secret is wrong"}
        match asked.get("grant_type", "authorization_code"):
            case "client_credentials":
                return 200, self._pair(seconds=86_399.0, with_refresh=False)
            case "refresh_token":
                return self._refreshed(asked.get("refresh_token"))
            case "authorization_code" if self._codes.pop(str(asked.get("code", "")), None) is not None:
                return 200, self._granted(asked)
            case "authorization_code" if asked.get("code"):
                return 400, {
                    "error": "invalid_request",
                    "error_description": "The authorization code was not found or was already used",
                }
            case kind if kind == TOKEN_EXCHANGE and asked.get("subject_token"):
                return 200, self._granted(asked)
            case _:
                return 400, {"error": "invalid_request", "error_description": "grant_type is unknown or incomplete"}

    def _granted(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        if str(asked.get("expiring", "")) == "1":
            return self._pair(seconds=ACCESS_SECONDS, with_refresh=True)
        return {"access_token": self._new("shpat", None), "scope": self._scope()}

    def _refreshed(self, given: Any) -> tuple[int, dict[str, Any]]:
        if given is None or given not in (self._refresh, self._previous_refresh):
            return 400, {"error": "invalid_grant", "error_description": "The refresh token is not valid any more"}
        self._previous_refresh = given
        self._place.books.count("token_refresh", "app", now=self._place.now())
        return 200, self._pair(seconds=ACCESS_SECONDS, with_refresh=True)

    def _pair(self, *, seconds: float, with_refresh: bool) -> dict[str, Any]:
        life = self._seconds(seconds)
        body = {"access_token": self._new("shpat", life), "scope": self._scope(), "expires_in": int(life)}
        if with_refresh:
            self._refresh = self._name("shprt")
            body["refresh_token"] = self._refresh
            body["refresh_token_expires_in"] = int(self._seconds(REFRESH_SECONDS))
        return body

    def _seconds(self, seconds: float) -> float:
        """Return a life in our seconds, at least one."""
        return max(1.0, seconds / self._place.world.spec.time_scale)

    def _new(self, prefix: str, life: float | None) -> str:
        token = self._name(prefix)
        self._keep(token, life)
        return token

    def _keep(self, token: str, life: float | None) -> None:
        if len(self._ends) >= TOKENS_KEPT:
            self._ends.pop(next(name for name, end in self._ends.items() if end is not None or name != token))
        self._ends[token] = None if life is None else self._place.clock.monotonic() + life

    def _name(self, prefix: str) -> str:
        self._made += 1
        seed = f"{self._place.world.spec.seed}/{self._place.name}/token/{self._made}"
        return f"{prefix}_{hashlib.blake2b(seed.encode(), digest_size=16).hexdigest()}"

    def _scope(self) -> str:
        return ",".join(self._options.scopes)
