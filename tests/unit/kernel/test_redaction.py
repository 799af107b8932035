"""Secrets do not come out by accident, and logs hold what is allowed and nothing else."""

import copy
import json
import logging
import pickle
import traceback
from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.kernel.redaction import LOGGABLE_FIELDS, MASK, Secret, keep_loggable

VALUE = "s3cret-value-4711"


@dataclass
class Holder:
    token: Secret


def test_a_secret_shows_itself_only_when_asked() -> None:
    secret = Secret(VALUE)

    assert secret.reveal() == VALUE
    shown = [
        str(secret),
        repr(secret),
        f"{secret}",
        f"{secret!r:>40}",
        f"{secret} {secret!r}",
        f"{secret:>20}",
    ]
    shown += [repr(Holder(secret)), repr({"a": [secret]}), str(ValueError(secret)), json.dumps({"a": str(secret)})]
    assert [text for text in shown if VALUE in text] == []
    assert all(MASK in text for text in shown)


def test_a_secret_is_not_written_by_serialisers() -> None:
    secret = Secret(VALUE)

    for write in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps, msgspec.json.encode, msgspec.to_builtins, vars):
        with pytest.raises(TypeError) as caught:
            write(secret)
        assert VALUE not in str(caught.value)


def test_a_secret_is_not_in_logs_or_tracebacks(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret(VALUE)
    try:
        int(secret)  # type: ignore[call-overload]
    except TypeError:
        logging.getLogger("test").exception("with %s and %r", secret, {"token": secret})
        shown = traceback.format_exc()

    assert VALUE not in caplog.text
    assert VALUE not in shown


def test_equal_secrets_are_equal() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert Secret("a") != "a"


def test_only_allowed_fields_are_kept_and_the_others_counted() -> None:
    kept = keep_loggable({"event": "order.applied", "email": "ada@example.test", "rows": 3, "token": "x", "code": None})

    assert kept == {"event": "order.applied", "rows": 3, "code": None, "dropped_fields": 2}


def test_values_are_cut_and_made_text() -> None:
    kept = keep_loggable({"reason": "x" * 1000, "state": ["a" * 1000], "code": True, "duration_ms": 1.5})

    assert len(kept["reason"]) <= 301
    assert len(kept["state"]) <= 301
    assert (kept["code"], kept["duration_ms"]) == (True, 1.5)


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=400), max_size=8))
def test_nothing_else_ever_gets_through(fields: dict[str, str]) -> None:
    kept = keep_loggable(fields)

    assert kept.keys() <= LOGGABLE_FIELDS | {"dropped_fields"}
    assert kept.get("dropped_fields", 0) == len(fields.keys() - LOGGABLE_FIELDS)


def test_no_private_field_is_loggable() -> None:
    private = {
        "email",
        "name",
        "phone",
        "address",
        "street",
        "city",
        "body",
        "payload",
        "headers",
        "secret",
        "token",
        "key",
    }

    assert not LOGGABLE_FIELDS & private
