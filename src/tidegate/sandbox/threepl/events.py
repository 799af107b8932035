"""What such a system is sent and asked for: shapes, read strictly."""

from __future__ import annotations

from typing import Annotated

import msgspec

Units = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Event(msgspec.Struct):
    """The envelope. Source: Standard Webhooks specification, "Payload structure"."""

    type: Name
    timestamp: Name
    data: msgspec.Raw


class OrderLine(msgspec.Struct):
    """A line to ship; `id` is the sender's."""

    id: Name
    sku: Name
    quantity: Units


class NewOrder(msgspec.Struct):
    """`data` of `order.create`; `id` is the sender's reference, which there is once."""

    id: Name
    lines: Annotated[list[OrderLine], msgspec.Meta(min_length=1, max_length=2000)]


class Cancelled(msgspec.Struct):
    """`data` of `order.cancel`."""

    id: Name


class ShippedLine(msgspec.Struct):
    """A line of ours that left somewhere else."""

    line: Name
    quantity: Units


class Fulfillment(msgspec.Struct):
    """`data` of `fulfillment.create`."""

    id: Name
    order: Name
    lines: Annotated[list[ShippedLine], msgspec.Meta(min_length=1, max_length=2000)]


class Number(msgspec.Struct):
    """What may be sold of an article."""

    sku: Name
    quantity: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]


class Numbers(msgspec.Struct):
    """`data` of `inventory.set`."""

    items: Annotated[list[Number], msgspec.Meta(min_length=1, max_length=1000)]


class Subscription(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Action `subscribe`: send events there from now on."""

    url: Name
    secret: str | None = None


class Pace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Action `clerk`: ship so many a second from now on."""

    per_second: Annotated[float, msgspec.Meta(ge=0.0, le=1000.0)]


class Goods(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Action `receive`: goods arrive."""

    sku: str
    quantity: Units


class Page(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Action `shipments`: what left, behind this number."""

    after: Annotated[int, msgspec.Meta(ge=0)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 10_000
