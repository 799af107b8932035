"""Frames between a worker and its hook process: four bytes of length, then JSON. Pure.

JSON on purpose: nothing that comes from the hook process is ever more than data.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec

LENGTH = struct.Struct(">I")
REQUEST_BYTES_MAX = 8 << 20
ANSWER_BYTES_MAX = 1 << 20


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong in the hook process."""

    code: str
    """hook_failed, hook_timeout, hook_memory or hook_invalid."""
    reason: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the hook process says to one request."""

    number: int
    trouble: Trouble | None = None
    order: dict[str, Any] | None = None
    """The order as the hooks left it; None when none changed it."""
    verdict: str = "send"
    reason: str = ""
    is_ending: bool = False
    """The process ends now: it is not fit for another order."""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """The first request: what to load."""

    number: int = 0
    files: dict[str, str]
    hooks: dict[str, dict[str, str]]
    """Flow -> place -> `module:function`."""
    cfg: dict[str, Any]
    memory_bytes: int
    deadline_seconds: float


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One order or shipment for the hooks of its flow."""

    number: int
    flow: str
    value: dict[str, Any]


_ANSWER = msgspec.json.Decoder(Answer)


def frame(message: Any) -> bytes:
    """Return the bytes of a message."""
    body = msgspec.json.encode(message)
    return LENGTH.pack(len(body)) + body


def read_answer(body: bytes) -> Answer:
    """Return an answer. Raises ValueError for anything else."""
    try:
        return _ANSWER.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError("not an answer") from error
