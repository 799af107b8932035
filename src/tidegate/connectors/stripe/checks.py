"""What Stripe says about its side of a connection. Reads only."""

from __future__ import annotations

from urllib.parse import urlsplit

from tidegate.connectors.stripe.client import EVENTS, read_endpoints
from tidegate.sdk.health import Checks, SubscriptionHealth
from tidegate.sdk.http import Api

_IN = "/in/"
"""Every address of a Tidegate has this in its path."""


async def check_webhook(api: Api, url: str) -> SubscriptionHealth:
    """Find our endpoint. Stripe disables one that fails for days."""
    endpoints = await read_endpoints(api)
    ours = next((one for one in endpoints if one.url == url), None)
    others = tuple(_place(one.url) for one in endpoints if one.url != url and _IN in one.url)
    if ours is None:
        return SubscriptionHealth(present=False, others=others)
    told = set(ours.enabled_events)
    missing = () if "*" in told else tuple(sorted(set(EVENTS) - told))
    return SubscriptionHealth(present=True, enabled=ours.status == "enabled", missing_topics=missing, others=others)


def _place(url: str) -> str:
    """Return scheme, host and port: the rest of such an address is a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


CHECKS = Checks(webhook=check_webhook)
