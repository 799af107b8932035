"""What goes wrong, how often, and for whom: decided by the seed and a number, never by the moment.

Whether the thousandth call or a certain delivery is hit depends on the seed, the platform, the kind of the fault and that
number only. So a run repeats, and one fault more does not move the others.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Annotated

import msgspec

Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Seconds = Annotated[float, msgspec.Meta(ge=0.0, le=3600.0)]


class FaultProfile(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What goes wrong on one platform. Shares are 0 to 1 of all deliveries, or of all calls; times are seconds.

    Deliveries: `dropped` never leaves and is never tried again; `untold` is the share of orders of which none ever leaves, whatever
    happens to them; `duplicated` leaves twice; `reordered` is held back for up
    to `reordered_seconds`, so that later ones overtake it; `delayed` waits `delayed_seconds`.

    Calls, at most one fault each, in this order: `down` cuts the connection before anything happens; `throttled` is the
    platform's own "too many"; `broken` is a 5xx before anything happened; `expired` is a credential that ran out;
    `broken_after` is a 5xx though it happened; `lost_replies` cuts the connection after it happened; `garbage` answers
    something that is no answer, after it happened; `slow` lets the answer drip for `slow_seconds`.
    """

    dropped: Share = 0.0
    untold: Share = 0.0
    duplicated: Share = 0.0
    reordered: Share = 0.0
    reordered_seconds: Seconds = 1.0
    delayed: Share = 0.0
    delayed_seconds: Seconds = 5.0
    down: Share = 0.0
    throttled: Share = 0.0
    broken: Share = 0.0
    expired: Share = 0.0
    broken_after: Share = 0.0
    lost_replies: Share = 0.0
    garbage: Share = 0.0
    slow: Share = 0.0
    slow_seconds: Seconds = 5.0


class CallFault(StrEnum):
    """A fault of a call; named like its share in the profile."""

    DOWN = "down"
    THROTTLED = "throttled"
    BROKEN = "broken"
    EXPIRED = "expired"
    BROKEN_AFTER = "broken_after"
    LOST_REPLIES = "lost_replies"
    GARBAGE = "garbage"
    SLOW = "slow"


class DeliveryPlan(msgspec.Struct, frozen=True):
    """When the copies of a delivery leave, as seconds from now; empty when it is dropped. `faults` names what was done."""

    copies: tuple[float, ...]
    faults: tuple[str, ...] = ()


class Faults:
    """Decides for one platform, and counts what fired."""

    def __init__(self, seed: int, platform: str, profile: FaultProfile | None = None) -> None:
        self._salt = f"{seed}/{platform}/"
        self.profile = profile or FaultProfile()
        self.fired: dict[str, int] = {}

    def call(self, number: int) -> CallFault | None:
        """Return what hits the call with this number."""
        profile = self.profile
        for fault in CallFault:
            share: float = getattr(profile, fault.value)
            if share and self._draw(fault.value, number) < share:
                self._count(fault.value)
                return fault
        return None

    def delivery(self, number: int, order: str = "") -> DeliveryPlan:
        """Return what becomes of the delivery with this number; `order` is what it tells of, '' where that is no order."""
        profile = self.profile
        if order and profile.untold and self._draw("untold", order) < profile.untold:
            self._count("untold")
            return DeliveryPlan((), ("untold",))
        if profile.dropped and self._draw("dropped", number) < profile.dropped:
            self._count("dropped")
            return DeliveryPlan((), ("dropped",))
        wait, faults = 0.0, []
        if profile.delayed and self._draw("delayed", number) < profile.delayed:
            wait += profile.delayed_seconds
            faults.append("delayed")
        if profile.reordered and self._draw("reordered", number) < profile.reordered:
            wait += profile.reordered_seconds * self._draw("reordered_wait", number)
            faults.append("reordered")
        copies = [wait]
        if profile.duplicated and self._draw("duplicated", number) < profile.duplicated:
            copies.append(wait + profile.reordered_seconds * self._draw("duplicated_wait", number))
            faults.append("duplicated")
        for fault in faults:
            self._count(fault)
        return DeliveryPlan(tuple(copies), tuple(faults))

    def choose(self, kind: str, number: int, among: int) -> int:
        """Return a number below `among`: which of several forms a fault takes."""
        return int(self._draw(kind, number) * among)

    def _draw(self, kind: str, number: int | str) -> float:
        digest = hashlib.blake2b(f"{self._salt}{kind}/{number}".encode(), digest_size=8).digest()
        return (int.from_bytes(digest, "big") >> 11) / (1 << 53)

    def _count(self, kind: str) -> None:
        self.fired[kind] = self.fired.get(kind, 0) + 1
