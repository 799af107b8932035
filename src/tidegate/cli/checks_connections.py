"""What `tidegate doctor` looks at for each connection in our own rows: state, credentials, webhook, feeds, last events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from tidegate.cli.checks import Finding, fail, ok, warn
from tidegate.cli.session import Session
from tidegate.monitor.status import FeedStatus, read_status
from tidegate.sdk.connector import Connector
from tidegate.store.sql import query
from tidegate.vault.credentials import WEBHOOK_SECRET

STALE_INTERVALS = 5
"""A feed that was not read for so many of its intervals is stale."""
STALE_SECONDS_MIN = 60.0
QUIET_HOURS = 24
_CONNECTIONS = query("doctor_connections")
_LAST_EVENTS = query("doctor_last_events")


async def check_connections(session: Session, connectors: Mapping[str, Connector]) -> AsyncIterator[Finding]:
    """Every connection of the file is connected, has what it needs, and was heard of."""
    heard = {row["name"]: row["last_hour"] for row in await session.conn.fetch(_LAST_EVENTS, session.tenant_id)}
    rows = {row["name"]: row for row in await session.conn.fetch(_CONNECTIONS, session.tenant_id)}
    feeds = (await read_status(session.conn, session.tenant_id)).feeds
    for name, entry in session.config.connections.items():
        check = f"connection {name}"
        connector = connectors.get(entry.use)
        row = rows.get(name)
        if row is None or connector is None:
            yield fail(check, "in tidegate.yaml, but not connected", f"tidegate connect {name}", code="not_connected")
            continue
        for finding in _check_row(check, name, row, connector, entry.options.get("url")):
            yield finding
        for finding in _check_feeds(check, name, connector, feeds):
            yield finding
        yield _check_heard(check, connector, heard.get(name))
    for name in sorted(set(rows) - set(session.config.connections)):
        yield warn(
            f"connection {name}", "connected, but not in tidegate.yaml", "add it there; it takes part in no flow"
        )


def _check_row(check: str, name: str, row: Any, connector: Connector, url: object) -> Iterator[Finding]:
    settings = msgspec.json.decode(row["settings"])
    again = f"tidegate connect {name}"
    if row["state"] != "active":
        yield fail(
            check,
            f"{row['state']}: {row['state_reason'] or 'no reason given'}",
            again,
            code=row["state"],
            why="nothing is read from it or written to it meanwhile; what waits goes on afterwards",
        )
    missing = [field.name for field in connector.fields if field.secret and field.name not in row["fields"]]
    if missing:
        yield fail(check, f"without credentials: {', '.join(missing)}", again)
    elif row["state"] == "active":
        yield ok(check, "active, with credentials")
    if url is not None and str(url).rstrip("/") != settings.get("base_url"):
        yield fail(check, f"tidegate.yaml says {url}, but it was connected at {settings.get('base_url')}", again)
    if connector.webhook is None:
        return
    if row["path_hash"] is None or WEBHOOK_SECRET not in row["fields"]:
        yield fail(check, "its webhook has no secret: every delivery is refused", again, code="webhook_secret_missing")
    elif settings.get("webhook_state") == "registered":
        yield ok(check, "webhook registered")
    else:
        yield warn(check, "its webhook has to be set up by you", f"{again} shows the address", code="webhook_manual")


def _check_feeds(check: str, name: str, connector: Connector, feeds: tuple[FeedStatus, ...]) -> Iterator[Finding]:
    known = {feed.feed: feed for feed in feeds if feed.connection == name}
    for feed_name, feed in connector.feeds.items():
        status = known.get(feed_name)
        if status is None or status.last_ok_at is None:
            error = f" ({status.last_error})" if status is not None and status.last_error else ""
            yield warn(
                check, f"feed {feed_name} was never read{error}", "are dispatch processes running? tidegate status"
            )
            continue
        age = (datetime.now(UTC) - status.last_ok_at).total_seconds()
        if age > max(STALE_SECONDS_MIN, STALE_INTERVALS * feed.interval.total_seconds()):
            words = f"feed {feed_name} was last read {age:.0f} s ago" + (
                f": {status.last_error}" if status.last_error else ""
            )
            yield warn(check, words, "are dispatch processes running, and is the other side up?")
        else:
            yield ok(check, f"feed {feed_name} was read {age:.0f} s ago")


def _check_heard(check: str, connector: Connector, last_hour: datetime | None) -> Finding:
    """When the connection was last heard of, by webhook or feed."""
    if last_hour is None:
        return ok(check, "nothing was received yet", code="heard")
    hours = (datetime.now(UTC) - last_hour).total_seconds() / 3600
    if hours > QUIET_HOURS and connector.webhook is not None:
        return warn(
            check,
            f"nothing was received for {hours:.0f} hours",
            "is that so at the other side? tidegate doctor --only webhooks",
            code="quiet",
            why="a subscription that is gone looks like a quiet day",
        )
    return ok(check, f"last heard of in the hour from {last_hour:%Y-%m-%d %H:%M} UTC", code="heard")
