"""`make demo`: shops, a till and an ERP on this machine, Tidegate between them, a naive script beside it, and keys to break things.

`make demo-real` plays with real systems instead: two Vendure shops and a Tryton (`demo.real`, on the stage of `e2e.stage`).
"""
