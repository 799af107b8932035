"""The kit examines the Vendure connector, on recordings of a shop with the plugin."""

from tidegate.sdk.testing.conformance import conformance_suite

TestVendure = conformance_suite("tidegate.connectors.vendure")
