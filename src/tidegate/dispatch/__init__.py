"""Dispatch: what leaves for other systems, and every read of them, at the pace that each of them allows.

One lane per connection takes commands, dirty stock marks, read-backs, fetches and feeds; each call is made durable (T2s)
before a byte leaves and its answer after (T3). Entry: `dispatch.worker.serve`; operators: `dispatch.operator`.
May import eventlog, vault, store, sdk, commerce, kernel.
"""
