"""Endpoints of Stripe: session, inspection, the webhook endpoint, the events feed, fetches. No retries."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeVar

import msgspec

from tidegate.connectors.stripe.errors import error_of
from tidegate.connectors.stripe.forms import flatten
from tidegate.connectors.stripe.mapper import is_used
from tidegate.connectors.stripe.webhooks import ordering_key
from tidegate.kernel.errors import ConfigurationError, RejectedError, TransientError
from tidegate.kernel.redaction import Secret
from tidegate.sdk.answers import read_answer
from tidegate.sdk.connector import FeedItem, FeedPage, Inspection, Subscription
from tidegate.sdk.failures import read_date
from tidegate.sdk.http import Api, Response, Session

API_VERSION = "2026-10-28.endive"
"""Pinned for requests and for the endpoint's events. Source: docs.stripe.com/api/versioning, stripe-python 16.1.0."""
EVENTS = (
    "payment_intent.amount_capturable_updated", "payment_intent.canceled", "payment_intent.partially_funded",
    "payment_intent.payment_failed", "payment_intent.processing", "payment_intent.requires_action",
    "payment_intent.succeeded", "charge.captured", "charge.dispute.closed", "charge.dispute.created",
    "charge.dispute.updated", "refund.created", "refund.failed", "refund.updated", "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
)  # fmt: skip
"""What our endpoint is told."""
PAGE_LIMIT = 100
LOOK_BACK = timedelta(days=8)
"""How far the first read of the feed goes back: an authorisation lives for about a week."""
OVERLAP = timedelta(minutes=5)
"""How far each round of the feed goes back behind the newest event of the one before."""
KEY_MARK = "tidegate_key"
"""Metadata of our endpoint: which secret signs, as a digest, so that an endpoint whose secret was never stored is found."""

T = TypeVar("T")
Raw = dict[str, Any]


class _Profile(msgspec.Struct):
    name: str | None = None


class _Account(msgspec.Struct):
    id: str
    country: str | None = None
    default_currency: str | None = None
    business_profile: _Profile | None = None
    charges_enabled: bool = True


class Endpoint(msgspec.Struct):
    """A webhook endpoint as Stripe has it."""

    id: str
    url: str
    status: str = "enabled"
    enabled_events: list[str] = []
    api_version: str | None = None
    metadata: dict[str, str] = {}
    secret: str | None = None


class _Endpoints(msgspec.Struct):
    data: list[Endpoint]
    has_more: bool = False


class _Events(msgspec.Struct):
    data: list[Raw]
    has_more: bool = False


# --- session, inspection -------------------------------------------------------------------------------------------
async def open_session(_api: Api, secrets: Mapping[str, Secret], settings: Mapping[str, Any]) -> Session:
    """Use the key as it is. Raises ConfigurationError for a publishable one, which can do nothing here."""
    key = secrets["api_key"].reveal()
    if key.startswith("pk_"):
        raise ConfigurationError(
            "this is the publishable key",
            code="wrong_key",
            hint="take the secret key (sk_...), or a restricted one (rk_...) with the permissions of the README",
        )
    headers = {"Authorization": f"Bearer {key}", "Stripe-Version": API_VERSION}
    account = str(settings.get("account") or "")
    return Session(headers={**headers, "Stripe-Account": account} if account else headers)


async def inspect(api: Api) -> Inspection:
    """Read whose key it is."""
    response = await api.request("GET", "/v1/account", changes_state=False)
    account = read_wanted(response, _Account, changes_state=False)
    profile = account.business_profile
    findings = (
        () if account.charges_enabled else ("the account may not take payments yet: finish its set-up in Stripe",)
    )
    return Inspection(
        external_account=account.id,
        account_name=(profile.name if profile is not None else None) or account.id,
        version=API_VERSION,
        locations=(),
        variants=(),
        findings=findings,
    )


