"""Several orders in one call: whatever goes wrong between the requests, each has the outcome of its own sale (G10)."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.commerce.changes import OrderPrivate
from tidegate.commerce.commands import CreateOrder
from tidegate.connectors.tryton import orders
from tidegate.kernel.errors import (
    OutcomeUnknownError,
    RateLimitedError,
    RejectedError,
    TidegateError,
    TransientError,
)
from tidegate.sdk.connector import Done, Failed, ItemOutcome, NotFound, Partly
from tidegate.sdk.http import Response

NEXT = {("draft", "quote"): "quotation", ("quotation", "confirm"): "confirmed", ("confirmed", "process"): "processing"}
FACTS: dict[str, list[dict[str, Any]]] = {
    "web.shop": [{"id": 1, "company": 1, "warehouses": [5]}],
    "party.party": [{"id": 2, "addresses": [3]}],
    "product.product": [{"id": 9, "default_uom": 1}],
    "account.invoice.payment_term": [],
    "currency.currency": [{"id": 1, "code": "EUR"}],
}
FAULTS = ("broken", "lost", "lost_unsent", "slow_down", "unsent")


class Erp:
    """Many sales with Tryton's buttons. Each request meets the next fault; the books say what was really made."""

    def __init__(
        self, faults: Iterator[str | None], *, refused: frozenset[str] = frozenset(), itself: bool = True
    ) -> None:
        self.settings: dict[str, Any] = {}
        self.memory: dict[str, Any] = {}
        self.sales: dict[str, dict[str, Any]] = {}
        self.made: Counter[str] = Counter()
        self.requests: list[str] = []
        self.in_flight = 0
        self._faults = faults
        self._refused = refused
        self._itself = itself

    async def request(self, method: str, path: str, *, changes_state: bool = True, **options: Any) -> Response:
        model, *rest = urlsplit(path).path.partition("/model/")[2].split("/")
        if model != "sale.sale":
            return answer(200, FACTS[model])
        self.in_flight += 1
        assert self.in_flight == 1, "one request after the other"
        try:
            await asyncio.sleep(0)
            return self._answer(method, path, rest, changes_state, options)
        finally:
            self.in_flight -= 1

    def _answer(self, method: str, path: str, rest: list[str], writes: bool, options: Any) -> Response:
        self.requests.append("search" if method == "GET" else rest[1] if rest else "create")
        fault = next(self._faults, None)
        unknown = OutcomeUnknownError if writes else TransientError
        match fault:
            case "broken":
                raise unknown(code="server_error", context={"status": 503})
            case "slow_down":
                raise RateLimitedError(wait_seconds=3.0, context={"status": 429})
            case "unsent":
                raise TransientError(code="not_sent_connect")
            case "lost_unsent":
                raise unknown(code="answer_lost")
            case _:
                given = self._do(method, path, rest, options)
        if fault == "lost":
            raise unknown(code="answer_lost")
        return given

    def _do(self, method: str, path: str, rest: list[str], options: Any) -> Response:
        if method == "GET":
            return answer(200, self._search(path))
        if rest:
            sale = next(sale for sale in self.sales.values() if sale["id"] == int(rest[0]))
            if (sale["state"], rest[1]) not in NEXT or sale["web_id"] in self._refused:
                return answer(400, {"message": f'You can not call "{rest[1]}".'})
            sale["state"] = NEXT[sale["state"], rest[1]]
            given = answer(200, sale)
            if self._itself and sale["state"] == "confirmed":
                sale["state"] = "processing"  # after the answer was made
            return given
        web_id = options["json"]["web_id"]
        if web_id in self.sales:
            return answer(400, {"message": "The web ID on the sale must be unique per shop."})
        number = len(self.sales) + 1
        self.made[web_id] += 1
        lines = [{"id": 100 + number, "note": f"lin_{web_id}"}]
        self.sales[web_id] = {"id": number, "web_id": web_id, "state": "draft", "lines": lines}
        return answer(200, self.sales[web_id])

    def _search(self, path: str) -> list[dict[str, Any]]:
        domain = msgspec.json.decode(base64.urlsafe_b64decode(parse_qs(urlsplit(path).query)["d"][0]))
        (_, operator, wanted) = domain[-1]
        field = domain[-1][0]
        held = wanted if operator == "in" else [wanted]
        return [sale for sale in self.sales.values() if sale[field] in held]


