"""Comparing what was read: in chunks, each with its checkpoint, after everything that it needs is there.

Writes to our own tables only. A run is asked for by `request_run`; the lanes read and compare.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from tidegate.config import Config
from tidegate.config.reconcile import LookRules, look_rules
from tidegate.config.stock_modes import StockModes
from tidegate.dispatch import shown_statements as statements
from tidegate.dispatch.allocation import shared_items
from tidegate.dispatch.articles import ask_for_articles
from tidegate.dispatch.drift_decide import (
    SELF,
    Finding,
    OnHandFacts,
    Price,
    Seen,
    StockFacts,
    decide_on_hand,
    decide_price,
    decide_stock,
)
from tidegate.dispatch.heal import RECONCILER, add_entries, end_comparing
from tidegate.dispatch.heal_decide import GROUP_OF, HealState, Known, decide_heal, entry_kind, guess
from tidegate.dispatch.look_end import DIFFERENCES_TOPIC, append_fact, read_config
from tidegate.dispatch.numbers import read_numbers
from tidegate.dispatch.payloads import quantity_of
from tidegate.dispatch.records import ShownRead
from tidegate.dispatch.scope import Scope
from tidegate.dispatch.statements import COMMAND_CHANNEL, TOUCHED_ITEMS
from tidegate.kernel import crashpoint
from tidegate.kernel.errors import ConfigurationError
from tidegate.kernel.ids import new_id
from tidegate.sdk.connector import Connector, ShownField
from tidegate.store.connections import Connection
from tidegate.store.sql import query

CHUNK_ARTICLES = 500
_Key = tuple[str, str, str]
"""External id, field, place."""
RUNS_KEPT = 200
WAIT_SECONDS = 0.5
SCHEDULE = "schedule"
"""Who asks for a run that was due."""
_PRICES = frozenset({ShownField.PRICE, ShownField.PRICE_WITH_TAX})
_AUDIT = query("audit_add")


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What of a connection is compared under a configuration."""

    is_channel: bool = False
    """Its stock number is ours to say."""
    modes: StockModes | None = None
    """Of the stock flow, by SKU."""
    counts: bool = False
    """It owns on_hand."""
    price_owner: str | None = None
    """Who owns the price that it should show; None where prices are not compared."""


def part_of(config: Config, name: str) -> Part:
    """Return what of a connection is compared. Pure."""
    stock, owner = config.flows.stock, config.owns.price
    is_channel = stock is not None and name in stock.targets
    orders = config.flows.orders
    sells = is_channel or (orders is not None and name in orders.sources)
    return Part(
        is_channel=is_channel,
        modes=StockModes(config) if is_channel else None,
        counts=name == config.owns.on_hand,
        price_owner=owner if owner is not None and owner != name and sells else None,
    )


def compared_connections(config: Config, connectors: Mapping[str, Connector]) -> tuple[str, ...]:
    """Return the connections that a run reads: those that show something which somebody else owns or that own it. Pure."""
    named = []
    for name, connection in config.connections.items():
        connector = connectors.get(connection.use)
        part = part_of(config, name)
        is_part = part.is_channel or part.counts or part.price_owner is not None or name == config.owns.price
        if is_part and connector is not None and connector.shown is not None:
            named.append(name)
    return tuple(named)


