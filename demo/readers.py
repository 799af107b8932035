"""What the shops, the ERP and Tidegate say about themselves, in few and small requests."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from e2e.watch import LEDGER
from realsystems.tryton import TrytonErp
from realsystems.vendure import VendureShop

from demo.trails import Trails
from tidegate.cli.session import connect_owner, find_database
from tidegate.runtime.project import Project
from tidegate.store.connections import DirectConnection

ORDERS_PER_READ = 200
OVERLAP = timedelta(seconds=5)
"""How far a read of what changed reaches back: transactions end in another order than they begin."""
SALES_OVERLAP = 20
RECENT = 50
"""Sales and shipments that the first read of the ERP takes; what is older is only counted."""
TIME_FIELDS = ("year", "month", "day", "hour", "minute", "second", "microsecond")
CHANGED_ORDERS = """query ($options: OrderListOptions) { orders(options: $options) {
    items { code updatedAt orderPlacedAt fulfillments { createdAt state } } } }"""
COUNTS = """
SELECT (SELECT coalesce(sum(received), 0)::bigint FROM conservation) AS received,
       (SELECT coalesce(sum(duplicate), 0)::bigint FROM conservation) AS duplicates,
       (SELECT count(*) FROM event_queue) AS waiting,
       (SELECT count(*) FROM event_parked WHERE kind = 'parked') AS parked,
       (SELECT count(*) FROM event_parked WHERE kind = 'quarantined') AS quarantined,
       (SELECT count(*) FROM channel_stock WHERE dirty) AS marks,
       (SELECT coalesce(bool_or(is_on), false) FROM switch WHERE name = 'stop_all_writes') AS is_stopped
