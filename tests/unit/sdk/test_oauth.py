"""Answers to requests for tokens: what they mean, and that nothing of them is repeated."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.cli.checks_remote import judge_tokens
from tidegate.kernel.errors import (
    AuthenticationError,
    ConfigurationError,
    OutcomeUnknownError,
    TidegateError,
    TransientError,
)
from tidegate.kernel.redaction import Secret
from tidegate.sdk.http import Response
from tidegate.sdk.oauth import OAuth, Tokens, client_form, read_tokens, refresh_form
from tidegate.vault.tokens import StoredTokens

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
OAUTH = OAuth(token_path="/token", extra={"expiring": "1"})


def answer(status: int, body: Any) -> Response:
    return Response(status=status, headers={}, body=body if isinstance(body, bytes) else json.dumps(body).encode())


def test_a_pair_replaces_the_one_before_and_remembers_it() -> None:
    body = {"access_token": "a1", "refresh_token": "r1", "expires_in": "3600", "refresh_token_expires_in": 7776000}

    tokens = read_tokens(answer(200, body), NOW, used="r0")

    assert (tokens.access, tokens.refresh, tokens.previous) == ("a1", "r1", "r0")
    assert tokens.expires_at == NOW + timedelta(hours=1)
    assert tokens.refresh_expires_at == NOW + timedelta(days=90)
    assert tokens.use_until(timedelta(minutes=5)) == NOW + timedelta(minutes=55)
    assert tokens.use_until(timedelta(hours=5)) == NOW + timedelta(minutes=30), "never before half of its life"


def test_a_platform_that_does_not_rotate_keeps_the_token_that_was_used() -> None:
    tokens = read_tokens(answer(200, {"access_token": "a1"}), NOW, used="r0")

    assert (tokens.refresh, tokens.previous, tokens.expires_at, tokens.use_until(timedelta(0))) == (
        "r0",
        "",
        None,
        None,
    )


@pytest.mark.parametrize(
    ("status", "body", "error", "code"),
    [
        (400, {"error": "invalid_grant"}, AuthenticationError, "token_refused"),
        (403, b"<html>", AuthenticationError, "token_refused"),
        (400, {"error": "invalid_client"}, ConfigurationError, "client_refused"),
        (404, b"", TransientError, "token_unavailable"),
        (200, b"<html>", OutcomeUnknownError, "token_unreadable"),
        (200, {"access_token": ""}, OutcomeUnknownError, "token_unreadable"),
        (200, {"access_token": "a", "expires_in": "soon"}, OutcomeUnknownError, "token_unreadable"),
        (200, {"access_token": "a", "expires_in": -5}, OutcomeUnknownError, "token_unreadable"),
        (200, {"access_token": "a", "expires_in": 1e300}, OutcomeUnknownError, "token_unreadable"),
    ],
)
def test_each_other_answer_has_its_class(status: int, body: Any, error: type[TidegateError], code: str) -> None:
    with pytest.raises(error) as refused:
        read_tokens(answer(status, body), NOW, used="r0")

    assert refused.value.code == code


@given(status=st.integers(200, 499), body=st.binary(max_size=60))
def test_garbage_is_tokens_or_an_error_of_ours(status: int, body: bytes) -> None:
    with suppress(TidegateError):
        read_tokens(answer(status, body), NOW, used="r0")


def test_requests_name_the_app_and_only_what_is_known() -> None:
    secrets = {"client_secret": Secret("s")}

    assert refresh_form(OAUTH, "r0", {"client_id": "app"}, secrets) == {
        "grant_type": "refresh_token",
        "refresh_token": "r0",
        "client_id": "app",
        "client_secret": "s",
        "expiring": "1",
    }
    assert client_form(OAUTH, {}, {}) == {"grant_type": "client_credentials", "expiring": "1"}


@pytest.mark.parametrize(
    ("changes", "refused", "code", "status"),
    [
        ({}, None, "token_life", "ok"),
        ({}, "the platform refuses the refresh token", "token_refused", "fail"),
        ({"expires_at": NOW - timedelta(minutes=1)}, None, "token_not_renewed", "warn"),
        ({"refresh_expires_at": NOW - timedelta(days=1)}, None, "token_expired", "fail"),
    ],
)
def test_doctor_says_until_when_tokens_are_good(
    changes: dict[str, Any], refused: str | None, code: str, status: str
) -> None:
    values = {
        "issued_at": NOW - timedelta(minutes=30),
        "expires_at": NOW + timedelta(minutes=30),
        "refresh_expires_at": NOW + timedelta(days=80),
    }
    tokens = Tokens(access="secret-a", refresh="secret-r", **{**values, **changes})
    kept = StoredTokens(
        generation=1,
        tokens=tokens,
        use_until=NOW + timedelta(minutes=25),
        is_due=False,
        is_in_doubt=False,
        refused=refused,
    )

    finding = judge_tokens("shop", "shop", kept, NOW)

    assert (finding.code, str(finding.verdict)) == (code, status)
    assert "secret" not in repr(finding)
