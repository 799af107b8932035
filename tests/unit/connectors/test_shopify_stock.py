"""How one call of many numbers fares item by item, and what a bulk operation's file is cut into."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import msgspec
import pytest

from tidegate.commerce.commands import SetInventory
from tidegate.connectors.shopify import bulk, queries, stock
from tidegate.connectors.shopify.errors import UserError
from tidegate.connectors.shopify.stock import KEY_FAILED, _Answer, _index_of, _outcome, _per_item
from tidegate.kernel.errors import ConflictError, OutcomeUnknownError, RateLimitedError, RejectedError, TransientError
from tidegate.sdk.connector import Done, Failed


def codes(errors: list[UserError], count: int) -> list[str]:
    outcomes = [_outcome(error) for error in _per_item(errors, count)]
    return [one.error.code if isinstance(one, Failed) else "done" for one in outcomes]


def error(code: str, *field: str) -> UserError:
    return UserError(code=code, field=["input", *field] if field else None, message="no")


def test_without_errors_everything_is_done() -> None:
    assert codes([], 2) == ["done", "done"]
    assert _outcome(None) == Done()


def test_one_refused_item_refuses_its_siblings_and_each_knows_why() -> None:
    found = codes([error("CHANGE_FROM_QUANTITY_STALE", "quantities", "1", "changeFromQuantity")], 3)
    assert found == ["sibling_refused", "stock_stale", "sibling_refused"]


def test_an_error_that_names_no_item_is_everybodys() -> None:
    assert codes([error("INVALID_REASON", "reason")], 2) == ["refused_there", "refused_there"]
    assert codes([error("IDEMPOTENCY_CONCURRENT_REQUEST")], 2) == ["idempotency_running"] * 2


def test_the_first_error_of_an_item_counts() -> None:
    both = [error("INVALID_LOCATION", "quantities", "0"), error("CHANGE_FROM_QUANTITY_STALE", "quantities", "0")]
    assert codes(both, 2) == ["location_unknown", "sibling_refused"]


@pytest.mark.parametrize(
    "field", [None, [], ["input"], ["input", "quantities", "7"], ["input", "quantities", "-1"], ["٣"]]
)
def test_a_place_that_is_none_is_not_believed(field: list[str] | None) -> None:
    assert _index_of(field, 3) is None


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("CHANGE_FROM_QUANTITY_STALE", ConflictError),
        ("IDEMPOTENCY_PREVIOUS_ATTEMPT_FAILED", ConflictError),
        ("IDEMPOTENCY_CONCURRENT_REQUEST", OutcomeUnknownError),
        ("IDEMPOTENCY_KEY_PARAMETER_MISMATCH", RejectedError),
        ("NON_MUTABLE_INVENTORY_ITEM", RejectedError),
        ("SERVICE_UNAVAILABLE", TransientError),
        ("SOMETHING_NEW", RejectedError),
        ("", RejectedError),
    ],
)
def test_every_code_has_its_class(code: str, kind: type[Exception]) -> None:
    outcome = _outcome(error(code))
    assert isinstance(outcome, Failed)
    assert type(outcome.error) is kind


class Shop:
    """Sells between two requests, and answers as the API does, or not at all."""

    def __init__(self, available: dict[str, int], sales: list[dict[str, int]], faults: str = "") -> None:
        """`faults` of the mutations in turn: `l` its answer is lost, `n` it is not done either, `t` throttled, else none."""
        self.available, self.sales = dict(available), list(sales)
        self.faults = list(faults)
        self.kept: dict[str, _Answer] = {}
        self.asked: dict[str, Any] = {}
        self.made: list[dict[str, int]] = []
        self.made_when_set = 0
        """Of the sales that were made, those before the numbers were set."""
        self.keys: list[str] = []
        self.points = 0

    async def call(self, _api: Any, query: str, variables: dict[str, Any], *_: Any, **_kwargs: Any) -> Any:
        if query == queries.LEVELS:
            self.points += 3 * len(variables["items"])
            return [
                {"id": item, "inventoryLevel": {"quantities": [{"quantity": self.available[item.rpartition("/")[2]]}]}}
                for item in variables["items"]
            ]
        fault = self.faults.pop(0) if self.faults else ""
        key = variables["key"]
        self.points += 10
        self.keys.append(key)
        if fault == "t":
            raise RateLimitedError(code="throttled")
        if self.asked.get(key, variables["input"]) != variables["input"]:
            return _Answer(user_errors=[error(stock.KEY_TAKEN)])
        answer = None if fault == "n" else self.kept.get(key) or self.set(variables)
        if answer is None or fault == "l":
            raise OutcomeUnknownError(code="answer_lost")
        return answer

    def set(self, variables: dict[str, Any]) -> _Answer:
        self.asked[variables["key"]] = variables["input"]
        answer = self.tried(variables)
        self.kept[variables["key"]] = _Answer(user_errors=[error(KEY_FAILED)]) if answer.user_errors else answer
        return answer

    def tried(self, variables: dict[str, Any]) -> _Answer:
        self.made.append(self.sales.pop(0) if self.sales else {})
        for item, units in self.made[-1].items():
            self.available[item] -= units
        wanted = variables["input"]["quantities"]
        stale = [
            index
            for index, one in enumerate(wanted)
            if self.available[one["inventoryItemId"].rpartition("/")[2]] != one["changeFromQuantity"]
        ]
        self.made_when_set = len(self.made) if not stale else self.made_when_set
        for one in wanted if not stale else ():
            self.available[one["inventoryItemId"].rpartition("/")[2]] = one["quantity"]
        field = ["input", "quantities"]
        return _Answer(user_errors=[error(STALE, *field[1:], str(index), "changeFromQuantity") for index in stale])


STALE = "CHANGE_FROM_QUANTITY_STALE"


def number(item: str, quantity: int, expected: int) -> SetInventory:
    return SetInventory(
        reference=f"cmd-{item}",
        sku=item,
        variant_external_id=item,
        counted_external_id=item,
        location_external_id="1",
        quantity=quantity,
        expected=expected,
    )


def told(shop: Shop, monkeypatch: pytest.MonkeyPatch, *commands: SetInventory) -> list[Any]:
    monkeypatch.setattr(stock, "call", shop.call)
    return list(asyncio.run(stock.set_inventory(None, commands, "key")))  # type: ignore[arg-type]


def test_what_was_sold_meanwhile_is_taken_off_in_the_same_call(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop({"1": 10, "2": 10}, [{"1": 3}])
    outcomes = told(shop, monkeypatch, number("1", 8, 10), number("2", 8, 10))
    assert outcomes == [Done(shown=7), Done()]
    assert shop.available == {"1": 5, "2": 8}
    assert shop.keys == ["key", "key-2"], "another number is another request"


def test_a_number_never_falls_below_nothing_and_units_that_came_back_are_left_to_the_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop = Shop({"1": 10, "2": 10, "3": 10}, [{"1": 10, "2": -4}])
    first, second, third = told(shop, monkeypatch, number("1", 8, 10), number("2", 8, 10), number("3", 9, 10))
    assert (first, third) == (Done(shown=0), Done())
    assert second.error.code == "stock_stale"
    assert second.error.context["shown"] == 14
    assert shop.available == {"1": 0, "2": 14, "3": 9}


def test_a_shop_that_never_rests_is_asked_a_few_times_and_within_the_charge(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop({"1": 100, "2": 100}, [{"1": 1, "2": 1} for _ in range(20)])
    outcomes = told(shop, monkeypatch, number("1", 50, 100), number("2", 50, 100))
    assert [one.error.code for one in outcomes] == ["stock_stale"] * 2
    assert shop.points <= stock.CHARGE + 2 * stock.RESERVE_EACH


@pytest.mark.parametrize("faults", ["l", "n", "ll", "ln", "nl", "nn"])
def test_a_request_without_an_answer_is_repeated_under_its_key(faults: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop({"1": 10, "2": 10}, [{}, {"1": 3}], faults)
    assert told(shop, monkeypatch, number("1", 8, 10), number("2", 8, 10)) == [Done(), Done()]
    assert shop.available == {"1": 8, "2": 8}, "once"
    assert set(shop.keys) == {"key"}


@pytest.mark.parametrize("faults", ["l", "ll", "nl"])
def test_what_was_refused_without_an_answer_is_tried_under_another_key(
    faults: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop({"1": 10}, [{"1": 3}], faults)
    assert told(shop, monkeypatch, number("1", 8, 10)) == [Done(shown=7)]
    assert shop.available == {"1": 5}
    assert shop.points <= stock.CHARGE + stock.RESERVE_EACH


@pytest.mark.parametrize("faults", ["lll", "nnn", "lt", "nt", "lnl"])
def test_a_request_that_nobody_answers_stays_unknown(faults: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the shop says of a repetition says nothing of the request before."""
    shop = Shop({"1": 10}, [], faults)
    with pytest.raises(OutcomeUnknownError):
        told(shop, monkeypatch, number("1", 8, 10))


