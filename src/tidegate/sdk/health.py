"""What a platform can say about its own side of a connection: webhook, rights, limits, credential. `tidegate doctor` asks.

A connector declares the questions that its platform really answers, and leaves the others out: a check that guesses is
worse than none. All of them read only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

import msgspec

from tidegate.sdk.http import Api


class SubscriptionHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The webhook as the platform has it. What the platform does not tell is None."""

    present: bool
    """There is a subscription with exactly our address."""
    enabled: bool = True
    """False: the platform switched it off, usually after failures."""
    missing_topics: tuple[str, ...] = ()
    """Topics that we need and that it does not deliver."""
    others: tuple[str, ...] = ()
    """Host and port of further subscriptions that look like ours: an old address, or another installation."""
    last_delivered_at: datetime | None = None
    """Last delivery that was accepted."""
    waiting: int | None = None
    """Deliveries that were not accepted yet."""
    oldest_waiting_at: datetime | None = None
    failure: str = ""
    """Why the last delivery was not accepted, as the platform says; '' when it was."""


class Grants(msgspec.Struct, frozen=True, kw_only=True):
    """What the credential may do, in the platform's own words."""

    missing: tuple[str, ...] = ()
    """Needed and not granted."""
    surplus: tuple[str, ...] = ()
    """Granted and not needed: a leaked credential could do more than we do."""
    unknown: tuple[str, ...] = ()
    """Needed, and the platform does not tell."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How many calls the platform says that it allows."""

    per_second: float | None = None
    capacity: float | None = None
    remaining: float | None = None
    """Left of the present window or bucket."""
    source: str = ""
    """Where it says so: a header, a query."""


class CredentialLife(msgspec.Struct, frozen=True, kw_only=True):
    """Until when a credential works."""

    expires_at: datetime | None = None
    """None: it does not expire by itself."""
    renews_itself: bool = False
    """True: we get a new one in time without a person."""


class ApiVersion(msgspec.Struct, frozen=True, kw_only=True):
    """Which version of its API the platform answers in."""

    pinned: str
    """The one that the connector asks for, and was made for."""
    served: str
    """The one that the newest answer says it is; '' where it does not say."""
    supported: tuple[str, ...] = ()
    """The ones that the platform supports now, oldest first; () where it does not tell."""


@dataclass(frozen=True, kw_only=True)
class Checks:
    """The questions that a platform answers. None: it does not."""

    webhook: Callable[[Api, str], Awaitable[SubscriptionHealth]] | None = None
    """(api, our public webhook address)."""
    grants: Callable[[Api], Awaitable[Grants]] | None = None
    limits: Callable[[Api], Awaitable[Limits]] | None = None
    credential: Callable[[Api], Awaitable[CredentialLife]] | None = None
    version: Callable[[Api], Awaitable[ApiVersion]] | None = None


NO_CHECKS = Checks()


def digest_of_address(url: str) -> str:
    """Return what the settings keep of our webhook address (`webhook_digest`): enough to know it, too little to use it."""
    return hashlib.sha256(url.encode()).hexdigest()


ADDRESS_PATH = "/in/"
"""How the path of every webhook address of a Tidegate begins."""


def is_address_of_ours(url: str) -> bool:
    """Return whether an address looks like one of a Tidegate, this one or another."""
    return ADDRESS_PATH in url


def place_of_address(url: str) -> str:
    """Return scheme, host and port: the rest of a webhook address is a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
