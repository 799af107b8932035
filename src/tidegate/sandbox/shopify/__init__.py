"""Shopify as a server: the Admin GraphQL API of 2026-10 with its cost bucket, its webhooks, and a checkout.

`build` makes it. Its rules come from Shopify's documentation and its published schema, not from our connector.
"""

from tidegate.sandbox.shopify.server import build

__all__ = ["build"]