def answer(status: int, value: Any) -> Response:
    return Response(status=status, headers={}, body=msgspec.json.encode(value))


def order(number: int) -> CreateOrder:
    return CreateOrder(
        reference=f"ord_c0_{number}",
        number=f"#{number}",
        channel="shop",
        placed_at=datetime(2026, 11, 23, tzinfo=UTC),
        currency="EUR",
        lines=(),
        shipping_minor=490,
        shipping_method="parcel",
        discount_minor=0,
        total_minor=490,
        private=OrderPrivate(),
    )


def create(erp: Erp, wanted: Sequence[CreateOrder]) -> list[ItemOutcome]:
    """Carry out one call as the engine does: an error of the whole is that of each."""

    async def play() -> list[ItemOutcome]:
        try:
            return list(await orders.create_order(erp, wanted, "key"))
        except TidegateError as error:
            return [Failed(error=error)] * len(wanted)

    return asyncio.run(play())


def look(erp: Erp, one: CreateOrder) -> Any:
    async def play() -> Any:
        try:
            return await orders.find_order(erp, one)
        except TidegateError as error:
            return error

    return asyncio.run(play())


faults_drawn = st.lists(st.one_of(st.none(), st.none(), st.sampled_from(FAULTS)), max_size=120)


@given(
    st.integers(1, orders.ORDERS_MAX),
    faults_drawn,
    st.booleans(),
    st.sets(st.integers(0, orders.ORDERS_MAX - 1), max_size=2),
    st.sets(st.integers(0, 12), max_size=3),
)
@settings(max_examples=300, deadline=None)
def test_each_order_has_the_outcome_of_its_own_sale(
    count: int, faults: list[str | None], itself: bool, refused: set[int], forgets: set[int]
) -> None:
    """Done is in hand there and once, refused is what the ERP refused, and whoever is sent again comes to his end.

    `forgets`: rounds after which the process is another one, which knows nothing of earlier ones.
    """
    wanted = [order(number) for number in range(count)]
    never = frozenset(f"ord_c0_{number}" for number in refused if number < count)
    erp = Erp(iter(faults), refused=never, itself=itself)
    open_ones, failed, done = list(wanted), set(), {}
    for round_number in range(200):
        if not open_ones:
            break
        again = []
        for one, outcome in zip(open_ones, create(erp, open_ones), strict=True):
            if isinstance(outcome, Done):
                assert erp.sales[one.reference]["state"] == "processing"
                done[one.reference] = outcome
            elif isinstance(outcome.error, RejectedError):
                failed.add(one.reference)
            else:
                again.append(one)
                found = look(erp, one) if isinstance(outcome.error, OutcomeUnknownError) else None
                assert not isinstance(found, Partly | NotFound) or one.reference not in done
        open_ones = again
        if round_number in forgets:
            erp.memory.clear()

    assert not open_ones
    assert failed == never
    assert done.keys() == {one.reference for one in wanted} - never
    assert erp.made == Counter(one.reference for one in wanted)
    for reference, outcome in done.items():
        sale = erp.sales[reference]
        assert (outcome.external_id, outcome.bindings) == (str(sale["id"]), {f"lin_{reference}": str(100 + sale["id"])})


@pytest.mark.parametrize("itself", [True, False])
def test_ten_orders_cost_three_requests_each_and_one_look(itself: bool) -> None:
    """What a call with ten orders sends when nothing goes wrong; Tryton's own processing saves the last button."""
    erp = Erp(iter(()), itself=itself)
    outcomes = create(erp, [order(number) for number in range(10)])

    assert all(isinstance(outcome, Done) for outcome in outcomes)
    wanted = {"create": 10, "quote": 10, "confirm": 10, "search": 1} | ({} if itself else {"process": 10})
    assert Counter(erp.requests) == wanted


