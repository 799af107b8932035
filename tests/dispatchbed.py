"""A tenant with one shop and one ERP on the hostile remote, rows as T2 leaves them, and dispatch nodes that run on them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from tests.stockbed import move_stock
from tidegate.commerce.changes import Customer, OrderPrivate
from tidegate.commerce.commands import DEADLINE_SECONDS, PRIORITY_OF, CommandKind
from tidegate.config.versions import record_version
from tidegate.dispatch.settings import DispatchSettings
from tidegate.dispatch.worker import Worker
from tidegate.kernel.ids import new_id, public_id
from tidegate.kernel.redaction import Secret
from tidegate.sdk.connector import Connector
from tidegate.sdk.testing import hostile_erp, hostile_shop
from tidegate.sdk.testing.hostile_connector import build_connector
from tidegate.sdk.testing.hostile_world import World, article_id_of
from tidegate.store.connections import Connection, Pool
from tidegate.store.context import Context
from tidegate.store.database import Database
from tidegate.store.roles import Role
from tidegate.sync.going_live import refresh_modes
from tidegate.sync.worker import serve as serve_apply
from tidegate.vault.bodies import BodyCipher
from tidegate.vault.credentials import put
from tidegate.vault.keys import KeyRing

CELL = "c0"
KEYS = {"intake": b"i" * 32, "credential": b"c" * 32}
SETTINGS = DispatchSettings(
    poll_seconds=0.5,
    config_seconds=2.0,
    lease_seconds=6.0,
    lease_margin_seconds=0.5,
    drain_seconds=5.0,
    first_look_seconds=0.2,
    second_look_seconds=0.3,
    rest_seconds=0.2,
)
QUIET = build_connector(feed_interval=timedelta(hours=1))
"""Feeds are read once at the start."""
OPEN_STATES = ("pending", "sending", "in_doubt")


@dataclass
class Order:
    """An order as a test speaks of it."""

    order_id: UUID
    external_id: str
    lines: dict[str, UUID]
    """SKU -> line id"""
    external_lines: dict[str, str]

    @property
    def reference(self) -> str:
        return public_id("ord", CELL, self.order_id)


@dataclass
class Bed:
    """The tenant and its rows. `world` is the remote's side when it runs in this process."""

    database: Database
    pool: Pool
    base_url: str
    tenant_id: UUID = field(default_factory=new_id)
    shop: UUID = field(default_factory=new_id)
    erp: UUID = field(default_factory=new_id)
    location: UUID = field(default_factory=new_id)
    items: dict[str, UUID] = field(default_factory=dict)
    variants: dict[str, UUID] = field(default_factory=dict)
    mode: str = "live"
    """Of all flows."""

    def __post_init__(self) -> None:
        self.ring = KeyRing(KEYS)
        self.cipher = BodyCipher(self.ring)

    # --- arranging -----------------------------------------------------------------------------------------------
    async def create(self, *, connector: str = "hostile", api_key: str = "hostile-api-key") -> None:
        """Make the tenant, its two connections, their credentials and a configuration."""
        async with self.pool.acquire() as conn:
            await conn.execute("INSERT INTO tenant (tenant_id, name) VALUES ($1, 'main')", self.tenant_id)
            await conn.execute(
                "INSERT INTO location (tenant_id, location_id, name) VALUES ($1, $2, 'main')",
                self.tenant_id,
                self.location,
            )
            for connection_id, name in ((self.shop, "shop_a"), (self.erp, "erp")):
                settings = msgspec.json.encode({"base_url": self.base_url, "location_external_id": "wh-1"}).decode()
                await conn.execute(
                    "INSERT INTO connection (tenant_id, connection_id, name, connector, external_account, settings) "
                    "VALUES ($1, $2, $3, $4, $3, $5)",
                    self.tenant_id,
                    connection_id,
                    name,
                    connector,
                    settings,
                )
                await put(conn, self.ring, self.tenant_id, connection_id, "credential", "api_key", Secret(api_key))
        await self.configure(polling=False)

    async def configure_alerts(self, rules: str) -> None:
        """Put a configuration with these alert rules to work."""
        await self.configure(more=f"alerts: {{rules: {{{rules}}}}}")

    async def configure(
        self,
        *,
        polling: bool = False,
        mode: str = "live",
        more: str = "",
        stock: str = "",
        files: Mapping[str, str] | None = None,
    ) -> None:
        """Put a configuration to work; `mode` is that of all flows, `stock` more of that one, `files` are those that `more` names."""
        self.mode = mode
        document = f"""
tenant: main
network: {{allow: ["127.0.0.0/8"]}}
connections:
  shop_a: {{use: hostile, url: "{self.base_url}"}}
  erp: {{use: hostile, url: "{self.base_url}"}}
owns: {{stock.on_hand: erp, shipment: erp}}
flows:
  orders: {{from: [shop_a], to: erp, since: 2026-01-01, mode: {mode}}}
  shipments: {{from: erp, to: origin, mode: {mode}}}
  stock: {{from: erp, to: [shop_a], mode: {mode}{stock}}}
polling: {{enabled: {str(polling).lower()}}}
{more}
"""
        async with self.pool.acquire() as conn:
            await record_version(conn, document, applied_by="test", files=files)
            await refresh_modes(conn, self.tenant_id)

    async def article(self, sku: str, *, on_hand: int = 0, bind_shop: bool = True, bind_erp: bool = True) -> UUID:
        """Make an article with stock and a clean mark; return its item."""
        item, variant = new_id(), new_id()
        self.items[sku], self.variants[sku] = item, variant
        t = self.tenant_id
        async with self.pool.acquire() as conn, conn.transaction():
            await conn.execute("INSERT INTO variant (tenant_id, variant_id, sku) VALUES ($1, $2, $3)", t, variant, sku)
            await conn.execute("INSERT INTO inventory_item (tenant_id, item_id, sku) VALUES ($1, $2, $3)", t, item, sku)
            await conn.execute(
                "INSERT INTO variant_item (tenant_id, variant_id, item_id, required_qty) VALUES ($1, $2, $3, 1)",
                t,
                variant,
                item,
            )
            for connection_id in [self.shop] * bind_shop + [self.erp] * bind_erp:
                await conn.execute(
                    "INSERT INTO binding VALUES ($1, $2, 'variant', $3, $4)",
                    t,
                    connection_id,
                    article_id_of(sku),
                    variant,
                )
            await move_stock(conn, t, item, self.location, on_hand=on_hand)
            await conn.execute(
                "INSERT INTO channel_stock (tenant_id, connection_id, item_id, mode) VALUES ($1, $2, $3, $4)",
                t,
                self.shop,
                item,
                self.mode,
            )
        return item

    async def order(self, external: Mapping[str, Any], *, create: bool = True) -> Order:
        """Store an order of the shop (as the remote shows it) like T2 does, with its `order.create`."""
        order_id, t = new_id(), self.tenant_id
        made = Order(order_id, external["order_id"], {}, {})
        async with self.pool.acquire() as conn, conn.transaction():
            key = await self.cipher.current(conn, t, datetime.now(UTC).date())
            private = msgspec.json.encode(OrderPrivate(customer=Customer(email="secret-buyer@example.test")))
            await conn.execute(
                'INSERT INTO "order" (tenant_id, order_id, connection_id, external_id, number, order_state, payment_state,'
                " fulfillment_state, currency, total_minor, shipping_minor, discount_minor, tax_minor, placed_at,"
                " data_key_id, private) VALUES ($1, $2, $3, $4, $5, 'open', 'paid', 'unfulfilled', 'EUR', 1000, 0, 0, 0,"
                " now(), $6, $7)",
                t,
                order_id,
                self.shop,
                external["order_id"],
                external["number"],
                key.key_id,
                self.cipher.seal(key, "order", order_id, private),
            )
            for position, line in enumerate(external["lines"]):
                line_id, sku = new_id(), line["sku"]
                made.lines[sku], made.external_lines[sku] = line_id, line["line_id"]
                await self._lock_mark(conn, self.items[sku])
                await conn.execute(
                    "INSERT INTO order_line (tenant_id, order_id, line_id, external_id, position, variant_id, sku, title,"
                    " ordered, current, unit_price, total_minor, location_id)"
                    " VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8, $8, 10, 1000, $9)",
                    t,
                    order_id,
                    line_id,
                    line["line_id"],
                    position,
                    self.variants[sku],
                    sku,
                    line["current"],
                    self.location,
                )
                await self._move(conn, sku, committed=line["current"])
            if create:
                await self.plan(conn, self.erp, CommandKind.ORDER_CREATE, order_id, f"order:{order_id}")
        return made

    async def cancel(self, order: Order) -> UUID:
        async with self.pool.acquire() as conn, conn.transaction():
            return await self.plan(
                conn, self.erp, CommandKind.ORDER_CANCEL, order.order_id, f"order:{order.order_id}", version=2
            )

    async def ship(self, order: Order, sku: str, quantity: int) -> tuple[UUID, UUID]:
        """The ERP shipped: return (fulfillment, command) as T2 stores them."""
        fulfillment_id, t = new_id(), self.tenant_id
        async with self.pool.acquire() as conn, conn.transaction():
            await self._lock_mark(conn, self.items[sku])
            await conn.execute(
                'SELECT 1 FROM "order" WHERE tenant_id = $1 AND order_id = $2 FOR NO KEY UPDATE', t, order.order_id
            )
            await conn.execute(
                "INSERT INTO fulfillment VALUES ($1, $2, $3, $4, $5, 'TRACK-1', 'post', 'shipped', now())",
                t,
                fulfillment_id,
                order.order_id,
                self.erp,
                str(fulfillment_id),
            )
            await conn.execute(
                "INSERT INTO fulfillment_line VALUES ($1, $2, $3, $4)", t, fulfillment_id, order.lines[sku], quantity
            )
            await conn.execute(
                "UPDATE order_line SET shipped = shipped + $4 WHERE tenant_id = $1 AND order_id = $2 AND line_id = $3",
                t,
                order.order_id,
                order.lines[sku],
                quantity,
            )
            await self._move(conn, sku, on_hand=-quantity, committed=-quantity)
            command = await self.plan(
                conn, self.shop, CommandKind.FULFILLMENT_CREATE, fulfillment_id, f"order:{order.order_id}"
            )
        return fulfillment_id, command

    async def plan(
        self, conn: Connection, connection: UUID, kind: CommandKind, entity: UUID, target: str, *, version: int = 1
    ) -> UUID:
        command_id = new_id()
        await conn.execute(
            "INSERT INTO command_key VALUES ($1, $2, $3, $4, $5, $6)",
            self.tenant_id,
            connection,
            kind,
            entity,
            version,
            command_id,
        )
        await conn.execute(
            "INSERT INTO command (tenant_id, command_id, connection_id, kind, target_key, entity_id, version, priority,"
            " state, deadline_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'pending', $9)",
            self.tenant_id,
            command_id,
            connection,
            kind,
            target,
            entity,
            version,
            int(PRIORITY_OF[kind]),
            datetime.now(UTC) + timedelta(seconds=DEADLINE_SECONDS[kind]),
        )
        await conn.execute("SELECT pg_notify('tidegate_command', '')")
        return command_id

    async def move(self, sku: str, *, on_hand: int = 0, committed: int = 0, location: UUID | None = None) -> None:
        """Change stock like T2: lock and dirty the mark first, then move the level."""
        async with self.pool.acquire() as conn, conn.transaction():
            await self._lock_mark(conn, self.items[sku])
            await self._move(conn, sku, on_hand=on_hand, committed=committed, location=location)
            await conn.execute("SELECT pg_notify('tidegate_command', '')")

    async def _lock_mark(self, conn: Connection, item: UUID) -> None:
        await conn.execute(
            "WITH l AS (SELECT connection_id, item_id FROM channel_stock WHERE tenant_id = $1 AND item_id = $2"
            " ORDER BY connection_id FOR NO KEY UPDATE)"
            " UPDATE channel_stock c SET dirty = true, dirty_at = coalesce(dirty_at, clock_timestamp()) FROM l"
            " WHERE c.tenant_id = $1 AND c.connection_id = l.connection_id AND c.item_id = l.item_id",
            self.tenant_id,
            item,
        )

    async def _move(
        self, conn: Connection, sku: str, *, on_hand: int = 0, committed: int = 0, location: UUID | None = None
    ) -> None:
        place = (self.tenant_id, self.items[sku], location or self.location)
        await move_stock(conn, *place, on_hand=on_hand, committed=committed)

    # --- running -------------------------------------------------------------------------------------------------
    def worker(
        self, index: int = 1, *, connector: Connector | None = None, settings: DispatchSettings = SETTINGS
    ) -> Worker:
        context = Context(
            role="dispatch",
            index=index,
            cell=CELL,
            access=self.database.access(Role.DISPATCH),
            keys=KEYS,
            connectors={"hostile": connector or QUIET},
        )
        return Worker(context, settings=settings)

    @contextlib.asynccontextmanager
    async def running(
        self, nodes: int = 1, *, connector: Connector | None = None, settings: DispatchSettings = SETTINGS
    ) -> AsyncIterator[list[Worker]]:
        """Run dispatch nodes in this process while the block runs; drain them at its end."""
        stop = asyncio.Event()
        workers = [self.worker(index, connector=connector, settings=settings) for index in range(1, nodes + 1)]
        tasks = [asyncio.create_task(worker.run(stop)) for worker in workers]
        try:
            yield workers
        finally:
            stop.set()
            await asyncio.gather(*tasks)

    @contextlib.asynccontextmanager
    async def running_whole(
        self, connector: Connector | None = None, *, settings: DispatchSettings = SETTINGS
    ) -> AsyncIterator[None]:
        """Run T2 and the lanes while the block runs."""
        stop, known = asyncio.Event(), connector or build_connector()
        context = Context(
            role="apply",
            index=1,
            cell=CELL,
            access=self.database.access(Role.APPLY),
            keys={"intake": KEYS["intake"]},
            connectors={"hostile": known},
        )
        applying = asyncio.create_task(serve_apply(context, stop))
        try:
            async with self.running(connector=known, settings=settings):
                yield
        finally:
            stop.set()
            await applying

    # --- asking --------------------------------------------------------------------------------------------------
    async def states(self, kind: CommandKind | None = None) -> dict[str, int]:
        rows = await self.pool.fetch(
            "SELECT state, count(*) AS n FROM command WHERE tenant_id = $1 AND ($2::text IS NULL OR kind = $2)"
            " GROUP BY state",
            self.tenant_id,
            kind,
        )
        return {row["state"]: row["n"] for row in rows}

    async def command(self, command_id: UUID) -> dict[str, Any]:
        row = await self.pool.fetchrow("SELECT * FROM command WHERE command_id = $1", command_id)
        assert row is not None
        return dict(row)

    async def commands_of(self, entity: UUID) -> list[dict[str, Any]]:
        return [
            dict(row)
            for row in await self.pool.fetch("SELECT * FROM command WHERE entity_id = $1 ORDER BY command_id", entity)
        ]

    async def mark(self, sku: str) -> dict[str, Any]:
        row = await self.pool.fetchrow(
            "SELECT * FROM channel_stock WHERE connection_id = $1 AND item_id = $2", self.shop, self.items[sku]
        )
        assert row is not None
        return dict(row)

    async def is_settled(self) -> bool:
        """Nothing open, nothing dirty."""
        return not await self.pool.fetchval(
            "SELECT EXISTS (SELECT FROM command WHERE state = ANY($1::text[]))"
            " OR EXISTS (SELECT FROM channel_stock WHERE dirty OR blocked_by IS NOT NULL)",
            list(OPEN_STATES),
        )

    async def check_evidence(self) -> None:
        """Every attempt has its answer."""
        missing = await self.pool.fetchval(
            "SELECT count(*) FROM attempt a WHERE NOT EXISTS"
            " (SELECT FROM attempt_answer x WHERE x.tenant_id = a.tenant_id AND x.attempt_id = a.attempt_id)"
        )
        assert missing == 0

    async def payloads(self) -> list[dict[str, Any]]:
        """What was frozen of action commands, oldest first, with the versions that it was made under."""
        rows = await self.pool.fetch("SELECT * FROM call WHERE kind <> 'inventory.set' ORDER BY call_id")
        async with self.pool.acquire() as conn:
            await self.cipher.opener(conn, [(row["tenant_id"], row["data_key_id"]) for row in rows])
        opened = []
        for row in rows:
            plain = self.cipher.open(row["tenant_id"], row["data_key_id"], "call", row["call_id"], row["payload"])
            (payload,) = msgspec.json.decode(plain)
            opened.append({**payload, "config_version": row["config_version"], "map_digest": row["map_digest"]})
        return opened

    async def answers(self) -> list[dict[str, Any]]:
        """All answers with their decrypted excerpts, oldest first."""
        rows = await self.pool.fetch("SELECT * FROM attempt_answer ORDER BY at")
        async with self.pool.acquire() as conn:
            await self.cipher.opener(conn, [(row["tenant_id"], row["data_key_id"]) for row in rows])
        opened = []
        for row in rows:
            plain = self.cipher.open(row["tenant_id"], row["data_key_id"], "answer", row["attempt_id"], row["answer"])
            opened.append({**dict(row), "excerpt": plain})
        return opened


async def until(condition: Callable[[], Awaitable[bool] | bool], *, seconds: float = 200.0) -> None:
    """Wait until a condition holds; fail when it does not in time."""
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if await found if isinstance(found, Awaitable) else found:
                return
            await asyncio.sleep(0.02)


def stock_world(world: World, articles: Sequence[tuple[str, int]]) -> None:
    """Make articles at the remote: (SKU, number the shop shows)."""
    hostile_erp.put_articles(world, [{"sku": sku, "shop_on_hand": number} for sku, number in articles], _now())


def place(world: World, *lines: tuple[str, int]) -> dict[str, Any]:
    """Let somebody buy at the remote shop."""
    return hostile_shop.place_order(world, {"lines": [{"sku": s, "quantity": q} for s, q in lines]}, _now())


def _now() -> str:
    return datetime.now(UTC).isoformat()
