"""Watching: logs, metrics, the conservation audit and the story of one order.

Called by processes at their start, by the web pages and by the command line; may import the flow rooms and what
lies below. Rooms below take their logger from structlog and their metrics from prometheus_client directly.
"""