def test_a_lost_answer_is_found_by_the_look_of_the_call() -> None:
    """The answer to the second order's confirmation is lost: the look shows it in hand, and nobody is in doubt (A8)."""
    erp = Erp(iter([None] * 5 + ["lost"]))
    outcomes = create(erp, [order(number) for number in range(3)])

    assert all(isinstance(outcome, Done) for outcome in outcomes)
    assert Counter(erp.requests) == {"create": 3, "quote": 3, "confirm": 3, "search": 1}


def test_what_is_half_made_is_finished_without_a_refused_duplicate() -> None:
    """A 503 at the quotation: the next call looks first, and presses what is left."""
    erp = Erp(iter([None, "broken"]))
    first = create(erp, [order(0), order(1)])
    assert [type(outcome) for outcome in first] == [Failed, Done]
    assert isinstance(first[0], Failed)
    assert isinstance(first[0].error, TransientError)
    assert (first[0].error.code, first[0].error.is_further) == ("half_made", True)
    erp.requests.clear()

    assert isinstance(create(erp, [order(0)])[0], Done)
    assert erp.requests == ["quote", "confirm", "search"]


@pytest.mark.parametrize(
    ("count", "faults"),
    [(2, [None, "broken", *[None] * 4, "broken", *[None] * 2]), (1, [None, None, None, "broken", "broken"])],
    ids=["two", "alone"],
)
def test_only_who_has_more_than_before_got_further(count: int, faults: list[str | None]) -> None:
    """The first call leaves a part behind it, the second one adds nothing."""
    erp = Erp(iter(faults))
    wanted = [order(place) for place in range(count)]
    errors = []
    for _ in range(2):
        try:
            (outcome, *_) = create(erp, wanted)
        except TransientError as error:
            errors.append(error.is_further)
        else:
            assert isinstance(outcome, Failed)
            errors.append(isinstance(outcome.error, TransientError) and outcome.error.is_further)
    assert errors == [True, False]


def test_a_side_that_fails_again_and_again_is_left_alone() -> None:
    """Three orders in a row come to nothing: the rest of the call is not tried, and is certainly not there (A4)."""
    erp = Erp(iter(["broken"] * 3))
    outcomes = create(erp, [order(number) for number in range(10)])

    assert erp.requests == ["create"] * 3 + ["search"]
    assert [outcome.error.code for outcome in outcomes if isinstance(outcome, Failed)] == (
        ["server_error"] * 3 + ["not_sent_behind"] * 7
    )
    assert all(isinstance(outcome, Failed) and isinstance(outcome.error, TransientError) for outcome in outcomes)


def test_told_to_slow_down_it_stops_at_once() -> None:
    """A 429 ends the call, without a look; what was done before it is asked for again after the wait."""
    erp = Erp(iter([None, None, None, "slow_down"]))
    outcomes = create(erp, [order(number) for number in range(4)])

    assert erp.requests == ["create", "quote", "confirm", "create"]
    assert all(isinstance(o, Failed) and isinstance(o.error, RateLimitedError) for o in outcomes)
    assert isinstance(create(erp, [order(0)])[0], Done)
    assert erp.requests[4:] == ["search"]


@given(
    st.lists(
        st.sampled_from(["absent", *sorted({state for pair in NEXT for state in (pair[0], NEXT[pair])})]), max_size=16
    )
)
def test_one_search_shows_of_a_whole_call_what_single_looks_show(states: list[str]) -> None:
    """After a crash the members of a call are looked at together, by a process that knows nothing of them."""
    erp = Erp(iter(()))
    wanted = [order(number) for number in range(len(states))]
    for number, (one, state) in enumerate(zip(wanted, states, strict=True)):
        if state != "absent":
            lines = [{"id": 100 + number, "note": f"lin_{one.reference}"}]
            erp.sales[one.reference] = {"id": number, "web_id": one.reference, "state": state, "lines": lines}

    together = asyncio.run(_look_at_all(erp, wanted))
    assert erp.requests == ["search"] * bool(states)
    erp.memory.clear()

    assert together == [look(erp, one) for one in wanted]


async def _look_at_all(erp: Erp, wanted: Sequence[CreateOrder]) -> list[Any]:
    return list(await orders.find_orders(erp, wanted))
