"""Test kit for connectors and flows: a hostile remote, its connector, a webhook sender, the conformance suite.

Called by tests only; imports `sdk`, `commerce` and `kernel`. Shipped with the package, so that authors of connectors have it too.
"""
