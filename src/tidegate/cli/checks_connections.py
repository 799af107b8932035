"""What `tidegate doctor` looks at for each connection: credentials, webhook, feeds, and the other side itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_network
from typing import Any

import msgspec

from tidegate.cli.checks import Finding, fail, ok, warn
from tidegate.cli.session import Session
from tidegate.kernel.clock import SystemClock
from tidegate.kernel.errors import TidegateError
from tidegate.monitor.status import FeedStatus, read_status
from tidegate.sdk.client import HttpApi
from tidegate.sdk.connector import Connector
from tidegate.store.sql import query
from tidegate.vault import credentials
from tidegate.vault.credentials import WEBHOOK_SECRET

REMOTE_SKEW_SECONDS_MAX = 60.0
"""A Date header has whole seconds, and signatures tolerate minutes."""
STALE_INTERVALS = 5
"""A feed that was not read for so many of its intervals is stale."""
STALE_SECONDS_MIN = 60.0
_CONNECTIONS = query("doctor_connections")


async def check_connections(
    session: Session, connectors: Mapping[str, Connector], *, live: bool
) -> AsyncIterator[Finding]:
    """Every connection of the file is connected and works; `live` asks the other sides."""
    rows = {row["name"]: row for row in await session.conn.fetch(_CONNECTIONS, session.tenant_id)}
    feeds = (await read_status(session.conn, session.tenant_id)).feeds
    for name, entry in session.config.connections.items():
        check = f"connection {name}"
        connector = connectors.get(entry.use)
        row = rows.get(name)
        if row is None or connector is None:
            yield fail(check, "in tidegate.yaml, but not connected", f"tidegate connect {name}")
            continue
        for finding in _check_row(check, name, row, connector, entry.options.get("url")):
            yield finding
        for finding in _check_feeds(check, name, connector, feeds):
            yield finding
        if live:
            async for finding in _check_live(session, check, name, row, connector):
                yield finding
    for name in sorted(set(rows) - set(session.config.connections)):
        yield warn(
            f"connection {name}", "connected, but not in tidegate.yaml", "add it there; it takes part in no flow"
        )


def _check_row(check: str, name: str, row: Any, connector: Connector, url: object) -> Iterator[Finding]:
    settings = msgspec.json.decode(row["settings"])
    again = f"tidegate connect {name}"
    if row["state"] != "active":
        yield fail(check, f"{row['state']}: {row['state_reason'] or 'no reason given'}", again)
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
        yield fail(check, "its webhook has no secret: every delivery is refused", again)
    elif settings.get("webhook_state") == "registered":
        yield ok(check, "webhook registered")
    else:
        yield warn(check, "its webhook has to be set up by you", f"{again} shows the address")


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


async def _check_live(
    session: Session, check: str, name: str, row: Any, connector: Connector
) -> AsyncIterator[Finding]:
    """Log in at the other side and compare clocks. Reads only."""
    settings = msgspec.json.decode(row["settings"])
    try:
        secrets = await credentials.get_all(
            session.conn, session.key_ring(), session.tenant_id, row["connection_id"], "credential"
        )
        allow = [ip_network(text) for text in session.config.network.allow]
        api = HttpApi(connector, str(settings.get("base_url", "")), settings, secrets, allow=allow, clock=SystemClock())
    except TidegateError as error:
        yield fail(check, str(error), error.hint or f"tidegate connect {name}")
        return
    try:
        await api.session()
        yield ok(check, "the other side lets us in")
        skew = await _measure_skew(api)
    except TidegateError as error:
        yield fail(check, f"the other side: {error}", error.hint or f"is it up? if it is: tidegate connect {name}")
        return
    finally:
        await api.close()
    if skew is not None and skew > REMOTE_SKEW_SECONDS_MAX:
        yield warn(check, f"its clock differs from ours by {skew:.0f} s", "signed deliveries may be refused: run NTP")


async def _measure_skew(api: HttpApi) -> float | None:
    """Return the difference of the clocks in seconds, None where the other side does not tell its own."""
    try:
        answer = await api.request("GET", "/", changes_state=False)
        told = parsedate_to_datetime(answer.headers["date"])
    except (TidegateError, KeyError, ValueError):
        return None
    return abs((datetime.now(UTC) - told).total_seconds())
