"""A world in which channels sell, orders come late and out of order, and numbers are lost, late or in doubt; and our books.

The books follow the rules of `inventory.allocate` and nothing else. Every step may be the last one before a crash: a number
whose answer nobody waits for any more is in doubt, exactly as one whose answer was lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from uuid import UUID

from tidegate.inventory import allocate
from tidegate.inventory.allocate import Claim, Counting, Lot


@dataclass
class Request:
    """A number on its way."""

    units: int
    expected: int | None
    """What a channel that compares must show; None: it is set whatever is there."""
    moved: int = 0
    """Units that orders told of since it was made."""
    was_late: bool = False
    """When it was made, another one could still arrive."""


@dataclass
class Channel:
    """A shop with its own books, and what we believe of it."""

    number: UUID
    counting: Counting
    can_sell: int
    enforces: bool = True
    untold: list[int] = field(default_factory=list)
    """Moments at which it sold a unit that no order told yet."""
    sold: int = 0
    beyond: int = 0
    """Units that it sold although it could not."""
    flying: Request | None = None
    arrived: str = ""
    """What became of the request on its way: '' (not there yet), `set`, `stale`, or `odd`: another number is there now."""
    shown_at_arrival: int = 0
    late: list[Request] = field(default_factory=list)
    """Given up, and they may still arrive."""
    # ours
    lot: Lot = field(default_factory=lambda: Lot(counting=Counting.BLIND, settled=None))
    shown: int | None = None
    """What it is believed to let itself sell; None: not known."""
    unseen: int = 0
    """Units that are gone there, and no order told of them."""
    is_doubted: bool = False
    is_late: bool = False
    """For all that we know a number that was given up may still arrive."""
    is_due: bool = False
    """No more can come: it is told once more, whatever it is believed to show."""
    closed_at: int = 0
    """When it was lowered, or looked at: orders of later sales may still be untold when it is drained."""
    sales: int = 0
    exposure: int = 0

    def receive(self, request: Request) -> str:
        """Set the number, unless it is compared and another one is there."""
        self.shown_at_arrival = self.can_sell
        if request.expected is not None and request.expected != self.can_sell:
            return "stale"
        if self.counting is Counting.BOOKED:
            # the number stands for open orders too: those that nobody told yet are inside of it
            self.can_sell = request.units - request.moved - len(self.untold)
        else:
            self.can_sell = request.units
        return "set"


class World:
    """Some channels that sell one article of which there are `stock` units."""

    def __init__(
        self, chance: Random, kinds: list[Counting], stock: int, *, known: bool = True, garbage: bool = False
    ) -> None:
        """`garbage`: shops that take any number may set another one than they were told, and say so."""
        self.chance = chance
        self.garbage = garbage
        self.stock = stock
        self.told = 0
        """Units whose orders came."""
        self.now = 0
        self.withdrawals = 0
        self.moves = 0
        self.channels = [
            Channel(number=UUID(int=place + 1), counting=kind, can_sell=0) for place, kind in enumerate(kinds)
        ]
        for channel in self.channels:
            if not known:
                channel.can_sell = chance.randint(0, 3)
                self.stock += channel.can_sell  # what it shows before anybody took charge is not to be held against us
            channel.lot = Lot(counting=channel.counting, settled=0 if known else None)
            channel.shown = 0 if known else None

    # --- what is true ----------------------------------------------------------------------------------------------
    @property
    def sold(self) -> int:
        return sum(channel.sold for channel in self.channels)

    @property
    def sellable(self) -> int:
        return self.stock - self.told - sum(channel.unseen for channel in self.channels)

    def check(self) -> None:
        """What can be sold was never more than there is, and each lot bounds its channel."""
        assert self.sold <= self.stock + sum(channel.beyond for channel in self.channels), "oversold"
        for channel in self.channels:
            if channel.lot.worst is not None and channel.arrived != "odd":
                out = max(0, channel.can_sell) + len(channel.untold) - channel.unseen
                assert out <= channel.lot.worst, f"{channel.counting} may sell {out}, and counts as {channel.lot.worst}"

    # --- what happens ----------------------------------------------------------------------------------------------
    def step(self) -> None:
        """Something happens somewhere."""
        self.now += 1
        self.expose(1)
        channel = self.chance.choice(self.channels)
        what = self.chance.choice((self.sell, self.sell, self.tell, self.tell, self.lane, self.lane, self.arrive, self.arrive,
                                   self.hear, self.hear, self.lose, self.late, self.look, self.ask_again, self.read_all))  # fmt: skip
        what(channel)

    def expose(self, seconds: int) -> None:
        """Time passes in which channels that have something can sell it."""
        for channel in self.channels:
            channel.exposure += seconds if channel.lot.worst else 0

    def sell(self, channel: Channel) -> None:
        """Somebody buys a unit."""
        if channel.can_sell <= 0:
            return
        channel.can_sell -= 1
        channel.sold += 1
        channel.untold.append(self.now)

    def tell(self, channel: Channel, moment: int | None = None) -> None:
        """An order comes, any of those that were not told."""
        if not channel.untold:
            return
        channel.untold.remove(self.chance.choice(channel.untold) if moment is None else moment)
        self.told += 1
        channel.sales += 1
        if channel.unseen:
            channel.unseen -= 1
            return
        channel.lot = allocate.sell(channel.lot, 1)
        for request in (channel.flying, *channel.late):
            if request is not None:
                request.moved += 1
        if channel.shown is not None and channel.counting is not Counting.BLIND:
            channel.shown -= 1

    def read_all(self, channel: Channel) -> None:
        """Its feeds are read: what it sold until a moment ago is told; what is drained is known."""
        until = channel.closed_at if channel.lot.is_draining and self.chance.random() < 0.5 else self.now
        for moment in [moment for moment in channel.untold if moment <= until]:
            self.tell(channel, moment)
        if channel.lot.is_draining:
            if channel.lot.settled is None:
                channel.shown = 0
            channel.lot = allocate.drain(channel.lot, shows=channel.shown)

    def explain(self, channel: Channel) -> None:
        """All its orders are read and counted: units that are gone without one are no sales."""
        for _ in range(len(channel.untold)):
            self.tell(channel)
        channel.unseen = 0

    # --- our side --------------------------------------------------------------------------------------------------
    def claims(self) -> list[Claim]:
        return [
            Claim(
                channel=channel.number,
                lot=channel.lot,
                velocity=allocate.velocity_of(channel.sales, channel.exposure),
                shown=channel.shown,
                is_late=channel.is_late or (channel.is_due and channel.counting is not Counting.COMPARED),
            )
            for channel in self.channels
        ]

    def lane(self, channel: Channel) -> None:
        """Its lane looks what is to be told."""
        if channel.flying is not None:
            return
        plan = allocate.plan(self.sellable, self.claims())
        assert sum(plan.aims.values()) == max(0, self.sellable)
        move = plan.moves.get(channel.number)
        is_closed_already = move is not None and move.kind == "close" and channel.shown == 0 and channel.is_late
        if not channel.is_due and (move is None or is_closed_already):
            return
        units = move.units if move is not None else max(0, channel.shown or 0)
        self.moves += move is not None
        self.withdrawals += move is not None and move.kind != "raise"
        compared = channel.counting is Counting.COMPARED and channel.shown is not None
        channel.lot = allocate.begin(channel.lot, units, shown=channel.shown)
        expected = channel.shown if compared else None
        channel.flying = Request(units=units, expected=expected, was_late=channel.is_late)
        channel.arrived, channel.is_due = "", False

    def arrive(self, channel: Channel) -> None:
        """The number on its way reaches the channel."""
        if channel.flying is None or channel.arrived:
            return
        channel.arrived = channel.receive(channel.flying)
        if self.garbage and channel.flying.expected is None and not channel.is_doubted and self.chance.random() < 0.3:
            more = self.chance.randint(-3, 3)
            channel.can_sell = max(0, channel.can_sell + more)
            channel.beyond += max(0, more)
            channel.arrived, channel.shown_at_arrival = "odd", max(0, channel.can_sell + len(channel.untold))

    def hear(self, channel: Channel) -> None:
        """The answer comes back."""
        request = channel.flying
        if request is None or not channel.arrived or channel.is_doubted:
            return
        before, gone = channel.shown, channel.unseen
        if channel.arrived == "set":
            channel.shown = request.units - (request.moved if channel.counting is not Counting.BLIND else 0)
            self.end(channel, "arrived", before, gone, request.units)
        elif channel.arrived == "odd":
            channel.shown, channel.arrived = None, ""
            self.end(channel, "unsure", before, gone, None, shows=channel.shown_at_arrival)
        else:
            self.see(channel, request, channel.shown_at_arrival, may_be_there=False)
            self.end(channel, "refused", before, gone, channel.shown_at_arrival)

    def see(self, channel: Channel, request: Request, seen: int, *, may_be_there: bool) -> None:
        """A channel that compares was seen to show something: what lacks below all that could be there was sold untold."""
        low, high = (request.expected or 0) - request.moved, request.expected or 0
        sent = (request.units - request.moved, request.units)
        is_odd = not low <= seen <= high and not (may_be_there and sent[0] <= seen <= sent[1])
        if is_odd:
            channel.unseen += max(0, (max(low, sent[0]) if may_be_there else low) - seen)
        channel.shown = low if not may_be_there and low <= seen <= high else seen

    def end(
        self,
        channel: Channel,
        fate: allocate.Fate,
        before: int | None,
        unseen: int,
        seen: int | None,
        *,
        is_late: bool = False,
        shows: int | None = None,
    ) -> None:
        """Nobody waits for the number any more. `shows`: another number that is there all the same."""
        request = channel.flying
        assert request is not None
        channel.flying, channel.is_doubted = None, False
        had = channel.lot.cap
        channel.lot = allocate.answer(
            channel.lot,
            fate,
            before=before,
            shows=channel.shown if shows is None else shows,
            seen=seen,
            gone=channel.unseen - unseen,
            is_late=is_late or request.was_late,
            is_compared=request.expected is not None,
        )
        if had is None:
            channel.closed_at = self.now

    def lose(self, channel: Channel) -> None:
        """The answer is lost, or whoever waited for it is gone: the number is in doubt."""
        if channel.flying is not None and channel.arrived != "odd":
            channel.is_doubted = True

    def look(self, channel: Channel) -> None:
        """Somebody looks what a channel that compares shows; other numbers are given up, and may still arrive."""
        request = channel.flying
        if request is None or not channel.is_doubted:
            return
        before, gone = channel.shown, channel.unseen
        if not channel.arrived:
            channel.late.append(request)
        if request.expected is None:
            channel.shown = None
        elif channel.can_sell == request.units:
            channel.shown = request.units - request.moved
        else:
            self.see(channel, request, channel.can_sell, may_be_there=True)
        channel.is_late, channel.is_due = True, False
        self.end(channel, "unsure", before, gone, None, is_late=True)

    def ask_again(self, channel: Channel) -> None:
        """Whoever took over asks again under the request's key: what had not arrived arrives now, and nothing of it later."""
        request = channel.flying
        if request is None or not channel.is_doubted or request.expected is None:
            return
        self.arrive(channel)
        if channel.arrived == "set":
            channel.is_doubted = False
            self.hear(channel)

    def late(self, channel: Channel) -> None:
        """Numbers that were given up arrive after all, or never: no more of them come."""
        for request in channel.late:
            if self.chance.random() < 0.5:
                channel.receive(request)
        channel.late.clear()
        if channel.is_late:
            channel.is_late, channel.is_due = False, True

    # --- the end ---------------------------------------------------------------------------------------------------
    def settle(self, buyer: Channel | None = None, rounds: int = 250) -> None:
        """Nothing goes wrong any more; all demand is at one channel."""
        for _ in range(rounds):
            for channel in self.channels:
                self.arrive(channel)
                self.hear(channel)
                self.late(channel)
                self.look(channel)
                self.explain(channel)
                self.read_all(channel)
                self.lane(channel)
            self.expose(20)
            if buyer is not None:
                self.sell(buyer)
            self.check()
