"""The sandbox: platforms as real HTTP servers on the loopback, with real limits, signed webhooks, books, and faults on demand.

Started as a process of its own (`python -m tidegate.sandbox`) and called by nobody: its rules are written apart from ours, so
that the one can judge the other. It imports only `kernel`.
"""
