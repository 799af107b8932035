"""Safeguards taken out one by one, each with the test that must notice. See `__main__`."""
