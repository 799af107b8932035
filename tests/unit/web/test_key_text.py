"""The text of an API key (SECURITY A4): what is not exactly a key is none; every bit of it counts."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidegate.kernel.errors import ConfigurationError
from tidegate.web.keys import PREFIX, PresentedKey, Refusal, hash_secret, judge_key, read_key, write_key
from tidegate.web.scopes import SCOPES, check_scopes, is_allowed

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A machine with other work is slow, not wrong."""
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
IDS = st.uuids()
SECRETS = st.text(ALPHABET, min_size=52, max_size=52)
NOW = datetime(2026, 11, 27, tzinfo=UTC)


@CALM
@given(IDS, SECRETS)
def test_a_key_is_read_as_it_was_written(key_id: UUID, secret: str) -> None:
    read = read_key(write_key(key_id, secret))
    assert read is not None
    assert (read.key_id, read.secret.reveal()) == (key_id, secret)
    assert secret not in repr(read)


@CALM
@given(IDS, SECRETS, st.integers(0, 93), st.sampled_from(ALPHABET + "-_ \0"))
def test_a_changed_letter_is_noticed_without_asking_anybody(key_id: UUID, secret: str, at: int, letter: str) -> None:
    text = write_key(key_id, secret)
    changed = text[:at] + letter + text[at + 1 :]
    assert changed == text or read_key(changed) is None


@CALM
@given(st.text(max_size=200))
def test_garbage_is_no_key(text: str) -> None:
    assert read_key(text) is None
    assert read_key(PREFIX + text) is None


@CALM
@given(IDS, SECRETS, IDS, st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_the_hash_depends_on_pepper_and_id(
    key_id: UUID, secret: str, other: UUID, pepper: bytes, pepper2: bytes
) -> None:
    stored = hash_secret(pepper, key_id, secret)
    assert len(stored) == 32
    assert (hash_secret(pepper2, key_id, secret) == stored) == (pepper == pepper2)
    assert (hash_secret(pepper, other, secret) == stored) == (key_id == other)


def test_a_key_that_nobody_has_is_compared_like_any_other() -> None:
    presented = read_key(write_key(UUID(int=7), "0" * 52))
    assert isinstance(presented, PresentedKey)
    assert judge_key(None, presented, pepper=b"p", peer="127.0.0.1", now=NOW) is Refusal.UNKNOWN


@pytest.mark.parametrize(
    ("granted", "needed", "allowed"),
    [
        (["events:read"], "events:read", True),
        (["events:read"], "events:replay", False),
        (["events:*"], "events:replay", True),
        (["*:read"], "orders:read", True),
        (["*:read"], "events:replay", False),
        ([], "events:read", False),
        (["events:read"], "events", False),
        (["event:read"], "events:read", False),
    ],
)
def test_what_a_scope_allows(granted: list[str], needed: str, *, allowed: bool) -> None:
    assert is_allowed(granted, needed) is allowed


def test_scopes_are_known_ones_sorted_and_once() -> None:
    assert check_scopes(["stock:read", "*:read", "events:*", "stock:read"]) == ("*:read", "events:*", "stock:read")
    for wrong in ("*", "*:*", "*:write", "nothing:*", "events", "events:", ":read", "events:read ", "EVENTS:READ"):
        with pytest.raises(ConfigurationError, match="scope"):
            check_scopes([wrong])
    assert all(":" in scope and words for scope, words in SCOPES.items())
