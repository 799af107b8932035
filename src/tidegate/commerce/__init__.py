"""The canonical model, pure: money, orders, stock arithmetic, changes that come in, commands that go out.

Used by connectors (through `sdk`) and by the flow rooms; imports `kernel` only.
"""
