"""The door: takes webhooks in, and nothing else. A delivery is answered 2xx when it is on disk, never before.

Run as a process of its own (`door.serve`); imports `eventlog`, `vault`, `store`, `sdk` and `kernel`.
"""
