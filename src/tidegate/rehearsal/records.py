"""What the platforms' own books said, and what was measured: the values that the verdict is made of.

Times are seconds since the epoch, on the clock of this machine, which all processes of a rehearsal share.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

Units = Mapping[str, int]
"""SKU -> units."""


class Sold(msgspec.Struct, frozen=True, kw_only=True):
    """An order in a channel's books."""

    channel: str
    order: str
    """Its id there."""
    at: float
    lines: Units


class Booked(msgspec.Struct, frozen=True, kw_only=True):
    """A sale in the ERP's books."""

    reference: str
    """The sender's id of it, which joins it to the order."""
    at: float
    lines: Units


class Shipped(msgspec.Struct, frozen=True, kw_only=True):
    """A shipment in the ERP's books, of one sale."""

    reference: str
    tracking: str
    at: float


class Fulfilled(msgspec.Struct, frozen=True, kw_only=True):
    """A fulfillment in a channel's books."""

    channel: str
    order: str
    tracking: str
    at: float


class Paid(msgspec.Struct, frozen=True, kw_only=True):
    """The payment of an order in the books of its provider, in minor units."""

    channel: str
    order: str
    captured: int
    captures: int
    """How often money was taken."""
    refunds: int


class ShownSet(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody told a channel a number, and it took effect there."""

    channel: str
    sku: str
    at: float
    value: int
    changed: bool = True
    """Whether it showed another number before."""


class Calls(msgspec.Struct, frozen=True, kw_only=True):
    """What one platform counted of our requests, from the first shopper until all was settled."""

    total: int = 0
    writes: int = 0
    by_kind: Mapping[str, int] = {}
    """Method and path, or name of the operation -> calls."""
    answers_429: int = 0
    violations: int = 0
    """Windows of its rule that were exceeded, by its own count."""
    busiest_per_second: float = 0.0
    """Cost per second in the busiest ten seconds, in the unit of its rule."""
    limit_per_second: float | None = None
    """What its rule allows for long; None: it has no rule."""
    burst: float = 0.0
    """What its rule allows at once."""
    budget_use: float | None = None
    """Share of what the rule allowed that was used while work was waiting; None: nothing ever waited."""


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one play left behind in the platforms."""

    began_at: float
    ended_at: float
    """When the last shopper was done."""
    settled_at: float | None
    """When nothing was open any more; None: it never came to that in time."""
    sold: tuple[Sold, ...]
    refused: int = 0
    """Purchases that a channel did not allow: nothing left to sell."""
    booked: tuple[Booked, ...]
    orders_of: Mapping[str, tuple[str, str]]
    """Reference in the ERP -> (channel, order)."""
    shipped: tuple[Shipped, ...] = ()
    fulfilled: tuple[Fulfilled, ...] = ()
    paid: tuple[Paid, ...] | None = None
    """None: nobody captures when goods leave."""
    stock: Units
    """Units on the ERP's shelf at first."""
    shown_first: Mapping[str, Units]
    """Channel -> what it showed before the first shopper came."""
    shown_last: Mapping[str, Units]
    sets: tuple[ShownSet, ...] = ()
    calls: Mapping[str, Calls] = {}
    """Platform -> its count."""
    shared: frozenset[str] = frozenset()
    """Articles whose units are shared out among the channels."""
    withdrawals: int = 0
    """Times that a channel was told fewer units of these, so that another one could have them."""
    buffered: frozenset[str] = frozenset()
    """Articles of which channels are told fewer units than there are, as long as others buy."""
    bound: int | None = None
    """Units of the hot article that might at worst be sold too often, as it was promised before; None: nothing was."""
    deliveries: int = 0
    """Webhooks that were delivered, repetitions included."""
    untold: Mapping[tuple[str, str], float | None] | None = None
    """(Channel, order) of which no webhook ever told, and when it was applied (None: never); None: that was no fault of this play."""
    reconcile_cycle_s: float | None = None
    """Time between two looks at the channel that is looked at most rarely; None: one is never looked at."""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What was open at one moment."""

    at: float
    sold: int = 0
    booked: int = 0
    events_waiting: int = 0
    commands_waiting: int = 0
    marks_dirty: int = 0


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """How long one part of the way took."""

    name: str
    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """How long work of one connection waited for one thing."""

    connection: str
    reason: str
    """See `rehearsal.waits`."""
    seconds: int


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """How many processors one part used, from the first shopper until all was settled."""

    part: str
    average: float
    busiest: float
    """In its busiest ten seconds."""
    while_waiting: float = 0.0
    """On average in the seconds in which work waited for answers, or for our own processes."""


class Oversale(msgspec.Struct, frozen=True, kw_only=True):
    """An article of which more was sold than there was."""

    sku: str
    units: int
    by_channel: Units
    """Who sold them: what was sold after the last unit was gone."""
    gone_at: float
    """When the last unit was sold; seconds after the first shopper."""
    last_at: float
    """When the last unit that nobody has was sold."""


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """What would break first, and what to set."""

    is_broken: bool
    """True: it did break. False: it would, under more load."""
    what: str
    setting: str
    """The line of tidegate.yaml that helps; '' when none does."""


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one side: ours, or the naive one."""

    orders: int
    lost: int
    doubled: int
    oversold: int
    wrong_lines: int
    """Orders that the ERP has with other lines than the channel."""
    conservation_imbalance: int
    stock_wrong: int
    """(channel, SKU) pairs that show another number than the books say, after everything has settled."""
    drained_s: float | None
    """From the last order until the last change that we made in any platform's books; None: not settled in time."""
    settled_s: float | None
    """From the last order until nothing was open here any more: numbers that are told once more for safety included."""
    answers_429: int
    violations: int
    budget_use: float | None
    calls: int
    calls_lower_bound: int
    calls_naive: int
    stock_calls: int
    stock_calls_lower_bound: int
    p50_ms: float | None
    p99_ms: float | None
    visible_p50_ms: float | None
    visible_p99_ms: float | None
    oldest_not_visible_s: float
    """Age of the oldest change that some channel does not show yet, at its worst moment."""
    not_visible: int
    """Changes that never became visible."""
    oversales: tuple[Oversale, ...] = ()
    """The most units first."""
    captured: int | None = None
    """Payments whose money was taken; None, like the next three: no flow captures when goods leave."""
    captured_twice: int | None = None
    refunded_twice: int | None = None
    shipped_without_capture: int | None = None
    withdrawals: int | None = None
    """Times that a channel was told fewer units so that another one could have them; None, like the next one: nothing is
    shared out."""
    stranded: int | None = None
    """Units that are left, and that no channel shows, although units are shared out among them."""
    untold: int | None = None
    """Orders of which no webhook ever told; None, like the next four: that was no fault of this play."""
    hot_right_p50_s: float | None = None
    hot_right_p95_s: float | None = None
    """From the sale of such an order until every other channel showed it, of the hot article; None: never."""
    all_right_max_s: float | None = None
    """The longest such time of all articles; None: one was never shown."""
    reconcile_cycle_s: float | None = None
    """Time between two looks at a channel."""
    bound: int | None = None
    """Units that might at worst be sold too often, as it was promised before anybody shopped; None: nothing was promised."""
    bound_of_stock: float | None = None
    """The same as a share of the hot article's stock."""
    examples: tuple[str, ...] = ()
    """Some of what is wrong, in words: where to look first."""

    @property
    def is_kept(self) -> bool:
        """Whether nothing was lost or doubled and the books agree; more may have been sold than there was."""
        wrong = self.lost + self.doubled + self.wrong_lines + self.conservation_imbalance + self.stock_wrong
        wrong += self.stranded or 0
        wrong += (self.captured_twice or 0) + (self.refunded_twice or 0) + (self.shipped_without_capture or 0)
        return not wrong and self.settled_s is not None

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost or doubled, no more oversold than was promised before, and the books agree."""
        return self.is_kept and self.oversold <= (self.bound or 0)


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a plot: points by time."""

    name: str
    points: tuple[tuple[float, float], ...]
    is_step: bool = False


class Plot(msgspec.Struct, frozen=True, kw_only=True):
    """A picture over the seconds since the doors opened."""

    title: str
    unit: str
    lines: tuple[Line, ...]
    note: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that a rehearsal found."""

    profile: str
    title: str
    seed: int
    channels: tuple[str, ...]
    erp: str
    notes: tuple[str, ...]
    """What differs from the user's installation: connections left out, flows made live."""
    ours: Side
    naive: Side | None
    stages: tuple[Stage, ...]
    calls: Mapping[str, Calls]
    advice: tuple[Advice, ...]
    plots: tuple[Plot, ...]
    plan: str = ""
    """Names the orders and accidents that were tried: equal for the same load, seed and channels."""
    kills: tuple[str, ...] = ()
    held: tuple[Held, ...] = ()
    """What work waited for, the longest first; work that waits for less than the freshness of the profile is not in it."""
    loads: tuple[Load, ...] = ()
    returns: tuple[float, ...] = ()
    """For each kill after which another process took the place: the seconds until it stood there."""
    load_average: float = 0.0
    """Of this machine, at the end of the play."""
    cpus: int = 0
