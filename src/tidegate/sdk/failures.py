"""What a failed or refused request means for the next step. Pure: the phase and the kind of request decide.

| what was seen | a read | a write |
|---|---|---|
| no byte was written (name, connect, TLS, deadline, lease) | TransientError not_sent_* | TransientError not_sent_* |
| blocked by the egress guard | ConfigurationError egress_blocked | the same |
| written, then reset, closed, cut, timed out, unreadable | TransientError | OutcomeUnknownError |
| 401 | AuthenticationError | AuthenticationError |
| 429 | RateLimitedError | RateLimitedError |
| 5xx | TransientError, with Retry-After as the wait | OutcomeUnknownError, with the same; its key is spent where that is a repeated answer |
| any other status | the response | the response |
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from tidegate.kernel.errors import (
    AuthenticationError,
    ConfigurationError,
    OutcomeUnknownError,
    RateLimitedError,
    TidegateError,
    TransientError,
)

ABSURD_WAIT_SECONDS = 86_400.0
"""A longer wait is honoured and marked in the error's context, so that it can be alarmed."""


class AnswerTooLargeError(Exception):
    """The answer is larger than a connector may read."""


@dataclass
class Phase:
    """How far one request came."""

    written: bool = False
    """True from right before the first byte is written."""
    blocked: list[str] = field(default_factory=list)
    """Addresses that the egress guard refused."""
    before_send: Callable[[], None] | None = None


def failure_of(error: BaseException, phase: Phase, *, changes_state: bool) -> TidegateError:
    """Return the error to raise for a request that got no whole answer.

    The original error is named by its class only: its text may hold headers.
    """
    import aiohttp  # noqa: PLC0415 - half of what a command takes to start, and few commands send a request

    context = {"cause": type(error).__name__}
    if phase.written:
        code = _code_after_writing(error)
        if changes_state:
            return OutcomeUnknownError("the request was written and no whole answer came", code=code, context=context)
        return TransientError("the read got no whole answer", code=code, context=context)
    if phase.blocked:
        return ConfigurationError(
            f"connecting to {', '.join(phase.blocked)} is not allowed",
            code="egress_blocked",
            hint="public addresses are allowed; for others add their network to network.allow in the configuration",
            context=context,
        )
    if isinstance(error, aiohttp.InvalidURL):
        return ConfigurationError("the address cannot be used", code="base_url", context=context)
    return TransientError("the request was not sent", code=_code_before_writing(error), context=context)


def _code_before_writing(error: BaseException) -> str:
    import aiohttp  # noqa: PLC0415

    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "not_sent_dns"
    if isinstance(error, (aiohttp.ClientSSLError, ssl.SSLError)):
        return "not_sent_tls"
    if isinstance(error, TimeoutError):
        return "not_sent_timeout"
    return "not_sent_connect" if isinstance(error, aiohttp.ClientConnectorError) else "not_sent"


def _code_after_writing(error: BaseException) -> str:
    import aiohttp  # noqa: PLC0415

    if isinstance(error, AnswerTooLargeError):
        return "answer_too_large"
    if isinstance(error, TimeoutError):
        return "answer_timeout"
    if isinstance(error, (aiohttp.ClientResponseError, aiohttp.ClientPayloadError)):
        return "answer_truncated"
    return "answer_lost"


def refusal_of(status: int, headers: Mapping[str, str], *, changes_state: bool, now: datetime) -> TidegateError | None:
    """Return the error that a status stands for, None when the response belongs to the connector.

    `headers` have lower-case names; `now` is aware and turns a date in Retry-After into seconds.
    """
    if status == HTTPStatus.UNAUTHORIZED:
        return AuthenticationError(
            "the other side refused the credential", code="unauthorized", context={"status": 401}
        )
    wait_seconds = read_retry_after(headers.get("retry-after"), now=now)
    context: dict[str, object] = {"status": status}
    if wait_seconds is not None and wait_seconds > ABSURD_WAIT_SECONDS:
        context["absurd_wait"] = True
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimitedError("the other side asks to slow down", wait_seconds=wait_seconds, context=context)
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return None
    if changes_state:
        is_repeated = headers.get("idempotent-replayed", "").lower() == "true"
        words = "the other side failed at a write" + (", and keeps that answer" if is_repeated else "")
        return OutcomeUnknownError(
            words, code="server_error", wait_seconds=wait_seconds, context=context, is_key_spent=is_repeated
        )
    return TransientError("the other side failed", code="server_error", wait_seconds=wait_seconds, context=context)


def read_retry_after(value: str | None, *, now: datetime | None) -> float | None:
    """Return the seconds that a Retry-After header asks for: a number as it is, a date from `now` on and at least 0.

    None when there is no header or it cannot be read; a date needs `now`.
    """
    if value is None:
        return None
    text = value.strip()
    try:
        seconds = float(text)
    except ValueError:
        return _seconds_until(text, now)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def read_date(text: str | None) -> datetime | None:
    """Return the moment that an HTTP date names, aware; None where there is none or it cannot be read."""
    try:
        moment = parsedate_to_datetime(text or "")
    except (ValueError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _seconds_until(text: str, now: datetime | None) -> float | None:
    moment = read_date(text)
    return None if moment is None or now is None else max(0.0, (moment - now).total_seconds())
