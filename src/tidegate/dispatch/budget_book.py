"""The meter of one lane, as its pace, its calls and its transactions share it."""

from __future__ import annotations

from tidegate.dispatch.budget_calls import Sign
from tidegate.dispatch.meter import Meter, Rule, Ticket, Usage, has_flights, pack
from tidegate.kernel.clock import Clock
from tidegate.kernel.errors import OutcomeUnknownError, TidegateError, TransientError
from tidegate.sdk.budget_headers import read_usual_headers
from tidegate.sdk.budgets import BudgetReading
from tidegate.sdk.connector import Connector
from tidegate.sdk.http import Response

TOO_MANY = 429
FAILED = 500
UNAVAILABLE = 503


class Book:
    """Counts for one lane, by its monotonic clock. Not for two event loops."""

    def __init__(self, connector: Connector, clock: Clock) -> None:
        """Begin empty, with the whole budget as ours: `resume` and `set_share` say more."""
        self._budget = connector.budget
        self._share = 1.0
        self._clock = clock
        self._read = connector.read_budget or read_usual_headers
        now = clock.monotonic()
        self._wall = clock.now().timestamp() - now
        self.rule = Rule(self._budget, wall=self._wall)
        self.meter: Meter = self.rule.start(now)
        self._number = 0
        self._stored = self.meter

    def resume(self, stored: str | None, number: int, *, age_seconds: float, now: float) -> None:
        """Go on from what the lane's earlier owner stored `age_seconds` ago as its `number`th state."""
        self._number = max(self._number, number)
        self.meter = self.rule.resume(stored, age_seconds=age_seconds, now=now)

    def set_share(self, share: float) -> None:
        """Say how much of the budget is ours, from now on. What was spent stays spent."""
        if share == self._share:
            return
        now = self._clock.monotonic()
        self._share = share
        self.rule = Rule(self._budget, share=share, wall=self._wall)
        self.meter = self.rule.resume(pack(self.meter, now), age_seconds=0.0, now=now)

    def wait(self, charge: float, operation: str, now: float, *, floor_share: float = 0.0) -> float:
        """Return the seconds until `charge` may be taken; infinite: until a call in flight has ended."""
        return self.rule.wait(self.meter, charge, operation, now, floor_share=floor_share)

    def wait_shared(self, charge: float, now: float, *, floor_share: float = 0.0) -> float:
        """Return the wait that calls of every operation have."""
        return self.rule.wait_shared(self.meter, charge, now, floor_share=floor_share)

    def take(self, charge: float, operation: str, now: float) -> Ticket:
        """Take a call's charge; end it with `end` or `refund`."""
        self.meter, ticket = self.rule.take(self.meter, charge, operation, now)
        return ticket

    def end(self, ticket: Ticket, now: float, *, cost: float | None = None) -> None:
        """Note that a call is over and really cost `cost`; None: its charge."""
        self.meter = self.rule.end(self.meter, ticket, now, cost=cost)

    def refund(self, ticket: Ticket, now: float) -> None:
        """Give a charge back: nothing was sent."""
        self.meter = self.rule.refund(self.meter, ticket, now)

    def drain(self, seconds: float, operation: str, now: float) -> None:
        """Note a refusal: nothing is left for `seconds`."""
        self.meter = self.rule.drain(self.meter, seconds, operation, now)

    def usage(self, now: float) -> Usage:
        """Return what is left and what was used."""
        return self.rule.usage(self.meter, now)

    def store(self) -> tuple[str, int, float]:
        """Return the state to store, its number, and what is left. A higher number is newer and holds all of a lower one."""
        now = self._clock.monotonic()
        self._number += 1
        self._stored = self.meter
        return pack(self.meter, now), self._number, self.usage(now).left

    @property
    def is_worth_storing(self) -> bool:
        """Whether calls have ended that are stored as under way: after a crash their windows would begin anew."""
        return has_flights(self._stored) and not has_flights(self.meter)

    def watch(self, ticket: Ticket) -> Watch:
        """Return what follows one call's requests."""
        return Watch(self, ticket, self._clock)

    def correct(
        self, ticket: Ticket, paid: float | None, response: Response, now: float, *, asked_at: float
    ) -> tuple[Ticket, float | None]:
        """Learn from the answer to what was asked at `asked_at`; return the call's ticket, and what it has cost so far.

        That is None when nobody says.

        `paid` is what its earlier requests cost. What exceeds its charge is taken before the answer is believed.
        """
        found = self._read(response)
        readings: tuple[BudgetReading, ...] = found if isinstance(found, tuple) else (found,) if found else ()
        costs = [reading.cost for reading in readings if reading.cost is not None]
        if costs:
            paid = (paid or 0.0) + sum(costs)
            self.meter, ticket = self.rule.raise_to(self.meter, ticket, paid, now)
        to_come = ticket.charge - paid if paid is not None else 0.0
        for reading in readings:
            self.meter = self.rule.correct(self.meter, ticket, reading, now, to_come=to_come, asked_at=asked_at)
        return ticket, paid


class Watch:
    """One call: its answers correct the meter, and its end ends its charge. Every call has an end, whatever became of it."""

    def __init__(self, book: Book, ticket: Ticket, clock: Clock) -> None:
        """Follow the call of `ticket`."""
        self._book = book
        self._clock = clock
        self.ticket = ticket
        self._cost: float | None = None
        self._is_over = False
        self._asked_at = 0.0
        self._requests = 0
        self._is_one_unanswered = False

    def asked(self) -> None:
        """Note that a request begins. The requests of one call come one after the other."""
        self._asked_at = self._clock.monotonic()
        self._requests += 1

    def answered(self, response: Response) -> None:
        """Learn from a whole answer."""
        now = self._clock.monotonic()
        self.ticket, self._cost = self._book.correct(self.ticket, self._cost, response, now, asked_at=self._asked_at)
        self._adapt(_sign_of(response), now)

    def failed(self, error: TidegateError) -> None:
        """Note a request without an answer; what the other side refused was seen as one."""
        if "status" not in error.context and isinstance(error, TransientError | OutcomeUnknownError):
            self._is_one_unanswered = True
            sign = Sign.REFUSED if error.code.endswith("timeout") else Sign.FAILING
            self._adapt(sign, self._clock.monotonic())

    def _adapt(self, sign: Sign, now: float) -> None:
        book = self._book
        book.meter = book.rule.answered(book.meter, self.ticket, max(0.0, now - self._asked_at), sign, now)

    def finish(self) -> None:
        """End the call's charge; once.

        Where the platform tells no costs, a call that made more requests than its charge paid for costs each of them. What
        a request without an answer did cost is not known: then nothing is given back, and the next answer tells.
        """
        if not self._is_over:
            self._is_over = True
            cost = None if self._is_one_unanswered else self._cost
            if cost is None and self._requests > self.ticket.charge:
                cost = float(self._requests)
            self._book.end(self.ticket, self._clock.monotonic(), cost=cost)

    def refund(self) -> None:
        """Give the charge back: nothing was sent; once."""
        if not self._is_over:
            self._is_over = True
            self._book.refund(self.ticket, self._clock.monotonic())


def _sign_of(response: Response) -> Sign:
    """Return what an answer says about how the other side copes. A 503 is overload where it says when to come again."""
    told = response.status == UNAVAILABLE and "retry-after" in response.headers
    if response.status == TOO_MANY or told:
        return Sign.REFUSED
    return Sign.FAILING if response.status >= FAILED else Sign.FINE
