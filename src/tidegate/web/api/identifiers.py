"""Public ids in requests. Pure."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from litestar.params import HeaderParameter, PathParameter, QueryParameter

from tidegate.kernel.ids import parse_public_id
from tidegate.web.problems import ProblemError

_LETTERS = "[0-9a-hjkmnp-tv-z]{26}"


def id_pattern(kind: str) -> str:
    """Return the pattern of public ids of a kind. Pure."""
    return f"^{kind}_[a-z][a-z0-9]{{0,11}}_{_LETTERS}$"


EventId = Annotated[str, PathParameter(description="Id of an event.", pattern=id_pattern("evt"))]
CommandId = Annotated[str, PathParameter(description="Id of a command.", pattern=id_pattern("cmd"))]
TEXT = "^[^\\u0000-\\u001f\\u007f-\\u009f\\ufffd]+$"
"""Pattern of text in parameters: no control characters, nothing that was no UTF-8."""
Connection = Annotated[
    str | None,
    QueryParameter(description="Name of a connection.", min_length=1, max_length=40, pattern="^[a-z][a-z0-9_]*$"),
]
IDEMPOTENCY_KEY_CHARS_MAX = 255
IDEMPOTENCY_KEY = "^[!-~]+$"
"""Pattern of idempotency keys."""
IdempotencyKey = Annotated[
    str,
    HeaderParameter(
        name="Idempotency-Key",
        min_length=1,
        max_length=IDEMPOTENCY_KEY_CHARS_MAX,
        pattern=IDEMPOTENCY_KEY,
        description="Names this request: sent again under the same key it gets the same answer, and has no further effect. "
        "Kept for at least 24 hours. A random UUID is a good one.",
    ),
]


def parse_id(kind: str, text: str) -> UUID:
    """Return the id behind a public one. Raises ProblemError 404: what is no id names nothing."""
    try:
        return parse_public_id(text, kind=kind)
    except ValueError:
        raise ProblemError(404, f"{_KINDS[kind]}_unknown", f"there is no such {_KINDS[kind]}") from None


_KINDS = {
    "evt": "event",
    "cmd": "command",
    "ord": "order",
    "con": "connection",
    "iss": "issue",
    "run": "run",
    "alr": "alert",
    "res": "reservation",
}
