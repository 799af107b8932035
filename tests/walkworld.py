"""Two shops and an ERP, each a process of its own, connected as an operator connects them; people buy, cancel and ship."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from pathlib import Path
from uuid import UUID

from tests.applybed import KEYS, ROOT, check_books
from tests.walkbed import CONNECTOR, Crew, running_crew
from tidegate.config.versions import record_version
from tidegate.kernel.clock import SystemClock
from tidegate.kernel.ids import new_id, slot_of
from tidegate.kernel.redaction import Secret
from tidegate.runtime.ports import free_port
from tidegate.sdk.testing.hostile_process import HostileProcess
from tidegate.sdk.testing.hostile_world import ErpOrder, ShopOrder, World
from tidegate.sdk.testing.sender import WebhookSender, build_delivery
from tidegate.store.connections import Connection, Pool
from tidegate.store.database import Database
from tidegate.store.roles import Role
from tidegate.sync import connect
from tidegate.sync.webhook_path import WebhookPaths
from tidegate.vault.keys import KeyRing

CHANNELS = ("shop_a", "shop_b")
NAMES = (*CHANNELS, "erp")
ODD = ("shop_b", "erp")
"""Connections in odd slots: with two dispatch nodes they belong to the one that joined last."""
SKUS = ("A", "B", "C")
STOCK = 1000
CONFIG = """
tenant: main
network: {{allow: ["127.0.0.0/8"]}}
connections:
  shop_a: {{use: hostile, url: "{shop_a}"}}
  shop_b: {{use: hostile, url: "{shop_b}"}}
  erp: {{use: hostile, url: "{erp}"}}
owns: {{stock.on_hand: erp, stock.available: tidegate, order: origin, shipment: erp}}
flows:
  orders: {{from: [shop_a, shop_b], to: erp, since: 2020-01-01, mode: live}}
  shipments: {{from: erp, to: origin, mode: live}}
  stock: {{from: erp, to: [shop_a, shop_b], mode: live}}
"""
IS_SETTLED = """
SELECT NOT EXISTS (SELECT FROM event_queue)
   AND NOT EXISTS (SELECT FROM event_parked)
   AND NOT EXISTS (SELECT FROM fetch_request)
   AND NOT EXISTS (SELECT FROM command WHERE state IN ('pending', 'sending', 'in_doubt'))
   AND NOT EXISTS (SELECT FROM channel_stock WHERE dirty OR blocked_by IS NOT NULL)
