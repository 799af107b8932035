"""The HTTP client that connectors use: one request, one total deadline, one classified error.

No redirects, no cookies, no proxies from the environment, no retries. Bytes are capped. Every connect goes through the
egress guard: only public addresses, or the ones the operator allowed (`network.allow` in the configuration).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import msgspec

QuerySigner = Callable[[str, str, Mapping[str, str], datetime], Mapping[str, str]]
"""(method, URL without query, query parameters, now) -> parameters that sign this one request."""


@dataclass(frozen=True)
class Session:
    """What a request needs to be let in: headers made from a credential, or a signature per request. Never printed."""

    headers: Mapping[str, str] = field(repr=False)
    sign: Callable[[Mapping[str, str], bytes, float], Mapping[str, str]] | None = field(default=None, repr=False)
    """(headers of the request with lower-case names, body, now in Unix seconds) -> further headers, for a platform that
    wants each request signed. Called for each try, so that its time is the try's own."""
    sign_query: QuerySigner | None = field(default=None, repr=False)
    """Adds to the query of every request what signs it, where a platform wants that (OAuth 1.0a)."""


@dataclass(frozen=True)
class Response:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    """Lower-case names."""
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """Return the decoded body; raises ValueError when it is no JSON (NaN and bad UTF-8 included)."""
        return msgspec.json.decode(self.body)


ANSWERS: ContextVar[Callable[[Response], None] | None] = ContextVar("tidegate_answers", default=None)
"""Is called with every whole answer of the requests made in its context, refusals and failures included."""


class Api(Protocol):
    """One connection's door to the other side. Implemented by `sdk.client.HttpApi`."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """The connection's settings (not secret): base_url, location ids, ..."""
        ...

    @property
    def memory(self) -> MutableMapping[str, Any]:
        """What a connector wants to remember for as long as this door is open: ids that it need not read again.

        The same for all calls of the connection in this process, gone with it; never a place for what must be kept.
        """
        ...

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
        """Send one request to base_url + path ('' for the base URL itself) and return its answer, whatever its status below 500 and not 401/403/429.

        The body is `json`, or `form` as `application/x-www-form-urlencoded` in the order given, or none.
        `changes_state=False` marks a read: a lost answer of a read is TransientError, of a write OutcomeUnknownError.
        Raises AuthenticationError (401; 403 is for the connector's table), RateLimitedError (429), TransientError (not
        sent, or a read got no whole answer or a 5xx, with the wait of its Retry-After), OutcomeUnknownError (a write was
        sent and no whole answer or any 5xx came back), ConfigurationError (the address is blocked or unusable).
        """
        ...

    async def download(self, url: str, *, first_byte: int, bytes_max: int) -> Response:
        """Read a part of a file that the platform made for us, from the address that it named.

        The body has at most `bytes_max` bytes from `first_byte` on: fewer only at the file's end. Nothing of the session goes
        along; the address must be https, or as plain as the base URL, and passes the egress guard. Raises TransientError
        for any answer but 200, 206 and 416 (then the body is empty: the file ends before), otherwise as `request`.
        """
        ...
