"""Log-in and inspection of a shop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidegate.connectors.woocommerce.catalogue import SHOP, every_article, read_facts, variant_of
from tidegate.connectors.woocommerce.oauth import basic_session, oauth_session
from tidegate.connectors.woocommerce.wire import Raw, read
from tidegate.kernel.redaction import Secret
from tidegate.sdk.connector import Inspection, Location
from tidegate.sdk.http import Api, Session

_STATUS_FIELDS = (
    "environment.home_url",
    "environment.store_id",
    "environment.version",
    "environment.wp_version",
    "environment.wp_cron",
    "settings.force_ssl",
    "settings.HPOS_enabled",
)
"""Of the status report. Asking for all of it makes the shop call itself and wordpress.org."""
_NAMED_MAX = 5


async def open_session(_api: Api, secrets: Mapping[str, Secret], settings: Mapping[str, Any]) -> Session:
    """Return what lets requests in; nothing is sent: a key is checked by the first request that uses it."""
    key, secret = secrets["consumer_key"].reveal().strip(), secrets["consumer_secret"].reveal().strip()
    if str(settings.get("base_url") or settings.get("url") or "").lower().startswith("http://"):
        return oauth_session(key, secret)
    return basic_session(key, secret)


async def inspect(api: Api) -> Inspection:
    """Read what the shop is, its one place, and all articles that are counted."""
    status = await read(api, "/system_status", Raw, {"_fields": ",".join(_STATUS_FIELDS)})
    environment = status.get("environment") or {}
    facts = await read_facts(api)
    articles = [raw async for raw in every_article(api)]
    home = str(environment.get("home_url") or api.settings.get("base_url", ""))
    return Inspection(
        external_account=str(environment.get("store_id") or home),
        account_name=home.partition("://")[2].rstrip("/") or home,
        version=str(environment.get("version") or "3"),
        locations=(Location(external_id=SHOP, name="the shop"),),
        variants=tuple(variant_of(raw) for raw in articles),
        findings=tuple(_findings(environment, facts.currency, facts.with_tax, articles)),
    )


def _findings(environment: Mapping[str, Any], currency: str, with_tax: bool, articles: list[Raw]) -> list[str]:
    kind = "with" if with_tax else "without"
    found = [
        f"WooCommerce {environment.get('version', '?')} on WordPress {environment.get('wp_version', '?')}",
        f"prices are in {currency}, entered {kind} tax",
    ]
    uncounted = [str(raw.get("sku") or raw["id"]) for raw in articles if raw.get("manage_stock") is not True]
    if uncounted:
        named = ", ".join(uncounted[:_NAMED_MAX]) + (", ..." if len(uncounted) > _NAMED_MAX else "")
        found.append(
            f"{len(uncounted)} articles are not counted by the shop ({named}): turn on 'Track stock quantity' for those "
            "whose numbers Tidegate is to set"
        )
    if environment.get("wp_cron") is False:
        found.append(
            "WP-Cron is off: without a real cron job the shop delivers no webhooks, and polls find what happens"
        )
    return found
