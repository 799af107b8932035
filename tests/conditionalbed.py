"""Two shops that sell by themselves and take a number only where it is as expected, on a real database, with T2 and lanes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import msgspec

from tests.applybed import CONFIG, KEYS, Bed, make_bed, order_event
from tidegate.commerce.commands import CommandKind, Payload, SetInventory
from tidegate.dispatch.settings import DispatchSettings
from tidegate.dispatch.worker import Worker
from tidegate.kernel.errors import ConflictError, OutcomeUnknownError
from tidegate.kernel.redaction import Secret
from tidegate.sdk.connector import (
    STOCK_DIFFERS,
    CommandSpec,
    Connector,
    Done,
    Failed,
    Feed,
    FindOutcome,
    ItemOutcome,
    NotFound,
)
from tidegate.sdk.http import Api, Session
from tidegate.store.connections import Pool
from tidegate.store.context import Context
from tidegate.store.database import Database
from tidegate.store.roles import Role
from tidegate.sync.going_live import refresh_modes
from tidegate.vault.credentials import put
from tidegate.vault.keys import KeyRing

SETTINGS = DispatchSettings(
    poll_seconds=0.3,
    config_seconds=2.0,
    lease_seconds=6.0,
    lease_margin_seconds=0.5,
    drain_seconds=5.0,
    first_look_seconds=0.1,
    second_look_seconds=0.1,
    rest_seconds=0.1,
    unseen_settle_seconds=3600.0,
    doubt_settle_seconds=0.5,
    unseen_look_seconds=0.2,
)
"""Units that are missing stay so: only an order explains them."""


_COMPARED = {"stock_number": "available", "conditional_set": True, "deducts_own_orders": True, "enforces_stock": True}


@dataclass
class Shop:
    """A shop's own books of its articles."""

    available: dict[str, int] = field(default_factory=dict)
    sold: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    sets: list[tuple[str, int, int | None]] = field(default_factory=list)
    """(article, number, expected) of every number that was set."""
    stale: int = 0
    before_set: Callable[[], None] = lambda: None
    lose_answers: int = 0
    """Answers to writes that are lost after the effect."""
    lose_writes: int = 0
    """Writes that never arrive and whose sender does not know."""
    keeps_orders_apart: bool = False
    """What it is told is what is there; it takes its open orders off by itself."""
    odd: int = 0
    """Units that it shows on top of any number but 0 that it is told, and says so."""
    keeps_keys: bool = False
    """It remembers what it did under the key of a call, and can be asked again under it."""
    kept: dict[str, Sequence[ItemOutcome]] = field(default_factory=dict)
    asked_again: int = 0
    flying: list[tuple[Sequence[Payload], str]] = field(default_factory=list)
    """Calls that never arrived until now."""
    adapts: bool = False
    """What is stale is set less the units that are gone, in the same call."""

    def sell(self, sku: str, units: int = 1) -> bool:
        """Sell, unless there is too little; return whether it was sold."""
        article = f"v-{sku}"
        if self.available.get(article, 0) < units:
            self.refused += 1
            return False
        self.available[article] -= units
        self.sold[article] = self.sold.get(article, 0) + units
        return True

    def apart(self, article: str) -> int:
        """Return the units of open orders that are not in the number that it is told."""
        return self.sold.get(article, 0) if self.keeps_orders_apart else 0

    async def execute(self, api: Api, payloads: Sequence[Payload], key: str) -> Sequence[ItemOutcome]:
        """Take a call, or lose it on its way."""
        self.before_set()
        if self.lose_writes:
            self.lose_writes -= 1
            self.flying.append((payloads, key))
            raise OutcomeUnknownError("lost", code="answer_lost")
        outcomes = await self.take(payloads, key)
        if self.lose_answers:
            self.lose_answers -= 1
            raise OutcomeUnknownError("lost", code="answer_lost")
        return outcomes

    async def ask_again(self, _api: Api, payloads: Sequence[Payload], key: str) -> Sequence[ItemOutcome] | None:
        """Tell what was done under a key, or do it now."""
        self.asked_again += 1
        return await self.take(payloads, key)

    async def take(self, payloads: Sequence[Payload], key: str) -> Sequence[ItemOutcome]:
        """All or nothing, as Shopify does it; what has been asked under a key is not done again."""
        if not self.keeps_keys or key not in self.kept:
            self.kept[key] = self.set(payloads)
        return self.kept[key]

    def set(self, payloads: Sequence[Payload]) -> Sequence[ItemOutcome]:
        wanted = [payload for payload in payloads if isinstance(payload, SetInventory)]
        shown = {one.variant_external_id: self.available.get(one.variant_external_id, 0) for one in wanted}
        bad = {one.variant_external_id for one in wanted if one.expected not in (None, shown[one.variant_external_id])}
        if bad and self.adapts:
            return [self._adapted(one, shown[one.variant_external_id]) for one in wanted]
        if bad:
            self.stale += len(bad)
            return [self._refusal(one, bad, shown) for one in wanted]
        for one in wanted:
            odd = self.odd if one.quantity else 0
            self.available[one.variant_external_id] = one.quantity + odd - self.apart(one.variant_external_id)
            self.sets.append((one.variant_external_id, one.quantity, one.expected))
        if self.odd:
            return [self._differs(one) if one.quantity else Done() for one in wanted]
        return [Done() for _ in wanted]

    def _differs(self, one: SetInventory) -> Failed:
        context = {"shown": one.quantity + self.odd, "sent": one.quantity}
        return Failed(error=ConflictError("another number is shown", code=STOCK_DIFFERS, context=context))

    def _adapted(self, one: SetInventory, shown: int) -> Done:
        gone = max(0, (one.expected if one.expected is not None else shown) - shown)
        self.available[one.variant_external_id] = max(0, one.quantity - gone)
        self.sets.append((one.variant_external_id, max(0, one.quantity - gone), shown))
        return Done(shown=shown if gone else None)

    def _refusal(self, one: SetInventory, bad: set[str], shown: Mapping[str, int]) -> Failed:
        if one.variant_external_id in bad:
            context = {"shown": shown[one.variant_external_id], "expected": one.expected}
            return Failed(error=ConflictError("stale", code="stock_stale", context=context))
        return Failed(error=ConflictError("sibling", code="sibling_refused"))

    async def find(self, _api: Api, payload: Payload) -> FindOutcome:
        """Look."""
        assert isinstance(payload, SetInventory)
        article = payload.variant_external_id
        shown = self.available.get(article, 0) + self.apart(article)
        return Done() if shown == payload.quantity else NotFound(shown=shown)


