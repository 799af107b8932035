"""Every scheme against vectors that other implementations made: an own small set, and the shared one where it is at hand.

The own set was signed with the vendors' SDKs (standardwebhooks 1.1.0, stripe 16.1.0) and with the openssl command.
"""

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tidegate.kernel.errors import IntakeError
from tidegate.sdk.signatures import ShopifyHmac, StandardWebhooks, StripeSignature, Verifier, WooCommerceHmac

SHARED = Path(os.environ.get("TIDEGATE_SHARED", Path(__file__).parents[3] / ".." / "shared"))
VECTORS = SHARED / "facts" / "signature_vectors.json"
VERIFIERS: dict[str, Verifier] = {
    "standard-webhooks-v1": StandardWebhooks(),
    "stripe-v1": StripeSignature(),
    "shopify-hmac-sha256-base64": ShopifyHmac(),
    "woocommerce-hmac-sha256-base64": WooCommerceHmac(),
}
BODY = '{"type":"order.updated","data":{"id":"ø-1","total":"19.90"}}'.encode()
NOW = 1_795_305_600
SHARED_SECRET = "whsec_b3duIHZlY3RvcnMgb2YgdGlkZWdhdGUsIGtleSAx"
PUBLIC_KEY = "whpk_aQ4WfvEvWsjWjjyOFAC8bkgQzmaFzh4Wq6ydyI8sSEE="
MESSAGE = {"webhook-id": "msg_own1", "webhook-timestamp": str(NOW)}
V1 = "v1,YKD/rfMZjb9KTFlCB6eQeK30Sq4vxWMI3OJqTTbG3Ak="
V1A = "v1a,1bWR2oPYFRNLCj8eZDfHH2LMyX+Qub5QtRDF6lSfDXtEogxWQLFZM2OZI0GpxmyXbIiWGHeR/w3K0PsaN1zbBw=="
OTHER_V1A = "v1a," + base64.b64encode(b"\x01" * 64).decode()
SHOPIFY = {
    "x-shopify-topic": "orders/create",
    "x-shopify-shop-domain": "a.myshopify.com",
    "x-shopify-api-version": "2026-10",
    "x-shopify-webhook-id": "1",
    "x-shopify-hmac-sha256": "FafHGNfsgUZo8Tw08j8uaZfH0oSUVsPGfaARBJlgrp8=",
}
WOO = {"x-wc-webhook-signature": "parwqlSJZfNyK/wSo+pc7vNF3AXUR8wqj6hy1W9Gseo="}
STRIPE_V1 = "v1=6e1f1321999dbfd50917cc855c80d03bcfebcd36bda8b07aae671a42327949a5"
BIG_COMMERCE = {
    "webhook-id": "bc-1",
    "webhook-timestamp": str(NOW),
    "webhook-signature": "v1,T2O9Kh5BzLTPl5Seg7mj4Yd4/EmvkILeesnXYSmDlyc=",
}
OWN: dict[str, tuple[Verifier, dict[str, str], str, str | None]] = {
    "v1": (StandardWebhooks(), {**MESSAGE, "webhook-signature": V1}, SHARED_SECRET, None),
    "v1 bare key": (
        StandardWebhooks(),
        {**MESSAGE, "webhook-signature": V1},
        SHARED_SECRET.removeprefix("whsec_"),
        None,
    ),
    "v1a": (StandardWebhooks(), {**MESSAGE, "webhook-signature": V1A}, PUBLIC_KEY, None),
    "v1a rotated": (StandardWebhooks(), {**MESSAGE, "webhook-signature": f"{OTHER_V1A} {V1A}"}, PUBLIC_KEY, None),
    "v1a unpadded key": (StandardWebhooks(), {**MESSAGE, "webhook-signature": V1A}, PUBLIC_KEY.rstrip("="), None),
    "v1 and v1a": (StandardWebhooks(), {**MESSAGE, "webhook-signature": f"{V1} {V1A}"}, PUBLIC_KEY, None),
    "v1 does not pass for v1a": (
        StandardWebhooks(),
        {**MESSAGE, "webhook-signature": V1},
        PUBLIC_KEY,
        "signature_mismatch",
    ),
    "v1a of another": (
        StandardWebhooks(),
        {**MESSAGE, "webhook-signature": OTHER_V1A},
        PUBLIC_KEY,
        "signature_mismatch",
    ),
    "v1a with another id": (
        StandardWebhooks(),
        {**MESSAGE, "webhook-id": "msg_own2", "webhook-signature": V1A},
        PUBLIC_KEY,
        "signature_mismatch",
    ),
    "svix": (
        StandardWebhooks(),
        {"svix-id": "msg_own1", "svix-timestamp": str(NOW), "svix-signature": V1},
        SHARED_SECRET,
        None,
    ),
    "bigcommerce": (StandardWebhooks(secret_is="text"), BIG_COMMERCE, "bc_client_secret_own_1", None),
    "bigcommerce as base64": (
        StandardWebhooks(),
        BIG_COMMERCE,
        base64.b64encode(b"bc_client_secret_own_1").decode(),
        None,
    ),
    "shopify": (ShopifyHmac(), SHOPIFY, "shpss_own_vector_secret", None),
    "shopify, other secret": (ShopifyHmac(), SHOPIFY, "shpss_own_vector_secres", "signature_mismatch"),
    "woocommerce": (WooCommerceHmac(), WOO, "own \"<key>\" & 'more' ", None),
    "woocommerce, stored escaped": (
        WooCommerceHmac(),
        WOO,
        "own &quot;&lt;key&gt;&#034; &amp; &#039;more&#x27; ",
        None,
    ),
    "stripe": (
        StripeSignature(),
        {"stripe-signature": f"t={NOW},v1={'0' * 64},v0=1,{STRIPE_V1}"},
        "whsec_own_vector_secret_1",
        None,
    ),
    "stripe v0 only": (
        StripeSignature(),
        {"stripe-signature": f"t={NOW},{STRIPE_V1.replace('v1', 'v0')}"},
        "whsec_own_vector_secret_1",
        "signature_mismatch",
    ),
    "stripe, other time": (
        StripeSignature(),
        {"stripe-signature": f"t={NOW - 1},{STRIPE_V1}"},
        "whsec_own_vector_secret_1",
        "signature_mismatch",
    ),
}


