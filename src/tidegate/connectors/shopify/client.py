"""Log-in, inspection and reads of a Shopify shop: one function per call, no retries."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from tidegate.connectors.shopify import queries
from tidegate.connectors.shopify.cursor import Cursor, following, variables
from tidegate.connectors.shopify.errors import error_of
from tidegate.connectors.shopify.grants import missing_of
from tidegate.connectors.shopify.graphql import API_VERSION, Raw, call, number_of, read_field, send
from tidegate.connectors.shopify.orders import count_item, hint_item, window_item
from tidegate.kernel.errors import AuthenticationError
from tidegate.kernel.redaction import Secret
from tidegate.sdk.answers import read_answer
from tidegate.sdk.connector import FeedItem, FeedPage, Inspection, Location
from tidegate.sdk.http import Api, Session
from tidegate.sdk.timed import TimedApi
from tidegate.sdk.windows import parse_window

TOKEN_PATH = "/admin/oauth/access_token"  # noqa: S105 - a path
AUTHORIZE_PATH = "/admin/oauth/authorize"


# --- session, inspection -------------------------------------------------------------------------------------------
class _Token(msgspec.Struct):
    access_token: str


async def open_session(api: Api, secrets: Mapping[str, Secret], settings: Mapping[str, Any]) -> Session:
    """Return the header of the token: the stored one, else a new one for the app's own organisation.

    Raises AuthenticationError when the shop refuses the app's id and secret.
    """
    token = secrets["access_token"].reveal() if "access_token" in secrets else ""
    if not token:
        token = await _exchange(api, str(settings.get("client_id", "")), secrets["client_secret"])
    return Session(headers={"X-Shopify-Access-Token": token})


async def _exchange(api: Api, client_id: str, client_secret: Secret) -> str:
    if not client_id:
        raise AuthenticationError(
            "there is neither an access token nor a client id",
            code="token_missing",
            hint="give access_token, or client_id of an app of your own organisation",
        )
    body = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret.reveal()}
    response = await api.request("POST", TOKEN_PATH, json=body, changes_state=False)
    if response.status in (400, 403):
        raise AuthenticationError("the shop refused client id and secret", code="login_refused")
    if response.status // 100 != 2:
        raise error_of(response, changes_state=False)
    return read_answer(response, _Token, changes_state=False).access_token


async def inspect(api: Api) -> Inspection:
    """Read shop, locations and scopes; its articles are read by `articles`."""
    response = await send(api, queries.SHOP, {}, changes_state=False)
    shop = read_field(response, "shop", Raw, changes_state=False)
    locations = read_field(response, "locations", Raw, changes_state=False)["nodes"]
    app = read_field(response, "currentAppInstallation", Raw, changes_state=False)
    missing = missing_of(scope["handle"] for scope in app["accessScopes"])
    return Inspection(
        external_account=str(shop["myshopifyDomain"]),
        account_name=str(shop["name"]),
        version=API_VERSION,
        locations=tuple(Location(external_id=number_of(one["id"]), name=one["name"]) for one in locations),
        variants=(),  # see `articles`
        findings=tuple(f"the app lacks the scope {scope}" for scope in missing),
    )


# --- reads ---------------------------------------------------------------------------------------------------------
LISTED_MAX = 250
"""Orders of a window that are listed at once, the most that the shop gives."""


async def count_orders(api: Api, window: str) -> FeedPage:
    """Count the orders that were placed in a window; see `Feed.counts`."""
    found: Raw = await call(
        api, queries.ORDERS_COUNT, {"query": _placed_in(window)}, "ordersCount", Raw, changes_state=False
    )
    return FeedPage(items=(count_item(window, int(found["count"])),), cursor=window, has_more=False)


async def fetch_window(api: Api, window: str) -> FeedItem | None:
    """List the orders that were placed in a window, each with its version, None for none."""
    variables = {"first": LISTED_MAX, "query": _placed_in(window)}
    page: Raw = await call(api, queries.PLACED_ORDERS, variables, "orders", Raw, changes_state=False)
    return window_item(window, page["nodes"]) if page["nodes"] else None


def _placed_in(window: str) -> str:
    since, until = (moment.isoformat(timespec="seconds").replace("+00:00", "Z") for moment in parse_window(window))
    return f"processed_at:>='{since}' processed_at:<'{until}'"


async def read_orders(api: Api, cursor: str) -> FeedPage:
    """Read which orders changed since the cursor; see `cursor`. What is news is fetched one by one, the rest costs nothing."""
    state = msgspec.json.decode(cursor, type=Cursor) if cursor else Cursor()
    timed = TimedApi(api)
    page = await call(timed, queries.CHANGED_ORDERS, variables(state), "orders", Raw, changes_state=False)
    nodes: list[Raw] = page["nodes"]
    info = page["pageInfo"]
    changed = [msgspec.convert(node["updatedAt"], datetime) for node in nodes]
    reached, has_more = following(
        state, changed, timed.answered_at, end_cursor=info["endCursor"], has_more=info["hasNextPage"]
    )
    return FeedPage(
        items=tuple(hint_item(node) for node in nodes),
        cursor=msgspec.json.encode(reached).decode(),
        has_more=has_more,
    )
