"""The kit examines the Shopify connector, on answers made by hand from the published schema (no live shop can be reached)."""

from tidegate.sdk.testing.conformance import conformance_suite

TestShopify = conformance_suite("tidegate.connectors.shopify")
