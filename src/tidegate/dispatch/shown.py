"""Reading what a system shows: one page per step, each stored with the checkpoint of its run.

A step that was overtaken (the process died and another one went on) changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import structlog

from tidegate.dispatch import shown_statements as statements
from tidegate.dispatch.decide import ErrorClass, classify, named_wait, reason_of
from tidegate.dispatch.feeds import bounded
from tidegate.dispatch.guard import GuardedApi
from tidegate.dispatch.look_end import finish_read
from tidegate.dispatch.records import ShownRead
from tidegate.dispatch.scope import Scope
from tidegate.kernel import crashpoint
from tidegate.kernel.errors import TidegateError
from tidegate.kernel.retry import full_jitter
from tidegate.sdk.connector import Shown, ShownField, ShownPage
from tidegate.store.connections import Connection
from tidegate.store.sql import query

log = structlog.get_logger()

TRIES_MAX = 8
"""Failures in a row until a read is given up."""
TEXT_MAX = 300
"""Characters kept of a SKU or a title."""
VALUE_MAX = 10**12

_KEEP_PARENTS = query("bindings_parents")
OpenGuard = Callable[[], Awaitable[GuardedApi]]


async def read_shown_page(scope: Scope, read: ShownRead, open_guard: OpenGuard) -> None:
    """Read one page and store it with the checkpoint. Raises TidegateError after noting it; `Fenced`, `DATABASE_ERRORS`."""
    shown = scope.connector.shown
    if shown is None:
        return await end_read(scope, read, "failed", f"{scope.connector.title} cannot show its articles")
    began_at = await _begin(scope, read)
    if began_at is None:
        return None
    try:
        api = await open_guard()
        page: ShownPage = await bounded(shown.read(api, read.cursor), scope)
    except TidegateError as error:
        await _note_error(scope, read, error)
        raise
    crashpoint.reach("dispatch.shown.read")
    observed_at = min(began_at, page.observed_at) if page.observed_at is not None else began_at
    columns = list_numbers(page, shown)
    parents = {one.external_id: one.parent_external_id for one in page.articles if one.parent_external_id}

    async def work(conn: Connection) -> None:
        await scope.fence(conn)
        step = (*scope.ids, read.run_id, read.version)
        ending = (page.cursor, len(page.articles), page.has_more, max(0.0, page.wait_seconds))
        if await conn.fetchval(statements.END_PAGE, *step, *ending):
            await conn.execute(statements.KEEP_SHOWN, *scope.ids, read.run_id, observed_at, *columns)
            if parents:
                await conn.execute(_KEEP_PARENTS, *scope.ids, list(parents), list(parents.values()))

    await scope.transact(work)
    crashpoint.reach("dispatch.shown.stored")
    return None


def list_numbers(page: ShownPage, shown: Shown) -> list[list[Any]]:
    """Return a page as columns, one row per number; what was not declared or is no number is left out. Pure.

    An article without any number has a row that says that it is there.
    """
    rows = {}
    for article in page.articles:
        texts = (_text(article.sku), _text(article.title))
        is_shown = False
        for value in article.values:
            if value.field in shown.fields and value.value.is_finite() and abs(value.value) < VALUE_MAX:
                key = (article.external_id, value.field.value, value.place)
                rows[key] = (*key, *texts, value.value, value.currency)
                is_shown = True
        if not is_shown:
            key = (article.external_id, ShownField.LISTED.value, "")
            rows[key] = (*key, *texts, Decimal(0), "")
    return [list(column) for column in zip(*rows.values(), strict=True)] if rows else [[] for _ in range(7)]


def _text(text: str) -> str:
    """Return what can be stored of a text from elsewhere."""
    return text.replace("\x00", "")[:TEXT_MAX]


async def end_read(scope: Scope, read: ShownRead, state: str, error: str | None = None) -> None:
    """End a read, and with the last one its run."""

    async def work(conn: Connection) -> None:
        await scope.fence(conn)
        await finish_read(conn, scope, read, state, error)

    await scope.transact(work)


async def _begin(scope: Scope, read: ShownRead) -> datetime | None:
    """Take the page's charge and return when it began, None when the read has moved on."""

    async def work(conn: Connection) -> datetime | None:
        await scope.fence(conn)
        began_at: datetime | None = await conn.fetchval(statements.BEGIN_PAGE, *scope.ids, read.run_id, read.version)
        if began_at is not None:
            await scope.store_budget(conn)
        return began_at

    return await scope.transact(work)


async def _note_error(scope: Scope, read: ShownRead, error: TidegateError) -> None:
    """Put the read off, or give it up: after many failures, and at once when only a person can help."""
    name = classify(error)
    passes = (ErrorClass.TRANSIENT, ErrorClass.RATE_LIMITED, ErrorClass.UNKNOWN, ErrorClass.CONFLICT)
    if name not in passes or read.tries + 1 >= TRIES_MAX:
        log.error("shown.given_up", connection=scope.connection.name, error_code=error.code)
        return await end_read(scope, read, "failed", reason_of(error))
    wait = max(named_wait(error, scope.settings), 0.5 + full_jitter(read.tries))
    is_failure = name is not ErrorClass.RATE_LIMITED
    step = (*scope.ids, read.run_id, read.version)
    await scope.pool.execute(statements.PARK_READ, *step, wait, reason_of(error), is_failure)
    return None