@dataclass
class Shops:
    """The bed with its two shops."""

    bed: Bed
    a: Shop = field(default_factory=Shop)
    b: Shop = field(default_factory=Shop)
    orders: int = 0
    feeds: Mapping[str, Feed] = field(default_factory=dict)
    keys_kept: timedelta = timedelta(minutes=10)
    counts: Mapping[str, Any] = field(default_factory=lambda: _COMPARED)
    """How the shops count."""

    def connector(self) -> Connector:
        """Return a connector that finds its shop by the connection's settings."""

        async def session(_api: Api, _secrets: Mapping[str, Secret], _settings: Mapping[str, Any]) -> Session:
            return Session(headers={})

        async def execute(api: Api, payloads: Sequence[Payload], key: str) -> Sequence[ItemOutcome]:
            return await self.of(api).execute(api, payloads, key)

        async def find(api: Api, payload: Payload) -> FindOutcome:
            return await self.of(api).find(api, payload)

        async def ask_again(api: Api, payloads: Sequence[Payload], key: str) -> Sequence[ItemOutcome] | None:
            shop = self.of(api)
            return await shop.ask_again(api, payloads, key) if shop.keeps_keys else None

        async def accept(_api: Api, payloads: Sequence[Payload], _key: str) -> Sequence[ItemOutcome]:
            return [Done(external_id=getattr(payload, "reference", "x")) for payload in payloads]

        stock = CommandSpec(
            execute=execute, find=find, bulk_max=50, safe_to_resend=True, readback_settle=timedelta(milliseconds=100)
        )
        if self.a.keeps_keys or self.b.keeps_keys:
            stock = replace(stock, ask_again=ask_again, keys_kept=self.keys_kept, all_or_nothing=True)
        return replace(
            self.bed.connector,
            open_session=session,
            feeds=self.feeds,
            commands={
                CommandKind.INVENTORY_SET: stock,
                CommandKind.ORDER_CREATE: CommandSpec(execute=accept, safe_to_resend=True),
                CommandKind.ORDER_CANCEL: CommandSpec(execute=accept, safe_to_resend=True),
            },
            **self.counts,
        )

    def of(self, api: Api) -> Shop:
        return {"a": self.a, "b": self.b}[str(api.settings["shop"])]

    async def deliver(self, shop: str, sku: str, units: int = 1, **more: Any) -> None:
        """The order of a sale arrives, and is applied."""
        self.orders += 1
        await self.bed.append([(shop, order_event(f"{shop}-{self.orders}", [(sku, units)], **more))])
        await self.bed.apply()

    async def mark(self, shop: str, sku: str) -> dict[str, Any]:
        """Return what is known of an item in a shop."""
        row = await self.bed.pool.fetchrow(
            "SELECT * FROM channel_stock WHERE connection_id = $1 AND item_id = $2",
            self.bed.connections[shop],
            self.bed.items[sku],
        )
        assert row is not None
        return dict(row)

    @contextlib.asynccontextmanager
    async def lanes(self, settings: DispatchSettings = SETTINGS) -> AsyncIterator[None]:
        """Run a dispatch node."""
        context = Context(
            role="dispatch",
            index=1,
            cell="c0",
            access=self.bed.database.access(Role.DISPATCH),
            keys=KEYS,
            connectors={"hostile": self.connector()},
        )
        stop = asyncio.Event()
        task = asyncio.create_task(Worker(context, settings=settings).run(stop))
        try:
            yield
        finally:
            stop.set()
            await task

    async def is_quiet(self) -> bool:
        """Nothing is on its way, and what is dirty only waits for an explanation."""
        return not await self.bed.pool.fetchval(
            "SELECT EXISTS (SELECT FROM command WHERE kind = 'inventory.set' AND state IN ('sending', 'in_doubt'))"
            " OR EXISTS (SELECT FROM channel_stock WHERE (dirty OR blocked_by IS NOT NULL)"
            " AND (unseen + unseen_back = 0 OR not_before IS NULL))"
        )

    async def is_settled(self) -> bool:
        """No number is on its way or in doubt."""
        found = (
            "SELECT NOT EXISTS (SELECT FROM command WHERE kind = 'inventory.set' AND state IN ('sending', 'in_doubt'))"
        )
        return bool(await self.bed.pool.fetchval(found))

    async def is_explained(self) -> bool:
        """Nothing waits for an explanation."""
        found = "SELECT NOT EXISTS (SELECT FROM channel_stock WHERE dirty OR unseen + unseen_back > 0)"
        return bool(await self.bed.pool.fetchval(found))


async def make_shops(database: Database, pool: Pool, *, config: str = CONFIG, **stock: int) -> Shops:
    """Return two shops that sell `stock`, of which the ERP has that many."""
    bed = await make_bed(database, pool, skus=tuple(stock), config=config)
    for name, connection_id in bed.connections.items():
        settings = {"base_url": "http://127.0.0.1:1", "location_external_id": "main", "shop": name[-1]}
        await pool.execute(
            "UPDATE connection SET settings = $2 WHERE connection_id = $1",
            connection_id,
            msgspec.json.encode(settings).decode(),
        )
    async with pool.acquire() as conn:
        await refresh_modes(conn, bed.tenant_id)
        for connection_id in bed.connections.values():
            secret = Secret("not asked for")
            await put(conn, KeyRing(KEYS), bed.tenant_id, connection_id, "credential", "api_key", secret)
    return Shops(bed)
