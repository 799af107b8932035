"""Which warehouse a location belongs to. Tryton's REST protocol does not tell it; the tree of locations does."""

from __future__ import annotations

from collections.abc import Collection

from tidegate.connectors.tryton.rest import Raw, Rest
from tidegate.kernel.errors import ConfigurationError
from tidegate.sdk.http import Api

DEPTH_MAX = 30
_KEY = "places"


async def places_of(api: Api, wanted: Collection[int]) -> dict[int, Raw]:
    """Return {"type", "warehouse"} of every location, read again when one of `wanted` is not among the known ones.

    Archived locations are among them: goods once moved there. Raises ConfigurationError for one that cannot be seen.
    """
    known: dict[int, Raw] | None = api.memory.get(_KEY)
    if known is None or any(location not in known for location in wanted):
        found = await Rest(api).search("stock.location", [["active", "in", [True, False]]], ("type", "parent"))
        known = api.memory[_KEY] = place_locations(found)
    hidden = sorted(location for location in wanted if location not in known)
    if hidden:
        raise ConfigurationError(
            f"goods moved at locations {hidden}, which the key's user does not see",
            code="location_hidden",
            hint="let the key's user read all stock locations",
        )
    return known


def place_locations(locations: list[Raw]) -> dict[int, Raw]:
    """Return the place of each location by id: its type, and the nearest location of type `warehouse` above it. Pure."""
    by_id = {int(location["id"]): location for location in locations}
    return {
        key: {"type": str(location["type"]), "warehouse": _warehouse_above(key, by_id)}
        for key, location in by_id.items()
    }


def _warehouse_above(key: int | None, by_id: dict[int, Raw]) -> int | None:
    for _ in range(DEPTH_MAX):
        location = by_id.get(key) if key is not None else None
        if location is None:
            return None
        if location["type"] == "warehouse":
            return key
        key = int(location["parent"]) if location["parent"] is not None else None
    return None
