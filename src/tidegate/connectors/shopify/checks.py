"""What a shop says about its side: subscriptions, scopes, limits, and which version of its API it speaks. Reads only."""

from __future__ import annotations

import msgspec

from tidegate.connectors.shopify import queries
from tidegate.connectors.shopify.errors import cost_of
from tidegate.connectors.shopify.grants import missing_of, surplus_of
from tidegate.connectors.shopify.graphql import API_VERSION, VERSION_HEADER, Raw, read_field, send
from tidegate.connectors.shopify.subscriptions import list_subscriptions, topics_of
from tidegate.sdk.health import (
    ApiVersion,
    Checks,
    Grants,
    Limits,
    SubscriptionHealth,
    is_address_of_ours,
    place_of_address,
)
from tidegate.sdk.http import Api


class _Version(msgspec.Struct):
    handle: str
    supported: bool


async def check_webhook(api: Api, url: str) -> SubscriptionHealth:
    """Find our subscriptions. Shopify removes one after eight failures in a row, so that a topic is missing then."""
    found = await list_subscriptions(api)
    ours = {one.topic for one in found if one.uri == url and one.is_whole}
    others = sorted({place_of_address(one.uri) for one in found if one.uri != url and is_address_of_ours(one.uri)})
    missing = tuple(topic for topic in topics_of(api.settings) if topic not in ours)
    return SubscriptionHealth(present=bool(ours), missing_topics=missing, others=tuple(others))


async def check_grants(api: Api) -> Grants:
    """Compare the app's scopes with those that the README asks for."""
    response = await send(api, queries.GRANTS, {}, changes_state=False)
    app: Raw = read_field(response, "currentAppInstallation", Raw, changes_state=False)
    scopes = [scope["handle"] for scope in app["accessScopes"]]
    return Grants(missing=missing_of(scopes), surplus=surplus_of(scopes))


async def check_limits(api: Api) -> Limits:
    """Read the bucket of points that every answer tells."""
    response = await send(api, queries.GRANTS, {}, changes_state=False)
    read_field(response, "currentAppInstallation", Raw, changes_state=False)
    cost = cost_of(response)
    if cost is None:
        return Limits()
    bucket = cost.throttle_status
    return Limits(
        per_second=bucket.restore_rate,
        capacity=bucket.maximum_available,
        remaining=bucket.currently_available,
        source="extensions.cost.throttleStatus",
    )


async def check_version(api: Api) -> ApiVersion:
    """Compare the version that was served with the pinned one: an old one is silently answered by the oldest supported."""
    response = await send(api, queries.VERSIONS, {}, changes_state=False)
    versions: list[_Version] = read_field(response, "publicApiVersions", list[_Version], changes_state=False)
    supported = sorted(one.handle for one in versions if one.supported and one.handle[:1].isdigit())
    return ApiVersion(
        pinned=API_VERSION,
        served=response.headers.get(VERSION_HEADER, ""),
        supported=tuple(supported),
    )


CHECKS = Checks(webhook=check_webhook, grants=check_grants, limits=check_limits, version=check_version)
