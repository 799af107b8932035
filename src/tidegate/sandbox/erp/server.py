"""The ERP's HTTP: Tryton's REST protocol as far as orders, stock and shipments need it, and the clerk who ships."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from functools import partial
from typing import Annotated, Any

import msgspec
from aiohttp import web

from tidegate.sandbox.erp.domains import BadDomain, Domain, earliest, holds, moment_record, required, unpack
from tidegate.sandbox.erp.warehouse import LOCATION, RELATIONS, Row, RuleBroken, Unknown, Warehouse
from tidegate.sandbox.faults import CallFault
from tidegate.sandbox.world import CALL, Handles, Place, World, new_app, read_options

KEY_DEFAULT = "sandbox-rest-key"
CLERK_SECONDS = 0.1
"""How often the clerk looks what there is to ship."""
_PAGE = "<!doctype html>\n<html lang=en>\n<title>{status} {reason}</title>\n<h1>{reason}</h1>\n<p>{words}</p>\n"


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a world file may say of an ERP."""

    database: str = "tryton"
    rest_key: str = KEY_DEFAULT
    web_shop: str = "Tidegate"
    customer: str = "Web customers"
    ships_per_second: Annotated[float, msgspec.Meta(ge=0.0, le=1000.0)] = 0.0
    """Pace of the clerk; 0: nobody ships until asked."""
    work_seconds: Annotated[float, msgspec.Meta(ge=0.0, le=10.0)] = 0.0
    """How long the server takes for each write."""


