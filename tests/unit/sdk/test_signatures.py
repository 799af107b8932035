"""Standard Webhooks with a shared secret: headers, window, rotation, keys."""

import base64
import hmac

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.kernel.errors import IntakeError
from tidegate.sdk.signatures import StandardWebhooks, sign_standard_webhooks

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + base64.b64encode(b"another secret, long enough").decode()
NOW = 1_790_000_000


def headers(body: bytes = b"{}", *, at: int = NOW, secret: str = SECRET, message_id: str = "msg_1") -> dict[str, str]:
    signature = sign_standard_webhooks(secret, message_id, at, body)
    return {"webhook-id": message_id, "webhook-timestamp": str(at), "webhook-signature": signature}


def code_of(
    sent: dict[str, str], body: bytes = b"{}", secrets: tuple[str, ...] = (SECRET,), now: float = NOW
) -> str | None:
    try:
        StandardWebhooks()(sent, body, list(secrets), now)
    except IntakeError as error:
        return error.code
    return None


def test_several_signatures_and_secrets_may_rotate() -> None:
    sent = headers()
    sent["webhook-signature"] = f"v1a,AAAA v1,BBBB {sent['webhook-signature']}"

    assert code_of(sent) is None
    assert code_of(sent, secrets=(OTHER, SECRET)) is None
    assert code_of(sent, secrets=(OTHER,)) == "signature_mismatch"


@pytest.mark.parametrize(
    ("shift", "code"), [(300, None), (-300, None), (301, "timestamp_future"), (-301, "timestamp_stale")]
)
def test_the_window_is_five_minutes_both_ways(shift: int, code: str | None) -> None:
    assert code_of(headers(at=NOW + shift)) == code


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_each_header_is_needed(name: str) -> None:
    sent = headers()
    del sent[name]

    assert code_of(sent) == "signature_missing"


@pytest.mark.parametrize("timestamp", ["-1", "1e9", "\uff11\uff17\uff19\uff10", "1790000000.0", "0x1", "9" * 13])
def test_a_signed_time_that_is_no_number_is_malformed(timestamp: str) -> None:
    signed = b".".join((b"msg_1", timestamp.encode(), b"{}"))
    good = headers()
    good["webhook-timestamp"] = timestamp
    good["webhook-signature"] = (
        "v1,"
        + base64.b64encode(hmac.digest(base64.b64decode(SECRET.removeprefix("whsec_")), signed, "sha256")).decode()
    )

    assert code_of(good) == "signature_malformed"


@pytest.mark.parametrize("secret", ["", "whsec_", "QQ=="])
def test_a_key_that_anybody_could_guess_verifies_nothing(secret: str) -> None:
    sent = headers()
    key = base64.b64decode(secret.removeprefix("whsec_"))
    forged = hmac.digest(key, f"msg_1.{NOW}.{{}}".encode(), "sha256")
    sent["webhook-signature"] = "v1," + base64.b64encode(forged).decode()

    assert code_of(sent, secrets=(secret,)) == "secret_unusable"


def test_a_damaged_secret_does_not_stop_the_other_one_of_a_rotation() -> None:
    assert code_of(headers(), secrets=("no base64!", SECRET)) is None


def test_an_id_outside_of_ascii_is_verified_as_it_was_sent() -> None:
    """The door reads headers as Latin-1: the bytes that were signed are those of UTF-8."""
    sent = headers(message_id="msg_ü")

    assert code_of({**sent, "webhook-id": "msg_ü".encode().decode("latin-1")}) is None


def test_no_secret_accepts_nothing_and_an_unusable_one_is_our_fault() -> None:
    assert code_of(headers(), secrets=()) == "signature_mismatch"
    assert code_of(headers(), secrets=("whsec_not base64!",)) == "secret_unusable"


@settings(max_examples=300, deadline=None)
@given(body=st.binary(max_size=200), index=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_no_bit_of_the_body_can_change(body: bytes, index: int, bit: int) -> None:
    sent = headers(body)
    assert code_of(sent, body) is None
    if body:
        place = index % len(body)
        changed = body[:place] + bytes([body[place] ^ (1 << bit)]) + body[place + 1 :]
        assert code_of(sent, changed) == "signature_mismatch"
