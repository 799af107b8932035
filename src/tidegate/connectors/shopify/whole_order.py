"""One order with all of its lines, which a large one has on several pages.

Each page costs up to half of a small shop's bucket. So the pages that were read are remembered while the bucket fills, and an
order of hundreds of lines comes together over several reads, none of which is refused.
"""

from __future__ import annotations

from typing import cast

import msgspec

from tidegate.connectors.shopify import queries
from tidegate.connectors.shopify.errors import cost_of
from tidegate.connectors.shopify.graphql import Raw, gid, read_field, send
from tidegate.connectors.shopify.orders import order_item
from tidegate.kernel.errors import RateLimitedError, RejectedError, TransientError
from tidegate.sdk.connector import FeedItem
from tidegate.sdk.http import Api, Response

LINE_PAGES_MAX = 210
"""Of 50 lines: more than an order can have."""
LINES_CHARGE = 503
"""Of a page of 50 lines."""
IN_PARTS_MAX = 20
"""Orders that are remembered in part."""
_MEMORY = "orders_in_parts"


class _Part(msgspec.Struct, frozen=True):
    """An order as far as it was read."""

    order: Raw
    lines: tuple[Raw, ...]
    after: str | None
    """Where its lines go on; None: these are all."""
    pages: int = 0


async def fetch_order(api: Api, external_id: str) -> FeedItem | None:
    """Read one order with all of its lines, None when the shop has none of this id.

    Raises RateLimitedError where the bucket must fill before the next page; the next read then goes on there.
    """
    parts = cast("dict[str, _Part]", api.memory.setdefault(_MEMORY, {}))
    part, told = parts.pop(external_id, None), None
    if part is None:
        told = await send(api, queries.ORDER, {"id": gid("Order", external_id)}, changes_state=False)
        order: Raw | None = read_field(told, "order", Raw | None, changes_state=False)
        if order is None:
            return None
        part = _with(_Part(order, (), None), order)
    while part.after is not None:
        if part.pages >= LINE_PAGES_MAX:
            raise RejectedError("the order has more lines than an order can have", code="order_too_long")
        try:
            _raise_if_empty(told)
            variables = {"id": gid("Order", external_id), "after": part.after}
            told = await send(api, queries.ORDER_LINES, variables, changes_state=False)
            order = read_field(told, "order", Raw | None, changes_state=False)
        except RateLimitedError:
            _keep(parts, external_id, part)
            raise
        if order is None:
            return None
        if order["updatedAt"] != part.order["updatedAt"]:
            raise TransientError("the order changed while its lines were read", code="order_moved")
        part = _with(part, order)
    return order_item(part.order, list(part.lines))


def _with(part: _Part, order: Raw) -> _Part:
    """Return a part with the page of lines that an answer holds."""
    found = order["lineItems"]
    after = found["pageInfo"]["endCursor"] if found["pageInfo"]["hasNextPage"] else None
    return _Part(part.order, (*part.lines, *found["nodes"]), after, part.pages + 1)


def _keep(parts: dict[str, _Part], external_id: str, part: _Part) -> None:
    while len(parts) >= IN_PARTS_MAX:
        parts.pop(next(iter(parts)))
    parts[external_id] = part


def _raise_if_empty(told: Response | None) -> None:
    """Raise RateLimitedError where an answer says that the bucket cannot pay for a page of lines now."""
    cost = cost_of(told) if told is not None else None
    if cost is None or cost.throttle_status.restore_rate <= 0:
        return
    lacking = min(LINES_CHARGE, cost.throttle_status.maximum_available) - cost.throttle_status.currently_available
    if lacking > 0:
        raise RateLimitedError(
            "the rest of the order follows when the bucket of points has filled",
            code="order_in_parts",
            wait_seconds=lacking / cost.throttle_status.restore_rate,
        )
