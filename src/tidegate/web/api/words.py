"""Words of other systems in answers. Pure."""

from __future__ import annotations

from tidegate.kernel.text import mask_people


def masked(text: str | None) -> str | None:
    """Return words that may quote another system, people's addresses and numbers in them masked."""
    return mask_people(text) if text else text
