"""What a Vendure shop says about its side: its subscriptions, and what the administrator may do. Reads only.

It has no limits of its own, and an administrator's password does not expire: there is nothing to ask.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from tidegate.connectors.vendure import queries
from tidegate.connectors.vendure.graphql import read_field, send
from tidegate.sdk.health import Checks, Grants, SubscriptionHealth, is_address_of_ours, place_of_address
from tidegate.sdk.http import Api

NEEDED = frozenset(
    (
        "ReadOrder", "UpdateOrder", "ReadCatalog", "UpdateCatalog", "ReadStockLocation", "ReadCustomer", "ReadSettings",
        "UpdateSettings",
    )
)  # fmt: skip
"""The permissions that the README asks for."""
ALWAYS = frozenset(("Authenticated", "Owner", "Public"))
"""What every administrator has."""


class _Subscription(msgspec.Struct, rename="camel"):
    url: str
    last_success_at: datetime | None = None
    last_error: str | None = None
    pending: int = 0
    oldest_pending_at: datetime | None = None


class _ChannelRights(msgspec.Struct):
    code: str
    permissions: list[str]


class _Me(msgspec.Struct):
    channels: list[_ChannelRights]


class _Channel(msgspec.Struct):
    code: str


async def check_webhook(api: Api, url: str) -> SubscriptionHealth:
    """Find our subscription in the plugin's list. The plugin delivers every topic and never switches one off."""
    response = await send(api, queries.SUBSCRIPTIONS, {}, changes_state=False)
    found = read_field(response, "tidegateSubscriptions", list[_Subscription], changes_state=False)
    ours = next((one for one in found if one.url == url), None)
    others = tuple(place_of_address(one.url) for one in found if one.url != url and is_address_of_ours(one.url))
    if ours is None:
        return SubscriptionHealth(present=False, others=others)
    return SubscriptionHealth(
        present=True,
        others=others,
        last_delivered_at=ours.last_success_at,
        waiting=ours.pending,
        oldest_waiting_at=ours.oldest_pending_at,
        failure=ours.last_error or "" if ours.pending else "",
    )


async def check_grants(api: Api) -> Grants:
    """Compare the administrator's permissions in the default channel with those that the README asks for."""
    response = await send(api, queries.RIGHTS, {}, changes_state=False)
    channel = read_field(response, "activeChannel", _Channel, changes_state=False)
    me = read_field(response, "me", _Me, changes_state=False)
    granted = {right for one in me.channels if one.code == channel.code for right in one.permissions}
    if "SuperAdmin" in granted:
        return Grants(surplus=("SuperAdmin",))
    missing = NEEDED - granted
    if "UpdateProduct" in granted:
        missing -= {"UpdateCatalog"}
    return Grants(missing=tuple(sorted(missing)), surplus=tuple(sorted(granted - NEEDED - ALWAYS)))


CHECKS = Checks(webhook=check_webhook, grants=check_grants)
