"""Decoding JSON that others sent: whatever is wrong with it, the error is a ValueError."""

from __future__ import annotations

from typing import TypeVar

import msgspec

T = TypeVar("T")


def decode_body(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Return `body` decoded. Raises ValueError for anything that it is not, too deep a nesting included."""
    try:
        return decoder.decode(body)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error
