"""Look into Tidegate's database from outside: what is in flight, whether all is quiet, whether the books balance."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg

from tidegate.cli.session import open_session
from tidegate.kernel.errors import TidegateError
from tidegate.runtime.project import Project

T = TypeVar("T")

IN_FLIGHT = """
SELECT (SELECT count(*) FROM event_queue) AS events_waiting,
       (SELECT count(*) FROM command WHERE state = 'sending') AS commands_sending,
       (SELECT count(*) FROM command WHERE state = 'pending') AS commands_pending,
       (SELECT count(*) FROM command WHERE state = 'in_doubt') AS commands_in_doubt,
       (SELECT count(*) FROM channel_stock WHERE dirty) AS marks_dirty,
       (SELECT count(*) FROM event_parked) AS events_parked,
       (SELECT count(*) FROM fetch_request) AS fetches_waiting
"""
IMBALANCE = """
SELECT coalesce(sum(abs(difference)), 0)::bigint FROM (
  SELECT sum(received - duplicate - applied - superseded - ignored - quarantined)
       - (SELECT count(*) FROM event_parked p WHERE p.kind = 'parked' AND p.connection_id = c.connection_id AND p.run = 0)
       - (SELECT count(*) FROM event_queue q JOIN event e USING (tenant_id, event_id)
          WHERE e.connection_id = c.connection_id AND q.run = 0) AS difference
  FROM conservation c GROUP BY c.connection_id) x
"""
LEDGER = """
SELECT v.sku, coalesce(sum(s.available), 0)::int AS available, coalesce(sum(s.on_hand), 0)::int AS on_hand
FROM variant v JOIN variant_item vi USING (tenant_id, variant_id) LEFT JOIN stock_balance s USING (tenant_id, item_id)
GROUP BY v.sku
"""
DOUBLE_ENTRIES = """
SELECT (SELECT count(*) - count(DISTINCT (tenant_id, cause_key)) FROM stock_entry)
     + (SELECT count(*) FROM (SELECT 1 FROM stock_entry WHERE kind = 'ship' GROUP BY order_line_id
        HAVING -sum(on_hand_delta) > (SELECT max(current) FROM order_line l WHERE l.line_id = order_line_id)) x)
"""
WRONG_LEVELS = """
SELECT count(*) FROM stock_balance s LEFT JOIN (
  SELECT item_id, location_id, sum(on_hand_delta) h, sum(committed_delta) c, count(*) n FROM stock_entry GROUP BY 1, 2
) e USING (item_id, location_id)
WHERE (s.on_hand, s.committed, s.version) IS DISTINCT FROM (coalesce(e.h, 0), coalesce(e.c, 0), coalesce(e.n, 0))
"""
SOLD_OF_RECEIVED = """
SELECT coalesce(sum(least(sold.units, got.units)), 0)::int FROM (
  SELECT tenant_id, item_id, location_id, min(version) AS version, sum(on_hand_delta) AS units
  FROM stock_entry WHERE kind = 'receive' AND version > 1 GROUP BY 1, 2, 3
) got CROSS JOIN LATERAL (
  SELECT coalesce(sum(committed_delta), 0) AS units FROM stock_entry e
  WHERE e.tenant_id = got.tenant_id AND e.item_id = got.item_id AND e.location_id = got.location_id
    AND e.version > got.version AND e.kind = 'commit'
) sold
"""
FAILED = "SELECT kind, code, count(*) FROM command WHERE state = 'failed' GROUP BY 1, 2"
PARKED = "SELECT kind, code, reason, count(*) FROM event_parked GROUP BY 1, 2, 3"


@dataclass
class Watch:
    """A pair of eyes on one project's database; a new connection for each look, because databases die here."""

    project: Project

    def fetch(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a query; raises OSError while the database is away."""
        return run(self._fetch(sql))

    async def _fetch(self, sql: str) -> list[dict[str, Any]]:
        try:
            async with open_session(self.project) as session:
                return [dict(row) for row in await session.conn.fetch(sql)]
        except (TidegateError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
            raise OSError(f"database away: {type(error).__name__}") from error

    def in_flight(self) -> dict[str, int]:
        """Return what is not finished, by kind."""
        return self.fetch(IN_FLIGHT)[0]

    def value(self, sql: str) -> int:
        """Return one number."""
        return int(next(iter(self.fetch(sql)[0].values())))


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine from a thread that has no loop."""
    return asyncio.run(work)
