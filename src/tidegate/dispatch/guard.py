"""The Api that a connector's function is given for one call: it watches the lease, counts writes, keeps the evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any, Protocol

from tidegate.dispatch.budget_book import Watch
from tidegate.dispatch.decide import NO_LEASE
from tidegate.kernel.errors import TidegateError, TransientError
from tidegate.sdk.http import ANSWERS, Api, Response


class ClosableApi(Api, Protocol):
    """A connection's door that holds sockets open."""

    async def close(self) -> None:
        """Close what is open."""
        ...


class LeaseLostError(TransientError):
    """This node may no longer send: its lease runs out."""

    code = NO_LEASE


class GuardedApi:
    """One call's view of an Api. Not shared between calls."""

    def __init__(
        self,
        api: Api,
        *,
        has_lease: Callable[[], bool],
        excerpt_bytes_max: int,
        watch: Watch | None = None,
    ) -> None:
        """`has_lease` is asked before each request; `watch` sees every answer, refusals included."""
        self._watch = watch
        self._api = api
        self._has_lease = has_lease
        self._excerpt_bytes_max = excerpt_bytes_max
        self._carried_out = 0
        self.writes_begun = 0
        """Requests that change state and of which a byte may have left."""
        self.earlier_writes = 0
        """Of these, the ones that were carried out before the newest request began."""
        self.http_status: int | None = None
        """Of the newest answer."""
        self.excerpt = b""
        """Beginning of the newest answer's body."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """The connection's settings (not secret)."""
        return self._api.settings

    @property
    def memory(self) -> MutableMapping[str, Any]:
        """What the connector remembers, over all calls."""
        return self._api.memory

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        changes_state: bool = True,
    ) -> Response:
        """Send one request; see `sdk.http.Api.request`. Raises LeaseLostError instead of sending without a lease."""
        if not self._has_lease():
            raise LeaseLostError
        self.earlier_writes = self._carried_out
        self.http_status, self.excerpt = None, b""
        try:
            with self._watched():
                response = await self._api.request(
                    method, path, json=json, form=form, headers=headers, params=params, changes_state=changes_state
                )
        except TidegateError as error:
            self._note_failure(error, changes_state)
            raise
        except BaseException:
            self.writes_begun += changes_state
            raise
        self.http_status = response.status
        self.excerpt = response.body[: self._excerpt_bytes_max]
        if changes_state:
            self.writes_begun += 1
            self._carried_out += response.status < 300
        return response

    async def download(self, url: str, *, first_byte: int, bytes_max: int) -> Response:
        """Read a part of a file; see `sdk.http.Api.download`. Raises LeaseLostError instead of asking without a lease."""
        if not self._has_lease():
            raise LeaseLostError
        return await self._api.download(url, first_byte=first_byte, bytes_max=bytes_max)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Let the call's watch see the answer to one request, or that there is none."""
        watch = self._watch
        if watch is None:
            yield
            return
        watch.asked()
        token = ANSWERS.set(watch.answered)
        try:
            yield
        except TidegateError as error:
            watch.failed(error)
            raise
        finally:
            ANSWERS.reset(token)

    def finish(self) -> None:
        """Say that the call makes no further request: its charge is over."""
        if self._watch is not None:
            self._watch.finish()

    def _note_failure(self, error: TidegateError, changes_state: bool) -> None:
        status = error.context.get("status")
        self.http_status = status if isinstance(status, int) else None
        if changes_state and not error.code.startswith("not_sent"):
            self.writes_begun += 1
