"""Bulk operations: the shop reads everything on its side, for about ten points, and leaves a file of one thing per line.

The file is read part by part. Its address is asked for each time: it opens the file to everybody.
"""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

import msgspec

from tidegate.connectors.shopify import queries
from tidegate.connectors.shopify.errors import UserError
from tidegate.connectors.shopify.graphql import call
from tidegate.kernel.errors import TransientError
from tidegate.sdk.http import Api

_T = TypeVar("_T")

LINES_PER_PART = 1000
BYTES_PER_PART = 256 * 1024
"""Also the longest line that can be read."""
POLL_SECONDS = 3.0
POLLS_MAX = 2400
"""Two hours: a bulk operation that is not done by then is given up for pages."""

_RUNNING = frozenset({"CREATED", "RUNNING", "CANCELING"})


class Place(msgspec.Struct, frozen=True):
    """Where reading one bulk operation stands."""

    operation: str
    polls: int = 0
    first_byte: int = 0


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What one look at a bulk operation brought."""

    lines: tuple[bytes, ...] = ()
    following: Place | None
    """None: the file ends here."""
    wait_seconds: float = 0.0
    """Until the next look, while the shop still works on it."""
    observed_at: datetime | None = None


class _Operation(msgspec.Struct):
    id: str
    status: str


class _Started(msgspec.Struct, rename="camel"):
    bulk_operation: _Operation | None
    user_errors: list[UserError]


class _Bulk(msgspec.Struct, rename="camel"):
    id: str
    status: str
    created_at: datetime
    url: str | None = None


async def start(api: Api, query: str) -> Place | None:
    """Begin a bulk operation, which changes nothing in the shop; None where none can be had now."""
    started: _Started = await call(
        api, queries.RUN_BULK, {"query": query}, "bulkOperationRunQuery", _Started, changes_state=False
    )
    if started.user_errors or started.bulk_operation is None:
        return None
    return Place(started.bulk_operation.id)


async def read_part(api: Api, place: Place) -> Part | None:
    """Wait for the file, then read its next part; None: nothing will come of this operation."""
    bulk: _Bulk | None = await call(
        api, queries.BULK, {"id": place.operation}, "bulkOperation", _Bulk | None, changes_state=False
    )
    if bulk is not None and bulk.status in _RUNNING and place.polls < POLLS_MAX:
        return Part(following=msgspec.structs.replace(place, polls=place.polls + 1), wait_seconds=POLL_SECONDS)
    if bulk is None or bulk.status != "COMPLETED":
        return None
    if bulk.url is None:  # nothing was found
        return Part(following=None)
    part = await api.download(bulk.url, first_byte=place.first_byte, bytes_max=BYTES_PER_PART)
    lines, used, is_end = split(part.body)
    following = None if is_end else msgspec.structs.replace(place, first_byte=place.first_byte + used)
    return Part(lines=tuple(lines), following=following, observed_at=bulk.created_at)


def split(body: bytes) -> tuple[list[bytes], int, bool]:
    """Return the whole lines at the beginning of a part, how many bytes they are, and whether the file ends here. Pure.

    A part that is shorter than what was asked for is the last one. Raises TransientError for a line that is longer than a part.
    """
    is_last = len(body) < BYTES_PER_PART
    whole = body if is_last else body[: body.rfind(b"\n") + 1]
    if not whole and not is_last:
        raise TransientError("a line of the bulk operation's file is too long", code="bulk_file")
    lines = whole.splitlines(keepends=True)
    taken = lines[:LINES_PER_PART]
    used = sum(len(line) for line in taken)
    return [line for line in taken if line.strip()], used, is_last and len(lines) == len(taken)


def decode(decoder: msgspec.json.Decoder[_T], line: bytes) -> _T:
    """Return what a line of the file holds. Raises TransientError for one that cannot be read."""
    try:
        return decoder.decode(line)
    except (ValueError, RecursionError) as error:
        raise TransientError("the bulk operation's file cannot be read", code="bulk_file") from error
