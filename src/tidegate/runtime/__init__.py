"""Processes of one machine: the embedded PostgreSQL, the supervisor, its children, node and slots.

Called by the composition root and the command line. May import every room below `web`.
"""
