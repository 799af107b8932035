"""Requests about reservations that wait together are decided in one transaction, so that one hot article scales.

While a transaction of a lane runs, what comes for the same articles waits and shares the next one. Articles are divided among
the lanes, so that transactions that have nothing to do with each other run side by side. A lane takes requests in the order in
which they came, tenants in turn.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from uuid import UUID
from zlib import crc32

import asyncpg
import msgspec

from tidegate.inventory.decide import Ask, Asked, Claim, Refusal, Release, Reserve
from tidegate.inventory.reserve import Bill
from tidegate.kernel.crashpoint import reach
from tidegate.kernel.errors import InvariantError, RejectedError, TransientError
from tidegate.store.connections import Connection
from tidegate.sync import reservation_statements as sql
from tidegate.sync.reservations import Keep, Reply, Request, ReservationsMoved, StaleBills, perform

OpenTransaction = Callable[[UUID], AbstractAsyncContextManager[Connection]]
"""Opens a transaction for one tenant that commits at the end of the block."""
TRIES_MAX = 8
RETRY_SPREAD_SECONDS = 0.02
"""A batch that met somebody waits up to this much, times the try, before the next one."""
MEETINGS = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.UniqueViolationError,
    ReservationsMoved,
)
"""Another process was at the same thing: what it did is seen by the next try."""
POISON = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    OverflowError,
)
"""The data of one request is at fault."""


@dataclass(frozen=True, kw_only=True)
class CombinerSettings:
    """Bounds, with units."""

    lanes: int = 2
    """Transactions at the same time. An article has always the same one."""
    company_min: int = 32
    """So many requests are worth a transaction beside one that runs; fewer wait for its end, and are next."""
    batch_max: int = 400
    """Requests of one transaction."""
    waiting_max: int = 5_000
    """Requests that wait in a process; further ones are told to come again."""
    catalogue_seconds: float = 10.0
    """How long bills are known without being looked up again. That they are the newest is checked in each transaction."""


class Wish(msgspec.Struct, frozen=True, gc=False):
    """What somebody asks for, in SKUs and names, before it is looked up."""

    lines: Asked
    seconds: int
    actor: str
    location: str | None = None
    reference: str | None = None


@dataclass(slots=True)
class _Articles:
    """The bills and places of one tenant, as of a version of its catalogue."""

    version: int
    until: float
    bills: dict[str, Bill]
    places: dict[str, UUID]


class _Waiting:
    """One request and who waits for its reply."""

    __slots__ = ("ask", "keep", "reply", "wish")

    def __init__(self, wish: Wish | None, ask: Ask | None, keep: Keep | None) -> None:
        self.wish = wish
        self.ask = ask
        self.keep = keep
        self.reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def place(self) -> int:
        """Return a number that is the same for requests about the same article or reservation."""
        if self.wish is not None:
            return crc32(min((sku for sku, _ in self.wish.lines), default="").encode(errors="replace"))
        return 0 if self.ask is None or isinstance(self.ask, Reserve) else self.ask.reservation_id.int

    async def outcome(self) -> Reply | Exception:
        """Return the reply, or the error that stands in its place."""
        try:
            return await self.reply
        except Exception as error:
            return error


class _Lane:
    """Requests that wait for one transaction after the other."""

    __slots__ = ("count", "running", "waiting")

    def __init__(self) -> None:
        self.waiting: OrderedDict[UUID, deque[_Waiting]] = OrderedDict()
        self.running: asyncio.Task[None] | None = None
        self.count = 0
        """Requests that wait, of all tenants."""

    def draw(self, at_most: int) -> tuple[UUID, list[_Waiting]]:
        """Take the oldest requests of the tenant whose turn it is; nobody waits for those that were cancelled."""
        tenant_id, queue = self.waiting.popitem(last=False)
        batch: list[_Waiting] = []
        while queue and len(batch) < at_most:
            waiting = queue.popleft()
            self.count -= 1
            if not waiting.reply.done():
                batch.append(waiting)
        if queue:
            self.waiting[tenant_id] = queue
        return tenant_id, batch


class Combiner:
    """The way of one process to reservations. Safe for any number of callers in its event loop."""

    def __init__(self, open_transaction: OpenTransaction, settings: CombinerSettings | None = None) -> None:
        """Opens nothing by itself; `open_transaction` is used by at most `lanes` batches at once."""
        self._open = open_transaction
        self._settings = settings or CombinerSettings()
        self._lanes = [_Lane() for _ in range(self._settings.lanes)]
        self._count = 0
        self._articles: dict[UUID, _Articles] = {}

    async def reserve(self, tenant_id: UUID, wish: Wish, keep: Keep | None = None) -> Reply:
        """Hold units: all lines or nothing.

        Raises TransientError when the database is away, or too much waits: it did not happen, or the same request again
        gets the same answer. Raises RejectedError when its own values cannot be stored.
        """
        return await self._submit(tenant_id, _Waiting(wish, None, keep))

    async def reserve_each(
        self, tenant_id: UUID, wishes: Iterable[tuple[Wish, Keep | None]]
    ) -> list[Reply | Exception]:
        """Hold units for several who wait together: each is decided by itself, in order, and has a reply or its own error.

        Raises TransientError when too much waits for all of them to wait: then none was begun.
        """
        entering = [_Waiting(wish, None, keep) for wish, keep in wishes]
        if not entering:
            return []
        self._make_room(len(entering))
        try:
            lane = self._lanes[entering[0].place() % len(self._lanes)]  # one for all of them: it keeps their order
            for waiting in entering:
                self._enter(tenant_id, waiting, lane)
            return [await waiting.outcome() for waiting in entering]
        finally:
            self._count -= len(entering)
            for waiting in entering:
                waiting.reply.cancel()  # of what is not decided yet: nobody waits for it any more

    async def change(self, tenant_id: UUID, ask: Release | Claim, keep: Keep | None = None) -> Reply:
        """Release or claim a reservation. Raises as `reserve` does."""
        return await self._submit(tenant_id, _Waiting(None, ask, keep))

    async def _submit(self, tenant_id: UUID, waiting: _Waiting) -> Reply:
        self._make_room(1)
        try:
            self._enter(tenant_id, waiting, self._lanes[waiting.place() % len(self._lanes)])
            return await waiting.reply
        finally:
            self._count -= 1

    def _make_room(self, count: int) -> None:
        """Count more requests that wait. Raises TransientError when there is no room for all of them."""
        if self._count + count > self._settings.waiting_max:
            raise TransientError("too many requests wait for the stock", code="busy", wait_seconds=1)
        self._count += count

    def _enter(self, tenant_id: UUID, waiting: _Waiting, lane: _Lane) -> None:
        queue = lane.waiting.get(tenant_id)
        if queue is None:
            queue = lane.waiting[tenant_id] = deque()
        queue.append(waiting)
        lane.count += 1
        self._begin(lane)

    def _begin(self, lane: _Lane) -> None:
        """Begin a lane's next transaction, unless its own last one runs, or another one's and too few wait for company."""
        if lane.running is not None or not lane.waiting:
            return
        if lane.count >= self._settings.company_min or all(other.running is None for other in self._lanes):
            lane.running = asyncio.create_task(self._run(lane))

    async def _run(self, lane: _Lane) -> None:
        try:
            tenant_id, batch = lane.draw(self._settings.batch_max)
            if batch:
                await self._settle(tenant_id, batch)
        finally:
            lane.running = None
        place = self._lanes.index(lane) + 1
        for each in (*self._lanes[place:], *self._lanes[:place]):  # those that waited for this one first
            self._begin(each)

    async def _settle(self, tenant_id: UUID, batch: list[_Waiting]) -> None:
        """Give every request of a batch its reply, or the reason why there is none."""
        try:
            replies = await self._decide(tenant_id, batch)
        except POISON as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                await self._settle(tenant_id, batch[:middle])
                await self._settle(tenant_id, batch[middle:])
                return
            refused = RejectedError("a value is not one that can be stored", code="value_invalid")
            refused.__cause__ = error
            _fail(batch, refused)
        except Exception as error:
            _fail(batch, error)
        else:
            for waiting, reply in zip(batch, replies, strict=True):
                if not waiting.reply.done():
                    waiting.reply.set_result(reply)

    async def _decide(self, tenant_id: UUID, batch: Sequence[_Waiting]) -> list[Reply]:
        for attempt_number in range(1, TRIES_MAX + 1):
            try:
                async with self._open(tenant_id) as conn:
                    articles = await self._find_articles(conn, tenant_id, batch)
                    requests = [_resolve(waiting, articles) for waiting in batch]
                    replies = await perform(conn, tenant_id, requests, catalogue_version=articles.version)
                reach("reserve.committed")
            except MEETINGS as error:
                if attempt_number == TRIES_MAX:
                    if isinstance(error, asyncpg.UniqueViolationError):
                        raise
                    raise TransientError(
                        "somebody else is changing the same thing", code="busy", wait_seconds=1
                    ) from error
                if isinstance(error, StaleBills):
                    self._articles.pop(tenant_id, None)
                else:
                    await asyncio.sleep(random.uniform(0, RETRY_SPREAD_SECONDS * attempt_number))  # noqa: S311
            else:
                return replies
        raise InvariantError("a batch was neither decided nor refused")

    async def _find_articles(self, conn: Connection, tenant_id: UUID, batch: Iterable[_Waiting]) -> _Articles:
        """Return bills and places; what is not known is looked up, before anything is locked.

        SKUs that nobody has are not remembered. Bills that are of a newer catalogue than the others are found out by whoever
        decides.
        """
        found = self._articles.get(tenant_id)
        if found is None or time.monotonic() >= found.until:
            until = time.monotonic() + self._settings.catalogue_seconds
            version = await conn.fetchval(sql.CATALOGUE_VERSION, tenant_id) or 0  # before what it is of
            found = self._articles[tenant_id] = _Articles(version, until, {}, {})
        named = {waiting.wish.location for waiting in batch if waiting.wish is not None} - {None}
        if named - found.places.keys():
            found.places = {row[0]: row[1] for row in await conn.fetch(sql.LOCATIONS, tenant_id)}
        wanted = {sku for waiting in batch if waiting.wish is not None for sku, _ in waiting.wish.lines}
        if missing := sorted(wanted - found.bills.keys()):
            bills: dict[str, list[tuple[UUID, int]]] = {}
            for sku, item_id, units in await conn.fetch(sql.FIND_BILLS_OF_SKUS, tenant_id, missing):
                bills.setdefault(sku, []).append((item_id, units))
            found.bills.update({sku: tuple(bill) for sku, bill in bills.items()})
        return found


def _resolve(waiting: _Waiting, articles: _Articles) -> Request:
    """Return what is decided: bills and places in the place of SKUs and names. Pure."""
    wish = waiting.wish
    if wish is None:
        return Request(waiting.ask, waiting.keep)
    unknown = [sku for sku, _ in wish.lines if sku not in articles.bills]
    if unknown:
        said = ", ".join(repr(sku) for sku in unknown[:5])
        refusal = Refusal(
            code="sku_unknown",
            words=f"no article has the SKU {said}{' and others' if len(unknown) > 5 else ''}",
            hint="nothing was held; tidegate stock show SKU shows what is known",
        )
        return Request(None, waiting.keep, refusal)
    location_id = None
    if wish.location is not None:
        location_id = articles.places.get(wish.location)
        if location_id is None:
            refusal = Refusal(
                code="location_unknown",
                words=f"no active location is called {wish.location!r}",
                hint=f"there are: {', '.join(sorted(articles.places)[:20]) or 'none'}",
            )
            return Request(None, waiting.keep, refusal)
    bills = tuple(articles.bills[sku] for sku, _ in wish.lines)
    return Request(Reserve(wish.lines, bills, wish.seconds, wish.actor, location_id, wish.reference), waiting.keep)


def _fail(batch: Iterable[_Waiting], error: Exception) -> None:
    for waiting in batch:
        if not waiting.reply.done():
            waiting.reply.set_exception(error)