# --- the webhook endpoint ------------------------------------------------------------------------------------------
async def subscribe(api: Api, url: str, secret: Secret) -> Subscription:
    """Have an endpoint for `url` that tells our events in our version; mend one that is ours, make one where there is none.

    Stripe makes the signing secret and shows it once, when the endpoint is made: an endpoint of ours whose secret is
    another one than `secret` is made anew. One that a person made stays as it is.
    """
    found = next((one for one in await read_endpoints(api) if one.url == url), None)
    if found is not None and KEY_MARK not in found.metadata:
        return _made_by_hand(found)
    if found is not None and found.metadata[KEY_MARK] == mark_of(secret) and found.api_version == API_VERSION:
        if found.status != "enabled" or not covers(found):
            form = flatten({"enabled_events": EVENTS, "disabled": False})
            response = await api.request("POST", f"/v1/webhook_endpoints/{found.id}", form=form)
            read_wanted(response, Endpoint)
        return Subscription(registered=True, explanation="Stripe delivers its events to this address")
    if found is not None:
        read_wanted(await api.request("DELETE", f"/v1/webhook_endpoints/{found.id}"), Raw)
    return await _make_endpoint(api, url)


async def _make_endpoint(api: Api, url: str) -> Subscription:
    form = {
        "url": url,
        "enabled_events": EVENTS,
        "api_version": API_VERSION,
        "description": "Tidegate",
        "metadata": {KEY_MARK: "new"},
    }
    try:
        made = read_wanted(await api.request("POST", "/v1/webhook_endpoints", form=flatten(form)), Endpoint)
    except RejectedError as error:
        return Subscription(registered=False, explanation=f"Stripe refused the endpoint: {error}")
    if made.secret is None:
        raise TransientError("Stripe showed no signing secret", code="answer_unreadable")
    secret = Secret(made.secret)
    marked = flatten({"metadata": {KEY_MARK: mark_of(secret)}})
    read_wanted(await api.request("POST", f"/v1/webhook_endpoints/{made.id}", form=marked), Endpoint)
    return Subscription(
        registered=True, explanation="Stripe delivers its events to this address", signing_secret=secret
    )


def _made_by_hand(found: Endpoint) -> Subscription:
    if found.status == "enabled" and covers(found):
        words = "an endpoint that you made delivers to this address; its signing secret is what `webhook_secret` is for"
    else:
        words = "the endpoint that you made for this address is disabled or lacks events; add: " + ", ".join(EVENTS)
    return Subscription(registered=False, explanation=words)


async def read_endpoints(api: Api) -> list[Endpoint]:
    """Return the account's endpoints; Stripe allows 16."""
    params = {"limit": str(PAGE_LIMIT)}
    response = await api.request("GET", "/v1/webhook_endpoints", params=params, changes_state=False)
    return read_wanted(response, _Endpoints, changes_state=False).data


def covers(endpoint: Endpoint) -> bool:
    """Return whether an endpoint is told all that we need."""
    return "*" in endpoint.enabled_events or set(EVENTS) <= set(endpoint.enabled_events)


def mark_of(secret: Secret) -> str:
    """Return what tells a signing secret from another one without telling anything of it."""
    return hashlib.sha256(b"tidegate stripe endpoint" + secret.reveal().encode()).hexdigest()[:32]


# --- the feed --------------------------------------------------------------------------------------------------------
async def read_events(api: Api, cursor: str) -> FeedPage:
    """Read a page of events.

    The cursor is `since|newest|after`: where the window begins, the newest event
    of this round, and the last event of the page before.

    A round reads everything since `since`, in whatever order it is listed; the next one begins `OVERLAP` before the newest. An
    event of a time to come, as test clocks make them, is read and moves nothing: it would hide what is made until then.
    """
    if not cursor:
        return await _begin(api)
    since, newest, after = _read_cursor(cursor)
    query: dict[str, Any] = {"limit": PAGE_LIMIT, "created": {"gte": since}}
    if after:
        query["starting_after"] = after
    response = await api.request("GET", "/v1/events", params=flatten(query), changes_state=False)
    page = read_wanted(response, _Events, changes_state=False)
    now = _answered_at(response)
    newest = max([newest, *(made for event in page.data if (made := _created(event)) <= now)])
    items = [_feed_item(event) for event in page.data if is_used(str(event.get("type", "")))]
    items.sort(key=lambda item: item[0])
    if page.has_more and page.data:
        following = f"{since}|{newest}|{page.data[-1].get('id', '')}"
    else:
        following = f"{max(since, newest - int(OVERLAP.total_seconds()))}|{newest}|"
    return FeedPage(
        items=tuple(item for _, item in items), cursor=following, has_more=page.has_more and bool(page.data)
    )


