"""Reads that bring facts in: pages of feeds and single entities, through the lane's budget and into the log."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import TypeVar
from uuid import UUID

import msgspec
import structlog
from prometheus_client import Counter

from tidegate import __version__
from tidegate.dispatch import statements
from tidegate.dispatch.decide import named_wait
from tidegate.dispatch.guard import GuardedApi
from tidegate.dispatch.records import FetchRequest
from tidegate.dispatch.scope import Scope
from tidegate.dispatch.settings import DispatchSettings
from tidegate.eventlog.poll import append_fetched, append_poll_page
from tidegate.eventlog.records import Envelope, NewEvent, Source, unique_dedupe_key
from tidegate.kernel import crashpoint
from tidegate.kernel.errors import ConflictError, InvariantError, TidegateError, TransientError
from tidegate.kernel.ids import first_id_at, new_id, slot_of
from tidegate.kernel.retry import full_jitter
from tidegate.kernel.telemetry import READS_SAVED
from tidegate.sdk.connector import Connector, Feed, FeedItem, FeedPage
from tidegate.sdk.windows import closed_window
from tidegate.store.connections import Connection

T = TypeVar("T")

log = structlog.get_logger()

ERROR_TEXT_MAX = 300
OPEN_WALK_MAX = 10_000
"""Orders that one look for open ones walks over."""
BUNDLED = Counter(
    READS_SAVED.removesuffix("_total"), "Reads that were saved because one served several hints", ("connector",)
)


class FeedTimes:
    """When each feed of a connection is due, by the monotonic clock. Pure: told what happened, asked what is due."""

    def __init__(
        self, connector: Connector, ages: dict[str, float | None], now: float, *, interval_min: float = 0.0
    ) -> None:
        """`ages` are the seconds since a feed was last read well, None for never; `interval_min` is in seconds."""
        self._connector = connector
        self._interval_min = interval_min
        self._due = {name: now + self._first_wait(name, ages.get(name)) for name in connector.feeds}
        self._failures = dict.fromkeys(connector.feeds, 0)

    def restarted(self, ages: dict[str, float | None], now: float) -> FeedTimes:
        """Return the times as they follow from `ages`, with the same shortest interval."""
        return FeedTimes(self._connector, ages, now, interval_min=self._interval_min)

    def set_interval_min(self, seconds: float, now: float) -> None:
        """Read no feed more often than this from now on. A shorter one counts at once, a longer one after the next read."""
        self._interval_min = seconds
        self._due = {name: min(due, now + self._interval(name)) for name, due in self._due.items()}

    def _interval(self, name: str) -> float:
        return max(self._connector.feeds[name].interval.total_seconds(), self._interval_min)

    def _first_wait(self, name: str, age_seconds: float | None) -> float:
        return 0.0 if age_seconds is None else max(0.0, self._interval(name) - age_seconds)

    def due(self, now: float) -> list[tuple[str, float]]:
        """Return the due feeds with the seconds since they were due."""
        return [(name, now - due) for name, due in self._due.items() if due <= now]

    def next_wait(self, now: float) -> float | None:
        """Return the seconds until the next feed is due, None when there is no feed."""
        return max(0.0, min(self._due.values()) - now) if self._due else None

    def are_even(self, now: float) -> bool:
        """Return whether every feed was read to its end and none is failing."""
        return all(due > now for due in self._due.values()) and not any(self._failures.values())

    def hurry(self, now: float, *, within: float = 0.0) -> None:
        """Make every feed due in so many seconds that tells of something and is not failing: somebody waits for it."""
        for name, due in self._due.items():
            if not self._failures[name] and self._connector.feeds[name].tells_news:
                self._due[name] = min(due, now + within)

    def succeeded(self, name: str, now: float, *, has_more: bool) -> None:
        """Note a page that was stored."""
        self._failures[name] = 0
        self._due[name] = now if has_more else now + self._interval(name)

    def failed(self, name: str, now: float, settings: DispatchSettings, *, named_seconds: float = 0.0) -> None:
        """Note a page that was not; the feed backs off by itself, and at least for what the other side asked for."""
        index = self._failures[name]
        self._failures[name] = index + 1
        base = min(self._interval(name), 1.0)
        wait = full_jitter(index, base_seconds=base, cap_seconds=settings.feed_backoff_seconds_max)
        self._due[name] = now + max(base / 2 + wait, named_seconds)


async def load_feed_ages(conn: Connection, scope: Scope) -> dict[str, float | None]:
    """Return the seconds since each known feed was last read well."""
    return {row["feed"]: row["age_seconds"] for row in await conn.fetch(statements.LOAD_CURSORS, *scope.ids)}


async def read_feed(scope: Scope, name: str, open_guard: Callable[[], Awaitable[GuardedApi]]) -> bool:
    """Read one page of a feed and store it with the cursor's move; return whether there is more at once.

    Raises TidegateError when the page could not be read or somebody else moved the cursor; the error is noted with the
    cursor. What a feed that mends has read is dropped when the connection's settings are others by then: it was about
    webhooks at an address that was given up. Raises `Fenced` and `DATABASE_ERRORS`.
    """
    feed = scope.connector.feeds[name]
    row = await scope.pool.fetchrow(statements.LOAD_CURSOR, *scope.ids, name)
    cursor, version, began_at = (row["cursor"], row["version"], row["now"]) if row is not None else ("", 0, None)
    await scope.charge_read()
    try:
        api = await open_guard()
        page = await _read_page(scope, feed, api, cursor)
    except TidegateError as error:
        await _note_error(scope, name, error)
        raise
    crashpoint.reach("dispatch.feed.read")
    async with scope.pool.acquire() as conn:
        items = await _seal_items(conn, scope, page.items, "poll")
        try:
            news = await append_poll_page(
                conn,
                partial(_fence_unmoved, scope) if feed.mends else scope.fence,
                *scope.ids,
                name,
                cursor_version=version,
                cursor=page.cursor,
                items=items,
                writer=scope.writer,
                even_at=None if page.has_more else began_at,
            )
        except ConflictError as error:
            log.warning("feed.page_dropped", feed=name, connection=scope.connection.name, error_code=error.code)
            raise
    crashpoint.reach("dispatch.feed.stored")
    if news:
        log.info("feed.read", feed=name, connection=scope.connection.name, rows=news)
    return page.has_more


async def _read_page(scope: Scope, feed: Feed, api: GuardedApi, cursor: str) -> FeedPage:
    """Read a page; a feed about open orders is told which ones, and the cursor is how far the engine has gone round.

    One that counts is told the window, and the cursor is the last one.
    """
    if feed.counts is not None:
        window = closed_window(scope.clock.now(), feed.counts, feed.interval)
        counted: FeedPage = await bounded(feed.read(api, window), scope)
        return msgspec.structs.replace(counted, cursor=window, has_more=False)
    if not feed.open_orders:
        return await bounded(feed.read(api, cursor), scope)
    first = first_id_at(scope.clock.now() - timedelta(days=scope.settings.open_orders_days))
    after = max(first, UUID(cursor)) if cursor else first
    row = await scope.pool.fetchrow(statements.OPEN_ORDERS, *scope.ids, after, feed.open_orders, OPEN_WALK_MAX)
    ids, last = (row["ids"], row["last"]) if row is not None else ([], None)
    page: FeedPage = await bounded(feed.read(api, msgspec.json.encode(ids).decode() if ids else ""), scope)
    return msgspec.structs.replace(page, cursor=str(last or ""), has_more=False)


async def _fence_unmoved(scope: Scope, conn: Connection) -> None:
    await scope.fence(conn)
    if not await conn.fetchval(
        statements.HAS_SETTINGS, *scope.ids, msgspec.json.encode(scope.connection.settings).decode()
    ):
        raise ConflictError("the connection's settings were changed meanwhile", code="settings_moved")


async def fetch_entity(scope: Scope, request: FetchRequest, open_guard: Callable[[], Awaitable[GuardedApi]]) -> None:
    """Read one entity that an event asked for, and store what it is now. One that is gone leaves nothing.

    Raises as `read_feed`; the request is then parked with a backoff.
    """
    key = (*scope.ids, request.topic, request.external_id, request.requested_by)
    fetch = scope.connector.fetch.get(request.topic)
    if fetch is None:
        log.error("fetch.unsupported", topic=request.topic, connector=scope.connector.name)
        await scope.pool.execute(statements.END_FETCH, *key)
        return
    await scope.charge_read()
    try:
        api = await open_guard()
        item: FeedItem | None = await bounded(fetch(api, request.external_id), scope)
    except TidegateError as error:
        wait = max(named_wait(error, scope.settings), 0.5 + full_jitter(request.tries))
        await scope.pool.execute(statements.PARK_FETCH, *key, wait)
        raise

    async def work(conn: Connection) -> None:
        await scope.fence(conn)
        is_wanted = await conn.fetchval(statements.END_FETCH, *key)
        if not is_wanted:  # hinted at again meanwhile: what was read is news all the same, and one more read follows
            wait = scope.lane.rules.wait_for_hints(request.topic)
            is_wanted = await conn.fetchval(statements.SERVE_HINTS, *key[:4], request.hints, wait)
        if is_wanted and request.hints > 1:
            await conn.execute(statements.COUNT_BUNDLED, *scope.ids, request.hints - 1)
            BUNDLED.labels(scope.connector.name).inc(request.hints - 1)
        if is_wanted and item is not None:
            (event,) = await _seal_items(conn, scope, [item], "fetch")
            await append_fetched(conn, scope.fence, event, writer=scope.writer)

    await scope.transact(work)


async def bounded(reading: Awaitable[T], scope: Scope) -> T:
    """Return what a connector's read gives, in bounded time; its bugs become errors of ours."""
    try:
        async with asyncio.timeout(scope.settings.execute_seconds_max):
            return await reading
    except TidegateError:
        raise
    except TimeoutError as error:
        raise TransientError("the read took too long", code="call_timeout") from error
    except Exception as error:
        log.error("connector.failed", connector=scope.connector.name, exc_info=error)
        raise InvariantError(f"the connector failed with {type(error).__name__}", code="connector_defect") from error


