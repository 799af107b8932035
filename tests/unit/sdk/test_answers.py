"""Answers are read the same way by every connector."""

import msgspec
import pytest

from tidegate.kernel.errors import (
    ConfigurationError,
    ConflictError,
    OutcomeUnknownError,
    RejectedError,
    TidegateError,
    TransientError,
)
from tidegate.sdk.answers import ErrorRow, error_of_answer, read_answer
from tidegate.sdk.decoding import decode_body
from tidegate.sdk.http import Response


class Made(msgspec.Struct):
    id: str


def answer(status: int = 200, body: bytes = b"") -> Response:
    return Response(status=status, headers={}, body=body)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"null", b"[]", b'{"id":7}', b"{}", b'{"id":"a"', b"\xff", b"[" * 50_000, b'{"id":"\\ud800"}'],
)
def test_an_unreadable_answer_leaves_a_write_in_doubt_and_a_read_to_be_repeated(body: bytes) -> None:
    with pytest.raises(OutcomeUnknownError) as write:
        read_answer(answer(body=body), Made)
    with pytest.raises(TransientError):
        read_answer(answer(body=body), Made, changes_state=False)

    assert write.value.code == "answer_unreadable"
    assert write.value.__context__ is None


def test_a_readable_answer_is_typed_and_its_unknown_fields_are_left_out() -> None:
    assert read_answer(answer(body=b'{"id":"so-1","more":{"deep":[1]}}'), Made) == Made("so-1")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (301, ConfigurationError),
        (307, ConfigurationError),
        (400, RejectedError),
        (403, ConfigurationError),
        (404, RejectedError),
        (408, OutcomeUnknownError),
        (409, ConflictError),
        (412, ConflictError),
        (422, RejectedError),
        (423, TransientError),
        (418, OutcomeUnknownError),
        (200, OutcomeUnknownError),
    ],
)
def test_plain_http_has_a_meaning(status: int, expected: type[TidegateError]) -> None:
    assert type(error_of_answer(answer(status))) is expected


def test_a_read_is_never_in_doubt() -> None:
    for status in (200, 408, 418):
        assert type(error_of_answer(answer(status), changes_state=False)) is TransientError


def test_rows_of_the_connector_come_first_and_the_first_match_wins() -> None:
    rows = (
        ErrorRow(status=409, vendor_code="SOLD", error=RejectedError, code="sold", hint="restock"),
        ErrorRow(vendor_code="SOLD", error=TransientError, code="sold_elsewhere"),
    )

    codes = [error_of_answer(answer(status), rows=rows, vendor_code="SOLD").code for status in (409, 400)]
    plain = error_of_answer(answer(409), rows=rows, vendor_code="OTHER")

    assert codes == ["sold", "sold_elsewhere"]
    assert (type(plain), plain.code) == (ConflictError, "conflict")


def test_only_identifiers_of_the_other_side_are_kept() -> None:
    kept = error_of_answer(answer(400), vendor_code="STOCK_LOW")
    dropped = error_of_answer(answer(400), vendor_code="the key s3cret of ada@example.test is bad")

    assert kept.context == {"status": 400, "vendor_code": "STOCK_LOW"}
    assert dropped.context == {"status": 400}


def test_deep_nesting_is_a_value_error() -> None:
    deep = b'{"id":"a","skipped":' + b"[" * 50_000 + b"]" * 50_000 + b"}"

    with pytest.raises(ValueError, match="deep"):
        decode_body(msgspec.json.Decoder(Made), deep)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "30"}, 30.0),
        ({"retry-after": "Mon, 23 Nov 2026 12:01:00 GMT", "date": "Mon, 23 Nov 2026 12:00:00 GMT"}, 60.0),
        ({"retry-after": "Mon, 23 Nov 2026 12:01:00 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("status", [408, 423, 425])
def test_a_refusal_for_now_keeps_the_wait_that_it_names(
    status: int, headers: dict[str, str], seconds: float | None
) -> None:
    error = error_of_answer(Response(status, headers, b""))

    assert error.wait_seconds == seconds  # type: ignore[attr-defined]
