"""Orders in Tryton: created, processed, cancelled and looked for. No retries.

Tryton takes one record per request, so a call with several orders makes the requests of one after those of the other: it is
one call among those at the same time. What it saves is the looking: one search shows what became of all of them, also of
those whose answer was lost on the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tidegate.commerce.commands import CancelOrder, CreateOrder, Payload
from tidegate.connectors.tryton.errors import DUPLICATE
from tidegate.connectors.tryton.facts import Facts, facts_of
from tidegate.connectors.tryton.rest import Raw, Rest
from tidegate.connectors.tryton.sale import values_of
from tidegate.kernel.errors import (
    AuthenticationError,
    ConfigurationError,
    OutcomeUnknownError,
    RateLimitedError,
    RejectedError,
    TidegateError,
    TransientError,
)
from tidegate.sdk.connector import Done, Failed, FindOutcome, ItemOutcome, NotFound, Partly
from tidegate.sdk.http import Api

P = TypeVar("P", CreateOrder, CancelOrder)
SALE_FIELDS = ("id", "state", "lines.note")
STEPS = {"draft": "quote", "quotation": "confirm", "confirmed": "process"}
"""State of a sale -> the next button on the way to processing."""
CANCEL_STEPS = {"draft": "cancel", "quotation": "cancel", "confirmed": "draft"}
"""State of a sale -> the next button on the way to cancelled. There is none from processing."""
IN_HAND = ("processing", "done")
ORDERS_MAX = 16
"""Orders in one call: their requests come one after the other, and the last one waits for all."""
FAILURES_MAX = 3
"""Orders in a row that fail before the rest of a call is left for later."""
BEGUN_MAX = 10_000
_BEGUN = "begun"


async def create_order(api: Api, payloads: Sequence[Payload], _key: str) -> Sequence[ItemOutcome]:
    """Create each sale under its web id, then quote, confirm and process it.

    Tryton keeps (web shop, web id) unique, so a repetition finds the first sale and only finishes it.
    """
    orders = [_order(payload, CreateOrder) for payload in payloads]
    rest, facts = Rest(api), await facts_of(api)
    begun = Begun(api)
    seen = {order.reference: sale for order in orders if (sale := begun.seen(order.reference)) is not None}
    unsure = [order.reference for order in orders if order.reference in begun and order.reference not in seen]
    known = {**seen, **await _find_sales(rest, facts, unsure)}
    if len(orders) == 1:
        order = orders[0]
        begun.add(order.reference)
        sale = known.get(order.reference)
        is_new = sale is None
        sale = sale or await _make(rest, facts, order)
        outcome = await _process(rest, sale, is_new=is_new)
        begun.remove(order.reference)
        return [outcome]
    trials, failure = await _try_all(rest, facts, orders, known, begun)
    await _see_all(rest, facts, trials, failure)
    outcomes = [await _conclude(rest, trial) for trial in trials]
    for trial, outcome in zip(trials, outcomes, strict=True):
        if isinstance(outcome, Done) or isinstance(outcome.error, RejectedError):
            begun.remove(trial.order.reference)
        elif trial.is_seen and trial.sale is not None:
            begun.add(trial.order.reference, trial.sale)
    return outcomes


class Begun:
    """Sales that this process began to create and has not seen finished: they may be there already, and how they were seen.

    It saves the request that would be refused as a duplicate. Who is forgotten, or begun by another process, is found by
    that refusal.
    """

    def __init__(self, api: Api) -> None:
        """Remember as long as the session does."""
        self._sales: dict[str, Raw | None] = api.memory.setdefault(_BEGUN, {})

    def __contains__(self, reference: str) -> bool:
        """Say whether a sale may be there."""
        return reference in self._sales

    def seen(self, reference: str) -> Raw | None:
        """Return the sale as it was seen last, once: whoever comes after that has to look. None: nobody saw it."""
        sale = self._sales.get(reference)
        if sale is not None:
            self._sales[reference] = None
        return sale

    def add(self, reference: str, sale: Raw | None = None) -> None:
        """Note that a sale may be there from now on; `sale`, if it was seen."""
        self._sales[reference] = sale
        if len(self._sales) > BEGUN_MAX:
            self._sales.pop(next(iter(self._sales)))

    def remove(self, reference: str) -> None:
        """Note that a sale is finished."""
        self._sales.pop(reference, None)


# --- one order -----------------------------------------------------------------------------------------------------
async def _make(rest: Rest, facts: Facts, order: CreateOrder) -> Raw:
    """Create the sale, or return the one that has its web id already."""
    try:
        return await rest.create("sale.sale", await values_of(rest, order, facts), SALE_FIELDS)
    except RejectedError as error:
        if error.code != "duplicate_reference":
            raise
        found = await _find_sales(rest, facts, [order.reference])
        if not found:
            raise OutcomeUnknownError("refused as a duplicate, and yet not to be found", code=DUPLICATE) from error
        return found[order.reference]


async def _process(rest: Rest, sale: Raw, *, is_new: bool) -> ItemOutcome:
    state = await _press(rest, sale, STEPS, is_new=is_new)
    return _done(sale) if state in IN_HAND else _stuck(state)


async def _press(rest: Rest, sale: Raw, steps: Mapping[str, str], *, is_new: bool = False) -> str:
    """Press the buttons that are left and return the state that the sale ends in; `is_new`: it was made just now.

    After `confirm` Tryton processes the sale by itself, at once or through its queue; the answer is older than that, so
    the state is read again before anything else is pressed.
    """
    state, sale_id = str(sale["state"]), int(sale["id"])
    while state in steps:
        before = state
        try:
            state = str((await rest.press("sale.sale", sale_id, steps[before]))["state"])
            if state == "confirmed":
                state = await _state(rest, sale_id)
        except RejectedError:  # by a rule, or because an earlier call of ours is still running and was faster
            state = await _state(rest, sale_id)
            if state == before:
                raise
        except TransientError as error:
            if is_new or state != sale["state"]:
                raise _half_made(state, error) from error
            raise
        if state == before:
            break
    return state


async def _state(rest: Rest, sale_id: int) -> str:
    return str((await rest.search("sale.sale", [["id", "=", sale_id]], ["state"]))[0]["state"])


def _done(sale: Raw) -> Done:
    lines = {line["note"]: str(line["id"]) for line in sale["lines"] if line["note"]}
    return Done(external_id=str(sale["id"]), bindings=lines)


def _stuck(state: str) -> Failed:
    return Failed(error=RejectedError(f"the sale is {state} and cannot be processed", code=f"sale_{state}"))


# --- several orders ------------------------------------------------------------------------------------------------
@dataclass
class Trial:
    """What is known of one order among several."""

    order: CreateOrder
    sale: Raw | None = None
    """As it was seen last; None: not seen."""
    error: TidegateError | None = None
    """What ended its way; None: nothing."""
    began: str = ""
    """State of the sale before this call; '' where it was not seen then."""
    is_begun: bool = False
    """Whether there may be a sale."""
    is_seen: bool = False
    """Whether `sale` was looked at after its last write, None included."""

    @property
    def is_finished(self) -> bool:
        """Whether the sale was seen in hand."""
        return self.sale is not None and self.sale["state"] in IN_HAND


async def _try_all(
    rest: Rest, facts: Facts, orders: Sequence[CreateOrder], known: Mapping[str, Raw], begun: Begun
) -> tuple[list[Trial], TidegateError | None]:
    """Go through the orders one by one, and return them with what stopped all of them, None when nothing did.

    When several in a row fail, the rest is left too, but what became of those can be looked at.
    """
    trials: list[Trial] = []
    failures = 0
    stopped: TidegateError | None = None
    failure: TidegateError | None = None
    for order in orders:
        sale = known.get(order.reference)
        trial = Trial(order=order, sale=sale, error=stopped, began=_state_of(sale))
        trials.append(trial)
        if stopped is not None:
            continue
        begun.add(order.reference)
        await _try(rest, facts, trial)
        failures = failures + 1 if isinstance(trial.error, TransientError | OutcomeUnknownError) else 0
        if trial.error is not None and _is_of_all(trial.error):
            stopped = failure = trial.error
        elif failures >= FAILURES_MAX:
            stopped = TransientError("left for later: the orders before it failed", code="not_sent_behind")
    return trials, failure


async def _try(rest: Rest, facts: Facts, trial: Trial) -> None:
    """Create the sale and press what leads to its processing, without looking whether it is processed."""
    try:
        trial.is_begun = trial.sale is not None
        if trial.sale is None:
            values = await values_of(rest, trial.order, facts)
            trial.is_begun = True
            trial.sale = await rest.create("sale.sale", values, SALE_FIELDS)
        is_pressed = False
        while (state := trial.sale["state"]) in STEPS and not (is_pressed and state == "confirmed"):
            pressed = await rest.press("sale.sale", int(trial.sale["id"]), STEPS[state])
            is_pressed = True
            if pressed["state"] == state:
                break
            trial.sale = {**trial.sale, "state": str(pressed["state"])}
    except TidegateError as error:
        trial.error = error


async def _see_all(rest: Rest, facts: Facts, trials: Sequence[Trial], failure: TidegateError | None) -> None:
    """Look with one search what became of everything that was begun. Where that fails, nothing more is known than before.

    `failure` is why no search is worth it.
    """
    wanted = [trial for trial in trials if trial.is_begun and not trial.is_finished and not _is_refused(trial)]
    found: Mapping[str, Raw] = {}
    if failure is None:
        try:
            found = await _find_sales(rest, facts, [trial.order.reference for trial in wanted])
        except TidegateError as error:
            failure = error
    for trial in wanted:
        if failure is not None:
            if trial.error is None or isinstance(trial.error, RejectedError):  # which the look would have judged
                trial.error = failure
            continue
        before, trial.sale, trial.is_seen = trial.sale, found.get(trial.order.reference), True
        if (
            isinstance(trial.error, RejectedError)
            and trial.sale is not None
            and _state_of(trial.sale) != _state_of(before)
        ):
            trial.error = TransientError(code="half_made")  # an earlier call of ours was still running and was faster


def _is_refused(trial: Trial) -> bool:
    """Whether the sale was never made, and will not be: for another reason than that it is there."""
    error = trial.error
    return trial.sale is None and isinstance(error, RejectedError) and error.code != "duplicate_reference"


async def _conclude(rest: Rest, trial: Trial) -> ItemOutcome:
    """Return what became of one order, pressing the last button where Tryton did not process it by itself."""
    sale, error = trial.sale, trial.error
    if sale is not None and trial.is_seen and error is None and sale["state"] == "confirmed":
        try:
            pressed = await rest.press("sale.sale", int(sale["id"]), STEPS["confirmed"])
        except TidegateError as failure:
            return Failed(error=failure)
        sale = {**sale, "state": str(pressed["state"])}
    if sale is not None and sale["state"] in IN_HAND:
        return _done(sale)
    if error is not None and not trial.is_seen:
        return Failed(error=error)
    return Failed(error=_error_of_seen(sale, error, began=trial.began))


def _error_of_seen(sale: Raw | None, error: TidegateError | None, *, began: str) -> TidegateError:
    """Return what the look means for an order that is not in hand; `began` is the state of its sale before the call."""
    if sale is None:
        if error is None or error.code == "duplicate_reference":
            return OutcomeUnknownError("Tryton has made the sale, and yet it is not to be found", code=DUPLICATE)
        if isinstance(error, OutcomeUnknownError) and "status" in error.context:
            return _later(error, f"{error}: nothing was made", error.code)  # it was answered, so it is over
        return error
    state = _state_of(sale)
    if state not in STEPS or error is None:
        return _stuck(state).error
    if isinstance(error, RejectedError):
        return error
    return _half_made(state, error, is_further=state != began)


def _state_of(sale: Raw | None) -> str:
    return str(sale["state"]) if sale is not None else ""


def _half_made(state: str, error: TidegateError, *, is_further: bool = True) -> TransientError:
    """A part of it stands in Tryton; `is_further`: more than before this call."""
    return _later(error, f"the sale is {state}, and is finished with the next try", "half_made", is_further=is_further)


def _later(error: TidegateError, message: str, code: str, *, is_further: bool = False) -> TransientError:
    wait = getattr(error, "wait_seconds", None) or error.context.get("wait_seconds")
    return TransientError(message, code=code, wait_seconds=wait, is_further=is_further, context=error.context)


def _is_of_all(error: TidegateError) -> bool:
    """Whether an error is about the connection: it would meet every other order too."""
    return isinstance(error, RateLimitedError | AuthenticationError | ConfigurationError) or error.code.startswith(
        "not_sent"
    )


# --- read-back, cancellation ---------------------------------------------------------------------------------------
async def find_order(api: Api, payload: Payload) -> FindOutcome:
    """Look for the sale by its web id; one that is not processed yet is half done."""
    (found,) = await find_orders(api, [payload])
    return found


async def find_orders(api: Api, payloads: Sequence[Payload]) -> Sequence[FindOutcome]:
    """Look for the sales of a whole call with one search, each as `find_order` does."""
    orders = [_order(payload, CreateOrder) for payload in payloads]
    sales = await _find_sales(Rest(api), await facts_of(api), [order.reference for order in orders])
    return [_found(api, order, sales.get(order.reference)) for order in orders]


def _found(api: Api, order: CreateOrder, sale: Raw | None) -> FindOutcome:
    if sale is None:
        return NotFound()
    if sale["state"] in IN_HAND:
        return _done(sale)
    Begun(api).add(order.reference, sale)
    return Partly(detail=f"the sale is {sale['state']}")


async def cancel_order(api: Api, payloads: Sequence[Payload], _key: str) -> Sequence[ItemOutcome]:
    """Cancel a sale. One that is processing has shipments, which people cancel first."""
    (command,) = (_order(payload, CancelOrder) for payload in payloads)
    rest = Rest(api)
    sale = await _find_sale(rest, await facts_of(api), command.reference)
    if sale is None:
        return [Failed(error=RejectedError("there is no sale with this web id", code="not_found"))]
    state = await _press(rest, sale, CANCEL_STEPS)
    if state == "cancelled":
        return [Done(external_id=str(sale["id"]))]
    hint = "cancel its shipments in Tryton, then cancel the sale there; or retry this command afterwards"
    return [Failed(error=RejectedError(f"the sale is {state}", code=f"sale_{state}", hint=hint))]


async def find_cancelled_order(api: Api, payload: Payload) -> FindOutcome:
    """Look whether the sale is cancelled."""
    sale = await _find_sale(Rest(api), await facts_of(api), _order(payload, CancelOrder).reference)
    return Done(external_id=str(sale["id"])) if sale and sale["state"] == "cancelled" else NotFound()


async def _find_sale(rest: Rest, facts: Facts, reference: str) -> Raw | None:
    domain = [["web_shop", "=", facts.web_shop], ["web_id", "=", reference]]
    found = await rest.search("sale.sale", domain, SALE_FIELDS, records_max=1)
    return found[0] if found else None


async def _find_sales(rest: Rest, facts: Facts, references: Iterable[str]) -> dict[str, Raw]:
    """Return the sales that are there by web id, with one request; none for nothing."""
    wanted = list(references)
    if len(wanted) == 1:
        sale = await _find_sale(rest, facts, wanted[0])
        return {} if sale is None else {wanted[0]: sale}
    if not wanted:
        return {}
    domain = [["web_shop", "=", facts.web_shop], ["web_id", "in", wanted]]
    found = await rest.search("sale.sale", domain, ("web_id", *SALE_FIELDS))
    return {str(sale["web_id"]): sale for sale in found}


def _order(payload: Payload, kind: type[P]) -> P:
    if not isinstance(payload, kind):
        raise TypeError(f"{kind.__name__} expected, not {type(payload).__name__}")
    return payload