class Requested(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is under way."""

    run_id: UUID
    is_new: bool
    """False: somebody asked before and it is not finished; one run answers both."""
    stopped: tuple[tuple[str, str], ...] = ()
    """(connection, why): it has no lane now, or its looks are paused, and it is not read."""
    elsewhere: tuple[str, ...] = ()
    """Connections that another run is reading right now; that one answers."""


async def request_run(conn: Connection, *, tenant_id: UUID, actor: str, names: Sequence[str]) -> Requested:
    """Ask for a fresh read and comparison of these connections; one transaction, safe to repeat.

    Raises ConfigurationError when there is nothing to compare.
    """
    if not names:
        raise ConfigurationError(
            "there is nothing to compare",
            code="nothing_to_compare",
            hint="name a flow `stock` or an owner of `stock.on_hand` or `price` in tidegate.yaml, and connect the systems",
        )
    async with conn.transaction():
        await conn.execute(statements.LOCK_REQUESTS, tenant_id)
        await conn.execute(statements.LOCK_RUNS, tenant_id)
        await conn.execute(statements.END_STOPPED, tenant_id)
        await conn.execute(statements.END_RUNS, tenant_id)
        found = await conn.fetchval(statements.OPEN_RUN, tenant_id, list(names))
        run_id = found or new_id()
        if found is None:
            await conn.execute(statements.FORGET_RUNS, tenant_id, RUNS_KEPT - 1)
            await conn.execute(statements.ADD_RUN, tenant_id, run_id, actor)
            if actor != SCHEDULE:
                detail = msgspec.json.encode({"connections": list(names)}).decode()
                await conn.execute(_AUDIT, tenant_id, new_id(), actor, "drift.requested", str(run_id), detail)
        await conn.execute(statements.ADD_READS, tenant_id, run_id, list(names))
        await conn.execute(statements.END_RUN, tenant_id, run_id)
        elsewhere = await conn.fetch(statements.ELSEWHERE, tenant_id, run_id, list(names))
        stopped = await conn.fetch(statements.STOPPED, tenant_id, list(names))
        await conn.execute("SELECT pg_notify($1, '')", COMMAND_CHANNEL)
    why = tuple((row["name"], row["state_reason"] or row["state"]) for row in stopped)
    others = tuple(row["name"] for row in elsewhere)
    return Requested(run_id=run_id, is_new=found is None, stopped=why, elsewhere=others)


async def compare_chunk(scope: Scope, read: ShownRead, *, feeds_are_even: bool) -> float | None:
    """Compare the next articles of a read, in one transaction; return how long to wait before it makes sense.

    `feeds_are_even`: no feed of the connection has more to tell right now. None: it went on, or is over.
    Raises `Fenced` and `DATABASE_ERRORS`.
    """

    async def work(conn: Connection) -> float | None:
        await scope.fence(conn)
        config = await read_config(conn, scope)
        part = part_of(config, scope.connection.name)
        ready = await _readiness(conn, scope, read, part, feeds_are_even=feeds_are_even)
        if ready is None:
            step = (*scope.ids, read.run_id, read.version)
            await conn.execute(statements.PARK_READ, *step, WAIT_SECONDS, None, False)
            return WAIT_SECONDS
        rules = look_rules(config, scope.connection.name)
        comparison = _Comparison(conn, scope, read, part, ready, rules)
        if not await comparison.run():
            await conn.execute(statements.FORGET_DRIFT, *scope.ids, read.run_id, ready.left_out)
            await conn.execute(statements.FORGET_SHOWN, *scope.ids, read.run_id)
            compared = await conn.fetchval(statements.COMPARED, *scope.ids, read.run_id) or 0
            await ask_for_articles(conn, scope, read, rules.heal_limit(compared))
            await end_comparing(conn, scope, read, rules, compared)
        return None

    wait = await scope.transact(work)
    crashpoint.reach("dispatch.drift.compared")
    return wait


class _Ready(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison can count on."""

    is_feed_behind: bool
    price_owner: tuple[str, UUID] | None
    """Owner of prices whose numbers of this run are there."""
    left_out: list[str]
    """Fields that cannot be compared in this run; what is known of them stays."""


async def _readiness(
    conn: Connection, scope: Scope, read: ShownRead, part: Part, *, feeds_are_even: bool
) -> _Ready | None:
    """Return what there is to compare with, None while it is worth waiting for more."""
    tenant_id, _ = scope.ids
    reads = {row["name"]: row for row in await conn.fetch(statements.STATES_OF_RUN, tenant_id, read.run_id)}
    left_out: list[str] = []
    price_owner = None
    if part.price_owner is not None:
        owner = reads.get(part.price_owner)
        if owner is not None and not owner["is_read"] and owner["state"] != "failed":
            return None
        if owner is not None and owner["is_read"]:
            price_owner = (part.price_owner, owner["connection_id"])
        else:
            left_out = sorted(_PRICES)
    is_behind = False
    if part.counts or part.is_channel:
        read_at = await conn.fetchval(statements.COMPARED_READ, *scope.ids, read.run_id)
        is_even = feeds_are_even and await conn.fetchval(statements.FEEDS_READ, *scope.ids, read_at, scope.silent_feeds)
        is_behind = not is_even or await conn.fetchval(statements.QUEUED, *scope.ids)
        if is_behind and (scope.clock.now() - read_at).total_seconds() < scope.settings.feed_wait_seconds:
            return None
    return _Ready(is_feed_behind=bool(is_behind), price_owner=price_owner, left_out=left_out)


class _Comparison:
    """One chunk being compared. Numbers are read before marks: what changes in between is seen as in flight."""

    def __init__(
        self, conn: Connection, scope: Scope, read: ShownRead, part: Part, ready: _Ready, rules: LookRules
    ) -> None:
        self._conn = conn
        self._scope = scope
        self._read = read
        self._part = part
        self._ready = ready
        self._rules = rules
        self._seen: dict[tuple[str, str], dict[str, Seen]] = {}
        self._skus: dict[str, str] = {}

    async def run(self) -> bool:
        """Compare the next articles and move the checkpoint; return whether there were any."""
        ids, run_id = self._scope.ids, self._read.run_id
        articles = await self._conn.fetch(statements.ARTICLES, *ids, self._read.cursor, CHUNK_ARTICLES)
        if not articles:
            return False
        keys = [row["external_id"] for row in articles]
        step = (*ids, run_id, self._read.version)
        if not await self._conn.fetchval(statements.END_CHUNK, *step, keys[-1], len(keys)):
            return True
        await self._load_shown(keys)
        missing = sum(row["variant_id"] is not None and row["external_id"] not in self._skus for row in articles)
        if missing:
            await self._conn.execute(statements.COUNT_MISSING, *ids, run_id, missing)
        prices = await self._prices(articles)
        known = await self._load_known(keys)
        found: list[tuple[Any, Finding]] = []
        if self._part.is_channel:
            found += await self._guess(await self._stock(articles, prices), known)
        if self._part.counts:
            found += await self._on_hand(articles, prices)
        if self._ready.price_owner is not None:
            found += await self._price(articles, *self._ready.price_owner)
        await self._keep(found, known)
        return True

    async def _load_shown(self, keys: list[str]) -> None:
        rows = await self._conn.fetch(statements.SHOWN_OF, *self._scope.ids, keys, self._read.run_id)
        for row in rows:
            seen = Seen(value=row["value"], observed_at=row["observed_at"], currency=row["currency"])
            self._seen.setdefault((row["external_id"], row["field"]), {})[row["place"]] = seen
            self._skus[row["external_id"]] = row["sku"]

    def _at(self, external_id: str, field: ShownField, place: str = "") -> Seen | None:
        return self._seen.get((external_id, field.value), {}).get(place)

    async def _prices(self, articles: Iterable[Any]) -> dict[str, Price]:
        """Return what one unit of each article costs, where anybody shows it."""
        variants = [row["variant_id"] for row in articles if row["variant_id"] is not None]
        rows = await self._conn.fetch(statements.PRICES_OF, *self._scope.ids, variants)
        known = {row["variant_id"]: Price(row["value"], row["currency"]) for row in rows}
        prices = {}
        for row in articles:
            own = self._at(row["external_id"], ShownField.PRICE_WITH_TAX) or self._at(
                row["external_id"], ShownField.PRICE
            )
            price = Price(own.value, own.currency) if own is not None else known.get(row["variant_id"])
            if price is not None:
                prices[row["external_id"]] = price
        return prices

    # --- stock ---------------------------------------------------------------------------------------------------
    async def _stock(self, articles: Sequence[Any], prices: Mapping[str, Price]) -> list[tuple[Any, Finding]]:
        scope, conn = self._scope, self._conn
        place = str(scope.connection.settings.get("location_external_id", ""))
        items = [row["item_id"] for row in articles if row["item_id"] is not None]
        rules = scope.safety.rules
        numbers = {
            row["item_id"]: row
            for row in await read_numbers(conn, *scope.ids, items, rules, stock_number=scope.connector.stock_number)
        }
        made_of = {item_id: tuple(row["parts"] or (item_id,)) for item_id, row in numbers.items()}
        balances = await self._balances({part for parts in made_of.values() for part in parts})
        marks = {row["item_id"]: row for row in await conn.fetch(statements.MARKS_OF, *scope.ids, items)}
        touched = await conn.fetchrow(TOUCHED_ITEMS, *scope.ids, scope.connector.deducts_fulfilled)
        held = set(touched["held"]) if touched is not None else set()
        dead = {row["item_id"] for row in await conn.fetch(statements.DEAD_NUMBERS, *scope.ids, items)}
        modes = self._part.modes or StockModes(Config())
        shared = set(await shared_items(conn, scope, items))
        found = []
        for row in articles:
            external_id, item_id = row["external_id"], row["item_id"]
            number, mark = numbers.get(item_id), marks.get(item_id)
            if row["variant_id"] is not None and (number is None or number["external_id"] != external_id):
                continue  # of several packs of one item only one is told
            units = row["units"] or 1
            times = [at for part in made_of.get(item_id, ()) for _, at in balances.get(part, {}).values()]
            acked = mark["acked_quantity"] // units if mark is not None and mark["acked_quantity"] is not None else None
            facts = StockFacts(
                channel=scope.connection.name,
                place=place,
                seen=self._at(external_id, ShownField.STOCK, place),
                is_bound=row["variant_id"] is not None,
                ours=acked
                if item_id in shared or rules.buffer_of(row["sku"] or "") == "auto"
                else quantity_of(number, scope.connector.stock_number, rules) // units
                if number is not None and number["is_counted"] and times
                else None,
                mode=modes.mode_of(row["sku"] or ""),
                is_dirty=mark is not None and mark["dirty"],
                is_blocked=item_id in held or (mark is not None and mark["is_blocked"]),
                is_failing=item_id in dead or (mark is not None and mark["is_failing"]),
                acked=acked,
                was_told=mark is not None and mark["push_version"] > 0,
                changed_at=_latest([*times, mark["acked_at"] if mark is not None else None]),
                tolerance=self._rules.tolerance,
            )
            finding = decide_stock(facts, prices.get(external_id))
            if finding is not None:
                found.append((row, finding))
        return found

    async def _balances(self, items: Collection[UUID]) -> dict[UUID, dict[UUID, tuple[int, datetime]]]:
        """Return item -> location -> (on_hand, when it changed last), of levels that were ever counted."""
        balances: dict[UUID, dict[UUID, tuple[int, datetime]]] = {}
        for row in await self._conn.fetch(statements.BALANCES_OF, self._scope.ids[0], list(items)):
            balances.setdefault(row["item_id"], {})[row["location_id"]] = (row["on_hand"], row["at"])
        return balances

    # --- on_hand -------------------------------------------------------------------------------------------------
    async def _on_hand(self, articles: Sequence[Any], prices: Mapping[str, Price]) -> list[tuple[Any, Finding]]:
        scope = self._scope
        places = {
            row["external_id"]: row["internal_id"]
            for row in await self._conn.fetch(statements.LOCATIONS_OF, *scope.ids)
        }
        balances = await self._balances([row["item_id"] for row in articles if row["item_id"] is not None])
        found = []
        for row in articles:
            if row["is_kit"]:
                continue  # its parts are counted
            for place, location_id in places.items():
                balance = balances.get(row["item_id"], {}).get(location_id)
                facts = OnHandFacts(
                    erp=scope.connection.name,
                    place=place,
                    seen=self._at(row["external_id"], ShownField.ON_HAND, place),
                    is_bound=row["variant_id"] is not None,
                    ours=Decimal(balance[0]) / (row["units"] or 1) if balance is not None else None,
                    is_feed_behind=self._ready.is_feed_behind,
                    changed_at=balance[1] if balance is not None else None,
                )
                finding = decide_on_hand(facts, prices.get(row["external_id"]))
                if finding is not None:
                    found.append((row, finding))
        return found

    # --- prices --------------------------------------------------------------------------------------------------
    async def _price(self, articles: Sequence[Any], owner: str, owner_id: UUID) -> list[tuple[Any, Finding]]:
        tenant_id, _ = self._scope.ids
        variants = [row["variant_id"] for row in articles if row["variant_id"] is not None]
        owned: dict[UUID, list[Any]] = {}
        for row in await self._conn.fetch(statements.OWNED_PRICES, tenant_id, owner_id, variants, self._read.run_id):
            owned.setdefault(row["variant_id"], []).append(row)
        found = []
        for row in articles:
            shown = self._seen.get((row["external_id"], ShownField.STOCK.value), {})
            units = sum((seen.value for seen in shown.values()), Decimal(0))
            for price in owned.get(row["variant_id"], ()):
                field = ShownField(price["field"])
                finding = decide_price(
                    field,
                    owner=owner,
                    other=self._scope.connection.name,
                    owned=Seen(value=price["value"], observed_at=price["observed_at"], currency=price["currency"]),
                    seen=self._at(row["external_id"], field),
                    units=units,
                )
                if finding is not None:
                    found.append((row, finding))
        return found

    # --- the result ----------------------------------------------------------------------------------------------
    async def _load_known(self, keys: list[str]) -> dict[_Key, tuple[Any, Known]]:
        """Return what is known of these articles' differences, by their keys."""
        rows = await self._conn.fetch(statements.KNOWN_DRIFT, *self._scope.ids, keys, self._ready.left_out)
        return {
            (row["external_id"], row["field"], row["place"]): (
                row,
                Known(**{name: row[name] for name in Known.__struct_fields__}),
            )
            for row in rows
        }

    async def _guess(
        self, found: list[tuple[Any, Finding]], known: Mapping[_Key, tuple[Any, Known]]
    ) -> list[tuple[Any, Finding]]:
        """Return the differences with better guesses at their causes; asks the past only about what differs."""
        items = [row["item_id"] for row, _ in found if row["item_id"] is not None]
        if not items:
            return found
        rows = await self._conn.fetch(statements.TOLD_BEFORE, *self._scope.ids, items)
        told = {row["item_id"]: row["quantity"] for row in rows}
        guessed = []
        for row, finding in found:
            before = known.get(_key(row, finding))
            number = told.get(row["item_id"])
            told_before = number // (row["units"] or 1) if number is not None else None
            follows = self._scope.follows_sales
            known_before = before[1] if before is not None else None
            guessed.append((row, guess(finding, known_before, told_before=told_before, follows_sales=follows)))
        return guessed

    async def _keep(self, found: Sequence[tuple[Any, Finding]], known: Mapping[_Key, tuple[Any, Known]]) -> None:
        """Store what differs and what became of what differed, with the facts of the log."""
        kept: list[tuple[Any, Finding, HealState]] = []
        entries: list[tuple[Mapping[str, Any], str]] = []
        for row, finding in found:
            before = known[_key(row, finding)][1] if _key(row, finding) in known else None
            if finding.in_flight and before is None:
                continue  # what is being changed, and was no difference before, does not become one
            policy = self._rules.heal.get(GROUP_OF[finding.field], "report")
            kept.append((row, finding, decide_heal(finding, before, policy)))
            kind = entry_kind(finding, before)
            if kind is not None:
                entries.append((self._entry(row, finding), kind))
        keys = {_key(row, finding) for row, finding, _ in kept}
        gone = [key for key in known if key not in keys]
        entries += [(known[key][0], "gone") for key in gone if not known[key][1].in_flight]
        ids, run_id = self._scope.ids, self._read.run_id
        if gone:
            await self._conn.execute(statements.CLOSE_DRIFT, *ids, *map(list, zip(*gone, strict=True)))
        if kept:
            await self._open(kept)
            differences = sum(not finding.in_flight for _, finding, _ in kept)
            await self._conn.execute(statements.COUNT_DIFFERENCES, *ids, run_id, differences)
        if entries:
            event_id = await self._append(entries)
            await add_entries(self._conn, ids, entries, actor=RECONCILER, run_id=run_id, event_id=event_id)

    def _entry(self, row: Any, finding: Finding) -> dict[str, Any]:
        return {
            "sku": row["sku"] or self._skus.get(row["external_id"], ""),
            "external_id": row["external_id"],
            "field": finding.field.value,
            "place": finding.place,
            "owner_value": finding.owner_value,
            "other_value": finding.other_value,
            "cause": finding.cause.value,
        }

    async def _append(self, entries: Sequence[tuple[Mapping[str, Any], str]]) -> UUID:
        names = ("sku", "external_id", "field", "place", "owner_value", "other_value", "cause")
        body = [{"what": kind, **{name: row[name] for name in names}} for row, kind in entries]
        words = f"{len(entries)} differences found, changed or gone"
        return await append_fact(
            self._conn,
            self._scope,
            DIFFERENCES_TOPIC,
            self._read.run_id,
            {"connection": self._scope.connection.name, "differences": body},
            code="differences",
            reason=words,
        )

    async def _open(self, kept: Sequence[tuple[Any, Finding, HealState]]) -> None:
        names = ("owner", "other", "owner_value", "other_value", "currency", "risk", "risk_currency")
        await self._conn.execute(
            statements.OPEN_DRIFT,
            *self._scope.ids,
            self._read.run_id,
            [row["external_id"] for row, _, _ in kept],
            [finding.field.value for _, finding, _ in kept],
            [finding.place for _, finding, _ in kept],
            [row["sku"] or self._skus.get(row["external_id"], "") for row, _, _ in kept],
            [row["variant_id"] for row, _, _ in kept],
            [row["item_id"] for row, _, _ in kept],
            *([getattr(finding, name) for _, finding, _ in kept] for name in names),
            [finding.cause.value for _, finding, _ in kept],
            [finding.in_flight for _, finding, _ in kept],
            [heal for _, _, heal in kept],
        )


def _key(row: Any, finding: Finding) -> _Key:
    return row["external_id"], finding.field.value, finding.place


def _latest(times: Iterable[datetime | None]) -> datetime | None:
    return max((at for at in times if at is not None), default=None)


__all__ = ["SELF", "Part", "Requested", "compare_chunk", "compared_connections", "part_of", "request_run"]
