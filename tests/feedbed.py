"""Page sources for feed tests: tables whose rows become visible later than they say, behind the two platforms' APIs."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from tidegate.sdk.connector import FeedPage
from tidegate.sdk.http import Response

BEGIN = datetime(2026, 11, 23, 8, tzinfo=UTC)
PAGES_MAX = 1000


@dataclass(frozen=True)
class Row:
    """A record that its transaction stamped with `written` and showed to others at `committed`."""

    id: int
    written: datetime
    committed: datetime


class Table:
    """Rows as a reader sees them at `now`; every read takes a while."""

    def __init__(self, rows: Sequence[Row], *, seconds_per_page: float = 0.0, seed: int = 0) -> None:
        self.rows = list(rows)
        self.now = BEGIN
        self.settings: Mapping[str, Any] = {}
        self.memory: dict[str, Any] = {}
        self.paths: list[str] = []
        self.wrong_by = timedelta(0)
        """Of the platform's clock: what it stamps is the test's to choose, this is the date of its answers."""
        self._seconds_per_page = seconds_per_page
        self._random = random.Random(seed)

    def visible(self) -> list[Row]:
        """Return what is committed by now, in no order, and let time go on."""
        found = [row for row in self.rows if row.committed <= self.now]
        self.now += timedelta(seconds=self._seconds_per_page)
        self._random.shuffle(found)
        return found

    def answer(self, value: Any) -> Response:
        """Return an answer with the date of the platform's clock."""
        date = format_datetime((self.now + self.wrong_by).astimezone(UTC), usegmt=True)
        return Response(status=200, headers={"date": date}, body=msgspec.json.encode(value))


class VendureTable(Table):
    """Orders of the Admin API: times in milliseconds, no second sort key."""

    async def request(self, _method: str, _path: str, **options: Any) -> Response:
        wanted = options["json"]["variables"]["options"]
        moment, found = wanted["filter"]["updatedAt"], self.visible()
        if "after" in moment:
            found = [row for row in found if row.written > _time(moment["after"])]
        else:
            start, end = _time(moment["between"]["start"]), _time(moment["between"]["end"])
            found = [row for row in found if start <= row.written <= end]
        (key,) = wanted["sort"]
        found.sort(key=lambda row: row.id if key == "id" else row.written)
        skip = wanted.get("skip", 0)
        items = [_order(row) for row in found[skip : skip + wanted["take"]]]
        return self.answer({"data": {"orders": {"items": items}}})


class TrytonTable(Table):
    """Movements of the REST protocol: times in microseconds, sorted by time and id."""

    def __init__(self, rows: Sequence[Row], *, line_id_base: int = 0, **options: Any) -> None:
        super().__init__(rows, **options)
        self._line_id_base = line_id_base

    async def request(self, _method: str, path: str, **options: Any) -> Response:
        self.paths.append(path)
        model, query = urlsplit(path).path.rpartition("/")[2], parse_qs(urlsplit(path).query)
        domain = msgspec.json.decode(base64.urlsafe_b64decode(query["d"][0]))
        if model == "stock.location":
            return self.answer(
                [{"id": 1, "type": "storage", "parent": None}, {"id": 2, "type": "customer", "parent": None}]
            )
        if model == "sale.line":
            ids: list[int] = domain[0][2]
            return self.answer([{"id": line, "note": f"line-{line}", "sale": {"web_id": "order"}} for line in ids])
        records_max = int(options["headers"]["Range"].rpartition("-")[2])
        found = [self._move(row) for row in self.visible()]
        found = [move for move in found if _matches(move, domain)]
        found.sort(key=lambda move: (move["write_date"], move["id"]))
        return self.answer([{**move, "write_date": _raw(move["write_date"])} for move in found[:records_max]])

    def _move(self, row: Row) -> dict[str, Any]:
        return {
            "id": row.id,
            "state": "done",
            "product": {"id": 7, "code": "MUG"},
            "internal_quantity": 1.0,
            "from_location": 1,
            "to_location": 2,
            "origin": f"sale.line,{self._line_id_base + row.id}" if self._line_id_base else None,
            "write_date": row.written,
            "create_date": None,
        }


def _matches(record: Mapping[str, Any], domain: Sequence[Any]) -> bool:
    """Say whether a record is in a domain: clauses joined by AND, or by a leading OR."""
    if domain and isinstance(domain[0], str) and domain[0] != "OR":
        name, operator, value = domain
        found = record[name]
        wanted = _moment(value) if isinstance(value, dict) else value
        return bool({"=": found == wanted, ">": found > wanted, ">=": found >= wanted}[operator])
    if domain and domain[0] == "OR":
        return any(_matches(record, clause) for clause in domain[1:])
    return all(_matches(record, clause) for clause in domain)


def _moment(raw: Mapping[str, Any]) -> datetime:
    return datetime(**{name: value for name, value in raw.items() if name != "__class__"}, tzinfo=UTC)


def _raw(moment: datetime) -> dict[str, Any]:
    names = ("year", "month", "day", "hour", "minute", "second", "microsecond")
    return {"__class__": "datetime", **{name: getattr(moment, name) for name in names}}


def _order(row: Row) -> dict[str, Any]:
    shown = row.written.isoformat(timespec="milliseconds").replace("+00:00", "Z")  # cut off, as JavaScript does
    return {"id": str(row.id), "updatedAt": shown, "lines": []}


def _time(text: str) -> datetime:
    return msgspec.convert(text, datetime)


Read = Callable[[Any, str], Awaitable[FeedPage]]


def read_round(read: Read, table: Table, cursor: str) -> tuple[list[str], str, int]:
    """Read pages until the feed says that there are no more; return ids, cursor and the number of pages."""
    ids: list[str] = []
    for pages in range(1, PAGES_MAX):
        page = asyncio.run(_read(read, table, cursor))
        ids += [item.external_id for item in page.items]
        cursor = page.cursor
        if not page.has_more:
            return ids, cursor, pages
    raise AssertionError("the feed has no end")


async def _read(read: Read, table: Table, cursor: str) -> FeedPage:
    return await read(table, cursor)
