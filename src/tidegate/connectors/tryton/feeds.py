"""Feeds of Tryton: movements of goods and shipments that are done, oldest change first.

A product's `write_date` does not move when its stock does, so the movements themselves are polled. `write_date` is the
start of the ERP's transaction: every round reaches back a while, and what was seen already is no news. The rounds that
reach further back begin where the one before them stood, so that together they leave no gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from tidegate.connectors.tryton.places import places_of
from tidegate.connectors.tryton.rest import Raw, Rest
from tidegate.kernel.clock import EPOCH
from tidegate.sdk.connector import FeedItem, FeedPage
from tidegate.sdk.http import Api
from tidegate.sdk.rounds import Reach
from tidegate.sdk.timed import TimedApi

RECORDS_PER_PAGE = 200
REACH = Reach(overlap=timedelta(seconds=30), deep_every=timedelta(minutes=5), deep_back=timedelta(minutes=5))
LINES_PER_READ = 150
"""Ids go into the address, and a web server in front takes about 4,000 characters of it."""

MOVE_FIELDS = (
    "id", "product", "product.code", "internal_quantity", "from_location", "to_location", "origin", "write_date", "create_date",
)  # fmt: skip
SHIPMENT_FIELDS = (
    "id", "number", "reference", "write_date", "create_date",
    "outgoing_moves.product.code", "outgoing_moves.internal_quantity", "outgoing_moves.origin", "outgoing_moves.state",
)  # fmt: skip


class _Cursor(msgspec.Struct, omit_defaults=True):
    """Where polling stands: rounds that begin a little before the newest change seen, pages by (time, id)."""

    newest: datetime = EPOCH
    page_after: datetime | None = None
    """Set inside of a round: (page_after, page_id) is the last record of the page before."""
    page_id: int = 0
    deep_at: datetime = EPOCH
    """Newest change at the last deep round."""


async def read_moves(api: Api, cursor: str) -> FeedPage:
    """Read done movements, each with the web order and line that it ships, where there is one."""
    state, found, now = await _read(api, "stock.move", MOVE_FIELDS, cursor)
    sold = await _sale_lines(api, [move.get("origin") for move in found])
    places = await places_of(api, {_id(move[end]) for move in found for end in ("from_location", "to_location")})
    items = [
        _item("stock.moved", move, _move_body(move, sold, places), f"article:{_id(move['product'])}") for move in found
    ]
    return _page(items, found, state, now)


async def read_shipments(api: Api, cursor: str) -> FeedPage:
    """Read shipments to customers that left, each with the web orders and lines in it."""
    state, found, now = await _read(api, "stock.shipment.out", SHIPMENT_FIELDS, cursor)
    moves = [move for shipment in found for move in shipment["outgoing_moves"] or ()]
    sold = await _sale_lines(api, [move.get("origin") for move in moves])
    items = [
        _item("shipment.done", shipment, _shipment_body(shipment, sold), f"shipment:{shipment['id']}")
        for shipment in found
    ]
    return _page(items, found, state, now)


async def _read(api: Api, model: str, fields: Sequence[str], cursor: str) -> tuple[_Cursor, list[Raw], datetime | None]:
    """Return where polling stands, the next records, and when the ERP answered."""
    state = msgspec.json.decode(cursor, type=_Cursor) if cursor else _Cursor()
    if state.page_after is not None:
        window: list[Any] = [
            "OR",
            [["write_date", ">", _moment(state.page_after)]],
            [["write_date", "=", _moment(state.page_after)], ["id", ">", state.page_id]],
        ]
    else:
        window = [["write_date", ">=", _moment(REACH.start(state.newest, state.deep_at))]]
    timed = TimedApi(api)
    found = await Rest(timed).search(
        model, [["state", "=", "done"], window], fields, order=(("write_date", "ASC"), ("id", "ASC")),
        records_max=RECORDS_PER_PAGE,
    )  # fmt: skip
    return state, found, timed.answered_at


async def _sale_lines(api: Api, origins: Sequence[object]) -> dict[int, Raw]:
    """Return the sale lines that movements come from, by id: {note, sale.web_id}."""
    ids = sorted({int(str(origin).partition(",")[2]) for origin in origins if str(origin).startswith("sale.line,")})
    found: list[Raw] = []
    for first in range(0, len(ids), LINES_PER_READ):
        some = ids[first : first + LINES_PER_READ]
        found += await Rest(api).search("sale.line", [["id", "in", some]], ("id", "note", "sale.web_id"))
    return {int(line["id"]): line for line in found}


def _move_body(move: Raw, sold: dict[int, Raw], places: dict[int, Raw]) -> Raw:
    return {
        "type": "stock.moved",
        "move": {
            "id": int(move["id"]),
            "product": _id(move["product"]),
            "sku": (move["product"] or {}).get("code") or "",
            "quantity": move["internal_quantity"],
            "from": places[_id(move["from_location"])],
            "to": places[_id(move["to_location"])],
            "changed": _changed(move).isoformat(),
            **_sold_as(move.get("origin"), sold),
        },
    }


def _shipment_body(shipment: Raw, sold: dict[int, Raw]) -> Raw:
    lines = [
        {
            "sku": (move["product"] or {}).get("code") or "",
            "quantity": move["internal_quantity"],
            **_sold_as(move.get("origin"), sold),
        }
        for move in shipment["outgoing_moves"] or ()
        if move["state"] == "done"
    ]
    return {
        "type": "shipment.done",
        "shipment": {
            "id": int(shipment["id"]),
            "number": shipment["number"] or "",
            "tracking": shipment["reference"] or "",
            "changed": _changed(shipment).isoformat(),
            "lines": lines,
        },
    }


def _sold_as(origin: object, sold: dict[int, Raw]) -> Raw:
    text = str(origin)
    line = sold.get(int(text.partition(",")[2])) if text.startswith("sale.line,") else None
    if line is None:
        return {"order_reference": "", "line_reference": ""}
    return {"order_reference": (line["sale"] or {}).get("web_id") or "", "line_reference": line["note"] or ""}


def _item(topic: str, record: Raw, body: Raw, ordering_key: str) -> FeedItem:
    return FeedItem(
        topic=topic, external_id=str(record["id"]), ordering_key=ordering_key, body=msgspec.json.encode(body)
    )


def _page(items: list[FeedItem], found: list[Raw], state: _Cursor, now: datetime | None) -> FeedPage:
    if (anew := REACH.astray(state.newest, now)) is not None:
        return FeedPage(
            items=tuple(items), cursor=msgspec.json.encode(_Cursor(newest=anew, deep_at=anew)).decode(), has_more=True
        )
    newest = REACH.reached(state.newest, [_changed(record) for record in found], now)
    has_more = len(found) == RECORDS_PER_PAGE
    is_deep = state.page_after is None and REACH.is_deep_due(state.newest, state.deep_at)
    following = _Cursor(
        newest=newest,
        page_after=_changed(found[-1]) if has_more else None,
        page_id=int(found[-1]["id"]) if has_more else 0,
        deep_at=state.newest if is_deep else state.deep_at,
    )
    return FeedPage(items=tuple(items), cursor=msgspec.json.encode(following).decode(), has_more=has_more)


def _changed(record: Raw) -> datetime:
    """Return when a record changed last; a record that was never written again has only its creation."""
    return read_moment(record["write_date"] or record["create_date"])


def read_moment(raw: Any) -> datetime:
    """Return a time of Tryton's JSON, which is UTC without saying so."""
    if isinstance(raw, str):
        return datetime.fromisoformat(raw).replace(tzinfo=UTC)
    return datetime(
        raw["year"], raw["month"], raw["day"], raw.get("hour", 0), raw.get("minute", 0), raw.get("second", 0),
        raw.get("microsecond", 0), tzinfo=UTC,
    )  # fmt: skip


def _moment(moment: datetime) -> Raw:
    return {
        "__class__": "datetime", "year": moment.year, "month": moment.month, "day": moment.day, "hour": moment.hour,
        "minute": moment.minute, "second": moment.second, "microsecond": moment.microsecond,
    }  # fmt: skip


def _id(value: Any) -> int:
    return int(value["id"]) if isinstance(value, dict) else int(value)
