"""The kit examines the WooCommerce connector, on recordings of a real shop."""

from tidegate.sdk.testing.conformance import conformance_suite

TestWooCommerce = conformance_suite("tidegate.connectors.woocommerce")
