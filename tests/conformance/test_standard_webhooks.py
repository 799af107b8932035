"""The kit examines the Standard Webhooks connector, on events and exchanges written after its README."""

from tidegate.sdk.testing.conformance import conformance_suite

TestStandardWebhooks = conformance_suite("tidegate.connectors.standard_webhooks")
