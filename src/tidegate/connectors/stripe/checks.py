"""What Stripe says about its side of a connection. Reads only."""

from __future__ import annotations

from tidegate.connectors.stripe.client import EVENTS, read_endpoints
from tidegate.sdk.health import Checks, SubscriptionHealth, is_address_of_ours, place_of_address
from tidegate.sdk.http import Api


async def check_webhook(api: Api, url: str) -> SubscriptionHealth:
    """Find our endpoint. Stripe disables one that fails for days."""
    endpoints = await read_endpoints(api)
    ours = next((one for one in endpoints if one.url == url), None)
    others = tuple(place_of_address(one.url) for one in endpoints if one.url != url and is_address_of_ours(one.url))
    if ours is None:
        return SubscriptionHealth(present=False, others=others)
    told = set(ours.enabled_events)
    missing = () if "*" in told else tuple(sorted(set(EVENTS) - told))
    return SubscriptionHealth(present=True, enabled=ours.status == "enabled", missing_topics=missing, others=others)


CHECKS = Checks(webhook=check_webhook)
