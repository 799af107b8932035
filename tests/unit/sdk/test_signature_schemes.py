"""Laws that every scheme keeps: own signatures verify, nothing else does, secrets rotate, garbage gets a code."""

import base64
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.kernel.errors import IntakeError
from tidegate.sdk.signatures import (
    ShopifyHmac,
    Signer,
    StandardWebhooks,
    StripeSignature,
    Verifier,
    WooCommerceHmac,
    new_signing_key,
    public_key_of,
    shopify_headers,
    sign_standard_webhooks,
    standard_webhooks_headers,
    stripe_headers,
    woocommerce_headers,
)

NOW = 1_795_305_600
FIRST = new_signing_key("symmetric")
SECOND = new_signing_key("symmetric")
PRIVATE = new_signing_key("ed25519")
PUBLIC = str(public_key_of(PRIVATE))
OTHER_PUBLIC = str(public_key_of(new_signing_key("ed25519")))
SCHEMES: dict[str, tuple[Verifier, Signer, str, str, str]] = {
    "standard v1": (StandardWebhooks(), standard_webhooks_headers, FIRST, FIRST, SECOND),
    "standard v1a": (StandardWebhooks(), standard_webhooks_headers, PRIVATE, PUBLIC, OTHER_PUBLIC),
    "shopify": (ShopifyHmac(), shopify_headers, FIRST, FIRST, SECOND),
    "woocommerce": (WooCommerceHmac(), woocommerce_headers, FIRST, FIRST, SECOND),
    "stripe": (StripeSignature(), stripe_headers, FIRST, FIRST, SECOND),
}
CODES = {
    "signature_missing",
    "signature_malformed",
    "signature_mismatch",
    "timestamp_stale",
    "timestamp_future",
    "secret_unusable",
}


def code_of(
    verifier: Verifier, headers: dict[str, str], body: bytes, secrets: list[str], now: float = NOW
) -> str | None:
    try:
        verifier(headers, body, secrets, now)
    except IntakeError as error:
        return error.code
    return None


