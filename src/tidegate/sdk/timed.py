"""A door that remembers when its newest answer was made, by the clock of whoever answered."""

from __future__ import annotations

from collections.abc import MutableMapping
from datetime import datetime
from typing import Any

from tidegate.sdk.failures import read_date
from tidegate.sdk.http import Api, Response


class TimedApi:
    """An `Api` for one read of a feed: times of change are compared with the clock that set them, not with ours."""

    def __init__(self, api: Api) -> None:
        """Send through `api`."""
        self._api = api
        self.settings = api.settings
        self.answered_at: datetime | None = None
        """In whole seconds, aware. None: no answer yet, or one without a date."""

    @property
    def memory(self) -> MutableMapping[str, Any]:
        """What the connection remembers."""
        return self._api.memory

    async def request(self, method: str, path: str, **options: Any) -> Response:
        """Send one request, as `Api.request`."""
        response = await self._api.request(method, path, **options)
        self.answered_at = read_date(response.headers.get("date"))
        return response

    async def download(self, url: str, *, first_byte: int, bytes_max: int) -> Response:
        """Read a part of a file, as `Api.download`; its server may have another clock."""
        return await self._api.download(url, first_byte=first_byte, bytes_max=bytes_max)
