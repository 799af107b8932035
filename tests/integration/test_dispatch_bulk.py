"""Action commands that share a call: merged to the platform's cap, each with an outcome of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
import pytest_asyncio
from tests.dispatchbed import QUIET, SETTINGS, Bed, place, stock_world, until

from tidegate.commerce.commands import CommandKind, CreateOrder, Payload, SetInventory
from tidegate.kernel.errors import OutcomeUnknownError, RejectedError, TransientError
from tidegate.sdk.connector import CommandSpec, Connector, Done, Failed, FindOutcome, ItemOutcome, NotFound
from tidegate.sdk.http import Api
from tidegate.sdk.testing.hostile import HostileServer
from tidegate.store.connections import Pool
from tidegate.store.database import Database

pytestmark = pytest.mark.asyncio
EAGER = replace(SETTINGS, retries_always=1000)


class Books:
    """A platform that takes orders in batches, and keeps count."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[str, ...]]] = []
        """(idempotency key, references) of each call."""
        self.made: Counter[str] = Counter()
        self.judge: Callable[[Books, Sequence[CreateOrder]], Sequence[ItemOutcome] | None] = lambda _books, _orders: (
            None
        )
        """What becomes of a call, None for the usual; may raise for the call as a whole."""

    async def execute(self, _api: Api, payloads: Sequence[Payload], key: str) -> Sequence[ItemOutcome]:
        orders = [payload for payload in payloads if isinstance(payload, CreateOrder)]
        self.calls.append((key, tuple(order.reference for order in orders)))
        outcomes = self.judge(self, orders)
        return [self.make(order) for order in orders] if outcomes is None else outcomes

    def make(self, order: CreateOrder) -> Done:
        self.made[order.reference] += 1
        return Done(external_id=f"so-{order.reference}")

    async def find(self, _api: Api, payload: Payload) -> FindOutcome:
        assert isinstance(payload, CreateOrder)
        return Done(external_id=f"so-{payload.reference}") if self.made[payload.reference] else NotFound()

    def connector(self, bulk_max: int) -> Connector:
        spec = CommandSpec(
            execute=self.execute, find=self.find, bulk_max=bulk_max, readback_settle=timedelta(milliseconds=100)
        )
        return replace(QUIET, commands={**QUIET.commands, CommandKind.ORDER_CREATE: spec}, concurrency_max=1)


@pytest_asyncio.fixture
async def remote() -> AsyncIterator[HostileServer]:
    async with HostileServer() as server:
        yield server


@pytest_asyncio.fixture
async def bed(database: Database, owner_pool: Pool, remote: HostileServer) -> Bed:
    made = Bed(database, owner_pool, remote.base_url)
    await made.create()
    stock_world(remote.world, [("A", 100)])
    await made.article("A", on_hand=100)
    return made


async def orders_of(bed: Bed, remote: HostileServer, count: int) -> list[str]:
    return [(await bed.order(place(remote.world, ("A", 1)))).reference for _ in range(count)]


async def test_orders_are_merged_to_the_cap(bed: Bed, remote: HostileServer) -> None:
    """Seven that wait are three calls of three at most; each is made once and bound."""
    books = Books()
    references = await orders_of(bed, remote, 7)

    async with bed.running(connector=books.connector(3)):
        await until(bed.is_settled)

    assert [len(called) for _, called in books.calls] == [3, 3, 1]
    assert [reference for _, called in books.calls for reference in called] == references, "the oldest first"
    assert books.made == Counter(references)
    assert await bed.states(CommandKind.ORDER_CREATE) == {"succeeded": 7}
    assert await bed.pool.fetchval("SELECT count(*) FROM binding WHERE kind = 'order'") == 7
    await bed.check_evidence()


async def test_a_refused_item_fails_alone(bed: Bed, remote: HostileServer) -> None:
    """One item of an answer says no: it ends failed, its neighbours are done."""
    books = Books()
    references = await orders_of(bed, remote, 4)

    def judge(_books: Books, orders: Sequence[CreateOrder]) -> Sequence[ItemOutcome]:
        refused = RejectedError("no such article", code="unknown_article")
        return [Failed(error=refused) if o.reference == references[1] else books.make(o) for o in orders]

    books.judge = judge
    async with bed.running(connector=books.connector(10)):
        await until(bed.is_settled)

    assert len(books.calls) == 1
    assert await bed.states(CommandKind.ORDER_CREATE) == {"succeeded": 3, "failed": 1}
    assert books.made == Counter(set(references) - {references[1]})


async def test_a_call_refused_as_a_whole_is_taken_apart(bed: Bed, remote: HostileServer) -> None:
    """A platform that refuses the whole batch for one item: each goes alone, and only the one that was meant fails."""
    books = Books()
    references = await orders_of(bed, remote, 5)

    def judge(_books: Books, orders: Sequence[CreateOrder]) -> None:
        if any(order.reference == references[2] for order in orders):
            raise RejectedError("one of these is bad", code="bad_batch")

    books.judge = judge
    async with bed.running(connector=books.connector(10), settings=EAGER):
        await until(bed.is_settled)

    sizes = [len(called) for _, called in books.calls]
    assert sizes == [5, 1, 1, 1, 1, 1]
    assert len({key for key, _ in books.calls}) == 6, "another request has another key"
    assert await bed.states(CommandKind.ORDER_CREATE) == {"succeeded": 4, "failed": 1}
    assert books.made == Counter(set(references) - {references[2]})