"""
COMMANDS = "SELECT state, count(*) AS commands FROM command GROUP BY state"


@dataclass(frozen=True)
class ShopView:
    """What a shop says."""

    sellable: Mapping[str, int]
    orders: int
    fulfillments: int


@dataclass(frozen=True)
class ErpView:
    """What the ERP says."""

    sellable: Mapping[str, int]
    sales: int
    shipments_open: int
    shipments_done: int


@dataclass(frozen=True)
class GateView:
    """What Tidegate says: its ledger, and how its work stands."""

    available: Mapping[str, int]
    received: int
    duplicates: int
    waiting: int
    parked: int
    quarantined: int
    marks: int
    is_stopped: bool
    commands: Mapping[str, int]

    def open_work(self) -> int:
        """Return how much is not finished."""
        unfinished = sum(self.commands.get(state, 0) for state in ("pending", "sending", "in_doubt"))
        return self.waiting + self.parked + self.marks + unfinished


class ShopReader:
    """Reads one shop; remembers how many fulfillments each order has, so that only what changed is read again."""

    def __init__(self, shop: VendureShop, name: str, trails: Trails) -> None:
        self._shop = shop
        self._name = name
        self._trails = trails
        self._fulfillments: dict[str, int] = {}
        self._changed = datetime(2000, 1, 1, tzinfo=UTC)

    def read(self) -> ShopView:
        """Return what the shop says now. Raises ShopError when it does not answer."""
        levels = self._shop.stock_levels()
        self._read_orders()
        return ShopView(
            sellable={sku: on_hand - allocated for sku, (on_hand, allocated) in levels.items()},
            orders=len(self._fulfillments),
            fulfillments=sum(self._fulfillments.values()),
        )

    def _read_orders(self) -> None:
        after = self._changed - OVERLAP
        while True:
            raw_orders = self._changed_since(after)
            for raw_order in raw_orders:
                self._take(raw_order)
            if raw_orders:
                after = parse_time(raw_orders[-1]["updatedAt"])
                self._changed = max(self._changed, after)
            if len(raw_orders) < ORDERS_PER_READ:
                return

    def _changed_since(self, after: datetime) -> list[dict[str, Any]]:
        options = {
            "take": ORDERS_PER_READ,
            "sort": {"updatedAt": "ASC"},
            "filter": {"orderPlacedAt": {"isNull": False}, "updatedAt": {"after": after.isoformat()}},
        }
        items: list[dict[str, Any]] = self._shop.admin(CHANGED_ORDERS, {"options": options})["orders"]["items"]
        return items

    def _take(self, raw_order: dict[str, Any]) -> None:
        code = raw_order["code"]
        raw_fulfillments = [each for each in raw_order["fulfillments"] or () if each["state"] != "Cancelled"]
        self._fulfillments[code] = len(raw_fulfillments)
        self._trails.mark(code, "placed", parse_time(raw_order["orderPlacedAt"]), self._name)
        if raw_fulfillments:
            first = min(parse_time(each["createdAt"]) for each in raw_fulfillments)
            self._trails.mark(code, "fulfilled", first)


class ErpReader:
    """Reads the ERP; sales and shipments are counted, and read only when there are more of them."""

    def __init__(self, erp: TrytonErp, trails: Trails) -> None:
        self._erp = erp
        self._trails = trails
        self._sales = self._shipments = -1
        self._last_sale = 0
        self._left = datetime(2000, 1, 1, tzinfo=UTC)

    def read(self) -> ErpView:
        """Return what the ERP says now. Raises RestError or OSError when it does not answer."""
        client, warehouse = self._erp.client, self._erp.warehouse
        sales = client.count("sale.sale", [["web_id", "!=", None]])
        shipments_done = client.count("stock.shipment.out", [["state", "=", "done"]])
        shipments_open = client.count(
            "stock.shipment.out", [["state", "in", ["waiting", "assigned", "picked", "packed"]]]
        )
        if sales != self._sales:
            self._read_sales()
        if shipments_done != self._shipments:
            self._read_shipments()
        self._sales, self._shipments = sales, shipments_done
        return ErpView(
            sellable=warehouse.sellable(), sales=sales, shipments_open=shipments_open, shipments_done=shipments_done
        )

    def _read_sales(self) -> None:
        newest_first = [("id", "DESC")]
        raw_sales = self._erp.client.search(
            "sale.sale",
            [["id", ">", self._last_sale - SALES_OVERLAP], ["web_id", "!=", None]],
            ["reference", "create_date"],
            order=newest_first,
            limit=RECENT,
        )
        for raw_sale in raw_sales:
            self._last_sale = max(self._last_sale, raw_sale["id"])
            self._trails.mark(raw_sale["reference"], "sold", parse_erp_time(raw_sale["create_date"]))

    def _read_shipments(self) -> None:
        after = self._left - OVERLAP
        raw_shipments = self._erp.client.search(
            "stock.shipment.out",
            [["state", "=", "done"], ["write_date", ">=", erp_time(after)]],
            ["write_date", "outgoing_moves.sale.reference"],
            order=[("write_date", "DESC")],
            limit=RECENT,
        )
        for raw_shipment in raw_shipments:
            left = parse_erp_time(raw_shipment["write_date"])
            self._left = max(self._left, left)
            for code in {move["sale"]["reference"] for move in raw_shipment["outgoing_moves"] if move["sale"]}:
                self._trails.mark(code, "shipped", left)


class GateReader:
    """Reads Tidegate's database over one connection, opened again when it breaks. Use it in one thread only."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._runner = asyncio.Runner()
        self._conn: DirectConnection | None = None

    def read(self) -> GateView:
        """Return what Tidegate says now. Raises what the database answers, or OSError, while it is away."""
        try:
            return self._runner.run(self._read())
        except BaseException:
            self._conn = None
            raise

    def close(self) -> None:
        """Close the connection; only when nobody reads any more."""
        if self._conn is not None:
            self._conn.terminate()
        self._runner.close()

    async def _read(self) -> GateView:
        if self._conn is None or self._conn.is_closed():
            self._conn = await connect_owner(await find_database(self._project))
        conn = self._conn
        async with conn.transaction(isolation="repeatable_read", readonly=True):
            available = {row["sku"]: row["available"] for row in await conn.fetch(LEDGER)}
            commands = {row["state"]: row["commands"] for row in await conn.fetch(COMMANDS)}
            counts = await conn.fetchrow(COUNTS)
        assert counts is not None
        return GateView(available=available, commands=commands, **dict(counts))


def parse_time(text: str) -> datetime:
    """Read a shop's time."""
    return datetime.fromisoformat(text)


def parse_erp_time(raw_time: Mapping[str, Any]) -> datetime:
    """Read a time in the ERP's JSON; it keeps UTC without saying so."""
    at = {name: int(raw_time.get(name, 0)) for name in TIME_FIELDS}
    return datetime(**at, tzinfo=UTC)


def erp_time(at: datetime) -> dict[str, Any]:
    """Return a time in the ERP's JSON."""
    return {"__class__": "datetime", **{name: getattr(at, name) for name in TIME_FIELDS}}
