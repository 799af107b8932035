"""The event log: every fact enters by an append, waits in its slot's queue, and may be replayed.

Called by `intake`, `sync`, `dispatch` and `runtime` (partitions); imports `store`, `sdk` and `kernel`.
"""