async def test_a_call_that_failed_as_a_whole_is_sent_again_as_it_was(bed: Bed, remote: HostileServer) -> None:
    """The other side was down: the same members go again in the same call, under the same key."""
    books = Books()
    await orders_of(bed, remote, 4)

    def judge(_books: Books, _orders: Sequence[CreateOrder]) -> None:
        if len(books.calls) == 1:
            raise TransientError("down", code="unavailable", wait_seconds=0.05)

    books.judge = judge
    async with bed.running(connector=books.connector(10), settings=EAGER):
        await until(bed.is_settled)

    assert books.calls[0] == books.calls[1]
    assert len(books.calls) == 2
    assert await bed.states(CommandKind.ORDER_CREATE) == {"succeeded": 4}


async def test_a_lost_answer_is_looked_after_member_by_member(bed: Bed, remote: HostileServer) -> None:
    """Half was done when the answer was lost: that half is found, the other half is sent again, and nothing twice."""
    books = Books()
    references = await orders_of(bed, remote, 4)

    def judge(_books: Books, orders: Sequence[CreateOrder]) -> None:
        if len(books.calls) == 1:
            for order in orders[:2]:
                books.make(order)
            raise OutcomeUnknownError("the line broke", code="connection_lost")

    books.judge = judge
    async with bed.running(connector=books.connector(10), settings=EAGER):
        await until(bed.is_settled)

    assert await bed.states(CommandKind.ORDER_CREATE) == {"succeeded": 4}
    assert books.made == Counter(references)


async def test_what_failed_in_several_calls_goes_again_in_one(bed: Bed, remote: HostileServer) -> None:
    """One order of each of three calls fails: where each has requests of its own, the three go again together, as they were
    frozen, under a key of their own; those that went well are not sent again (G10).
    """
    books = Books()
    references = await orders_of(bed, remote, 6)
    unlucky = set(references[::2])

    def judge(_books: Books, orders: Sequence[CreateOrder]) -> Sequence[ItemOutcome] | None:
        if len(books.calls) > 3:
            return None
        failed = Failed(error=TransientError("busy", code="busy", wait_seconds=3600.0))
        return [failed if order.reference in unlucky else books.make(order) for order in orders]

    async def is_parked() -> bool:
        return await bed.states(CommandKind.ORDER_CREATE) == {"succeeded": 3, "pending": 3}

    books.judge = judge
    connector = books.connector(2)
    spec = replace(connector.commands[CommandKind.ORDER_CREATE], charge_each=1.0, safe_to_resend=True)
    connector = replace(connector, commands={**connector.commands, CommandKind.ORDER_CREATE: spec})
    async with bed.running(connector=connector, settings=EAGER):
        await until(is_parked)
        between = (
            "SELECT count(*) FROM command WHERE state = 'pending' AND date_trunc('second', not_before) <> not_before"
        )
        assert await bed.pool.fetchval(between) == 0, "they become due at the same moments"
        await bed.pool.execute("UPDATE command SET not_before = NULL WHERE state = 'pending'")
        await until(bed.is_settled)

    assert [len(called) for _, called in books.calls] == [2, 2, 2, 2, 1]
    assert books.made == Counter(references), "each is made once"
    assert {reference for _, called in books.calls[3:] for reference in called} == unlucky
    assert len({key for key, _ in books.calls}) == 5, "another request has another key"
    assert await bed.states(CommandKind.ORDER_CREATE) == {"succeeded": 6}
    assert await bed.pool.fetchval("SELECT max(attempt_number) FROM command WHERE kind = 'order.create'") == 2
    await bed.check_evidence()


async def test_a_cancelled_member_does_not_hold_the_others(bed: Bed, remote: HostileServer) -> None:
    """An order that nothing is left of ends unsent in the same T2s; the rest of the batch goes."""
    books = Books()
    await orders_of(bed, remote, 3)
    gone = await bed.order(place(remote.world, ("A", 1)))
    await bed.pool.execute('UPDATE "order" SET order_state = $2 WHERE order_id = $1', gone.order_id, "cancelled")

    async with bed.running(connector=books.connector(10)):
        await until(bed.is_settled)

    assert [len(called) for _, called in books.calls] == [3]
    assert await bed.states(CommandKind.ORDER_CREATE) == {"succeeded": 3, "cancelled": 1}


async def test_numbers_of_a_refused_call_go_alone(bed: Bed, remote: HostileServer) -> None:
    """A shop that refuses a whole stock call for one article is told the others all the same."""
    for sku in ("B", "C", "D"):
        await bed.article(sku, on_hand=5)
        await bed.move(sku, on_hand=1)
    calls: list[tuple[str, ...]] = []

    async def tell(_api: Api, payloads: Sequence[Payload], _key: str) -> Sequence[ItemOutcome]:
        skus = tuple(payload.sku for payload in payloads if isinstance(payload, SetInventory))
        calls.append(skus)
        if "C" in skus:
            raise RejectedError("C is not for sale", code="not_for_sale")
        return [Done()] * len(skus)

    spec = replace(QUIET.commands[CommandKind.INVENTORY_SET], execute=tell)
    connector = replace(QUIET, commands={**QUIET.commands, CommandKind.INVENTORY_SET: spec}, concurrency_max=1)
    async with bed.running(connector=connector, settings=EAGER):
        await until(bed.is_settled)

    assert sorted(calls[0]) == ["B", "C", "D"]
    assert sorted(calls[1:]) == [("B",), ("C",), ("D",)]
    assert (await bed.mark("B"))["acked_quantity"] == 6
    assert not (await bed.mark("B"))["alone"]
    assert (await bed.states(CommandKind.INVENTORY_SET))["failed"] == 1
