"""The command line: each command translates its arguments, calls a room below, and prints.

Entry point `tidegate`. May import every room; nothing imports it but the composition root.
"""