class Gone(BaseException):
    """The process that sent the request is gone."""


@pytest.mark.parametrize("requests", [0, 1, 2, 3])
@pytest.mark.parametrize("is_done", [True, False])
@pytest.mark.parametrize("sales", [[], [{"1": 3}], [{"1": 3}, {"1": 1}], [{}, {"1": 3}], [{"1": 3}, {}, {"1": 2}]])
def test_whoever_asks_again_knows_what_became_of_a_call_and_nothing_of_it_comes_later(
    sales: list[dict[str, int]], is_done: bool, requests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies after so many requests; the last one may have arrived, or may arrive after all was asked again."""
    shop = Shop({"1": 10, "2": 10}, sales)
    flying: list[dict[str, Any]] = []

    async def call(api: Any, query: str, variables: dict[str, Any], *rest: Any, **more: Any) -> Any:
        if query != queries.LEVELS and len(shop.keys) == requests:
            if is_done:
                await shop.call(api, query, variables)
            else:
                flying.append(variables)
            raise Gone
        return await shop.call(api, query, variables, *rest, **more)

    monkeypatch.setattr(stock, "call", call)
    commands = (number("1", 8, 10), number("2", 8, 10))
    with contextlib.suppress(Gone):
        asyncio.run(stock.set_inventory(None, commands, "key"))  # type: ignore[arg-type]
    before, shop.points = dict(shop.available), 0
    monkeypatch.setattr(stock, "call", shop.call)
    outcomes = asyncio.run(stock.ask_again(None, commands, "key"))  # type: ignore[arg-type]

    assert shop.points <= stock.CHARGE + 2 * stock.RESERVE_EACH
    after = dict(shop.available)
    if outcomes is None:  # the call had set, or was about to set, another number: that is looked up
        assert after == before
        return
    assert all(isinstance(outcome, Done) for outcome in outcomes)
    sold = 10 - (outcomes[0].shown if outcomes[0].shown is not None else 10)
    assert after["1"] <= 8 - sold
    assert sold == sum(sale.get("1", 0) for sale in shop.made[: shop.made_when_set])
    for variables in flying:
        asyncio.run(shop.call(None, "", variables))
    assert shop.available == after, "what still arrived changed nothing"


def test_a_call_that_looked_first_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop({"1": 10}, [])
    monkeypatch.setattr(stock, "call", shop.call)
    unknown = msgspec.structs.replace(number("1", 8, 10), expected=None)
    assert asyncio.run(stock.ask_again(None, [unknown], "key")) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("faults", ["lll", "nnn", "t", "lt"])
def test_asking_again_without_an_answer_leaves_it_unknown(faults: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop({"1": 10}, [], faults)
    monkeypatch.setattr(stock, "call", shop.call)
    with pytest.raises((OutcomeUnknownError, RateLimitedError)):
        asyncio.run(stock.ask_again(None, [number("1", 8, 10)], "key"))  # type: ignore[arg-type]


def test_a_request_that_still_runs_is_asked_for_later(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop({"1": 10}, [])
    shop.kept["key"] = _Answer(user_errors=[error(stock.KEY_RUNNING)])
    monkeypatch.setattr(stock, "call", shop.call)
    with pytest.raises(OutcomeUnknownError):
        asyncio.run(stock.ask_again(None, [number("1", 8, 10)], "key"))  # type: ignore[arg-type]


def whole(lines: list[bytes]) -> list[bytes]:
    """Read a file part by part as the lane does."""
    body, first, found = b"".join(lines), 0, []
    while True:
        part, used, is_end = bulk.split(body[first : first + bulk.BYTES_PER_PART])
        found += part
        first += used
        if is_end:
            return found
        assert used, "every part moves on"


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 5000])
@pytest.mark.parametrize("size", [1, 40, 262, 900])
def test_every_line_of_a_file_is_read_once_whatever_its_size(count: int, size: int) -> None:
    lines = [b"%d" % n + b"x" * size + b"\n" for n in range(count)]
    assert whole(lines) == lines


def test_a_file_that_ends_exactly_with_a_part_ends() -> None:
    line = b"x" * 1023 + b"\n"
    lines = [line] * (bulk.BYTES_PER_PART // 1024)
    assert whole(lines) == lines


def test_a_last_line_without_an_end_is_read() -> None:
    assert whole([b"a\n", b"b"]) == [b"a\n", b"b"]


def test_a_line_without_end_is_refused() -> None:
    with pytest.raises(TransientError):
        bulk.split(b"x" * bulk.BYTES_PER_PART)
