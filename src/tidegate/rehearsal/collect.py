"""Reads the books of all platforms of one side, and what they counted of calls and limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from tidegate.rehearsal.adapt import Cast
from tidegate.rehearsal.control import Sandbox
from tidegate.rehearsal.platforms import Simulated
from tidegate.rehearsal.records import Booked, Books, Calls, Fulfilled, Paid, Shipped, ShownSet, Sold, Units

BUSIEST_SECONDS = 10
WAITING_SECONDS_MIN = 3
"""A shorter stretch of waiting proves nothing."""
SECONDS_KEPT = 3600


async def read_shown(sandbox: Sandbox, channel: str) -> dict[str, int]:
    """Return what a channel can sell, by SKU."""
    items = await sandbox.pages(channel, "items")
    return {sku: sum(level["available"] for level in item["levels"].values()) for sku, item in items.items()}


async def read_sold(sandbox: Sandbox, channel: str) -> tuple[list[Sold], list[Fulfilled]]:
    """Return a channel's orders, and those that it knows as shipped; one that left twice counts twice."""
    sold, fulfilled = [], []
    for order in (await sandbox.pages(channel, "orders")).values():
        if order["is_cancelled"]:
            continue
        lines = units_of(order["lines"])
        sold.append(Sold(channel=channel, order=str(order["id"]), at=order["placed_at"], lines=lines))
        shipped = sum(line["shipped"] for line in order["lines"])
        times = math.ceil(shipped / max(1, sum(lines.values())))
        at = max((line["shipped_at"] for line in order["lines"] if line["shipped_at"] is not None), default=0.0)
        fulfilled += [Fulfilled(channel=channel, order=str(order["id"]), tracking="", at=at)] * times
    return sold, fulfilled


async def read_booked(sandbox: Sandbox, erp: str) -> tuple[list[Booked], list[Shipped]]:
    """Return the ERP's sales and shipments."""
    booked = [
        Booked(reference=order["key"], at=order["placed_at"], lines=units_of(order["lines"]))
        for order in (await sandbox.pages(erp, "orders")).values()
        if not order["is_cancelled"]
    ]
    shipped: list[Shipped] = []
    after = 0
    while True:
        page = await sandbox.ask("POST", f"/do/{erp}/shipments", {"after": after})
        shipped += [
            Shipped(reference=str(one["web_id"]), tracking=str(one["tracking"]), at=one["at"])
            for one in page["shipments"]
        ]
        if not page["shipments"]:
            return booked, shipped
        after = page["next"]


async def read_paid(sandbox: Sandbox, provider: str, channels: Sequence[str]) -> tuple[Paid, ...]:
    """Return the payments of the channels' orders, by the provider's books."""
    order_of: dict[str, tuple[str, str]] = {}
    for name in channels:
        for order in (await sandbox.pages(name, "orders")).values():
            order_of[str(order["key"])] = (name, str(order["id"]))
    effects = (await sandbox.ask("GET", f"/books/{provider}"))["effects"]
    doubled = {kind: effects.get(kind, {}).get("doubled", {}) for kind in ("capture", "refund")}
    return tuple(
        Paid(
            channel=order_of[payment["order_key"]][0],
            order=order_of[payment["order_key"]][1],
            captured=payment["captured"],
            captures=doubled["capture"].get(number, int(payment["captured"] > 0)),
            refunds=doubled["refund"].get(number, int(payment["refunded"] > 0)),
        )
        for number, payment in (await sandbox.pages(provider, "payments")).items()
        if payment["order_key"] in order_of
    )


async def read_sets(sandbox: Sandbox, channel: str, since: float) -> list[ShownSet]:
    """Return the numbers that somebody told a channel, and that took effect, by time."""
    found: list[ShownSet] = []
    shown: dict[str, int] = {}
    for change in await sandbox.changes(channel):
        sku, value = change["sku"], change["available"]
        if change["cause"] == "write" and change["at"] >= since:
            told = ShownSet(channel=channel, sku=sku, at=change["at"], value=value, changed=shown.get(sku) != value)
            found.append(told)
        shown[sku] = value
    return found


async def read_untold(sandbox: Sandbox, channels: Sequence[str]) -> frozenset[tuple[str, str]]:
    """Return (channel, order) of which no webhook ever told."""
    untold: set[tuple[str, str]] = set()
    for name in channels:
        untold.update((name, str(order)) for order in (await sandbox.ask("GET", f"/deliveries/{name}"))["untold"])
    return frozenset(untold)


async def read_books(
    side: Sandbox,
    cast: Cast,
    shelf: Units,
    began_at: float,
    ended_at: float,
    settled_at: float | None,
    shown_first: Mapping[str, Mapping[str, int]],
    calls: Mapping[str, Calls],
    refused: int,
) -> Books:
    """Return the books of all platforms of a side; which order is which sale is left open."""
    sold, fulfilled, sets = [], [], []
    shown_last: dict[str, Mapping[str, int]] = {}
    deliveries = 0
    for name in cast.channels:
        some_sold, some_fulfilled = await read_sold(side, name)
        sold += some_sold
        fulfilled += some_fulfilled
        sets += await read_sets(side, name, began_at)
        shown_last[name] = await read_shown(side, name)
        deliveries += (await side.ask("GET", f"/deliveries/{name}"))["report"]["attempts"]
    booked, shipped = await read_booked(side, cast.erp)
    return Books(
        began_at=began_at,
        ended_at=ended_at,
        settled_at=settled_at,
        sold=tuple(sold),
        refused=refused,
        booked=tuple(booked),
        orders_of={},
        shipped=tuple(shipped),
        fulfilled=tuple(fulfilled),
        stock=shelf,
        shown_first=shown_first,
        shown_last=shown_last,
        sets=tuple(sets),
        calls=calls,
        deliveries=deliveries,
    )


