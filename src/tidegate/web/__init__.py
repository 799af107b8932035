"""HTTP for people, programs and monitoring: health, metrics, the API, the pages. Webhooks come in elsewhere (`intake.door`).

Run by the supervisor as its own process with a role that sees one tenant at a time; adds no logic of its own. May import
`runtime` and what lies below.
"""
