"""Who writes which field, what becomes of what others say, and who wrote a value last."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from tidegate.config import Config
from tidegate.config.records import ORIGIN, SELF
from tidegate.kernel.ids import public_id
from tidegate.monitor.stock_view import find_item
from tidegate.store.connections import Connection
from tidegate.store.sql import query

_ORDER = query("owners_of_order")
_ON_HAND = query("owners_of_on_hand")
_NUMBERS = query("owners_of_numbers")
_PRICES = query("owners_of_prices")


class FieldRule(msgspec.Struct, frozen=True, kw_only=True):
    """One field, and who may write it."""

    field: str
    owner: str | None
    """A connection, `origin` (the channel of the order) or `tidegate`; None: nobody is named."""
    told: tuple[str, ...]
    """Who is told what the owner says."""
    others: str
    """What becomes of what anybody else says, in words."""
    conflict: str
    """Which rule decides when two differ: `owner`, `newest` (of the owner's versions), or `person`."""


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """A value as it stands, and who wrote it last."""

    field: str
    place: str
    """The location, or the connection that shows it; '' where there is one only."""
    value: str
    owner: str | None
    writer: str
    """The connection whose event or look it came from, else who did it."""
    source: str
    """The event (evt_...) or command (cmd_...) that wrote it; '' where it was read by a look."""
    at: datetime | None
    is_owner: bool
    """Whether the owner wrote it; where it did not, it is only compared."""


def field_rules(config: Config) -> tuple[FieldRule, ...]:
    """Return who may write which field by a configuration. Pure."""
    owns, flows = config.owns, config.flows
    sources = flows.orders.sources if flows.orders is not None else ()
    erp = (flows.orders.target,) if flows.orders is not None else ()
    back = sources if flows.shipments is not None else ()
    return (
        FieldRule(
            field="stock.on_hand",
            owner=owns.on_hand,
            told=(),
            others="movements of others are ignored (not_owner); what an owner counts otherwise is drift",
            conflict="owner",
        ),
        FieldRule(
            field="stock.available",
            owner=owns.available,
            told=flows.stock.targets if flows.stock is not None else (),
            others="what a channel shows otherwise is drift; it is told anew as `reconcile` says",
            conflict="owner",
        ),
        FieldRule(
            field="price",
            owner=owns.price,
            told=(),
            others="compared with the owner's and shown as drift; no price is ever written",
            conflict="person",
        ),
        FieldRule(
            field="order",
            owner=owns.order,
            told=erp,
            others="nobody else is read; of the channel's versions the newest counts, whatever comes first",
            conflict="newest",
        ),
        FieldRule(
            field="shipment",
            owner=owns.shipment,
            told=back,
            others="shipments of others are ignored (not_owner)",
            conflict="owner",
        ),
        FieldRule(
            field="payment",
            owner=owns.payment or owns.order,
            told=sources if flows.payments is not None else (),
            others="the channel's own word is kept beside the provider's"
            if owns.payment is not None
            else "nobody else is read; of the channel's versions the newest counts",
            conflict="owner" if owns.payment is not None else "newest",
        ),
        FieldRule(
            field="customer",
            owner=owns.order,
            told=erp,
            others="kept with the order, encrypted; never merged with another order's",
            conflict="newest",
        ),
        FieldRule(
            field="article",
            owner=None,
            told=(),
            others="SKU and title stand as they were first seen; which article is which: tidegate matches",
            conflict="person",
        ),
    )


async def read_order_writers(conn: Connection, tenant_id: UUID, order: Any, config: Config) -> tuple[Written, ...]:
    """Return who wrote which part of an order last. `order` is a row of `find_order`. Reads only."""
    rules = {rule.field: rule for rule in field_rules(config)}
    values = {"order": order["order_state"], "payment": order["payment_state"], "shipment": order["fulfillment_state"]}
    found: dict[str, Written] = {}
    for row in sorted(await conn.fetch(_ORDER, tenant_id, order["order_id"]), key=lambda row: row["at"]):
        for field in _fields_of(row, config):
            owner = rules[field].owner
            found[field] = Written(
                field=field,
                place="",
                value=values[field],
                owner=order["channel"] if owner == ORIGIN else owner,
                writer=row["connection"],
                source=public_id("evt", config.cell, row["event_id"]),
                at=row["at"],
                is_owner=row["is_origin"] if owner == ORIGIN else row["connection"] == owner,
            )
    return tuple(found[field] for field in values if field in found)


def _fields_of(row: Any, config: Config) -> tuple[str, ...]:
    """Return which fields an event wrote. Where nobody else says what was paid, the channel does."""
    if row["entity_kind"] == "fulfillment":
        return ("shipment",)
    if not row["is_origin"]:
        return ("payment",)
    return ("order",) if config.owns.payment is not None else ("order", "payment")


async def read_sku_writers(conn: Connection, tenant_id: UUID, sku: str, config: Config) -> tuple[Written, ...]:
    """Return who wrote which number of a SKU last, from one snapshot.

    Raises ConfigurationError when there is no such item.
    """
    owns = config.owns
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        item_id = (await find_item(conn, tenant_id, sku))["item_id"]
        counted = await conn.fetch(_ON_HAND, tenant_id, item_id)
        told = await conn.fetch(_NUMBERS, tenant_id, item_id)
        prices = await conn.fetch(_PRICES, tenant_id, item_id)
    written = [
        Written(
            field="stock.on_hand",
            place=row["location"],
            value=str(row["on_hand_after"]),
            owner=owns.on_hand,
            writer=row["connection"] or row["actor"],
            source=public_id("evt", config.cell, row["event_id"]) if row["event_id"] else "",
            at=row["at"],
            is_owner=row["connection"] == owns.on_hand,
        )
        for row in counted
    ]
    written += [
        Written(
            field="stock.available",
            place=row["connection"],
            value="not known" if row["acked_quantity"] is None else str(row["acked_quantity"]),
            owner=owns.available,
            writer=SELF,
            source=public_id("cmd", config.cell, row["command_id"]) if row["command_id"] else "",
            at=row["acked_at"],
            is_owner=True,
        )
        for row in told
    ]
    written += [
        Written(
            field="price",
            place=row["connection"],
            value=f"{row['value'].rstrip('0').rstrip('.')} {row['currency']}".strip(),
            owner=owns.price,
            writer=row["connection"],
            source="",
            at=row["observed_at"],
            is_owner=row["connection"] == owns.price,
        )
        for row in prices
    ]
    return tuple(written)
