"""Orders: pure folding of what a channel shows into the canonical order. Called by `sync`; imports `commerce`, `kernel`."""
