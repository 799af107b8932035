"""The shop's webhooks that deliver to us: made, found, mended. One per topic, all to one address."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

from tidegate.connectors.woocommerce.mapper import MISSING_TOPIC
from tidegate.connectors.woocommerce.webhooks import ORDER_TOPICS, TOPICS
from tidegate.connectors.woocommerce.wire import PAGE_MAX, Raw, read, write
from tidegate.kernel.errors import OutcomeUnknownError, TransientError
from tidegate.kernel.redaction import Secret
from tidegate.sdk.connector import FeedItem, FeedPage, Subscription
from tidegate.sdk.health import SubscriptionHealth, digest_of_address, is_address_of_ours, place_of_address
from tidegate.sdk.http import Api

ACTIVE = "active"
DISABLED = "disabled"
"""What the shop makes of a webhook that failed too often."""
SHOP_PORTS = frozenset((None, 80, 443, 8080))
"""WordPress delivers to no other ports (wp_http_validate_url)."""
_PAGES_MAX = 20


class Hook(msgspec.Struct):
    """A webhook of the shop."""

    id: int
    topic: str
    delivery_url: str
    status: str


async def subscribe(api: Api, url: str, secret: Secret) -> Subscription:
    """Have every topic delivered to `url`, signed with `secret`: makes what is missing, switches on what is off.

    Repeating it changes nothing but the secret. A second webhook of one topic and address, which a repetition in a hurry
    may have made, is removed.
    """
    ours = [hook for hook in await list_hooks(api) if hook.delivery_url == url]
    for topic in TOPICS:
        same = [hook for hook in ours if hook.topic == topic]
        wanted = {"name": f"Tidegate {topic}", "status": ACTIVE, "secret": secret.reveal()}
        if same:
            await write(api, "PUT", f"/webhooks/{same[0].id}", wanted, Raw)
        else:
            await write(api, "POST", "/webhooks", {**wanted, "topic": topic, "delivery_url": url}, Raw)
        for double in same[1:]:
            await write(api, "DELETE", f"/webhooks/{double.id}", None, Raw, params={"force": "true"})
    return Subscription(registered=True, explanation=_explain(url))


async def check_webhook(api: Api, url: str) -> SubscriptionHealth:
    """Find our webhooks in the shop's list. A shop switches one off after more than five failures in a row, silently."""
    hooks = await list_hooks(api)
    ours = [hook for hook in hooks if hook.delivery_url == url]
    active = {hook.topic for hook in ours if hook.status == ACTIVE}
    told = {hook.topic for hook in ours}
    return SubscriptionHealth(
        present=bool(ours),
        enabled=active >= told,
        missing_topics=tuple(topic for topic in TOPICS if topic not in told),
        others=tuple(sorted({place_of_address(hook.delivery_url) for hook in hooks if _is_other(hook, url)})),
    )


async def read_hooks(api: Api, cursor: str) -> FeedPage:
    """Look whether our webhooks are on, and switch on what the shop switched off. What came meanwhile is found by polls.

    It neither knows the address nor the secret: ours are known by the digest of their address. A webhook that somebody
    paused by hand stays paused, and one that somebody deleted is told of.
    """
    digest = api.settings.get("webhook_digest")
    ours = [hook for hook in await list_hooks(api) if digest and digest_of_address(hook.delivery_url) == digest]
    for hook in ours:
        if hook.status == DISABLED:
            try:
                await write(api, "PUT", f"/webhooks/{hook.id}", {"status": ACTIVE}, Hook)
            except OutcomeUnknownError as error:
                raise TransientError(
                    "whether the webhook is on again shows the next look", code="answer_lost", context=error.context
                ) from error
    items = [_seen(hook) for hook in ours]
    if digest and api.settings.get("webhook_state") == "registered":
        topics = {hook.topic for hook in ours}
        items.append(_missing([topic for topic in ORDER_TOPICS if topic not in topics]))
    return FeedPage(items=tuple(items), cursor=cursor, has_more=False)


def _missing(topics: list[str]) -> FeedItem:
    """Return what is told of webhooks that somebody deleted: without the secret they cannot be made again from here."""
    return FeedItem(
        topic=MISSING_TOPIC,
        external_id="all",
        ordering_key="webhook:all",
        body=msgspec.json.encode({"missing": topics}, order="sorted"),
    )


def _seen(hook: Hook) -> FeedItem:
    return FeedItem(
        topic="webhook",
        external_id=str(hook.id),
        ordering_key=f"webhook:{hook.id}",
        body=msgspec.json.encode({"id": hook.id, "topic": hook.topic, "status": hook.status}, order="sorted"),
    )


async def list_hooks(api: Api) -> list[Hook]:
    """Return all webhooks of the shop."""
    hooks: list[Hook] = []
    for page in range(1, _PAGES_MAX + 1):
        params = {"per_page": str(PAGE_MAX), "page": str(page), "orderby": "id", "order": "asc"}
        found = await read(api, "/webhooks", list[Hook], params)
        hooks += found
        if len(found) < PAGE_MAX:
            break
    return hooks


def _explain(url: str) -> str:
    if urlsplit(url).port not in SHOP_PORTS:
        return "the webhooks are made, but WordPress delivers only to the ports 80, 443 and 8080: polls will find everything"
    return "the shop delivers changes of orders to this address; what it does not deliver is found by polls"


def _is_other(hook: Hook, url: str) -> bool:
    return hook.delivery_url != url and is_address_of_ours(hook.delivery_url) and hook.topic in TOPICS