async def _seal_items(conn: Connection, scope: Scope, items: Sequence[FeedItem], source: Source) -> list[NewEvent]:
    tenant_id, connection_id = scope.ids
    key = await scope.cipher.current(conn, tenant_id, scope.clock.now().date())
    envelope = Envelope(
        connector=scope.connector.name,
        connector_version=scope.connector.version,
        mapping_version=scope.connector.mapping_version,
        code_version=__version__,
    ).encode()
    sealed = []
    for item in items:
        event_id = new_id()
        sealed.append(
            NewEvent(
                tenant_id=tenant_id,
                event_id=event_id,
                connection_id=connection_id,
                source=source,
                topic=item.topic,
                ordering_key=item.ordering_key,
                slot=slot_of(tenant_id, item.ordering_key),
                dedupe_key=unique_dedupe_key(source, event_id),
                body_digest=hashlib.sha256(item.body).digest(),
                data_key_id=key.key_id,
                body=scope.cipher.seal(key, "event", event_id, item.body),
                external_id=item.external_id,
                envelope=envelope,
            )
        )
    return sealed


async def _note_error(scope: Scope, name: str, error: TidegateError) -> None:
    text = f"{error.code}: {error}"[:ERROR_TEXT_MAX]

    async def work(conn: Connection) -> None:
        await conn.execute(statements.ENSURE_CURSOR, *scope.ids, name)
        await conn.execute(statements.NOTE_FEED_ERROR, *scope.ids, name, text)

    await scope.transact(work)
