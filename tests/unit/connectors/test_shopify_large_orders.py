"""An order of hundreds of lines comes together over several reads, each of which the bucket of points can pay for."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec
import pytest

from tidegate.connectors.shopify import whole_order
from tidegate.connectors.shopify.whole_order import IN_PARTS_MAX, LINES_CHARGE, fetch_order
from tidegate.kernel.errors import RateLimitedError, RejectedError, TransientError
from tidegate.sdk.connector import FeedItem
from tidegate.sdk.http import Api, Response
from tidegate.sdk.testing.conformance.subject import load_subject

(RECORDED,) = (one for one in load_subject("tidegate.connectors.shopify").exchanges if one.name == "fetch_order.json")
FIRST: dict[str, Any] = RECORDED.exchanges[0].answer.body["data"]["order"]
LINES = 500
SMALL_BUCKET, FILLS = 1_000.0, 100.0


class Shop:
    """One order of many lines, behind a bucket of points; `wait` lets it fill."""

    def __init__(self, lines: int = LINES, *, left: float = SMALL_BUCKET) -> None:
        self.memory: dict[str, Any] = {}
        self.lines = lines
        self.left = left
        self.throttled = 0
        self.asked = 0
        self.changed = FIRST["updatedAt"]

    def wait(self, seconds: float) -> None:
        self.left = min(SMALL_BUCKET, self.left + seconds * FILLS)

    async def request(self, _method: str, _path: str, *, json: Any, **_options: Any) -> Response:
        self.asked += 1
        is_first = "after" not in json["variables"]
        charge, size = (365.0, 20) if is_first else (float(LINES_CHARGE), 50)
        if charge > self.left:
            self.throttled += 1
            error = {"message": "Throttled", "extensions": {"code": "THROTTLED"}}
            return self.answer({"errors": [error]}, charge)
        self.left -= charge
        begin = 0 if is_first else int(json["variables"]["after"])
        end = min(self.lines, begin + size)
        template = FIRST["lineItems"]["nodes"][0]
        nodes = [{**template, "id": f"gid://shopify/LineItem/{number + 1}"} for number in range(begin, end)]
        items = {"pageInfo": {"hasNextPage": end < self.lines, "endCursor": str(end)}, "nodes": nodes}
        order = {**FIRST, "lineItems": items} if is_first else {"lineItems": items}
        return self.answer({"data": {"order": {**order, "updatedAt": self.changed}}}, charge)

    def answer(self, body: dict[str, Any], charge: float) -> Response:
        status = {"currentlyAvailable": self.left, "restoreRate": FILLS, "maximumAvailable": SMALL_BUCKET}
        cost = {"requestedQueryCost": charge, "throttleStatus": status}
        return Response(status=200, headers={}, body=msgspec.json.encode({**body, "extensions": {"cost": cost}}))


def read(shop: Shop) -> FeedItem | None:
    return asyncio.run(fetch_order(cast("Api", shop), "1"))


def read_in_parts(shop: Shop) -> tuple[FeedItem, int]:
    for tries in range(1, 100):
        try:
            found = read(shop)
        except RateLimitedError as error:
            shop.wait(error.wait_seconds or 1.0)
        else:
            assert found is not None
            return found, tries
    raise AssertionError("it never comes together")


def ids(item: FeedItem) -> list[int]:
    return [line["id"] for line in msgspec.json.decode(item.body)["line_items"]]


@pytest.mark.parametrize("lines", [1, 20, 21, 70, 71, LINES])
def test_every_line_is_read_once_and_no_page_is_refused(lines: int) -> None:
    shop = Shop(lines)

    found, _ = read_in_parts(shop)

    assert ids(found) == list(range(1, lines + 1))
    assert shop.throttled == 0
    assert shop.asked == 1 + max(0, -(-(lines - 20) // 50))


def test_a_page_that_is_refused_all_the_same_is_asked_for_again_and_no_earlier_one() -> None:
    shop = Shop(200)
    with pytest.raises(RateLimitedError):
        read(shop)
    shop.left = 10.0  # another app was quicker

    with pytest.raises(RateLimitedError):
        read(shop)
    assert shop.throttled == 1
    shop.wait(60.0)
    found, _ = read_in_parts(shop)

    assert ids(found) == list(range(1, 201))
    assert shop.asked == 1 + 4 + 1


def test_an_order_that_changes_meanwhile_is_read_from_its_beginning() -> None:
    shop = Shop(200)
    with pytest.raises(RateLimitedError):
        read(shop)
    shop.changed = "2026-11-28T00:00:00Z"
    shop.wait(60.0)

    with pytest.raises(TransientError, match="changed while"):
        read(shop)
    found, _ = read_in_parts(shop)

    assert msgspec.json.decode(found.body)["updated_at"] == "2026-11-28T00:00:00Z"


def test_what_is_remembered_is_bounded() -> None:
    shop = Shop(200)
    for number in range(IN_PARTS_MAX * 2):
        shop.left = SMALL_BUCKET
        with pytest.raises(RateLimitedError):
            asyncio.run(fetch_order(cast("Api", shop), str(number + 1)))

    assert len(next(iter(shop.memory.values()))) == IN_PARTS_MAX


def test_an_order_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_order, "LINE_PAGES_MAX", 3)
    shop = Shop(10_000)

    with pytest.raises(RejectedError, match="more lines"):
        read_in_parts(shop)
