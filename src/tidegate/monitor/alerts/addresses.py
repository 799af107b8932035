"""Addresses of those who are told: from what a person gives to one URL, which is the secret that is stored. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import msgspec

from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.redaction import Secret
from tidegate.sdk.egress import check_base_url

TargetKind = Literal["mail", "chat", "webhook", "heartbeat"]
"""mail: SMTP. chat: a service that apprise knows. webhook: our JSON by POST. heartbeat: GET every minute while all is watched."""
HEARTBEAT_KIND = "heartbeat"
CHAT_SCHEMES = frozenset(
    [
        "slack",
        "msteams",
        "teams",
        "workflows",
        "discord",
        "tgram",
        "gchat",
        "mmost",
        "mmosts",
        "rocket",
        "rockets",
        "matrix",
        "matrixs",
        "zulip",
        "webexteams",
        "wxteams",
        "pagerduty",
        "opsgenie",
        "pagertree",
        "splunk",
        "victorops",
        "signl4",
        "ntfy",
        "ntfys",
        "gotify",
        "gotifys",
        "pover",
        "pushover",
        "twilio",
        "json",
        "jsons",
    ]
)
"""Services of apprise that speak HTTP to somebody. What would run programs or write files here is not among them."""
MAIL_SCHEMES = frozenset({"mailto", "mailtos"})
FORBIDDEN_OPTIONS = frozenset(
    {"verify", "attach", "attachment", "pgp", "pgpkey", "template", "redirect", "redirects", "inline"}
)
"""Options of apprise that switch off the check of certificates, read files, or follow somebody else's redirects."""
SECURITY_MODES = {"starttls": "starttls", "tls": "ssl", "none": "insecure"}
_SECURITY_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_MAIL_FIELDS = frozenset({"host", "port", "security", "user", "password", "from", "to"})
HIDDEN = "***"
PIECE_CHARS_MIN = 4
"""Shorter parts of an address are no secrets, and parts of other words."""
_SLACK_HOSTS = ("hooks.slack.com",)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who is told of alerts."""

    name: str
    kind: TargetKind
    url: Secret


def build_target(name: str, given: Mapping[str, Any]) -> Target:
    """Return the target that a person describes.

    `{"kind": "mail", "host": ..., "from": ..., "to": ...}` (with port, security, user, password), `{"kind": "slack", "url":
    ...}`, `{"kind": "webhook", "url": ...}`, `{"kind": "heartbeat", "url": ...}`, or `{"url": ...}` with an address of
    apprise. Raises ConfigurationError (target_invalid); what was given is never repeated, it may be a secret.
    """
    kind = str(given.get("kind") or "")
    if kind == "mail" and "url" not in given:
        return Target(name=name, kind="mail", url=Secret(_mail_url(given)))
    url = given.get("url")
    if not isinstance(url, str) or not url.strip():
        raise _invalid("it has no url")
    unknown = sorted(set(given) - {"kind", "url"})
    if unknown:
        raise _invalid(f"beside kind and url it has {', '.join(unknown)}")
    url = url.strip()
    scheme = _scheme(url)
    if kind in {"webhook", HEARTBEAT_KIND}:
        return Target(name=name, kind="webhook" if kind == "webhook" else "heartbeat", url=Secret(_web_url(url)))
    if scheme in {"http", "https"}:
        is_slack = (urlsplit(url).hostname or "") in _SLACK_HOSTS
        return Target(name=name, kind="chat" if is_slack else "webhook", url=Secret(url if is_slack else _web_url(url)))
    if scheme not in CHAT_SCHEMES | MAIL_SCHEMES:
        raise _invalid(f"addresses that begin with {scheme}:// are not used here")
    _check_options(url)
    return Target(name=name, kind="mail" if scheme in MAIL_SCHEMES else "chat", url=Secret(url))


def hide(words: str, url: str) -> str:
    """Return words of a library without any part of the address that could be a secret. Pure.

    Many services have their key where other addresses have a host or a port (`signl4://KEY`, `tgram://ID:KEY/CHAT`): of the
    first part only what is certainly the name of a host stays readable.
    """
    parts = urlsplit(url)
    login, _, place = parts.netloc.rpartition("@")
    pieces = {*login.split(":"), *parts.path.split("/"), parts.fragment, *_values(parts.query)}
    if not (parts.scheme in MAIL_SCHEMES or place.startswith("[") or "." in place.partition(":")[0]):
        pieces |= {place, *place.split(":")}
    pieces |= {unquote(piece) for piece in pieces}
    found = "|".join(
        re.escape(piece) for piece in sorted(pieces, key=len, reverse=True) if len(piece) >= PIECE_CHARS_MIN
    )
    words = words.replace(url, HIDDEN)
    return re.sub(found, HIDDEN, words, flags=re.IGNORECASE) if found else words


def _mail_url(given: Mapping[str, Any]) -> str:
    unknown = sorted(set(given) - _MAIL_FIELDS - {"kind"})
    if unknown:
        raise _invalid(f"a mail target has no {', '.join(unknown)}; it has {', '.join(sorted(_MAIL_FIELDS))}")
    host, sender = str(given.get("host") or ""), str(given.get("from") or "")
    to = given.get("to")
    recipients = (
        [str(each) for each in to] if isinstance(to, list) else [part.strip() for part in str(to or "").split(",")]
    )
    if not host or "/" in host or "@" in host or "@" not in sender or not all("@" in each for each in recipients):
        raise _invalid("a mail target needs host, from (an address) and to (one address or more)")
    security = str(given.get("security") or "starttls")
    if security not in SECURITY_MODES:
        raise _invalid(f"security is one of {', '.join(SECURITY_MODES)}")
    port = str(given.get("port", _SECURITY_PORTS[security]))
    if not port.isdecimal() or not 0 < int(port) < 65_536:
        raise _invalid("port is a number from 1 to 65535")
    user, password = str(given.get("user") or ""), str(given.get("password") or "")
    login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user else ""
    query = urlencode({"smtp": host, "from": sender, "to": ",".join(recipients), "mode": SECURITY_MODES[security]})
    scheme = "mailto" if security == "none" else "mailtos"
    return f"{scheme}://{login}{host}:{port}?{query}"


def _web_url(url: str) -> str:
    """Return a web address; a query is allowed, because many services keep their key there."""
    parts = urlsplit(url)
    try:
        check_base_url(parts._replace(query="").geturl())
    except ConfigurationError as error:
        raise _invalid("its url is no web address") from error
    if any(ord(letter) <= 32 or ord(letter) > 126 for letter in url):
        raise _invalid("its url has letters that an address cannot have")
    return url


def _check_options(url: str) -> None:
    try:
        options = {name.lower().lstrip("+-:") for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True)}
    except ValueError as error:
        raise _invalid("its url cannot be read") from error
    refused = sorted(options & FORBIDDEN_OPTIONS)
    if refused:
        raise _invalid(f"the option {', '.join(refused)} is not used here")


def _scheme(url: str) -> str:
    scheme, sign, _ = url.partition("://")
    if not sign or not scheme.isalnum():
        raise _invalid("its url has no scheme such as https:// or mailtos://")
    return scheme.lower()


def _values(query: str) -> list[str]:
    try:
        return [part for _, value in parse_qsl(query) for part in (value, *value.split(","))]
    except ValueError:
        return [query]


def _invalid(words: str) -> ConfigurationError:
    return ConfigurationError(
        f"the target cannot be used: {words}",
        code="target_invalid",
        hint="see the examples of: tidegate alerts add --help",
    )
