"""Stripe as a server: payments, refunds, disputes, events, webhook endpoints, idempotency keys and the request limits.

`build` makes it. Its rules come from Stripe's documentation and its published API description, not from our connector.
"""

from tidegate.sandbox.stripe.server import build

__all__ = ["build"]
