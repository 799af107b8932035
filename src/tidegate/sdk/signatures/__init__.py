"""Signature schemes. Each check runs on the raw bytes, in constant time, before anything else is looked at.

One module per scheme: a verifier for what comes in, and the signing half for senders, self-tests and tests.
"""

from tidegate.sdk.signatures.scheme import KEY_BYTES_MIN, Signer, Verifier
from tidegate.sdk.signatures.shopify import ShopifyHmac, shopify_headers
from tidegate.sdk.signatures.standard_webhooks import (
    STANDARD_WEBHOOKS_TOLERANCE_SECONDS,
    StandardWebhooks,
    new_signing_key,
    public_key_of,
    sign_standard_webhooks,
    standard_webhooks_headers,
)
from tidegate.sdk.signatures.stripe import STRIPE_TOLERANCE_SECONDS, StripeSignature, stripe_headers
from tidegate.sdk.signatures.woocommerce import WooCommerceHmac, woocommerce_headers

__all__ = [
    "KEY_BYTES_MIN",
    "STANDARD_WEBHOOKS_TOLERANCE_SECONDS",
    "STRIPE_TOLERANCE_SECONDS",
    "ShopifyHmac",
    "Signer",
    "StandardWebhooks",
    "StripeSignature",
    "Verifier",
    "WooCommerceHmac",
    "new_signing_key",
    "public_key_of",
    "shopify_headers",
    "sign_standard_webhooks",
    "standard_webhooks_headers",
    "stripe_headers",
    "woocommerce_headers",
]
