"""What is wrong with maps and tables, by its place in the configuration. Pure."""

from __future__ import annotations

import msgspec

Place = tuple[str | int, ...]
"""Keys and positions from the root of the configuration to a value."""


class MapProblem(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the author has to mend."""

    place: Place
    message: str
    hint: str | None = None
    is_key: bool = False
    """Whether it is the key that is wrong, not what stands under it."""
    position: int | None = None
    """Characters into the text at that place, where it is an expression."""
