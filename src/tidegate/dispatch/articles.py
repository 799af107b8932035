"""What a look did not find, found again, or found anew: each such article is read by itself, because a list may leave things out.

Whether an article was deleted is never concluded from a list: the system is asked for it, and its answer is the fact that counts.
"""

from __future__ import annotations

import structlog

from tidegate.dispatch import shown_statements as statements
from tidegate.dispatch.look_end import append_fact
from tidegate.dispatch.records import ShownRead
from tidegate.dispatch.scope import Scope
from tidegate.store.connections import Connection

log = structlog.get_logger()

ARTICLES_TOPIC = "reconcile.articles"
READ_TOPIC = "variant"
"""What connectors call the read of one article."""
ASKED_MAX = 200
"""Articles that are back, or may take the place of a deleted one, that one look reads at most."""


async def ask_for_articles(conn: Connection, scope: Scope, read: ShownRead, missing_max: int) -> int:
    """Have the articles read that a finished look is in doubt about; return how many. Inside of the transaction that ends it.

    More missing ones than `missing_max` are not read: then the list is in doubt, and a person has to look.
    """
    if READ_TOPIC not in scope.connector.fetch:
        return 0
    missing = await conn.fetchval(statements.MISSING, *scope.ids, read.run_id) or 0
    if missing > missing_max:
        log.error("reconcile.many_missing", connection=scope.connection.name, missing=missing, limit=missing_max)
        missing = 0
    rows = await conn.fetch(statements.TO_BE_READ, *scope.ids, missing, ASKED_MAX)
    if not rows:
        return 0
    named = sorted({row["external_id"] for row in rows})
    body = {
        "connection": scope.connection.name,
        **{why: [row["external_id"] for row in rows if row["why"] == why] for why in ("missing", "back", "successor")},
    }
    words = f"{len(named)} articles are read by themselves: not found, found again, or in place of a deleted one"
    event_id = await append_fact(conn, scope, ARTICLES_TOPIC, read.run_id, body, code="articles", reason=words)
    await conn.execute(statements.READ_ARTICLES, *scope.ids, READ_TOPIC, named, event_id)
    return len(named)