def code_of(verifier: Verifier, headers: dict[str, str], body: bytes, secrets: list[str], now: float) -> str | None:
    try:
        verifier(headers, body, secrets, now)
    except IntakeError as error:
        return error.code
    return None


def shared_vectors() -> list[dict[str, Any]]:
    if not VECTORS.exists():
        return []
    found = json.loads(VECTORS.read_text())["vectors"]
    return [vector for vector in found if vector.get("scheme") in VERIFIERS]


@pytest.mark.parametrize("name", OWN)
def test_own_vectors(name: str) -> None:
    verifier, headers, secret, code = OWN[name]

    assert code_of(verifier, headers, BODY, [secret], NOW) == code
    assert code_of(verifier, headers, BODY + b" ", [secret], NOW) == "signature_mismatch"


@pytest.mark.skipif(not VECTORS.exists(), reason="the shared facts are not beside the project")
@pytest.mark.parametrize("vector", shared_vectors(), ids=lambda vector: vector["id"])
def test_vectors_of_the_vendors_own_libraries(vector: dict[str, Any]) -> None:
    headers = {name.lower(): value for name, value in vector["headers"].items()}

    code = code_of(
        VERIFIERS[vector["scheme"]],
        headers,
        base64.b64decode(vector["body_b64"]),
        [vector["secret"]],
        vector.get("now", NOW),
    )

    assert (code is None) == vector["valid"], code


@pytest.mark.skipif(not VECTORS.exists(), reason="the shared facts are not beside the project")
def test_the_shared_vectors_of_each_scheme_are_there() -> None:
    seen = {vector["scheme"] for vector in shared_vectors()}

    assert seen == set(VERIFIERS)
    assert len(shared_vectors()) >= 22
