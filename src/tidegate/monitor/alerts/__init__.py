"""Alerts: rules over signals, a state machine per subject, notices to people.

Pure: `rules`, `evaluate`, `machine`, `notices`, `rhythm`. Shell: `signals` reads, `store` keeps, `evaluator` runs in the web
process of one gateway at a time, `delivery` sends. Called by `web` and by the command line.
"""
