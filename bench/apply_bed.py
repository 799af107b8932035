"""A database full of orders that wait for T2: shared by the apply benchmark and its raw limit."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import asyncpg

from tidegate.config.versions import record_version
from tidegate.eventlog.append import append_webhooks
from tidegate.eventlog.partitions import ensure
from tidegate.eventlog.records import Envelope, NewEvent
from tidegate.kernel.ids import new_id, slot_of
from tidegate.vault.bodies import BodyCipher
from tidegate.vault.keys import KeyRing, derive_class_root

SKUS = 1_000
LINES = 3
ROOT = bytes(range(32))
KEYS = {name: derive_class_root(ROOT, name) for name in ("intake", "credential")}
CONFIG = """
tenant: main
connections:
  shop_a: {use: hostile, url: http://127.0.0.1:1}
  shop_b: {use: hostile, url: http://127.0.0.1:2}
  erp: {use: hostile, url: http://127.0.0.1:3}
owns: {stock.on_hand: erp, shipment: erp}
flows:
  orders: {from: [shop_a, shop_b], to: erp, since: 2026-01-01, mode: live}
  stock: {from: erp, to: [shop_a, shop_b], mode: live}
"""


@dataclass(frozen=True)
class Bed:
    """The tenant of a benchmark."""

    tenant_id: UUID
    connections: dict[str, UUID]
    location_id: UUID
    variants: list[UUID]
    items: list[UUID]


async def make_bed(conn: asyncpg.Connection) -> Bed:
    """Create the tenant, its connections and its catalogue."""
    await ensure(conn)
    version = await record_version(conn, CONFIG, applied_by="bench")
    tenant_id, location_id = version.tenant_id, new_id()
    connections = {name: new_id() for name in ("shop_a", "shop_b", "erp")}
    await conn.execute(
        "INSERT INTO location (tenant_id, location_id, name) VALUES ($1, $2, 'main')", tenant_id, location_id
    )
    for name, connection_id in connections.items():
        await conn.execute(
            "INSERT INTO connection (tenant_id, connection_id, name, connector, external_account) VALUES ($1, $2, $3, 'hostile', $3)",
            tenant_id, connection_id, name,
        )  # fmt: skip
    variants, items = [new_id() for _ in range(SKUS)], [new_id() for _ in range(SKUS)]
    skus = [f"SKU-{n:05d}" for n in range(SKUS)]
    await conn.execute(
        "INSERT INTO variant (tenant_id, variant_id, sku) SELECT $1, * FROM unnest($2::uuid[], $3::text[])",
        tenant_id,
        variants,
        skus,
    )
    await conn.execute(
        "INSERT INTO inventory_item SELECT $1, * FROM unnest($2::uuid[], $3::text[])", tenant_id, items, skus
    )
    await conn.execute(
        "INSERT INTO variant_item SELECT $1, *, 1 FROM unnest($2::uuid[], $3::uuid[])", tenant_id, variants, items
    )
    await conn.execute(
        "INSERT INTO stock_level (tenant_id, item_id, location_id) SELECT $1, i, $2 FROM unnest($3::uuid[]) i",
        tenant_id,
        location_id,
        items,
    )
    await conn.execute(
        "INSERT INTO stock_entry (tenant_id, item_id, location_id, version, kind, on_hand_delta, on_hand_after,"
        " unavailable_after, committed_after, reserved_after, cause_key, actor)"
        " SELECT $1, i, $2, 1, 'receive', 1000000, 1000000, 0, 0, 0, 'opening:' || i, 'bench' FROM unnest($3::uuid[]) i",
        tenant_id,
        location_id,
        items,
    )
    for name, connection_id in connections.items():
        await conn.execute(
            "INSERT INTO binding SELECT $1, $2, 'variant', 'v-' || s, v FROM unnest($3::text[], $4::uuid[]) AS n(s, v)",
            tenant_id,
            connection_id,
            skus,
            variants,
        )
        if name != "erp":
            await conn.execute(
                "INSERT INTO channel_stock (tenant_id, connection_id, item_id, mode) SELECT $1, $2, i, 'live' FROM unnest($3::uuid[]) i",
                tenant_id,
                connection_id,
                items,
            )
    await conn.execute("ANALYZE")
    return Bed(tenant_id, connections, location_id, variants, items)


def order_body(number: int, *, hot_sku: bool = False) -> bytes:
    """Return one order of three lines as its channel sends it, about 1.7 kB; `hot_sku`: the first is always the same article."""
    lines = [
        {
            "line_id": f"{number}-{index}", "article_id": f"v-SKU-{place:05d}", "sku": f"SKU-{place:05d}", "title": f"Article number {index} of the summer collection",
            "ordered": 1 + index, "current": 1 + index, "unit_price_minor": 1999, "options": {"colour": "red", "size": "M"},
            "image": "images/" + "0123456789abcdef" * 6,
        }
        for index in range(LINES)
        for place in (0 if hot_sku and index == 0 else (number * 7 + index * 331) % SKUS,)
    ]  # fmt: skip
    order = {
        "order_id": str(number), "number": f"N{number:08d}", "revision": 1, "placed_at": "2026-11-20T10:00:00+00:00",
        "currency": "EUR", "state": "open", "payment_state": "authorised", "shipping_minor": 500, "lines": lines,
        "customer": {"email": f"customer{number}@example.com", "first_name": "Ada", "last_name": "Lovelace", "phone": "+4930123456"},
        "address": {"street1": "1 Test street", "city": "Berlin", "postal_code": "10115", "country_code": "DE"},
        "note": "please ring twice " * 6,
    }  # fmt: skip
    return json.dumps({"id": f"evt-{number}", "type": "order.placed", "order": order}).encode()


async def append_orders(
    conn: asyncpg.Connection, bed: Bed, numbers: Sequence[int], batch: int = 500, *, hot_sku: bool = False
) -> None:
    """Put orders into the log, as the door does."""
    cipher = BodyCipher(KeyRing(KEYS))
    key = await cipher.current(conn, bed.tenant_id, datetime.now(UTC).date())
    envelope = Envelope(connector="hostile", connector_version="1", mapping_version=1, code_version="0").encode()
    for start in range(0, len(numbers), batch):
        events = []
        for number in numbers[start : start + batch]:
            event_id, ordering_key = new_id(), f"order:{number}"
            events.append(
                NewEvent(
                    tenant_id=bed.tenant_id, event_id=event_id, connection_id=bed.connections["shop_a" if number % 2 else "shop_b"],
                    source="webhook", topic="order.placed", ordering_key=ordering_key,
                    slot=slot_of(bed.tenant_id, ordering_key), dedupe_key=number.to_bytes(32, "big"),
                    body_digest=number.to_bytes(32, "big"), data_key_id=key.key_id,
                    body=cipher.seal(key, "event", event_id, order_body(number, hot_sku=hot_sku)), external_id=f"evt-{number}", envelope=envelope,
                )
            )  # fmt: skip
        await append_webhooks(conn, events, writer="bench")


def cpu_seconds(pid: int) -> float:
    """Return user + system CPU seconds of a process and its threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def fsync_us(folder: Path, rounds: int = 200) -> float:
    """Return the median time of an 8 kB write + fdatasync in this folder, in microseconds."""
    times = []
    path = folder / "fsync-probe"
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        for _ in range(rounds):
            started = time.perf_counter()
            os.pwrite(handle, b"x" * 8192, 0)
            os.fdatasync(handle)
            times.append(time.perf_counter() - started)
    finally:
        os.close(handle)
        path.unlink()
    return sorted(times)[len(times) // 2] * 1e6
