"""What the usual headers say about a platform's count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.sdk.budget_headers import read_usual_headers
from tidegate.sdk.budgets import DAY_SECONDS, BudgetReading
from tidegate.sdk.http import Response

DATE = "Fri, 27 Nov 2026 19:00:00 GMT"  # 1795806000


def read(**headers: str) -> tuple[BudgetReading, ...]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_usual_headers(Response(status=200, headers=named, body=b""))


def test_the_draft() -> None:
    found = read(
        ratelimit='"burst";r=7;t=3, "daily";r=900;t=3600', ratelimit_policy='"burst";q=10;w=5,"daily";q=1000;w=86400'
    )
    assert [(one.left, one.limit, one.window_seconds, one.reset_seconds) for one in found] == [
        (7, 10, 5, 4),
        (900, 1000, 86400, 3601),
    ]


@pytest.mark.parametrize("start", ["ratelimit", "x_ratelimit", "x_rate_limit"])
def test_the_triple(start: str) -> None:
    (found,) = read(**{f"{start}_limit": "100, 100;w=60", f"{start}_remaining": "12", f"{start}_reset": "9"})
    assert (found.left, found.limit, found.reset_seconds, found.window_seconds) == (12, 100, 10, None)


@pytest.mark.parametrize("reset", ["1795806030", "1795806030000"])
def test_a_reset_may_be_a_moment(reset: str) -> None:
    (found,) = read(x_ratelimit_remaining="1", x_ratelimit_reset=reset, date=DATE)
    assert found.reset_seconds == 31
    (blind,) = read(x_ratelimit_remaining="1", x_ratelimit_reset=reset)
    assert blind.reset_seconds is None


def test_platforms_with_names_of_their_own() -> None:
    (found,) = read(
        x_rate_limit_requests_left="140", x_rate_limit_requests_quota="150", x_rate_limit_time_window_ms="30000",
        x_rate_limit_time_reset_ms="1500",
    )  # fmt: skip
    assert (found.left, found.limit, found.window_seconds, found.reset_seconds) == (140, 150, 30, 1.501)
    window, day = read(
        x_hubspot_ratelimit_max="190", x_hubspot_ratelimit_remaining="188",
        x_hubspot_ratelimit_interval_milliseconds="10000", x_hubspot_ratelimit_daily="250000",
        x_hubspot_ratelimit_daily_remaining="249000",
    )  # fmt: skip
    assert (window.left, window.limit, window.window_seconds) == (188, 190, 10)
    assert (day.left, day.limit, day.window_seconds) == (249000, 250000, DAY_SECONDS)
    assert read(x_shopify_shop_api_call_limit="32/40") == (BudgetReading(left=8, limit=40),)
    assert read(x_gorgias_account_api_call_limit="50/40") == (BudgetReading(left=0, limit=40),)
    assert read(x_remaining_calls="149") == (BudgetReading(left=149),)
    assert read(x_amzn_ratelimit_limit="0.0056") == (BudgetReading(per_second=0.0056),)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content_type": "text/html"},
        {"x_ratelimit_remaining": "-5"},
        {"x_ratelimit_remaining": "nan"},
        {"x_ratelimit_remaining": ""},
        {"x_shopify_shop_api_call_limit": "1/0"},
        {"ratelimit": "r=,;;"},
        {"x_ratelimit_limit": "100"},
    ],
)
def test_nonsense_says_nothing(headers: dict[str, str]) -> None:
    assert read(**headers) == ()


NAMES = ["ratelimit", "ratelimit-policy", "x-ratelimit-remaining", "x-ratelimit-reset", "x-foo-api-call-limit", "date"]


@given(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=80)))
def test_nothing_raises(headers: dict[str, str]) -> None:
    for found in read_usual_headers(Response(status=429, headers=headers, body=b"")):
        assert found.left is None or found.left >= 0
