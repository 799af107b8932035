"""Sync: T2. Events become canonical state, ledger entries, marks and commands, in one transaction per batch.

Run by the `apply` process; meets the other flow rooms only in the log and in this transaction.
"""
