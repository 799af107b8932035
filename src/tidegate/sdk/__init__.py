"""Everything a connector author sees: the Connector record, signatures, the HTTP client, the test kit.

Used by connectors and by the rooms above; imports `commerce` and `kernel`.
"""
