"""Lists are given out in pages, by position and not by number: what is added meanwhile moves nothing. Pure."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated
from uuid import UUID

import msgspec
from litestar.params import QueryParameter

from tidegate.web.problems import ProblemError

EXAMPLE_CURSOR = "WzEsImV2ZW50cyIsIjAxOTMifQ"
"""For the description."""
LIMIT_MAX = 200
CURSOR_CHARS_MAX = 400
CURSOR_PATTERN = "^[A-Za-z0-9_-]+$"

Limit = Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX, description="How many items at most.")]
Cursor = Annotated[
    str | None,
    QueryParameter(
        min_length=1,
        max_length=CURSOR_CHARS_MAX,
        pattern=CURSOR_PATTERN,
        description="`next_cursor` of the page before. Keep the other parameters as they were.",
    ),
]


class _Position(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where a list goes on."""

    version: int
    of: str
    after: str


def write_cursor(of: str, after: str | UUID) -> str:
    """Return the cursor behind an item of the list `of`; `after` is what the list is sorted by."""
    packed = msgspec.json.encode(_Position(1, of, str(after)))
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def read_cursor(of: str, cursor: str | None) -> str | None:
    """Return what stands behind the position; None for the first page. Raises ProblemError 404 for anybody's invention."""
    if cursor is None:
        return None
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        position = msgspec.json.decode(packed, type=_Position)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        position = None
    if position is None or position.version != 1 or position.of != of or "\0" in position.after:
        raise ProblemError(
            404, "cursor_unknown", "no list has this position", hint="begin at the first page, without a cursor"
        )
    return position.after


def read_id_cursor(of: str, cursor: str | None) -> UUID | None:
    """Return the id behind the position of a list that is sorted by id. Raises ProblemError as `read_cursor`."""
    after = read_cursor(of, cursor)
    if after is None:
        return None
    try:
        return UUID(after)
    except ValueError:
        raise ProblemError(404, "cursor_unknown", "no list has this position") from None
