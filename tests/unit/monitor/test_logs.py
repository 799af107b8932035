from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from tidegate.kernel.errors import RejectedError
from tidegate.monitor import logs


@pytest.fixture
def lines() -> Iterator[Any]:
    stream = io.StringIO()
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    logs.configure("apply", 2, stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)


def test_a_line_says_what_who_and_when(lines: Any) -> None:
    logs.get("sync.apply").info("event.applied", event_id="e1", count=3)

    (line,) = lines()
    assert line["event"] == "event.applied"
    assert (line["event_id"], line["count"], line["level"], line["logger"]) == ("e1", 3, "info", "sync.apply")
    assert (line["role"], line["node"]) == ("apply", "apply-2")
    assert line["timestamp"].endswith("Z")


def test_fields_that_nobody_allowed_are_dropped_and_counted(lines: Any) -> None:
    logs.get("x").info("order.seen", email="canary@example.com", body=b"canary")

    (line,) = lines()
    assert line["dropped_fields"] == 2
    assert "canary" not in json.dumps(line)


def test_correlation_ids_come_from_the_context(lines: Any) -> None:
    with logs.bound_contextvars(command_id="c1"):
        structlog.get_logger().info("command.attempted")
    structlog.get_logger().info("command.attempted")

    inside, outside = lines()
    assert inside["command_id"] == "c1"
    assert "command_id" not in outside


def test_an_exception_leaves_its_class_and_place_but_not_its_words(lines: Any) -> None:
    try:
        int("canary in a payload")
    except ValueError:
        logs.get("x").exception("batch.failed")

    (line,) = lines()
    assert line["error_class"] == "ValueError"
    assert line["where"].startswith("test_logs.py:")
    assert "canary" not in json.dumps(line)


def test_our_own_errors_leave_their_code(lines: Any) -> None:
    logs.get("x").warning("command.rejected", exc_info=RejectedError("no", code="sku_unknown"))

    assert lines()[0]["error_code"] == "sku_unknown"


def test_line_breaks_cannot_make_a_second_line(lines: Any) -> None:
    logs.get("x").info("event.received", topic='a\n{"event": "forged"}\r\n')

    (line,) = lines()
    assert line["topic"].startswith("a\n")


def test_libraries_keep_their_template_only(lines: Any) -> None:
    logging.getLogger("lib").warning("could not read %s\nmore", "canary")

    (line,) = lines()
    assert (line["logger"], line["reason"]) == ("lib", "could not read %s")
    assert "canary" not in json.dumps(line)
