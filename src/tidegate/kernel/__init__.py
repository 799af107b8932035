"""The slab: errors, ids, clock, retry maths, redaction and the names of metrics.

Everybody may import it; it imports the standard library only.
"""
