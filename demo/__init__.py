"""`make demo`: two real shops and a real ERP with Tidegate between them, and a live table of what each believes.

Run by people (`python -m demo`). Plays on the stage of the end-to-end play (`e2e.stage`), without its bad network.
"""
