"""HTTP for people and monitoring: health and metrics. Webhooks come in elsewhere (`intake.door`).

Run by the supervisor as its own process with a role that reads; may import `runtime` and what lies below.
"""
