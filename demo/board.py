"""What the demo shows: a table of what every system believes and a line for each stage; pure, from one snapshot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from demo.beliefs import SYSTEMS, Row
from demo.readers import ErpView, GateView, ShopView
from demo.trails import Stop, Trail

UNKNOWN = "..."
SYSTEM_TITLES = {"shop_a": "shop A", "shop_b": "shop B", "erp": "Tryton", "ledger": "Tidegate"}
COMMAND_STATES = ("pending", "sending", "in_doubt", "failed", "succeeded", "superseded", "cancelled")
LONG_SECONDS = 10.0
"""A difference that lasts longer is worth a look; shorter ones are news on its way."""
LITTLE_HEIGHT = 32
HINTS_IN_LITTLE = 2
FRAME_HEIGHT = 7
"""Lines that are always there: headline, table head, blank ones, and one for the cursor."""
TRAIL_HEIGHT = 3
ROWS_MIN = 3
STOPS: tuple[tuple[Stop, str], ...] = (("sold", "sale"), ("shipped", "shipment"), ("fulfilled", "fulfillment"))


@dataclass(frozen=True)
class People:
    """What the people of this run did."""

    ordered: int = 0
    sold_out: int = 0
    refused: int = 0
    shipped: int = 0
    waiting: int = 0
    received: int = 0


@dataclass(frozen=True)
class Snapshot:
    """Everything that is shown, at one moment. A view is None while its system does not answer."""

    up_seconds: float
    start_seconds: float
    rows: Sequence[Row]
    shops: Mapping[str, ShopView | None]
    erp: ErpView | None
    gate: GateView | None
    people: People = field(default_factory=People)
    troubles: Mapping[str, str] = field(default_factory=dict)
    newest: Trail | None = None
    complete: Trail | None = None
    longest_seconds: float = 0.0
    longest_sku: str = ""

    def agreeing(self) -> int:
        """Return on how many articles all systems agree."""
        return sum(row.differs_seconds is None and None not in row.numbers for row in self.rows)

    def is_settled(self) -> bool:
        """Whether all systems agree on everything and nothing is under way."""
        if self.gate is None or self.erp is None or None in self.shops.values():
            return False
        shops = [shop for shop in self.shops.values() if shop is not None]
        return (
            self.agreeing() == len(self.rows)
            and self.gate.open_work() == 0
            and sum(shop.orders for shop in shops) == self.erp.sales
            and sum(shop.fulfillments for shop in shops) == self.erp.shipments_done
        )


@dataclass(frozen=True)
class Places:
    """Where to look further."""

    door: str
    health: str
    command: str
    """What to type for `tidegate`, from here."""
    project: str


def render(snapshot: Snapshot, places: Places, *, width: int, height: int) -> RenderableType:
    """Return the display for a terminal of that size; where it is small, articles and hints are left out."""
    stages = [*stage_lines(snapshot), *trouble_lines(snapshot)]
    hints = hint_lines(snapshot, places)[: HINTS_IN_LITTLE if height < LITTLE_HEIGHT else None]
    hint_height = sum(-(-hint.cell_len // width) for hint in hints)
    room = height - FRAME_HEIGHT - TRAIL_HEIGHT - len(stages) - hint_height
    table = belief_table(snapshot, max(ROWS_MIN, room))
    blank = Text("")
    return Group(headline(snapshot), blank, table, blank, *stages, blank, trail_table(snapshot), blank, *hints)


def headline(snapshot: Snapshot) -> Text:
    """Return what this is, for how long, and how to end it."""
    text = Text.assemble(
        ("Tidegate demo", "bold"), f"   up {show_span(snapshot.up_seconds)}, open {snapshot.start_seconds:.1f} s after the start",
        ("   Ctrl-C ends it", "dim"), no_wrap=True,
    )  # fmt: skip
    if snapshot.gate is not None and snapshot.gate.is_stopped:
        text.append("   ALL WRITES ARE STOPPED", style="bold red")
    return text


def belief_table(snapshot: Snapshot, rows_max: int) -> Table:
    """Return the table of what can be sold, as each system believes."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("can be sold")
    for system in SYSTEMS:
        table.add_column(SYSTEM_TITLES[system], justify="right", min_width=9)
    table.add_column("differ for", justify="right", min_width=10)
    shown = choose_rows(snapshot.rows, rows_max)
    for row in shown:
        table.add_row(row.sku, *(_cell(row, place) for place in range(len(SYSTEMS))), _span_cell(row.differs_seconds))
    hidden = len(snapshot.rows) - len(shown)
    if hidden:
        table.add_row(Text(f"and {hidden} more", style="dim"))
    return table


