"""Tokens that expire: what a connector declares, the requests for tokens, and their answers. Pure.

The engine keeps the tokens, renews them in time, one renewal at a time over all processes, and gives a connector's
`open_session` the newest one as the secret `access_token`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets as random_secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from tidegate.kernel.errors import (
    AuthenticationError,
    ConfigurationError,
    OutcomeUnknownError,
    TidegateError,
    TransientError,
)
from tidegate.kernel.redaction import Secret
from tidegate.sdk.http import Response

ACCESS_TOKEN = "access_token"  # noqa: S105 - the name of a field
REFRESH_TOKEN = "refresh_token"  # noqa: S105 - the name of a field
LIFE_MAX_SECONDS = 10 * 365 * 86_400
TOKEN_CHARACTERS_MAX = 8192
REDIRECT_CHARACTERS_MAX = 8192
CODE_CHARACTERS_MAX = 4096
STATE_BYTES = 32

CheckRedirect = Callable[[Sequence[tuple[str, str]], Mapping[str, Any], Mapping[str, Secret], float], None]
"""(decoded parameters in their order, settings, secrets, now in Unix seconds). Raises AuthenticationError for a redirect
that the platform did not make."""


@dataclass(frozen=True, kw_only=True)
class OAuth:
    """How a platform gives and renews tokens (RFC 6749)."""

    token_path: str
    """Below the connection's address; a whole URL where the platform has one for everybody."""
    client_id: str = "client_id"
    """The field or setting that holds the id of the app."""
    client_secret: str = "client_secret"  # noqa: S105 - the name of a field
    extra: Mapping[str, str] = field(default_factory=dict)
    """Further parameters of every request for a token."""
    previous_survives: bool = False
    """The refresh token that was replaced stays usable until the new one is first used."""
    early: timedelta = timedelta(minutes=5)
    """A token is renewed so long before it expires, at most after half of its life."""
    authorize_path: str = ""
    """Where a person allows the app, as `token_path`; '': nobody can be asked with a browser."""
    scopes: tuple[str, ...] = ()
    """Rights that are asked for, where the connection's entry has no `scopes` of its own."""
    scope_separator: str = " "
    pkce: bool = True
    """Send a challenge along (RFC 7636, S256). A platform that knows none ignores it."""
    code_extra: Mapping[str, str] = field(default_factory=dict)
    """Further parameters of the request that turns a code into tokens."""
    check_redirect: CheckRedirect | None = None
    """How the platform's redirect is verified, where it signs it."""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """One request to a person to allow the app. Known to the process that asks, and to nobody else."""

    state: str
    verifier: str
    redirect_uri: str

    def __repr__(self) -> str:
        return "Grant()"


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """A pair of tokens. Stored sealed, never shown."""

    access: str
    refresh: str = ""
    previous: str = ""
    """The refresh token that `refresh` replaced, where it may still be used."""
    issued_at: datetime
    expires_at: datetime | None = None
    """Of the access token; None: it does not expire by itself."""
    refresh_expires_at: datetime | None = None

    def __repr__(self) -> str:
        return "Tokens()"

    def use_until(self, early: timedelta) -> datetime | None:
        """Return when the access token is to be renewed, None: never."""
        if self.expires_at is None:
            return None
        return self.expires_at - min(early, (self.expires_at - self.issued_at) / 2)


class TokenSource(Protocol):
    """Where an api finds the newest access token of its connection."""

    async def access(self, refused: Secret | None = None) -> tuple[Secret, datetime | None]:
        """Return a token other than `refused` and when to ask again (aware; None: not before it is refused).

        Raises AuthenticationError when a person has to give a new one, TransientError when nobody can say now.
        """
        ...


class _Answer(msgspec.Struct):
    access_token: str
    refresh_token: str = ""
    expires_in: int | float | str | None = None
    refresh_token_expires_in: int | float | str | None = None