class Pace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Action `clerk`: ship so many a second from now on."""

    per_second: Annotated[float, msgspec.Meta(ge=0.0, le=1000.0)]


class Goods(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Action `receive`: goods arrive."""

    sku: str
    quantity: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class Page(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Action `shipments`: what was shipped, behind this number."""

    after: Annotated[int, msgspec.Meta(ge=0)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 10_000


def build(world: World, name: str, options: Mapping[str, Any]) -> web.Application:  # noqa: ARG001 - read from the place
    """Make the ERP's server."""
    return _Erp(world.places[name]).app


class _Erp:
    def __init__(self, place: Place) -> None:
        self._place = place
        self._options = read_options(place, Options)
        place.stock_items((LOCATION,))
        self._warehouse = Warehouse(
            place.books, place.now, web_shop=self._options.web_shop, customer=self._options.customer
        )
        self._per_second = self._options.ships_per_second
        self._clerk: asyncio.Task[None] | None = None
        self._shipped = 0
        self.app = new_app(
            Handles(
                refuse=_refuse,
                set_stock=self._set_stock,
                actions={
                    "clerk": self._set_pace,
                    "ship": self._ship,
                    "receive": self._receive,
                    "shipments": self._shipments,
                },
                details=lambda: {"shipped": self._shipped, "waiting": self._warehouse.waiting},
                open=self._open,
                close=self._close,
            )
        )
        route = self.app.router
        route.add_get("/{database}/rest/model/{model}", self._search)
        route.add_post("/{database}/rest/model/{model}", self._create)
        route.add_post("/{database}/rest/model/{model}/{record}/{button}", self._press)

    # --- the protocol ----------------------------------------------------------------------------------------------
    async def _search(self, request: web.Request) -> web.Response:
        if (refusal := self._check(request)) is not None:
            return refusal
        model = request.match_info["model"]
        request[CALL].operation = f"search {model}"
        try:
            domain = unpack(request.query["d"]) if "d" in request.query else []
            order = unpack(request.query["o"]) if "o" in request.query else [["id", "ASC"]]
            context = unpack(request.headers["X-Tryton-Context"]) if "X-Tryton-Context" in request.headers else {}
            first, last = _range(request.headers.get("Range", ""))
            found = self._find(model, domain)
            rows = _sorted(found, order)[first:last]
            fields = request.query.getall("f", ["id"])
            return _json([self._shape(row, fields, context) for row in rows])
        except (BadDomain, Unknown) as error:
            return _page(500, "Internal Server Error", f"&#39;{error}&#39;")

    async def _create(self, request: web.Request) -> web.Response:
        if (refusal := self._check(request)) is not None:
            return refusal
        model = request.match_info["model"]
        request[CALL].operation = f"create {model}"
        if model != "sale.sale":
            return _rule(f'You are not allowed to access "{model}".')
        if self._options.work_seconds:
            await asyncio.sleep(self._options.work_seconds)
        try:
            sale = self._warehouse.create_sale(msgspec.json.decode(await request.read(), type=Row))
            request[CALL].key = str(sale["web_id"] or "")
            return _json(self._shape(sale, request.query.getall("f", ["id"]), {}))
        except RuleBroken as broken:
            return _rule(str(broken))
        except Unknown as error:
            return _page(500, "Internal Server Error", f"&#39;{error}&#39;")
        except (msgspec.DecodeError, TypeError, ValueError, AttributeError):
            return _page(
                400, "Bad Request", "The browser (or proxy) sent a request that this server could not understand."
            )

    async def _press(self, request: web.Request) -> web.Response:
        if (refusal := self._check(request)) is not None:
            return refusal
        model, record, button = (request.match_info[part] for part in ("model", "record", "button"))
        request[CALL].operation = f"{button} {model}"
        if model != "sale.sale":
            return _page(403, "Forbidden", "You don&#39;t have the permission to access the requested resource.")
        if self._options.work_seconds:
            await asyncio.sleep(self._options.work_seconds)
        try:
            answer = self._warehouse.press(int(record), button)
        except RuleBroken as broken:
            return _rule(str(broken))
        except (KeyError, ValueError):
            return _page(404, "Not Found", "The requested URL was not found on the server.")
        if answer is None:
            return _page(403, "Forbidden", "You don&#39;t have the permission to access the requested resource.")
        return _json(self._shape(answer, request.query.getall("f", ["id"]), {}))

    def _check(self, request: web.Request) -> web.Response | None:
        if request.match_info["database"] != self._options.database:
            return _page(404, "Not Found", "The requested URL was not found on the server.")
        if request.headers.get("Authorization") != f"Bearer {self._options.rest_key}":
            return _page(401, "Unauthorized", "The server could not verify that you are authorized.")
        if request.match_info["model"] not in RELATIONS:
            return _page(500, "Internal Server Error", f"&#39;{request.match_info['model'][:60]}&#39;")
        return None

    # --- searching and shaping -------------------------------------------------------------------------------------
    def _find(self, model: str, domain: Domain) -> Iterable[Row]:
        return [row for row in self._candidates(model, domain) if holds(domain, partial(self._value, row))]

    def _candidates(self, model: str, domain: Domain) -> Iterable[Row]:
        """Return rows among which all that match are: by id, web id or time where the domain says so, else all."""
        rows = self._warehouse.rows[model]
        for field, operator, value in required(domain):
            if field == "id" and operator == "=":
                return [rows[value]] if value in rows else []
            if field == "id" and operator == "in" and isinstance(value, list):
                return [rows[key] for key in value if key in rows]
            if field == "web_id" and operator in {"=", "in"} and model == "sale.sale":
                wanted = value if operator == "in" and isinstance(value, list) else [value]
                found = (self._warehouse.sale_of(one) for one in wanted if isinstance(one, str))
                return [sale for sale in found if sale is not None]
        if model in self._warehouse.done and ("state", "=", "done") in list(required(domain)):
            moment = earliest(domain, "write_date")
            if moment is not None:
                return self._warehouse.done_since(model, moment)
        return rows.values()

    def _value(self, row: Row, path: str) -> Any:
        name, _, rest = path.partition(".")
        if name not in row:
            raise Unknown(name)
        value, kind = row[name], RELATIONS[row["__name__"]].get(name)
        if not rest:
            return value
        if kind is None or isinstance(value, list):
            raise Unknown(path)
        return None if value is None else self._value(self._warehouse.rows[kind][value], rest)

    def _shape(self, row: Row, fields: Sequence[str], context: Any) -> Row:
        """Return the wanted fields; a relation is an id until one of its own fields is wanted, then a record."""
        shaped: Row = {"id": row["id"], "__name__": row["__name__"]}
        inner: dict[str, list[str]] = {}
        for path in fields:
            name, _, rest = path.partition(".")
            if name not in row:
                raise Unknown(name)
            inner.setdefault(name, [])
            if rest:
                inner[name].append(rest)
        for name, paths in inner.items():
            value, kind = row[name], RELATIONS[row["__name__"]].get(name)
            if paths and kind is None:
                raise Unknown(f"{name}.{paths[0]}")
            if paths and kind is not None and value is not None:
                rows = self._warehouse.rows[kind]
                if isinstance(value, list):
                    shaped[name] = [self._shape(rows[key], paths, context) for key in value]
                else:
                    shaped[name] = self._shape(rows[value], paths, context)
            elif name == "quantity" and row["__name__"] == "product.product":
                in_warehouse = isinstance(context, dict) and bool(context.get("locations"))
                shaped[name] = self._warehouse.units(row["id"]) if in_warehouse else 0.0
            elif name in {"write_date", "create_date"}:
                shaped[name] = None if value is None else moment_record(value)
            else:
                shaped[name] = value
        return shaped

    # --- the warehouse's people ------------------------------------------------------------------------------------
    async def _open(self) -> None:
        self._clerk = asyncio.create_task(self._work())

    async def _close(self) -> None:
        if self._clerk is not None:
            self._clerk.cancel()
            await asyncio.gather(self._clerk, return_exceptions=True)

    async def _work(self) -> None:
        due = 0.0
        while True:
            await asyncio.sleep(CLERK_SECONDS)
            due = min(due + self._per_second * CLERK_SECONDS, max(1.0, self._per_second))
            while due >= 1.0:
                due -= 1.0
                if self._warehouse.ship_next() is None:
                    break
                self._shipped += 1

    def _set_pace(self, raw: Mapping[str, Any]) -> Any:
        self._per_second = msgspec.convert(dict(raw), type=Pace).per_second
        return {"per_second": self._per_second}

    def _ship(self, _raw: Mapping[str, Any]) -> Any:
        shipment = self._warehouse.ship_next()
        if shipment is None:
            return {"shipped": False}
        self._shipped += 1
        return {"shipped": True, "number": shipment["number"], "tracking": shipment["reference"]}

    def _receive(self, raw: Mapping[str, Any]) -> Any:
        goods = msgspec.convert(dict(raw), type=Goods)
        self._warehouse.receive(goods.sku, goods.quantity, now=self._place.now())
        return {"sku": goods.sku, "on_hand": self._on_hand(goods.sku)}

    def _shipments(self, raw: Mapping[str, Any]) -> Any:
        page = msgspec.convert(dict(raw), type=Page)
        done = self._warehouse.done["stock.shipment.out"][page.after : page.after + page.limit]
        shipments, sales = self._warehouse.rows["stock.shipment.out"], self._warehouse.rows["sale.sale"]
        found = [
            {
                "number": shipments[key]["number"],
                "tracking": shipments[key]["reference"],
                "web_id": sales[shipments[key]["sale"]]["web_id"],
                "at": moment.replace(tzinfo=UTC).timestamp(),
            }
            for moment, key in done
        ]
        return {"shipments": found, "next": page.after + len(found)}

    def _set_stock(self, sku: str, _location: str | None, quantity: int) -> None:
        self._warehouse.count(sku, quantity, now=self._place.now())

    def _on_hand(self, sku: str) -> int:
        level = self._place.books.items[sku].levels[LOCATION]
        return level.available + level.committed


def _sorted(found: Iterable[Row], order: Any) -> list[Row]:
    rows = list(found)
    if not isinstance(order, list):
        raise BadDomain("order")
    for part in reversed(order):
        if not isinstance(part, list) or len(part) != 2:
            raise BadDomain("order")
        name, way = part
        try:
            rows.sort(key=lambda row, name=name: row[name], reverse=str(way).upper().startswith("DESC"))  # type: ignore[misc]
        except KeyError as error:
            raise Unknown(name) from error
        except TypeError as error:
            raise BadDomain(str(name)) from error
    return rows


def _range(header: str) -> tuple[int, int | None]:
    """Return first and last (exclusive) record of `Range: records=0-200`; everything without one."""
    unit, _, span = header.partition("=")
    first, _, last = span.partition("-")
    if unit != "records" or not first.isdigit():
        return 0, None
    return int(first), int(last) if last.isdigit() else None


def _refuse(fault: CallFault, _request: web.Request) -> web.StreamResponse:
    match fault:
        case CallFault.THROTTLED:
            return _page(429, "Too Many Requests", "This user has exceeded an allotted request count. Try again later.")
        case CallFault.EXPIRED:
            return _page(401, "Unauthorized", "The server could not verify that you are authorized.")
        case CallFault.BROKEN:
            return _page(503, "Service Unavailable", "The server is temporarily unable to service your request.")
        case _:
            return _page(500, "Internal Server Error", "The server encountered an internal error.")


def _rule(message: str) -> web.Response:
    return _json({"status": 400, "message": message, "description": ""}, status=400)


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def _page(status: int, reason: str, words: str) -> web.Response:
    text = _PAGE.format(status=status, reason=reason, words=words)
    return web.Response(text=text, status=status, content_type="text/html")
