"""Connectors: one folder per platform with fixed file names. Mappers and endpoint tables; they see `sdk` and `commerce` only."""