async def _begin(api: Api) -> FeedPage:
    """Ask Stripe what time it is: the first window begins `LOOK_BACK` before it."""
    response = await api.request("GET", "/v1/events", params={"limit": "1"}, changes_state=False)
    read_wanted(response, _Events, changes_state=False)
    now = _answered_at(response)
    since = max(0, now - int(LOOK_BACK.total_seconds()))
    return FeedPage(items=(), cursor=f"{since}|{since}|", has_more=True)


def _read_cursor(cursor: str) -> tuple[int, int, str]:
    since, _, rest = cursor.partition("|")
    newest, _, after = rest.partition("|")
    return int(since), int(newest), after


def _feed_item(event: Raw) -> tuple[int, FeedItem]:
    """Return when the event was made, and the event without what changes while it is delivered."""
    kept = {name: event.get(name) for name in ("id", "object", "type", "created", "api_version", "data")}
    event_id = str(event.get("id", ""))
    shown = event.get("data", {}).get("object", {}) if isinstance(event.get("data"), dict) else {}
    key = ordering_key(event_id, str(shown.get("object", "")), str(shown.get("id", "")), shown.get("payment_intent"))
    item = FeedItem(
        topic=str(event.get("type", "")), external_id=event_id, ordering_key=key, body=msgspec.json.encode(kept)
    )
    return _created(event), item


def _created(event: Raw) -> int:
    created = event.get("created")
    return created if isinstance(created, int) else 0


# --- fetches ---------------------------------------------------------------------------------------------------------
async def fetch_payment(api: Api, external_id: str) -> FeedItem | None:
    """Read one payment with its charge, None when there is none of this id."""
    params = flatten({"expand": ["latest_charge"]})
    response = await api.request("GET", f"/v1/payment_intents/{external_id}", params=params, changes_state=False)
    return _fetched(response, "payment_intent.fetched", external_id)


async def fetch_refund(api: Api, external_id: str) -> FeedItem | None:
    """Read one refund or dispute, None when there is none of this id."""
    is_dispute = external_id.startswith(("dp_", "du_"))
    path = "/v1/disputes/" if is_dispute else "/v1/refunds/"
    response = await api.request("GET", path + external_id, changes_state=False)
    return _fetched(response, "charge.dispute.fetched" if is_dispute else "refund.fetched", external_id)


def _fetched(response: Response, topic: str, external_id: str) -> FeedItem | None:
    """Wrap an object like the event that tells it; the time is that of the answer, in Stripe's own clock."""
    if response.status == 404:
        return None
    shown = read_wanted(response, Raw, changes_state=False)
    body = {"id": "", "object": "event", "type": topic, "created": _answered_at(response), "data": {"object": shown}}
    key = ordering_key("", str(shown.get("object", "")), external_id, shown.get("payment_intent"))
    return FeedItem(topic=topic, external_id=external_id, ordering_key=key, body=msgspec.json.encode(body))


def _answered_at(response: Response) -> int:
    """Return when an answer was made, Unix seconds. Raises TransientError when it does not say."""
    moment = read_date(response.headers.get("date"))
    if moment is None:
        raise TransientError("the answer has no date", code="answer_unreadable")
    return int(moment.timestamp())


def read_wanted(response: Response, kind: type[T], *, changes_state: bool = True) -> T:
    """Return the body of a good answer as `kind`. Raises the error that any other answer stands for."""
    error = error_of(response, changes_state=changes_state)
    if error is not None:
        raise error
    return read_answer(response, kind, changes_state=changes_state)
