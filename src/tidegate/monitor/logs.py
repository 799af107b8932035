"""Log lines: one JSON object each, only allow-listed fields, never a value out of a payload.

Call `configure` once, at the entry of a process. Everybody takes a logger with `structlog.get_logger("room.part")` (or
`get` above this room) and logs an event name in the past tense with ids: `log.info("event.received", event_id=...)`.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog
from structlog.contextvars import bound_contextvars, merge_contextvars

from tidegate.kernel.errors import TidegateError
from tidegate.kernel.redaction import keep_loggable

__all__ = ["bound_contextvars", "configure", "get"]

FRAMES_MAX = 6
_EventDict = MutableMapping[str, Any]


def configure(role: str, index: int = 0, *, stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Send every log line of this process to `stream` (default: standard error) as JSON.

    Lines carry role, process number and pid. Lines of libraries keep only their logger's name, level and the first
    line of their message's template: its arguments may hold anything. Safe to repeat.
    """
    output = stream if stream is not None else sys.stderr
    process = {"role": role, "node": f"{role}-{index}", "pid": os.getpid()}

    def add_process(logger: _NamedLogger, _method: str, event: _EventDict) -> _EventDict:
        if logger.name:
            event.setdefault("logger", logger.name)
        for name, value in process.items():
            event.setdefault(name, value)
        return event

    structlog.configure(
        processors=[
            merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            add_process,
            describe_exception,
            keep_allowed,
            structlog.processors.JSONRenderer(sort_keys=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda name="": _NamedLogger(output, name),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_ForeignLines()]
    root.setLevel(max(level, logging.WARNING))


def get(name: str) -> Any:
    """Return a logger whose lines carry `logger=name`."""
    return structlog.get_logger(name)


def describe_exception(_logger: Any, _method: str, event: _EventDict) -> _EventDict:
    """Replace `exc_info` by the error's class, code and place. Its message may quote a payload: it is left out."""
    given = event.pop("exc_info", None)
    if not given:
        return event
    error = _error_of(given)
    if error is None:
        return event
    event["error_class"] = type(error).__name__
    event["where"] = _place(error)
    if isinstance(error, TidegateError):
        event["error_code"] = error.code
    sqlstate = getattr(error, "sqlstate", None)
    if sqlstate:
        event["sqlstate"] = sqlstate
    return event


def keep_allowed(_logger: Any, _method: str, event: _EventDict) -> dict[str, Any]:
    """Drop every field that is not on the allow-list."""
    return keep_loggable(dict(event))


def _error_of(given: Any) -> BaseException | None:
    if isinstance(given, BaseException):
        return given
    if isinstance(given, tuple):
        return given[1] if isinstance(given[1], BaseException) else None
    return sys.exc_info()[1]


def _place(error: BaseException) -> str:
    """Return the innermost frames, innermost first: `apply.py:120 in apply_batch < worker.py:44 in run`."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_MAX:]
    return " < ".join(
        f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} in {frame.name}" for frame in reversed(frames)
    )


class _NamedLogger(structlog.WriteLogger):
    """Writes a line and its end at once, so that lines of two processes do not mix; knows its name."""

    def __init__(self, stream: TextIO, name: str) -> None:
        super().__init__(stream)
        self.name = name


class _ForeignLines(logging.Handler):
    """Turns records of libraries into our lines, without their arguments."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        template = str(record.msg).partition("\n")[0]
        log = structlog.get_logger(record.name)
        log.log(record.levelno, "library.logged", reason=template, exc_info=record.exc_info)
