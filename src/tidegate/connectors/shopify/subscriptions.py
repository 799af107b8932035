"""The shop's webhook subscriptions of our app: which there should be, which there are, and how the one becomes the other.

The topics that privacy laws ask for are set up in the app itself; no API shows them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from tidegate.connectors.shopify import queries
from tidegate.connectors.shopify.errors import UserError, error_of_user_errors
from tidegate.connectors.shopify.graphql import Raw, call, is_on
from tidegate.connectors.shopify.mapper import SUBSCRIPTIONS_TOPIC as TOPIC
from tidegate.kernel.errors import OutcomeUnknownError, TransientError
from tidegate.kernel.redaction import Secret
from tidegate.sdk.connector import FeedItem, FeedPage, Subscription
from tidegate.sdk.health import ADDRESS_PATH, digest_of_address
from tidegate.sdk.http import Api

TOPICS = (
    "ORDERS_CREATE",
    "ORDERS_UPDATED",
    "ORDERS_PAID",
    "ORDERS_CANCELLED",
    "REFUNDS_CREATE",
    "FULFILLMENTS_CREATE",
    "FULFILLMENTS_UPDATE",
    "PRODUCTS_DELETE",
    "APP_UNINSTALLED",
)
TRANSACTIONS = "ORDER_TRANSACTIONS_CREATE"
"""Of a shop whose payments are followed (setting `transactions`): each costs a read of its order."""
PER_PAGE = 100


class Found(msgspec.Struct, rename="camel"):
    """A subscription as the shop has it."""

    id: str
    topic: str
    uri: str
    format: str = "JSON"
    filter: str | None = None
    include_fields: list[str] = []

    @property
    def is_whole(self) -> bool:
        """Whether it delivers every event with its whole body."""
        return self.format == "JSON" and not self.filter and not self.include_fields


class Work(msgspec.Struct, frozen=True):
    """What has to be done so that each topic is delivered once, whole, to one address."""

    make: tuple[str, ...]
    drop: tuple[str, ...]
    """Ids."""


class _Answer(msgspec.Struct, rename="camel"):
    user_errors: list[UserError]


def topics_of(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the topics that a connection needs."""
    return (*TOPICS, TRANSACTIONS) if is_on(settings, "transactions") else TOPICS


def plan(found: Sequence[Found], topics: Sequence[str], url: str) -> Work:
    """Return what to make and what to drop. Pure.

    Dropped are our own that are not whole or are there twice, those of topics that are of no use any more, and those to an
    older address of this Tidegate. Of other addresses none is touched.
    """
    kept: set[str] = set()
    drop = []
    for one in found:
        if one.uri == url and one.topic in topics and one.is_whole and one.topic not in kept:
            kept.add(one.topic)
        elif one.uri == url or is_older(one.uri, url):
            drop.append(one.id)
    return Work(make=tuple(topic for topic in topics if topic not in kept), drop=tuple(drop))


def is_older(uri: str, url: str) -> bool:
    """Return whether an address is one that the Tidegate at `url` had before."""
    theirs, ours = urlsplit(uri), urlsplit(url)
    return (
        (theirs.scheme, theirs.netloc) == (ours.scheme, ours.netloc)
        and theirs.path.startswith(ADDRESS_PATH)
        and uri != url
    )


async def list_subscriptions(api: Api) -> list[Found]:
    """Return all subscriptions of the app at this shop."""
    found: list[Found] = []
    after: str | None = None
    while True:
        variables = {"first": PER_PAGE, "after": after}
        page: Raw = await call(api, queries.SUBSCRIPTIONS, variables, "webhookSubscriptions", Raw, changes_state=False)
        found += msgspec.convert(page["nodes"], list[Found])
        if not page["pageInfo"]["hasNextPage"]:
            return found
        after = page["pageInfo"]["endCursor"]


async def subscribe(api: Api, url: str, _secret: Secret) -> Subscription:
    """Make what is missing, then drop what is too much. Safe to repeat. Shopify signs with the app's own secret.

    Raises RejectedError for an address or topic that the shop refuses.
    """
    work = plan(await list_subscriptions(api), topics_of(api.settings), url)
    await _make(api, work.make, url)
    for subscription_id in work.drop:
        gone: _Answer = await call(
            api, queries.UNSUBSCRIBE, {"id": subscription_id}, "webhookSubscriptionDelete", _Answer
        )
        if gone.user_errors and not _is_gone(gone.user_errors):
            raise error_of_user_errors(gone.user_errors)
    words = (
        "the shop delivers to this address; set the three privacy webhooks of the app to it as well, "
        "see the connector's README"
    )
    return Subscription(registered=True, explanation=words)


async def read_subscriptions(api: Api, cursor: str) -> FeedPage:
    """Look whether every topic is still delivered to us, and make again what somebody deleted. Polls read what came meanwhile.

    Neither the address nor what is in its path is known here: ours are known by the digest of their address. Where none of
    them is left, only `tidegate doctor --fix` can make them again, and the page says so.
    """
    digest = api.settings.get("webhook_digest")
    if not digest or api.settings.get("webhook_state") != "registered":
        return FeedPage(items=(), cursor=cursor, has_more=False)
    ours = [one for one in await list_subscriptions(api) if digest_of_address(one.uri) == digest]
    wanted = topics_of(api.settings)
    missing = plan(ours, wanted, ours[0].uri).make if ours else wanted
    if ours:
        try:
            await _make(api, missing, ours[0].uri)
        except OutcomeUnknownError as error:
            raise TransientError(
                "whether the subscription is there again shows the next look", code="answer_lost", context=error.context
            ) from error
    body = {"are_gone": not ours, "missing": missing}
    return FeedPage(
        items=(
            FeedItem(
                topic=TOPIC,
                external_id="all",
                ordering_key="subscriptions:all",
                body=msgspec.json.encode(body, order="sorted"),
            ),
        ),
        cursor=cursor,
        has_more=False,
    )


async def _make(api: Api, topics: Sequence[str], url: str) -> None:
    for topic in topics:
        variables = {"topic": topic, "uri": url}
        made: _Answer = await call(api, queries.SUBSCRIBE, variables, "webhookSubscriptionCreate", _Answer)
        if made.user_errors and not _is_taken(made.user_errors):
            raise error_of_user_errors(made.user_errors)


def _is_taken(errors: Sequence[UserError]) -> bool:
    """Somebody made it meanwhile."""
    return any("taken" in error.message for error in errors)


def _is_gone(errors: Sequence[UserError]) -> bool:
    return any("not exist" in error.message or "not found" in error.message.lower() for error in errors)
