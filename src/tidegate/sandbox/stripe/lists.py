"""Lists of Stripe: newest first, in pages behind ids, with filters. Pure."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from tidegate.sandbox.stripe.errors import Refusal, no_such

LIMIT_MAX = 100
LIMIT_DEFAULT = 10
Object = dict[str, Any]
_BOUNDS: Mapping[str, Callable[[int, int], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
    "eq": operator.eq,
}


def list_page(held: dict[str, Object], asked: Mapping[str, Any], url: str, fits: Callable[[Object], bool]) -> Object:
    """Return a page of what fits. Raises Refusal for a limit out of bounds and for a cursor that names nothing."""
    limit = asked.get("limit", LIMIT_DEFAULT)
    if not 1 <= limit <= LIMIT_MAX:
        raise Refusal(f"limit must be between 1 and {LIMIT_MAX}", param="limit", is_validation=True)
    if "starting_after" in asked and "ending_before" in asked:
        raise Refusal("You can use starting_after or ending_before, not both.", is_validation=True)
    created: Mapping[str, int] = asked.get("created", {})
    for cursor in ("starting_after", "ending_before"):
        if cursor in asked and asked[cursor] not in held:
            raise no_such("object", asked[cursor], cursor, status=400)

    def wanted(one: Object) -> bool:
        return all(_BOUNDS[bound](one["created"], value) for bound, value in created.items()) and fits(one)

    found: list[Object] = []
    if "ending_before" in asked:
        is_past = False
        for number, one in held.items():
            if is_past and wanted(one):
                found.append(one)
                if len(found) > limit:
                    break
            is_past = is_past or number == asked["ending_before"]
        has_more = len(found) > limit
        return {"object": "list", "data": found[:limit][::-1], "has_more": has_more, "url": url}
    is_past = "starting_after" not in asked
    for number, one in reversed(held.items()):
        if is_past and wanted(one):
            found.append(one)
            if len(found) > limit:
                break
        is_past = is_past or number == asked.get("starting_after")
    return {"object": "list", "data": found[:limit], "has_more": len(found) > limit, "url": url}
