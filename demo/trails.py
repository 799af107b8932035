"""The way of an order through the systems, by their own clocks: order, sale, shipment, fulfillment."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

Stop = Literal["placed", "sold", "shipped", "fulfilled"]
KEPT_MAX = 500
LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Trail:
    """One order. Times are the systems' own (aware UTC); None where it has not arrived yet."""

    code: str
    shop: str = ""
    placed: datetime | None = None
    sold: datetime | None = None
    shipped: datetime | None = None
    fulfilled: datetime | None = None

    def after(self, stop: Stop) -> float | None:
        """Return how many seconds after its placing the order came to a stop."""
        at: datetime | None = getattr(self, stop)
        return None if at is None or self.placed is None else (at - self.placed).total_seconds()


class Trails:
    """The newest orders of all shops; filled from several threads."""

    def __init__(self) -> None:
        self._trails: OrderedDict[str, Trail] = OrderedDict()
        self._lock = threading.Lock()

    def mark(self, code: str, stop: Stop, at: datetime, shop: str | None = None) -> None:
        """Note that an order came to a stop; what was noted first stands: a second parcel is no second arrival."""
        with self._lock:
            trail = self._trails.get(code, Trail(code))
            if getattr(trail, stop) is None:
                times: dict[str, Any] = {stop: at}
                trail = replace(trail, **times)
            self._trails[code] = replace(trail, shop=shop) if shop else trail
            while len(self._trails) > KEPT_MAX:
                self._trails.popitem(last=False)

    def newest(self) -> Trail | None:
        """Return the order that was placed last."""
        return _last(self._placed())

    def newest_complete(self) -> Trail | None:
        """Return the order that was placed last among those that went the whole way."""
        return _last([trail for trail in self._placed() if trail.fulfilled is not None and trail.shipped is not None])

    def _placed(self) -> list[Trail]:
        with self._lock:
            return [trail for trail in self._trails.values() if trail.placed is not None]


def _last(trails: list[Trail]) -> Trail | None:
    return max(trails, key=lambda trail: trail.placed or LONG_AGO, default=None)
