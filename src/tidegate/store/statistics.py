"""What the planner of PostgreSQL believes of a table that it has no statistics of.

Every key begins with the tenant. Of a table that is new PostgreSQL assumes two hundred tenants, or as many as there are
rows: "all rows of this tenant" looks like one row, and as good as any key. A plan that is made then, and kept, reads the
whole table for each look-up, until the statistics are made for the first time: that is the first minute of an
installation, and the first of each month. So the truth is told before the first row is there.
"""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.store.connections import Connection, DirectConnection
from tidegate.store.sql import query

EXPECTED: Mapping[str, float] = {"tenant_id": 1, "connection_id": 2, "kind": 2}
"""Column -> how many values it is expected to have. Few is safe: then a whole key is always worth more than a part."""
SINCE_SERVER_VERSION = 18
"""First version of PostgreSQL that takes statistics from its owner; before it the first minute is as it is."""

_TELL = query("statistics_expected")


async def expect_few(connection: Connection | DirectConnection) -> int:
    """Tell what is `EXPECTED` where nothing is known yet; return of how many columns it was told.

    Needs the migrator role. Safe to repeat: what was measured, or told before, stays. Changes nothing on older servers.
    """
    if connection.get_server_version().major < SINCE_SERVER_VERSION:
        return 0
    told = await connection.fetch(_TELL, list(EXPECTED), list(EXPECTED.values()))
    return len(told)