@pytest.mark.parametrize("name", SCHEMES)
@given(body=st.binary(max_size=100), flip=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_own_signatures_verify_and_no_bit_of_the_body_can_change(name: str, body: bytes, flip: int) -> None:
    verifier, signer, signing, verifying, other = SCHEMES[name]
    headers = dict(signer(signing, "m1", body, NOW))

    assert code_of(verifier, headers, body, [verifying]) is None
    assert code_of(verifier, headers, body, [other, verifying]) is None, "a receiver that rotates"
    assert code_of(verifier, headers, body, [other]) == "signature_mismatch"
    assert code_of(verifier, headers, body, []) == "signature_mismatch"
    assert code_of(verifier, headers, body + b"x", [verifying]) == "signature_mismatch"
    if body:
        place = flip % len(body)
        changed = body[:place] + bytes([body[place] ^ (1 << flip % 8)]) + body[place + 1 :]
        assert code_of(verifier, headers, changed, [verifying]) == "signature_mismatch"


@pytest.mark.parametrize("name", SCHEMES)
@given(value=st.text(alphabet=st.characters(min_codepoint=1, max_codepoint=255), max_size=200), which=st.integers(0, 9))
@settings(max_examples=150, deadline=None)
def test_garbage_in_a_header_gets_a_code(name: str, value: str, which: int) -> None:
    verifier, signer, signing, verifying, _ = SCHEMES[name]
    headers = dict(signer(signing, "m1", b"{}", NOW))
    header = sorted(headers)[which % len(headers)]
    original = headers[header]
    headers[header] = value

    code = code_of(verifier, headers, b"{}", [verifying])

    covered = {"webhook-id", "webhook-timestamp"}
    if value != original and ("signature" in header or "hmac" in header or header in covered):
        assert code in CODES
    else:
        assert code in {None, "signature_missing"}


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("secret", ["", "short", "whsec_", "whpk_AAAA", "whsk_AAAA"])
def test_a_key_that_anybody_could_guess_neither_verifies_nor_signs(name: str, secret: str) -> None:
    verifier, signer, signing, verifying, _ = SCHEMES[name]
    headers = dict(signer(signing, "m1", b"{}", NOW))

    assert code_of(verifier, headers, b"{}", [secret]) == "secret_unusable"
    assert code_of(verifier, headers, b"{}", [secret, verifying]) is None, "it does not stop the other of a rotation"
    with pytest.raises(IntakeError) as refused:
        signer(secret, "m1", b"{}", NOW)
    assert refused.value.code == "secret_unusable"


@pytest.mark.parametrize("name", SCHEMES)
def test_without_a_signature_header_nothing_is_compared(name: str) -> None:
    verifier, _, _, verifying, _ = SCHEMES[name]

    assert code_of(verifier, {}, b"{}", [verifying]) == "signature_missing"


@pytest.mark.parametrize(
    ("shift", "stripe", "standard"),
    [
        (-300, None, None),
        (-301, "timestamp_stale", "timestamp_stale"),
        (300, None, None),
        (301, None, "timestamp_future"),
        (3600, None, "timestamp_future"),
    ],
)
def test_the_time_rule_is_each_vendors_own(shift: int, stripe: str | None, standard: str | None) -> None:
    assert code_of(StripeSignature(), dict(stripe_headers(FIRST, "m1", b"{}", NOW + shift)), b"{}", [FIRST]) == stripe
    sent = dict(standard_webhooks_headers(FIRST, "m1", b"{}", NOW + shift))
    assert code_of(StandardWebhooks(), sent, b"{}", [FIRST]) == standard


def test_the_public_half_signs_nothing_and_the_private_half_is_told_apart() -> None:
    with pytest.raises(IntakeError) as refused:
        sign_standard_webhooks(PUBLIC, "m1", NOW, b"{}")

    assert refused.value.code == "secret_unusable"
    assert PUBLIC.startswith("whpk_")
    assert PRIVATE.startswith("whsk_")
    assert public_key_of(FIRST) is None


def test_a_private_key_with_the_public_half_of_another_is_refused() -> None:
    raw = base64.b64decode(PRIVATE.removeprefix("whsk_"))
    other = base64.b64decode(OTHER_PUBLIC.removeprefix("whpk_"))
    mixed = "whsk_" + base64.b64encode(raw[:32] + other).decode()

    assert public_key_of(mixed) is None
    assert public_key_of("whsk_" + base64.b64encode(raw[:32]).decode()) == PUBLIC, "the seed alone is enough"


@pytest.mark.parametrize("name", SCHEMES)
def test_thousands_of_signatures_in_one_header_cost_no_more_than_a_few(name: str) -> None:
    """A good one after more than anybody needs is not looked for: work is bounded."""
    verifier, signer, signing, verifying, _ = SCHEMES[name]
    headers = dict(signer(signing, "m1", b"{}", NOW))
    header = next(part for part in headers if "signature" in part or "hmac" in part)
    good = headers[header]
    headers[header] = (
        " ".join(["v1,AAAA"] * 10_000 + [good]) if "standard" in name else ",".join(["v1=00"] * 10_000 + [good])
    )

    assert code_of(verifier, headers, b"{}", [verifying]) in {"signature_mismatch", "signature_malformed"}


@given(text=st.text(alphabet=string.printable, min_size=16, max_size=40))
@settings(max_examples=100, deadline=None)
def test_a_woocommerce_secret_signs_the_same_raw_and_escaped(text: str) -> None:
    """The shop may keep the secret escaped; it decodes it once before it signs."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&#062;").replace('"', "&quot;")
    escaped = escaped.replace("'", "&#039;")

    sent = dict(woocommerce_headers(escaped, "m1", b"{}", NOW))

    if "&" not in text:
        assert code_of(WooCommerceHmac(), sent, b"{}", [text]) is None
    assert code_of(WooCommerceHmac(), sent, b"{}", [escaped]) is None