def choose_rows(rows: Sequence[Row], rows_max: int) -> list[Row]:
    """Return at most `rows_max` rows in their order, those that differ before those that do not."""
    if len(rows) <= rows_max:
        return list(rows)
    by_interest = sorted(range(len(rows)), key=lambda place: (rows[place].differs_seconds is None, place))
    return [rows[place] for place in sorted(by_interest[: rows_max - 1])]


def stage_lines(snapshot: Snapshot) -> list[Text]:
    """Return a line for each stage of the way: orders, shipments, events, commands, people."""
    lines = [
        ("orders", order_words(snapshot)),
        ("shipments", shipment_words(snapshot)),
        ("events", event_words(snapshot.gate)),
        ("commands", command_words(snapshot.gate)),
        ("people", people_words(snapshot.people)),
    ]
    return [Text.assemble((f"{name:<11}", "bold"), words, no_wrap=True, overflow="ellipsis") for name, words in lines]


def order_words(snapshot: Snapshot) -> str:
    """Return how many orders the shops and the ERP have."""
    sales = UNKNOWN if snapshot.erp is None else str(snapshot.erp.sales)
    return f"{_of_shops(snapshot, 'orders')}   Tryton {sales} sales"


def shipment_words(snapshot: Snapshot) -> str:
    """Return how many shipments left, and how many the shops know of."""
    erp = snapshot.erp
    left = UNKNOWN if erp is None else f"{erp.shipments_done} left, {erp.shipments_open} to go"
    return f"Tryton {left}   told: {_of_shops(snapshot, 'fulfillments')}"


def event_words(gate: GateView | None) -> str:
    """Return how many events came, came twice, wait."""
    if gate is None:
        return UNKNOWN
    words = f"{gate.received} received, {gate.duplicates} of them again, {gate.waiting} waiting"
    for number, name in ((gate.parked, "parked"), (gate.quarantined, "quarantined")):
        words += f", {number} {name}" if number else ""
    return words


def command_words(gate: GateView | None) -> str:
    """Return how many commands are in each state."""
    if gate is None:
        return UNKNOWN
    found = [
        f"{gate.commands[state]} {state.replace('_', ' ')}" for state in COMMAND_STATES if gate.commands.get(state)
    ]
    return ", ".join(found) or "none yet"


def people_words(people: People) -> str:
    """Return what people did in this run."""
    words = f"ordered {people.ordered} times, found sold out {people.sold_out}, sent off {people.shipped}"
    words += f" ({people.waiting} wait for goods)" if people.waiting else ""
    words += f", took in {people.received} pieces"
    return words + (f", were refused {people.refused} times" if people.refused else "")


def trouble_lines(snapshot: Snapshot) -> list[Text]:
    """Return why a system does not answer, for each that does not."""
    return [
        Text.assemble((f"{SYSTEM_TITLES[name]:<11}", "bold"), (reason, "red"), no_wrap=True, overflow="ellipsis")
        for name, reason in sorted(snapshot.troubles.items())
    ]


