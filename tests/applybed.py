"""A tenant with two channels and an ERP in a real database, events that say what a test wants, and T2 run to the end."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from tidegate.config.versions import record_version
from tidegate.eventlog.append import append_webhooks
from tidegate.eventlog.records import Envelope, NewEvent, Source, webhook_dedupe_key
from tidegate.kernel.ids import new_id, public_id, slot_of
from tidegate.sdk.connector import Connector
from tidegate.sdk.testing.hostile_connector import build_connector
from tidegate.store.connections import Pool
from tidegate.store.context import Context
from tidegate.store.database import Database
from tidegate.store.roles import Role
from tidegate.sync.worker import serve
from tidegate.vault.bodies import BodyCipher
from tidegate.vault.keys import KeyRing, derive_class_root

ROOT = bytes(range(32))
KEYS = {name: derive_class_root(ROOT, name) for name in ("intake", "credential", "alert")}
CONFIG = """
tenant: main
cell: c0
connections:
  shop_a: {use: hostile, url: http://127.0.0.1:1}
  shop_b: {use: hostile, url: http://127.0.0.1:2}
  erp: {use: hostile, url: http://127.0.0.1:3}
owns: {stock.on_hand: erp, stock.available: tidegate, order: origin, shipment: erp}
flows:
  orders: {from: [shop_a, shop_b], to: erp, since: 2026-01-01, mode: live}
  shipments: {from: erp, to: origin, mode: live}
  stock: {from: erp, to: [shop_a, shop_b], mode: live}
"""
PLACED_AT = "2026-11-20T10:00:00+00:00"


@dataclass
class Bed:
    """The arranged tenant."""

    database: Database
    pool: Pool
    tenant_id: UUID
    connections: dict[str, UUID]
    connector: Connector
    items: dict[str, UUID] = field(default_factory=dict)
    others: dict[str, Connector] = field(default_factory=dict)
    """Name of a connection -> its connector, where that is another one."""

    def context(self, index: int = 1) -> Context:
        """Return the world of an apply process."""
        return Context(
            role="apply",
            index=index,
            cell="c0",
            access=self.database.access(Role.APPLY),
            keys={"intake": KEYS["intake"]},
            connectors={"hostile": self.connector, **{other.name: other for other in self.others.values()}},
        )

    async def append(
        self, deliveries: Sequence[tuple[str, dict[str, Any]]], *, source: Source = "webhook"
    ) -> list[UUID]:
        """Append (connection name, event) pairs as the door would, in one T1; return the ids of the fresh events."""
        cipher = BodyCipher(KeyRing(KEYS))
        async with self.pool.acquire() as conn:
            key = await cipher.current(conn, self.tenant_id, datetime.now(UTC).date())
            events = []
            for name, content in deliveries:
                body = json.dumps(content).encode()
                connector = self.others.get(name, self.connector)
                assert connector.webhook is not None
                keys = connector.webhook.read_keys({}, body)
                event_id = new_id()
                events.append(
                    NewEvent(
                        tenant_id=self.tenant_id,
                        event_id=event_id,
                        connection_id=self.connections[name],
                        source=source,
                        topic=keys.topic,
                        ordering_key=keys.ordering_key,
                        slot=slot_of(self.tenant_id, keys.ordering_key),
                        dedupe_key=webhook_dedupe_key(keys.sender_event_id, keys.topic),
                        body_digest=hashlib.sha256(body).digest(),
                        data_key_id=key.key_id,
                        body=cipher.seal(key, "event", event_id, body),
                        external_id=keys.sender_event_id,
                        envelope=Envelope(
                            connector=connector.name, connector_version="1", mapping_version=1, code_version="0"
                        ).encode(),
                    )
                )
            result = await append_webhooks(conn, events, writer="test")
        return [event.event_id for event in events if event.event_id in result.fresh]

    async def apply(self, processes: int = 1, until: str = "SELECT 0") -> None:
        """Run apply processes (in this one) until the queue is empty and `until` counts nothing."""
        stop = asyncio.Event()
        workers = [asyncio.create_task(serve(self.context(index + 1), stop)) for index in range(processes)]
        try:
            async with asyncio.timeout(200):
                while await self.pool.fetchval(f"SELECT (SELECT count(*) FROM event_queue) + ({until})"):
                    for worker in workers:
                        if worker.done():
                            worker.result()
                    await asyncio.sleep(0.02)
        finally:
            stop.set()
            await asyncio.gather(*workers)

    async def outcomes(self) -> dict[str, int]:
        """Return how many events ended in which outcome."""
        rows = await self.pool.fetch("SELECT outcome, count(*) FROM event_outcome GROUP BY 1")
        return {row[0]: row[1] for row in rows}

    async def level(self, sku: str) -> tuple[int, int, int]:
        """Return (on_hand, committed, available) of a SKU, over all locations."""
        row = await self.pool.fetchrow(
            "SELECT coalesce(sum(on_hand), 0), coalesce(sum(committed), 0), coalesce(sum(available), 0)"
            " FROM stock_balance WHERE item_id = $1",
            self.items[sku],
        )
        assert row is not None
        return (int(row[0]), int(row[1]), int(row[2]))

    async def snapshot(self) -> dict[str, Any]:
        """Return the canonical state without ids of ours, so that two runs can be compared."""
        orders = await self.pool.fetch(
            "SELECT o.external_id, o.order_state, o.payment_state, o.fulfillment_state, o.total_minor,"
            " (SELECT array_agg((l.external_id, l.sku, l.current, l.shipped)::text ORDER BY l.external_id)"
            '  FROM order_line l WHERE l.order_id = o.order_id) AS lines FROM "order" o ORDER BY o.external_id'
        )
        levels = {sku: await self.level(sku) for sku in self.items}
        commands = await self.pool.fetch("SELECT kind, state, count(*) FROM command GROUP BY 1, 2 ORDER BY 1, 2")
        fulfillments = await self.pool.fetch("SELECT source_ref, tracking FROM fulfillment ORDER BY 1")
        return {
            "orders": [tuple(row) for row in orders],
            "levels": levels,
            "commands": [tuple(row) for row in commands],
            "fulfillments": [tuple(row) for row in fulfillments],
        }

    async def check_books(self) -> None:
        """See `check_books`."""
        await check_books(self.pool)


async def check_books(pool: Pool) -> None:
    """Assert that counters are the sums of their entries, entries have no gaps, and committed is what lines say."""
    wrong = await pool.fetch(
        "SELECT s.item_id FROM stock_balance s LEFT JOIN (SELECT item_id, location_id, sum(on_hand_delta) h,"
        " sum(committed_delta) c, sum(reserved_delta) r, sum(unavailable_delta) u, count(*) n, max(version) v"
        " FROM stock_entry GROUP BY 1, 2) e USING (item_id, location_id)"
        " WHERE (s.on_hand, s.committed, s.reserved, s.unavailable, s.version, s.version)"
        " IS DISTINCT FROM (coalesce(h, 0), coalesce(c, 0), coalesce(r, 0), coalesce(u, 0), coalesce(n, 0),"
        " coalesce(v, 0))"
    )
    assert not wrong, f"levels differ from their entries: {wrong}"
    committed = await pool.fetchval("SELECT coalesce(sum(committed), 0) FROM stock_balance")
    promised = await pool.fetchval(
        "SELECT coalesce(sum(greatest(0, l.current - l.shipped) * v.required_qty * coalesce(k.units, 1)), 0) FROM order_line l"
        ' JOIN "order" o USING (tenant_id, order_id) JOIN variant_item v USING (tenant_id, variant_id)'
        " LEFT JOIN kit_part k USING (tenant_id, item_id)"
        " WHERE o.order_state NOT IN ('cancelled', 'draft')"
    )
    assert committed == promised
    unequal = await pool.fetch(
        "SELECT connection_id, hour FROM conservation GROUP BY 1, 2"
        " HAVING sum(received) <> sum(duplicate + applied + superseded + ignored + quarantined)"
        " + (SELECT count(*) FROM event_parked p WHERE p.kind = 'parked'"
        "    AND p.connection_id = conservation.connection_id)"
    )
    assert not unequal, f"conservation does not balance: {unequal}"


async def make_bed(
    database: Database, pool: Pool, *, skus: Sequence[str] = ("A", "B", "C"), config: str = CONFIG
) -> Bed:
    """Return a tenant whose three connections know all SKUs."""
    async with pool.acquire() as conn:
        version = await record_version(conn, config, applied_by="test")
        tenant_id = version.tenant_id
        connections = {name: new_id() for name in ("shop_a", "shop_b", "erp")}
        location_id = new_id()
        await conn.execute(
            "INSERT INTO location (tenant_id, location_id, name) VALUES ($1, $2, 'main')", tenant_id, location_id
        )
        for name, connection_id in connections.items():
            await conn.execute(
                "INSERT INTO connection (tenant_id, connection_id, name, connector, external_account)"
                " VALUES ($1, $2, $3, 'hostile', $3)",
                tenant_id, connection_id, name,
            )  # fmt: skip
        bed = Bed(database, pool, tenant_id, connections, build_connector())
        await conn.execute(
            "INSERT INTO binding VALUES ($1, $2, 'location', 'main', $3)", tenant_id, connections["erp"], location_id
        )
        for sku in skus:
            variant_id, item_id = new_id(), new_id()
            bed.items[sku] = item_id
            await conn.execute(
                "INSERT INTO variant (tenant_id, variant_id, sku) VALUES ($1, $2, $3)", tenant_id, variant_id, sku
            )
            await conn.execute("INSERT INTO inventory_item VALUES ($1, $2, $3)", tenant_id, item_id, sku)
            await conn.execute("INSERT INTO variant_item VALUES ($1, $2, $3, 1)", tenant_id, variant_id, item_id)
            for name, connection_id in connections.items():
                await conn.execute(
                    "INSERT INTO binding VALUES ($1, $2, 'variant', $3, $4)",
                    tenant_id,
                    connection_id,
                    f"v-{sku}",
                    variant_id,
                )
                if name != "erp":
                    await conn.execute(
                        "INSERT INTO channel_stock (tenant_id, connection_id, item_id, mode) VALUES ($1, $2, $3, 'live')",
                        tenant_id, connection_id, item_id,
                    )  # fmt: skip
    return bed


def placed_now(event: dict[str, Any]) -> dict[str, Any]:
    """Return an order event whose order is placed at this moment."""
    return {**event, "order": {**event["order"], "placed_at": datetime.now(UTC).isoformat()}}


def order_event(
    number: str,
    lines: Sequence[tuple[str, int]],
    *,
    revision: int = 1,
    state: str = "open",
    payment: str = "authorised",
    ordered: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Return an order event; lines are (sku, current units), `ordered` where it differs from current."""
    return {
        "id": f"evt-{number}-{revision}",
        "type": "order.updated",
        "order": {
            "order_id": number,
            "number": f"N{number}",
            "revision": revision,
            "placed_at": PLACED_AT,
            "currency": "EUR",
            "state": state,
            "payment_state": payment,
            "shipping_minor": 500,
            "lines": [
                {
                    "line_id": f"{number}-{index}", "article_id": f"v-{sku}", "sku": sku, "title": f"Article {sku}",
                    "ordered": ordered[index] if ordered else units, "current": units, "unit_price_minor": 1999,
                }
                for index, (sku, units) in enumerate(lines)
            ],
            "customer": {"email": f"{number}@example.com", "first_name": "Ada"},
            "address": {"street1": "1 Test street", "city": "Berlin", "country_code": "DE"},
        },
    }  # fmt: skip


def move_event(
    move_id: str, sku: str, delta: int, *, kind: str = "receive", order_id: UUID | None = None, revision: int = 1
) -> dict[str, Any]:
    """Return a stock movement of the ERP."""
    return {
        "id": f"evt-{move_id}-{revision}",
        "type": "stock.moved",
        "move": {
            "move_id": move_id, "revision": revision, "kind": kind, "article_id": f"v-{sku}", "sku": sku,
            "location_id": "main", "quantity_delta": delta, "line_reference": "",
            "order_reference": public_id("ord", "c0", order_id) if order_id else "", "moved_at": PLACED_AT,
        },
    }  # fmt: skip


def shipment_event(
    shipment_id: str, order_id: UUID, lines: Sequence[tuple[str, int]], *, tracking: str, revision: int = 1
) -> dict[str, Any]:
    """Return a shipment of the ERP; lines are (sku, units)."""
    return {
        "id": f"evt-{shipment_id}-{revision}",
        "type": "shipment.done",
        "shipment": {
            "shipment_id": shipment_id, "revision": revision, "order_reference": public_id("ord", "c0", order_id),
            "tracking": tracking, "carrier": "DHL", "shipped_at": PLACED_AT,
            "lines": [{"line_reference": "", "sku": sku, "quantity": units} for sku, units in lines],
        },
    }  # fmt: skip


def shuffled(items: Sequence[Any], seed: int) -> list[Any]:
    """Return the items in an order that the seed decides."""
    mixed = list(items)
    random.Random(seed).shuffle(mixed)
    return mixed
