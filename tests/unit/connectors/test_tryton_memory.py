"""What Tryton was asked once is not asked again for every order: calls share the memory of the connection's door."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from tidegate.connectors.tryton.facts import facts_of
from tidegate.dispatch.guard import GuardedApi
from tidegate.sdk.http import Api, Response


class CountingApi:
    """Has one record of everything, and counts the requests."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}
        self.memory: dict[str, Any] = {}
        self.requests = 0

    async def request(self, _method: str, _path: str, **_given: Any) -> Response:
        self.requests += 1
        record = b'[{"id": 1, "company": 1, "warehouses": [5], "addresses": [2], "default_uom": 1, "code": "EUR"}]'
        return Response(status=200, headers={}, body=record)


def test_facts_are_read_once_per_connection_and_not_once_per_call() -> None:
    """Each call has a view of its own; six requests are enough for all of them."""
    api = CountingApi()

    async def play() -> None:
        for _ in range(3):
            view = GuardedApi(cast("Api", api), has_lease=lambda: True, excerpt_bytes_max=10)
            await facts_of(view)

    asyncio.run(play())
    assert api.requests == 6
