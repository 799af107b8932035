"""What a failed or refused request means, decided without any network."""

from datetime import UTC, datetime

import pytest

from tidegate.kernel.errors import OutcomeUnknownError, RateLimitedError, TransientError
from tidegate.sdk.failures import ABSURD_WAIT_SECONDS, read_retry_after, refusal_of

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        (" 30 ", 30.0),
        ("1.25", 1.25),
        ("-5", None),
        ("nan", None),
        ("inf", None),
        ("1e400", None),
        ("later", None),
        ("31536000", 31_536_000.0),
        ("Mon, 23 Nov 2026 12:01:40 GMT", 100.0),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 0.0),
        ("Mon, 23 Nov 2026 14:01:40 +0200", 100.0),
        ("Monday, 23-Nov-26 12:01:40 GMT", 100.0),
        ("Mon, 99 Nov 2026 12:01:40 GMT", None),
        ("2026-11-23T12:01:40Z", None),
    ],
)
def test_retry_after_is_read_as_given(value: str | None, seconds: float | None) -> None:
    assert read_retry_after(value, now=NOW) == seconds


def test_an_absurd_wait_is_kept_and_marked() -> None:
    asked = str(int(ABSURD_WAIT_SECONDS) + 1)

    error = refusal_of(429, {"retry-after": asked}, changes_state=True, now=NOW)

    assert isinstance(error, RateLimitedError)
    assert error.wait_seconds == ABSURD_WAIT_SECONDS + 1
    assert error.context["absurd_wait"] is True


def test_a_day_is_not_absurd() -> None:
    error = refusal_of(429, {"retry-after": "86400"}, changes_state=True, now=NOW)

    assert error is not None
    assert "absurd_wait" not in error.context


@pytest.mark.parametrize(
    "status", [200, 201, 204, 301, 302, 400, 402, 403, 404, 408, 409, 410, 412, 422, 423, 425, 451, 499]
)
def test_the_connector_judges_what_is_below_500_and_not_401_or_429(status: int) -> None:
    assert refusal_of(status, {}, changes_state=True, now=NOW) is None


@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 507, 520, 524, 530, 599])
def test_no_server_error_is_taken_for_a_refusal_of_a_write(status: int) -> None:
    assert type(refusal_of(status, {}, changes_state=True, now=NOW)) is OutcomeUnknownError
    assert type(refusal_of(status, {}, changes_state=False, now=NOW)) is TransientError


@pytest.mark.parametrize(
    ("value", "is_spent"), [("true", True), ("TRUE", True), ("false", False), ("", False), (None, False)]
)
def test_only_a_failure_that_is_repeated_spends_its_key(value: str | None, is_spent: bool) -> None:
    headers = {} if value is None else {"idempotent-replayed": value}
    error = refusal_of(500, headers, changes_state=True, now=NOW)
    assert isinstance(error, OutcomeUnknownError)
    assert error.is_key_spent is is_spent
    assert isinstance(refusal_of(500, headers, changes_state=False, now=NOW), TransientError)