class _Refusal(msgspec.Struct):
    error: str = ""


def refresh_form(
    oauth: OAuth, refresh_token: str, settings: Mapping[str, Any], secrets: Mapping[str, Secret]
) -> dict[str, str]:
    """Return the body of a request that renews tokens."""
    return {"grant_type": "refresh_token", "refresh_token": refresh_token, **_client(oauth, settings, secrets)}


def client_form(oauth: OAuth, settings: Mapping[str, Any], secrets: Mapping[str, Secret]) -> dict[str, str]:
    """Return the body of a request for tokens in the app's own name."""
    return {"grant_type": "client_credentials", **_client(oauth, settings, secrets)}


def code_form(
    oauth: OAuth, code: str, grant: Grant, settings: Mapping[str, Any], secrets: Mapping[str, Secret]
) -> dict[str, str]:
    """Return the body of a request that turns a code into tokens."""
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": grant.redirect_uri}
    verifier = {"code_verifier": grant.verifier} if oauth.pkce else {}
    return {**form, **verifier, **oauth.code_extra, **_client(oauth, settings, secrets)}


# --- asking a person -----------------------------------------------------------------------------------------------
def new_grant(redirect_uri: str) -> Grant:
    """Return a fresh grant, to be used once."""
    return Grant(
        state=random_secrets.token_urlsafe(STATE_BYTES),
        verifier=random_secrets.token_urlsafe(48),
        redirect_uri=redirect_uri,
    )


def authorize_url(
    oauth: OAuth, base_url: str, grant: Grant, settings: Mapping[str, Any], secrets: Mapping[str, Secret]
) -> str:
    """Return the address that a person opens to allow the app. Raises ConfigurationError without an id of the app."""
    client_id = _client(oauth, settings, secrets).get("client_id", "")
    if not client_id:
        raise ConfigurationError(
            f"the app's id is not known ({oauth.client_id})",
            code="answer_missing",
            hint=f"give it with --set {oauth.client_id}=...",
        )
    asked = {"client_id": client_id, "response_type": "code", "redirect_uri": grant.redirect_uri, "state": grant.state}
    scopes = _scopes(oauth, settings)
    if scopes:
        asked["scope"] = oauth.scope_separator.join(scopes)
    if oauth.pkce:
        digest = hashlib.sha256(grant.verifier.encode()).digest()
        asked["code_challenge"] = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        asked["code_challenge_method"] = "S256"
    path = oauth.authorize_path
    address = path if path.startswith(("http://", "https://")) else base_url.rstrip("/") + path
    return f"{address}?{urlencode(asked)}"


def _scopes(oauth: OAuth, settings: Mapping[str, Any]) -> Sequence[str]:
    return str(settings.get("scopes") or "").replace(",", " ").split() or oauth.scopes


def read_redirect(
    oauth: OAuth,
    redirected: str,
    grant: Grant,
    settings: Mapping[str, Any],
    secrets: Mapping[str, Secret],
    now: float,
) -> Secret:
    """Return the code of the address that the platform sent the browser to; `redirected` is that address, or its query.

    Raises AuthenticationError when it is not the answer to this grant, is not the platform's, or says no. The text itself
    is never repeated.
    """
    text = redirected.strip()
    query = urlsplit(text).query if "?" in text else text
    if not query or len(text) > REDIRECT_CHARACTERS_MAX:
        raise _bad_redirect("it has no parameters, or too many")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, max_num_fields=32, errors="strict")
    except ValueError:
        raise _bad_redirect("its parameters cannot be read") from None
    values = dict(pairs)
    if len(values) != len(pairs):
        raise _bad_redirect("a parameter is in it twice")
    if not hmac.compare_digest(values.get("state", "").encode(), grant.state.encode()):
        raise _bad_redirect("it belongs to another request (state)")
    if oauth.check_redirect is not None:
        oauth.check_redirect(pairs, settings, secrets, now)
    if "error" in values:
        word = values["error"] if values["error"].replace("_", "").isalnum() else "error"
        raise AuthenticationError(
            f"the platform says no: {word[:60]}",
            code="authorisation_denied",
            hint="allow the app in the browser, or ask who may; then run it again",
        )
    code = values.get("code", "")
    if not 0 < len(code) <= CODE_CHARACTERS_MAX:
        raise _bad_redirect("it has no code")
    return Secret(code)