def trail_table(snapshot: Snapshot) -> Table:
    """Return the way of the newest order and of the newest one that came to its end."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("last orders", "in", "placed", *(title for _, title in STOPS)):
        table.add_column(title, min_width=8)
    for trail in (snapshot.newest, snapshot.complete):
        if trail is None:
            table.add_row(Text("none yet", style="dim"))
        else:
            table.add_row(trail.code, SYSTEM_TITLES.get(trail.shop, ""), *trail_words(trail))
    return table


def trail_words(trail: Trail) -> list[str]:
    """Return when an order was placed, and how much later it was where."""
    placed = UNKNOWN if trail.placed is None else f"{trail.placed.astimezone():%H:%M:%S}"
    seconds = [trail.after(stop) for stop, _ in STOPS]
    return [placed, *(UNKNOWN if each is None else f"{max(0.0, each):+.1f} s" for each in seconds)]


def hint_lines(snapshot: Snapshot, places: Places) -> list[Text]:
    """Return what one can try."""
    trail = snapshot.complete or snapshot.newest
    code = trail.code if trail is not None else "CODE"
    lines = [
        f"door {places.door}   health and metrics {places.health}",
        f"{places.command} why order {code} --project {places.project}",
        f"{places.command} status --project {places.project}",
        f"{places.command} writes stop --reason look --project {places.project}",
    ]
    return [Text(line, style="cyan", overflow="fold") for line in lines]


def plain_line(snapshot: Snapshot, clock: str) -> str:
    """Return everything in one line, for output that is no terminal."""
    differing = [row for row in snapshot.rows if row.differs_seconds is not None]
    agree = f"{snapshot.agreeing()} of {len(snapshot.rows)} articles agree"
    if differing:
        agree += " (" + "; ".join(_plain_row(row) for row in differing[:3]) + ")"
    parts = [
        f"orders {order_words(snapshot)}",
        f"shipments {shipment_words(snapshot)}",
        f"events {event_words(snapshot.gate)}",
        f"commands {command_words(snapshot.gate)}",
        agree,
        *(f"{SYSTEM_TITLES[name]} {reason}" for name, reason in sorted(snapshot.troubles.items())),
    ]
    return f"{clock} up {show_span(snapshot.up_seconds)} | " + " | ".join(" ".join(part.split()) for part in parts)


def summary_lines(snapshot: Snapshot) -> list[str]:
    """Return what came of the run."""
    lines = [
        f"ran {show_span(snapshot.up_seconds)}, open {snapshot.start_seconds:.1f} s after the start",
        *(str(line) for line in stage_lines(snapshot)),
        *(f"last order {line}" for line in _summarized(snapshot.complete)),
        f"stock      {snapshot.agreeing()} of {len(snapshot.rows)} articles are the same in all systems",
    ]
    if snapshot.longest_sku:
        lines.append(f"           longest difference seen: {snapshot.longest_seconds:.1f} s ({snapshot.longest_sku})")
    lines += [f"           differs: {_plain_row(row)}" for row in snapshot.rows if row.differs_seconds is not None]
    return lines


def _summarized(trail: Trail | None) -> list[str]:
    if trail is None:
        return []
    placed, *later = trail_words(trail)
    stops = ", ".join(f"{title} {after}" for (_, title), after in zip(STOPS, later, strict=True))
    return [f"{trail.code} in {SYSTEM_TITLES.get(trail.shop, '?')}, placed {placed}, {stops}"]


def show_span(seconds: float) -> str:
    """Return a span of time as people read it: 47 s, 3:07 min, 1:02:09 h."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d} h"


def _of_shops(snapshot: Snapshot, what: str) -> str:
    views = snapshot.shops.items()
    return ", ".join(
        f"{SYSTEM_TITLES[name]} {UNKNOWN if view is None else getattr(view, what)}" for name, view in views
    )


def _cell(row: Row, place: int) -> Text:
    number = row.numbers[place]
    if number is None:
        return Text(UNKNOWN, style="dim")
    return Text(f"{number:,}", style="bold reverse yellow" if place in row.odd else "")


def _span_cell(seconds: float | None) -> Text:
    if seconds is None:
        return Text("")
    return Text(f"{seconds:.0f} s", style="bold red" if seconds > LONG_SECONDS else "yellow")


def _plain_row(row: Row) -> str:
    numbers = (UNKNOWN if number is None else str(number) for number in row.numbers)
    said = ", ".join(f"{SYSTEM_TITLES[system]} {number}" for system, number in zip(SYSTEMS, numbers, strict=True))
    return f"{row.sku} for {row.differs_seconds or 0:.0f} s: {said}"