"""
OPEN_WORK = """
SELECT 'command', kind, state, code, count(*) FROM command WHERE state NOT IN ('succeeded') GROUP BY 2, 3, 4
UNION ALL SELECT 'queue', '', '', '', count(*) FROM event_queue
UNION ALL SELECT 'parked', kind, code, reason, 1 FROM event_parked
UNION ALL SELECT 'fetch', topic, external_id, '', 1 FROM fetch_request
UNION ALL SELECT 'mark', '', '', '', count(*) FROM channel_stock WHERE dirty OR blocked_by IS NOT NULL
"""


@dataclass
class Walk:
    """The arranged world."""

    pool: Pool
    crew: Crew
    remotes: Mapping[str, HostileProcess]
    connections: dict[str, UUID] = field(default_factory=dict)
    urls: dict[str, tuple[str, Secret]] = field(default_factory=dict)
    """Name -> address of the webhook and its secret."""
    accepted: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name in NAMES})
    """Name -> message ids that the door said yes to."""
    _announced: Counter[str] = field(default_factory=Counter)
    _turn: int = 0

    # --- arranging -----------------------------------------------------------------------------------------------
    async def connect(self, port: int) -> None:
        """Stock the remotes and connect them; nothing runs yet."""
        for name, remote in self.remotes.items():
            remote.control("PUT", "/__settings", {"unique_references": False})
            stock = {"erp_on_hand": STOCK} if name == "erp" else {}
            remote.control("POST", "/__articles", [{"sku": sku, **stock} for sku in SKUS])
        addresses = {name: remote.base_url for name, remote in self.remotes.items()}
        async with self.pool.acquire() as conn:
            version = await record_version(conn, CONFIG.format(**addresses), applied_by="test")
            for name in reversed(NAMES):  # the ERP first: it leads the catalogue
                await self._connect(conn, version.tenant_id, name, f"http://127.0.0.1:{port}")

    async def _connect(self, conn: Connection, tenant_id: UUID, name: str, webhook_base: str) -> None:
        connection_id = new_id()
        while slot_of(tenant_id, str(connection_id)) % 2 != (name in ODD):
            connection_id = new_id()
        self.connections[name] = connection_id
        await conn.execute(
            "INSERT INTO connection (tenant_id, connection_id, name, connector, external_account)"
            " VALUES ($1, $2, $3, 'hostile', $3)",
            tenant_id, connection_id, name,
        )  # fmt: skip
        order = connect.ConnectOrder(
            tenant_id=tenant_id,
            tenant="main",
            name=name,
            connector=replace(CONNECTOR, subscribe=None),  # the test delivers the events itself
            is_channel=name in CHANNELS,
            settings={"base_url": self.remotes[name].base_url},
            secrets={"api_key": Secret("hostile-api-key")},
            webhook_base=webhook_base,
            makes_variants=name == "erp",
        )
        ring, clock, allow = KeyRing(KEYS), SystemClock(), (ip_network("127.0.0.0/8"),)
        connected = await connect.store(conn, ring, order, await connect.look(order, allow=allow, clock=clock))
        assert connected.connection_id == connection_id
        api = connect.open_api(order, allow=allow, clock=clock)
        webhook = await connect.set_up_webhook(conn, ring, order, connected, api, WebhookPaths(ROOT, "c0"))
        await api.close()
        assert webhook is not None
        self.urls[name] = (webhook.url, webhook.secret)

    # --- what people do ------------------------------------------------------------------------------------------
    def happen(self) -> None:
        """Somebody cancels, the ERP ships two orders and receives goods, and each shop sells two orders."""
        self._turn += 1
        erp = self.remotes["erp"]
        waiting = [
            order for order in erp.world().erp_orders.values() if order.state == "open" and not _is_shipped(order)
        ]
        if len(waiting) > 3:
            self._cancel(waiting.pop())
        for order in waiting[:2]:
            erp.control("POST", "/__erp/ship", {"reference": order.reference})
        erp.control("POST", "/__erp/moves", [{"sku": SKUS[self._turn % 3], "kind": "receive", "quantity_delta": 3}])
        for name in CHANNELS:
            self.buy(name)
            self.buy(name)

    def buy(self, name: str) -> None:
        """Somebody buys two articles."""
        self._turn += 1
        lines = [{"sku": SKUS[(self._turn + part) % 3], "quantity": 1 + part} for part in range(2)]
        self.remotes[name].control("POST", "/__shop/orders", {"lines": lines})

    def _cancel(self, order: ErpOrder) -> None:
        for name in CHANNELS:
            for bought in self.remotes[name].world().shop_orders.values():
                if bought.number == order.number:
                    self.remotes[name].control("POST", f"/__shop/orders/{bought.order_id}", {"cancel": True})

    async def deliver(self) -> None:
        """Deliver what the remotes announced since the last time: signed, each event twice, until the door took it."""
        await asyncio.gather(*(self._deliver(name) for name in NAMES))

    async def _deliver(self, name: str) -> None:
        events = self.remotes[name].control("GET", f"/__events?after={self._announced[name]}")
        self._announced[name] += len(events)
        url, secret = self.urls[name]
        async with WebhookSender(url, secret, retry_seconds=0.1, give_up_seconds=200.0) as sender:
            deliveries = [build_delivery(event["body"]) for event in events]
            reports = await sender.send_all(deliveries, concurrency=4, duplicates=1.0, shuffle=True, seed=self._turn)
        assert all(report.accepted for report in reports), "the door took not everything"
        self.accepted[name].update(report.message_id for report in reports)

    # --- the end -------------------------------------------------------------------------------------------------
    async def settle(self, seconds: float = 200.0) -> None:
        """Wait until everything that happened has arrived everywhere and nothing is left to do."""
        try:
            async with asyncio.timeout(seconds):
                while not await self._is_settled():  # noqa: ASYNC110 - it happens in other processes
                    await asyncio.sleep(0.1)
        except TimeoutError:
            rows = [tuple(row) for row in await self.pool.fetch(OPEN_WORK)]
            raise AssertionError(f"not settled: {rows}{self.crew.report()}") from None

    async def _is_settled(self) -> bool:
        if not await self.pool.fetchval(IS_SETTLED):
            return False
        before = {name: remote.world() for name, remote in self.remotes.items()}
        for name, world in before.items():
            if not await self._has_read(name, world):
                return False
        if not await self.pool.fetchval(IS_SETTLED):
            return False
        return all(remote.world().revision == before[name].revision for name, remote in self.remotes.items())

    async def _has_read(self, name: str, world: World) -> bool:
        """Whether every feed of a connection was read to the end of what there is."""
        rows = await self.pool.fetch(
            "SELECT feed, cursor FROM poll_cursor WHERE connection_id = $1", self.connections[name]
        )
        read = {row["feed"]: int(row["cursor"] or 0) for row in rows}
        there = {
            "orders": max((order.revision for order in world.shop_orders.values()), default=0),
            "moves": max((move.revision for move in world.moves), default=0),
            "shipments": max((shipment.revision for shipment in world.shipments), default=0),
        }
        return all(read.get(feed, -1) >= revision for feed, revision in there.items())

    async def check(self) -> None:
        """Assert that every effect happened exactly once, and that all books agree."""
        worlds = {name: remote.world() for name, remote in self.remotes.items()}
        erp = worlds["erp"]
        bought = {order.number: (name, order) for name in CHANNELS for order in worlds[name].shop_orders.values()}
        check_orders(bought, erp)
        check_shipments(bought, worlds)
        check_stock(worlds)
        await self._check_database(worlds)
        await check_books(self.pool)

    async def _check_database(self, worlds: Mapping[str, World]) -> None:
        states = {row[0] for row in await self.pool.fetch("SELECT DISTINCT state FROM command")}
        assert states <= {"succeeded", "superseded", "cancelled"}, await self.pool.fetch(OPEN_WORK)
        assert await self.pool.fetchval("SELECT count(*) FROM fulfillment WHERE state <> 'confirmed'") == 0
        for name, ids in self.accepted.items():
            rows = await self.pool.fetch(
                "SELECT external_id FROM event WHERE connection_id = $1 AND source = 'webhook'", self.connections[name]
            )
            assert Counter(row[0] for row in rows) == Counter(ids), "an acknowledged webhook is on disk, once"
        for sku in SKUS:
            level = await self.pool.fetchrow(
                "SELECT sum(on_hand), sum(committed) FROM stock_balance JOIN inventory_item USING (item_id) WHERE sku = $1",
                sku,
            )
            assert level is not None
            open_units = sum(worlds[name].article_of_sku(sku).shop_allocated for name in CHANNELS)
            assert tuple(level) == (worlds["erp"].article_of_sku(sku).erp_on_hand, open_units)


def check_orders(bought: Mapping[str, tuple[str, ShopOrder]], erp: World) -> None:
    """Assert that every order is in the ERP once; one that was cancelled before it left may be missing."""
    assert set(erp.effects.get("order.create", {}).values()) <= {1}
    assert set(erp.effects.get("order.cancel", {}).values()) <= {1}
    there = Counter(order.number for order in erp.erp_orders.values())
    for number, (_, order) in bought.items():
        assert there[number] == 1 or (order.state == "cancelled" and there[number] == 0), f"{number}: {there[number]}"
    for order in erp.erp_orders.values():
        source = bought[order.number][1]
        assert [(line.sku, line.quantity) for line in order.lines] == [
            (line.sku, line.ordered) for line in source.lines
        ]
        assert order.state == source.state


def check_shipments(bought: Mapping[str, tuple[str, ShopOrder]], worlds: Mapping[str, World]) -> None:
    """Assert that every shipment is one fulfillment in the shop of its order."""
    number_of = {order.reference: order.number for order in worlds["erp"].erp_orders.values()}
    sent = Counter((*_home(bought, number_of[one.order_reference]), one.tracking) for one in worlds["erp"].shipments)
    told = Counter(
        (name, one.order_id, one.tracking) for name in CHANNELS for one in worlds[name].fulfillments.values()
    )
    assert told == sent
    for name in CHANNELS:
        assert set(worlds[name].effects.get("fulfillment.create", {}).values()) <= {1}


def _home(bought: Mapping[str, tuple[str, ShopOrder]], number: str) -> tuple[str, str]:
    name, order = bought[number]
    return name, order.order_id


def check_stock(worlds: Mapping[str, World]) -> None:
    """Assert that each shop may sell what the warehouse has and nobody has bought yet."""
    for sku in SKUS:
        allocated = {name: worlds[name].article_of_sku(sku).shop_allocated for name in CHANNELS}
        available = worlds["erp"].article_of_sku(sku).erp_on_hand - sum(allocated.values())
        shown = {name: worlds[name].article_of_sku(sku).shop_on_hand - allocated[name] for name in CHANNELS}
        assert shown == dict.fromkeys(CHANNELS, available), sku


def _is_shipped(order: ErpOrder) -> bool:
    return all(line.shipped == line.quantity for line in order.lines)


@asynccontextmanager
async def running_walk(database: Database, folder: Path) -> AsyncIterator[Walk]:
    """The world with its remotes running, all of them connected, and no process of ours yet."""
    async with AsyncExitStack() as stack:
        remotes = {name: stack.enter_context(HostileProcess(account=name)) for name in NAMES}
        port = free_port()
        crew = await stack.enter_async_context(
            running_crew(database, folder, options={"door": {"host": "127.0.0.1", "port": port}})
        )
        pool = await database.pool(Role.MIGRATOR, application_name="test")
        stack.push_async_callback(pool.close)
        walk = Walk(pool, crew, remotes)
        await walk.connect(port)
        yield walk