async def read_counts(sandbox: Sandbox, platforms: Sequence[str]) -> dict[str, Any]:
    """Return the raw counts of calls and limits of platforms, to be compared with later ones."""
    return {
        name: {
            "calls": await sandbox.ask("GET", f"/calls/{name}"),
            "limits": await sandbox.ask("GET", f"/limits/{name}?seconds={SECONDS_KEPT}"),
        }
        for name in platforms
    }


def compare_counts(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    simulated: Mapping[str, Simulated],
    waiting: Mapping[str, Sequence[int]],
    began_second: int,
) -> dict[str, Calls]:
    """Return what each platform counted between two reads. Pure.

    `waiting` are the (monotonic) seconds in which work of a connection waited that could have been sent.
    """
    return {
        name: _compare(before[name], raw, simulated[name], frozenset(waiting.get(name, ())), began_second)
        for name, raw in after.items()
    }


def count_stock_calls(calls: Mapping[str, Calls], simulated: Mapping[str, Simulated]) -> int:
    """Return the calls that wrote stock numbers. Pure."""
    return sum(
        number
        for name, count in calls.items()
        for operation, number in count.by_kind.items()
        if any(word in operation for word in simulated[name].stock_operations)
    )


def _compare(
    before: Mapping[str, Any], after: Mapping[str, Any], simulated: Simulated, waiting: frozenset[int], began: int
) -> Calls:
    by_kind: dict[str, int] = {}
    throttled = 0
    for operation, outcomes in after["calls"]["by_operation"].items():
        old = before["calls"]["by_operation"].get(operation, {})
        number = sum(outcomes.values()) - sum(old.values())
        throttled += outcomes.get("throttled", 0) - old.get("throttled", 0)
        if number:
            by_kind[operation] = number
    limits = {name: limit for name, limit in after["limits"].items() if limit["per_second"]}
    main = max(limits.values(), key=lambda limit: limit["used"] / limit["per_second"], default=None)
    used = {} if main is None else {s["second"]: s["used"] for s in main["seconds"] if s["second"] >= began}
    rate = None if main is None else main["per_second"] * (1.0 - main["eaten"])
    return Calls(
        total=after["calls"]["total"] - before["calls"]["total"],
        writes=sum(number for name, number in by_kind.items() if not name.startswith(simulated.read_operations)),
        by_kind=by_kind,
        answers_429=throttled,
        violations=sum(
            limit["violations"] - before["limits"].get(name, {"violations": 0})["violations"]
            for name, limit in after["limits"].items()
        ),
        busiest_per_second=busiest(used),
        limit_per_second=rate,
        burst=0.0 if main is None else float(main.get("capacity", 0.0)),
        budget_use=None if rate is None else use_while(used, waiting, rate),
    )


def busiest(used: Mapping[int, float]) -> float:
    """Return the use per second in the busiest stretch. Pure."""
    return max(
        (sum(used.get(second + step, 0.0) for step in range(BUSIEST_SECONDS)) / BUSIEST_SECONDS for second in used),
        default=0.0,
    )


def use_while(used: Mapping[int, float], waiting: frozenset[int], rate: float) -> float | None:
    """Return the share of what the rule allowed that was used in the stretches in which work waited; None: it never did. Pure.

    A stretch begins a second after work was first seen waiting, and has the second in which the wait ended: what was saved
    up for a call is used then. Three seconds in a row make one: what a shorter look found may have been sent right after it.
    """
    stretches: list[range] = []
    for first in sorted(second for second in waiting if second - 1 not in waiting):
        last = next(second for second in count(first) if second + 1 not in waiting)
        if last - first >= WAITING_SECONDS_MIN - 1:
            stretches.append(range(first + 1, last + 2))
    if not stretches:
        return None
    spent = sum(used.get(second, 0.0) for stretch in stretches for second in stretch)
    return min(1.0, spent / (rate * sum(len(stretch) for stretch in stretches)))


def units_of(lines: Sequence[Mapping[str, Any]]) -> Units:
    """Return units by SKU of an order's lines. Pure."""
    units: dict[str, int] = {}
    for line in lines:
        units[line["sku"]] = units.get(line["sku"], 0) + line["quantity"]
    return units


def world_of(
    cast: Cast,
    simulated: Mapping[str, Simulated],
    options: Mapping[str, Mapping[str, Any]],
    articles: Sequence[Mapping[str, Any]],
    shelf: Units,
    seed: int,
) -> dict[str, Any]:
    """Return the world file of one side: shops that know all articles and have nothing yet, and an ERP with a full shelf. Pure."""
    platforms: dict[str, Any] = {}
    for name in (cast.erp, *cast.channels, *cast.others):
        platform: dict[str, Any] = {"kind": simulated[name].kind, "options": dict(options[name])}
        if name == cast.erp:
            platform["stock"] = dict(shelf)
        platforms[name] = platform
    return {"seed": seed, "time_scale": 60.0, "items": list(articles), "platforms": platforms}
