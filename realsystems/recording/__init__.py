"""Recordings of the real systems for the conformance kit: `python -m realsystems.recording.vendure` and `.tryton`.

Each starts a system of its own, plays the scenes that SPEC.md asks for, and writes the connector's fixtures anew. Customers
are invented; the systems and every key of theirs are thrown away.
"""
