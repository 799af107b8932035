"""Requests to the REST API (wc/v3) and what their answers hold. One request each, no retries.

The `next` link of a page is never followed: over plain HTTP it carries the nonce and the signature that are already spent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from tidegate.connectors.woocommerce.errors import error_of, is_invalid_id
from tidegate.kernel.errors import RejectedError, TransientError
from tidegate.sdk.answers import read_answer
from tidegate.sdk.failures import read_date
from tidegate.sdk.http import Api, Response

T = TypeVar("T")
Raw = dict[str, Any]

ROOT = "/wp-json/wc/v3"
PAGE_MAX = 100
"""Entities per page, the most that the API gives."""
_ID = re.compile(r"[1-9][0-9]{0,18}")


async def read(api: Api, path: str, kind: type[T], params: Mapping[str, str] | None = None) -> T:
    """Return the body of a GET as `kind`. Raises the error that the answer stands for."""
    response = await api.request("GET", ROOT + path, params=params, changes_state=False)
    return _body(response, kind, changes_state=False)


async def read_or_none(api: Api, path: str, kind: type[T], params: Mapping[str, str] | None = None) -> T | None:
    """Return the body of a GET as `kind`, None when the shop says that there is no such thing."""
    try:
        return await read(api, path, kind, params)
    except RejectedError as error:
        if error.code not in ("not_found", "gone"):
            raise
        return None


async def read_total(api: Api, path: str, params: Mapping[str, str]) -> int:
    """Return how many entities a list has, as its answer's header tells. Raises as `read`, TransientError without the header."""
    response = await api.request("GET", ROOT + path, params=params, changes_state=False)
    _body(response, list[Raw], changes_state=False)
    text = response.headers.get("x-wp-total", "")
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise TransientError("the list does not tell how many there are", code="answer_unreadable")
    return int(text)


class Gone(NamedTuple):
    """The shop says that it has no such thing."""

    asked_at: datetime | None
    """By its own clock; None where its answer does not tell."""


async def read_or_gone(api: Api, path: str, kind: type[T], params: Mapping[str, str] | None = None) -> T | Gone:
    """Return the body of a GET as `kind`, or when it was that the shop did not have it. Raises as `read`."""
    response = await api.request("GET", ROOT + path, params=params, changes_state=False)
    if response.status in (404, 410) and is_invalid_id(response):
        return Gone(read_date(response.headers.get("date")))
    return _body(response, kind, changes_state=False)


async def write(
    api: Api, method: str, path: str, body: Any, kind: type[T], *, params: Mapping[str, str] | None = None
) -> T:
    """Send a change and return its answer as `kind`. Raises the error that the answer stands for."""
    response = await api.request(method, ROOT + path, json=body, params=params)
    return _body(response, kind, changes_state=True)


def id_of(text: str) -> int:
    """Return an id of the shop, which goes into a path. Raises RejectedError for anything else."""
    if _ID.fullmatch(text) is None:
        raise RejectedError(f"{text[:40]!r} is no id of this shop", code="id_malformed")
    return int(text)


def _body(response: Response, kind: type[T], *, changes_state: bool) -> T:
    if response.status // 100 != 2:
        raise error_of(response, changes_state=changes_state)
    return read_answer(response, kind, changes_state=changes_state)
