"""The kit examines the Stripe connector, on exchanges composed after Stripe's documents."""

from collections.abc import Mapping

from tidegate.sdk.signatures import stripe_headers
from tidegate.sdk.testing.conformance import Signing, conformance_suite


def sign(_headers: Mapping[str, str], body: bytes, secret: str, now: int) -> Mapping[str, str]:
    return stripe_headers(secret, "", body, now)


TestStripe = conformance_suite(
    "tidegate.connectors.stripe",
    signing=Signing(sign=sign, secret="whsec_conformance_one", other_secret="whsec_conformance_two", time_rule="age"),
)
