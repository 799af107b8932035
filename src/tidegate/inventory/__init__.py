"""Inventory: pure ledger arithmetic. Called by `sync`; imports `commerce`, `kernel`."""
