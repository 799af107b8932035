"""What the remote says about its side of a connection. Reads only."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from tidegate.sdk.health import Checks, CredentialLife, Grants, Limits, SubscriptionHealth
from tidegate.sdk.http import Api
from tidegate.sdk.testing.hostile_connector.client import read_wanted

NEEDED = frozenset(("orders", "stock", "webhooks"))


class _Webhook(msgspec.Struct):
    url: str
    enabled: bool


class _Webhooks(msgspec.Struct):
    items: list[_Webhook]
    missing_topics: tuple[str, ...]
    waiting: int


class _Key(msgspec.Struct):
    rights: list[str]
    calls_per_second: float | None
    expires_at: datetime | None


async def check_webhook(api: Api, url: str) -> SubscriptionHealth:
    """Find our subscription in the remote's list."""
    response = await api.request("GET", "/api/webhooks", changes_state=False)
    found = read_wanted(response, _Webhooks, changes_state=False)
    ours = next((one for one in found.items if one.url == url), None)
    return SubscriptionHealth(
        present=ours is not None,
        enabled=ours is None or ours.enabled,
        missing_topics=found.missing_topics,
        waiting=found.waiting if ours is not None else None,
    )


async def check_grants(api: Api) -> Grants:
    """Compare the key's rights with those that are needed."""
    rights = set((await _key(api)).rights)
    return Grants(missing=tuple(sorted(NEEDED - rights)), surplus=tuple(sorted(rights - NEEDED)))


async def check_limits(api: Api) -> Limits:
    """Read the limit that the remote announces."""
    return Limits(per_second=(await _key(api)).calls_per_second, source="GET /api/key")


async def check_credential(api: Api) -> CredentialLife:
    """Read when the key expires."""
    return CredentialLife(expires_at=(await _key(api)).expires_at)


async def _key(api: Api) -> _Key:
    response: Any = await api.request("GET", "/api/key", changes_state=False)
    return read_wanted(response, _Key, changes_state=False)


CHECKS = Checks(webhook=check_webhook, grants=check_grants, limits=check_limits, credential=check_credential)