def _bad_redirect(why: str) -> AuthenticationError:
    return AuthenticationError(
        f"the address that came back cannot be used: {why}",
        code="redirect_unusable",
        hint="run it again, open the new address, and let the same browser come back",
    )


def _client(oauth: OAuth, settings: Mapping[str, Any], secrets: Mapping[str, Secret]) -> dict[str, str]:
    client_secret = secrets.get(oauth.client_secret)
    found = {
        "client_id": str(settings.get(oauth.client_id) or ""),
        "client_secret": client_secret.reveal() if client_secret is not None else "",
    }
    if oauth.client_id in secrets:
        found["client_id"] = secrets[oauth.client_id].reveal()
    return {**{name: value for name, value in found.items() if value}, **oauth.extra}


def read_tokens(response: Response, now: datetime, *, used: str = "") -> Tokens:
    """Return the tokens of an answer; `used` is the refresh token that was spent for them.

    An answer without a refresh token means that the spent one stays good. Raises AuthenticationError for a refused grant,
    ConfigurationError for a refused app, TransientError and OutcomeUnknownError for what says nothing. No text of the
    answer is repeated: it may hold tokens.
    """
    if response.status // 100 != 2:
        raise _refusal(response)
    try:
        answer = msgspec.json.decode(response.body, type=_Answer)
        life, refresh_life = _seconds(answer.expires_in), _seconds(answer.refresh_token_expires_in)
    except (ValueError, RecursionError):
        raise OutcomeUnknownError(
            "the answer to a request for tokens cannot be read", code="token_unreadable"
        ) from None
    if not 0 < len(answer.access_token) <= TOKEN_CHARACTERS_MAX or len(answer.refresh_token) > TOKEN_CHARACTERS_MAX:
        raise OutcomeUnknownError("the answer to a request for tokens holds no token", code="token_unreadable")
    is_new = bool(answer.refresh_token) and answer.refresh_token != used
    return Tokens(
        access=answer.access_token,
        refresh=answer.refresh_token or used,
        previous=used if is_new else "",
        issued_at=now,
        expires_at=None if life is None else now + timedelta(seconds=life),
        refresh_expires_at=None if refresh_life is None else now + timedelta(seconds=refresh_life),
    )


def _seconds(value: float | str | None) -> float | None:
    if value is None or value == "":
        return None
    seconds = float(value)
    if not 0 <= seconds <= LIFE_MAX_SECONDS:
        raise ValueError("no length of time")
    return seconds


def _refusal(response: Response) -> TidegateError:
    try:
        error = msgspec.json.decode(response.body, type=_Refusal).error
    except (ValueError, RecursionError):
        error = ""
    context = {"status": response.status}
    if error in ("invalid_client", "unauthorized_client"):
        return ConfigurationError(
            "the platform does not accept the app's id and secret",
            code="client_refused",
            hint="correct them with tidegate connect",
            context=context,
        )
    if error == "invalid_grant" or response.status in (400, 401, 403):
        return token_refused(context)
    return TransientError("the platform gave no token", code="token_unavailable", context=context)


def token_refused(context: Mapping[str, Any] | None = None) -> AuthenticationError:
    """Return the error of a refresh token that is expired, revoked, or was used by somebody else."""
    return AuthenticationError(
        "the platform refuses the refresh token: it is expired, revoked, or was used elsewhere",
        code="token_refused",
        hint="authorise the app anew with tidegate authorise, or give a new refresh token with tidegate connect",
        context=context,
    )
