"""Keys of `@idempotent`: what runs, what was done and what failed under a key. Bounded: the oldest are forgotten.

Source: the error codes of the Admin API 2026-10 (IDEMPOTENCY_*). For how long Shopify keeps a key was not found; here it is
the number of keys that bounds it.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

KEYS_KEPT = 100_000
KEY_CHARACTERS_MAX = 255
LISTED = frozenset(
    {
        "inventoryActivate",
        "inventoryAdjustQuantities",
        "inventoryMoveQuantities",
        "inventorySetOnHandQuantities",
        "inventorySetQuantities",
        "inventoryShipmentAddItems",
        "inventoryShipmentCreate",
        "inventoryShipmentCreateInTransit",
        "inventoryShipmentReceive",
        "inventoryTransferCreate",
        "inventoryTransferCreateAsReadyToShip",
        "inventoryTransferDuplicate",
        "inventoryTransferSetItems",
        "locationActivate",
        "locationDeactivate",
        "refundCreate",
    }
)
"""Mutations that are refused without a key from 2026-04 on. Source: Shopify changelog, mandatory idempotency."""


class Kept(msgspec.Struct):
    """What is known of a key: the digest of its arguments, and the payload once it is there."""

    digest: bytes
    payload: dict[str, Any] | None = None
    has_failed: bool = False


class Keys:
    """The keys of one app in one shop."""

    def __init__(self) -> None:
        self._kept: dict[str, Kept] = {}
        self.running: set[str] = set()
        self.replayed = 0

    def begin(self, key: str, operation: str, arguments: Any) -> Kept | str:
        """Return what is kept of a key that is new (it runs now) or done, or the code of why it cannot be used."""
        digest = hashlib.sha256(operation.encode() + msgspec.json.encode(arguments, order="sorted")).digest()
        kept = self._kept.get(key)
        if kept is None:
            if len(self._kept) >= KEYS_KEPT:
                self._kept.pop(next(iter(self._kept)))
            kept = self._kept[key] = Kept(digest)
            return kept
        if kept.digest != digest:
            return "IDEMPOTENCY_KEY_PARAMETER_MISMATCH"
        if key in self.running:
            return "IDEMPOTENCY_CONCURRENT_REQUEST"
        if kept.has_failed:
            return "IDEMPOTENCY_PREVIOUS_ATTEMPT_FAILED"
        self.replayed += 1
        return kept
