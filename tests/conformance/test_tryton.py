"""The kit examines the Tryton connector, on recordings of an ERP."""

from tidegate.sdk.testing.conformance import conformance_suite

TestTryton = conformance_suite("tidegate.connectors.tryton")
