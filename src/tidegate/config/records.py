"""What the configuration says, as frozen values. Secrets are never part of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from tidegate.config.alerts import Alerts
from tidegate.config.lanes import LaneConfig, Window
from tidegate.mapping.records import Hooks, Maps

Mode = Literal["observe", "propose", "live"]
"""observe: read and show, write nothing. propose: plan, a person approves each write. live: write."""
ORIGIN = "origin"
"""The connection that an order was placed in, whichever that is."""
SELF = "tidegate"
"""Tidegate itself as the owner of a field."""
OptionValue = str | int | float | bool

Port = Annotated[int, Meta(ge=1, le=65535)]
Count = Annotated[int, Meta(ge=0, le=64)]
Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Duration = Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,5}[smhd]$")]
"""A whole number of seconds, minutes, hours or days: `90s`, `30m`, `8h`, `2d`. See `schedule.py::seconds_of`."""
Safety = Annotated[int, Meta(ge=0, le=1_000_000)]
"""Units of an item that are withheld from channels."""
AllocationMode = Literal["off", "auto", "always"]
"""Whether units of an item are shared out among its channels. auto: while it is scarce."""
OversellStep = Literal["other_location", "cancel_newest", "backorder", "ask"]
"""What is tried with an order that holds units which nobody has, or which are not where it stands."""
Buffer = Literal["off", "auto"] | Safety
"""Units that a channel is not told of because others may sell them before it hears of it. auto: by sales and lag."""
OversellMax = Annotated[str, Meta(pattern=r"^(100|[1-9]?[0-9])%$")] | Safety
"""Units, or a share of what can be sold."""


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the configuration file: unknown keys are refused."""


class Listen(_Part, frozen=True, kw_only=True):
    """Where the processes listen."""

    host: str = "127.0.0.1"
    """Address of the webhook door. The web pages stay on loopback unless `web_host` says otherwise."""
    port: Port = 7480
    """Port of the webhook door."""
    web_host: str = "127.0.0.1"
    """Address of health, metrics and pages."""
    web_port: Port = 7481
    """Port of health, metrics and pages."""


class Network(_Part, frozen=True, kw_only=True):
    """Which private addresses connectors may reach. Public addresses are always allowed."""

    allow: tuple[str, ...] = ()
    """Networks in CIDR notation."""


class ConnectionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One system to connect: which connector, and its settings that are not secret."""

    use: str
    """Name of the connector."""
    options: Mapping[str, OptionValue] = {}
    """Everything else of the entry, for example `url` and `database`."""


class Owns(_Part, frozen=True, kw_only=True):
    """Who may write what: exactly one writer per field."""

    on_hand: str | None = msgspec.field(name="stock.on_hand", default=None)
    """The connection that counts the goods."""
    available: Literal["tidegate"] = msgspec.field(name="stock.available", default="tidegate")
    order: Literal["origin"] = "origin"
    shipment: str | None = None
    """The connection that ships."""
    payment: str | None = None
    """The payment provider: what it says of a payment counts for its order."""
    price: str | None = None
    """The connection whose prices count; other systems' prices are compared with its."""


class Recurrence(_Part, frozen=True, kw_only=True):
    """A window that comes again and again."""

    cron: str
    """When it begins: minute, hour, day of the month, month, day of the week."""
    for_: Duration = msgspec.field(name="for")
    """How long it lasts, in elapsed time."""
    tz: str | None = None
    """The time zone of `cron`, by its IANA name; by default that of the file."""


class OrdersFlow(_Part, frozen=True, kw_only=True):
    """Orders go from channels to the ERP."""

    sources: tuple[str, ...] = msgspec.field(name="from")
    target: str = msgspec.field(name="to")
    since: datetime | None = None
    """Orders placed before this moment are left alone. Aware UTC. None only until the file is first put to work."""
    mode: Mode = "observe"
    blackout: tuple[Recurrence, ...] = ()
    """Windows in which what the flow writes waits in the outbox."""


class ShipmentsFlow(_Part, frozen=True, kw_only=True):
    """Shipments go from the warehouse's system to the channel that the order came from."""

    source: str = msgspec.field(name="from")
    target: Literal["origin"] = msgspec.field(name="to", default="origin")
    since: datetime | None = None
    mode: Mode = "observe"
    blackout: tuple[Recurrence, ...] = ()
    """Windows in which what the flow writes waits in the outbox."""
    capture: str | None = None
    """The payment provider at which the money is captured when goods have left; the one that `flows.payments` comes from.
    Absent: somebody else captures."""


class PaymentsFlow(_Part, frozen=True, kw_only=True):
    """What the payment provider says drives the order; money is captured, released and given back by it."""

    source: str = msgspec.field(name="from")
    """The payment provider."""
    target: Literal["origin"] = msgspec.field(name="to", default="origin")
    since: datetime | None = None
    """Payments of orders placed before this moment are left alone. Aware UTC."""
    mode: Mode = "observe"
    blackout: tuple[Recurrence, ...] = ()
    """Windows in which what the flow writes waits in the outbox."""
    partial: Literal["full_on_first", "per_shipment"] = "full_on_first"
    """What a part shipment captures: everything, once, or what left with it. A payment that can be captured only once is
    captured whole in any case."""
    refunds: Literal["both", "to_provider", "to_channel", "none"] = "both"
    """Which way refunds are carried over: to the provider what the channel only recorded, to the channel what the
    provider shows."""
    refund_wait: Duration = "60s"
    """How long a refund that one side shows is given to appear at the other side by itself."""


class Allocation(_Part, frozen=True, kw_only=True):
    """How the units of an item are shared out, so that all its channels together cannot sell more than there is."""

    mode: AllocationMode = "off"
    """off: every channel is told all that can be sold."""
    weights: Mapping[str, Annotated[float, Meta(ge=0, le=1000)]] = {}
    """Channel -> its weight beside the others; 1 where it is not named. 0: it gets nothing but its minimum."""
    minimum: Mapping[str, Safety] = {}
    """Channel -> units that it gets before the rest is shared out."""


class SignificantChange(_Part, frozen=True, kw_only=True):
    """Which changes of a number are told at once. What is absent stays as it is elsewhere, at last as built in."""

    low: Safety | None = None
    """At this many units and fewer, each change counts; 0: never for that."""
    percent: Annotated[int, Meta(ge=1, le=1000)] | Literal["off"] | None = None
    """A change by this part of what the channel was told, and more."""
    units: Annotated[int, Meta(ge=1, le=1_000_000)] | Literal["off"] | None = None
    """A change by so many units, and more."""
    fast: Annotated[str, Meta(pattern=r"^(off|[1-9][0-9]{0,5}[smhd])$")] | None = None
    """Each change of what is gone within this time at the pace at which it sells."""


class Significant(SignificantChange, frozen=True, kw_only=True):
    """The same, with what differs for single channels. That a number crosses zero, or the units withheld, always counts."""

    channels: Mapping[str, SignificantChange] = {}
    """Channel -> what differs there."""


class StockFlow(_Part, frozen=True, kw_only=True):
    """Stock numbers go from the owner of the count to channels."""

    source: str = msgspec.field(name="from")
    targets: tuple[str, ...] = msgspec.field(name="to")
    since: datetime | None = None
    mode: Mode = "observe"
    safety: Safety = 0
    """Units of every item that no channel is told of."""
    allocation: Allocation = Allocation()
    significant: Significant = Significant()
    """Which changes go out at once; the rest waits for company."""
    buffer: Buffer = "off"
    """Counts for items that are not shared out."""
    oversell_max: OversellMax = "10%"
    """How many units of an item may at worst be sold too often where `buffer` is auto."""
    oversell: tuple[OversellStep, ...] = ()
    """What becomes of orders that hold units which nobody has: one after the other is tried. In the end a person is asked."""
    blackout: tuple[Recurrence, ...] = ()
    """Windows in which what the flow writes waits in the outbox."""


class EventsFlow(_Part, frozen=True, kw_only=True):
    """What happens is told to whoever listens: automations, analytics, a system of one's own."""

    targets: tuple[str, ...] = msgspec.field(name="to")
    types: tuple[str, ...] = ()
    """Which events; none named: all of them. `order.updated`, `order.cancelled`, `shipment.created`, `stock.updated`, or patterns such as `order.*`."""
    mode: Mode = "observe"
    blackout: tuple[Recurrence, ...] = ()
    """Windows in which what the flow writes waits in the outbox."""

    @property
    def source(self) -> str:
        """Where events come from: ourselves."""
        return SELF

    @property
    def since(self) -> None:
        """Events are about what changes from now on."""
        return


class Flows(_Part, frozen=True, kw_only=True):
    """What moves where. A flow that is absent does not exist."""

    orders: OrdersFlow | None = None
    shipments: ShipmentsFlow | None = None
    payments: PaymentsFlow | None = None
    stock: StockFlow | None = None
    events: EventsFlow | None = None


class Processes(_Part, frozen=True, kw_only=True):
    """How many processes of each role `tidegate up` starts."""

    door: Count = 1
    apply: Count = 1
    dispatch: Count = 1
    web: Count = 1


Healing = Literal["auto", "approve", "report"]
"""auto: what differs is told anew. approve: a person is asked first. report: it is only shown."""


class Heal(_Part, frozen=True, kw_only=True):
    """What becomes of a difference, by field. Absent stays as it is."""

    stock: Healing | None = None
    """A channel's number differs from the one that we tell."""
    price: Healing | None = None
    """A price differs from its owner's. Nobody sends prices: it can only be reported."""
    on_hand: Healing | None = None
    """Our count differs from its owner's. Movements are read by feeds: it can only be reported."""


Relinking = Literal["auto", "approve"]
"""What becomes of an article that takes the place of a deleted one. auto: it is bound when it is the only one with its SKU.
approve: a person is asked first."""


class Look(_Part, frozen=True, kw_only=True):
    """When a connection is looked at by itself, and what becomes of what differs. Absent stays as it is."""

    enabled: bool | None = None
    every: Annotated[str, Meta(min_length=2, max_length=100)] | None = None
    """Time between two looks, 5m to 60m, or a cron expression."""
    adapt: bool | None = None
    """Whether looks come sooner where much differs, and later where nothing does."""
    jitter: Annotated[str, Meta(pattern=r"^[0-9]{1,5}[sm]$")] | None = None
    """Up to so much is added to each time."""
    blackout: tuple[Recurrence, ...] = ()
    """Windows in which no look begins."""
    heal: Heal = Heal()
    heal_most: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    """More differences than this are not healed by one run without asking."""
    heal_share: Annotated[float, Meta(ge=0, le=1)] | None = None
    """Nor those of more than this part of the articles."""
    tolerance: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    """Units by which a stock number may differ unless one side says that there is none."""
    relink: Relinking | None = None
    """What becomes of an article that was made anew under another id, with the SKU of one that was deleted."""


DEFAULT_LOOK = Look(
    enabled=True,
    every="15m",
    adapt=True,
    jitter="30s",
    heal=Heal(stock="auto", price="report", on_hand="report"),
    heal_most=1000,
    heal_share=0.1,
    tolerance=0,
    relink="auto",
)
"""What counts where the file says nothing."""


class Polling(_Part, frozen=True, kw_only=True):
    """Reading at intervals what webhooks may have missed."""

    enabled: bool = True
    """False: channels are not polled; the feeds of a system without webhooks keep running."""
    interval_min: Duration | None = None
    """No feed is read more often than this, whatever its connector asks for."""


class Profile(_Part, frozen=True, kw_only=True):
    """Settings that an override switches on for a time, under the same names that they have elsewhere."""

    stock_mode: Mode | None = msgspec.field(name="stock.mode", default=None)
    stock_safety: Safety | None = msgspec.field(name="stock.safety", default=None)
    orders_mode: Mode | None = msgspec.field(name="orders.mode", default=None)
    shipments_mode: Mode | None = msgspec.field(name="shipments.mode", default=None)
    payments_mode: Mode | None = msgspec.field(name="payments.mode", default=None)
    events_mode: Mode | None = msgspec.field(name="events.mode", default=None)
    polling_enabled: bool | None = msgspec.field(name="polling.enabled", default=None)
    polling_interval_min: Duration | None = msgspec.field(name="polling.interval_min", default=None)
    lanes_floor: Annotated[float, Meta(ge=0, le=0.9)] | None = msgspec.field(name="lanes.floor", default=None)
    lanes_share: Annotated[float, Meta(gt=0, le=1)] | None = msgspec.field(name="lanes.share", default=None)
    lanes_stock_merge: Window | None = msgspec.field(name="lanes.stock_merge", default=None)
    lanes_bundle: Window | None = msgspec.field(name="lanes.bundle", default=None)
    lanes: Mapping[str, LaneConfig] = {}
    """What differs for single lanes meanwhile; it wins over what is said for all of them."""
    alerts_budget: Annotated[float, Meta(ge=0, le=100)] | None = msgspec.field(
        name="alerts.budget_near_limit", default=None
    )
    """Threshold of the rule `budget_near_limit` meanwhile."""


class Override(_Part, frozen=True, kw_only=True):
    """An exception: for some SKUs, for some time, or both. Of several that fit, the last one in the file counts."""

    match: str | None = None
    """`sku:PATTERN` or `group:NAME`: what it is for."""
    during: str | Recurrence | None = None
    """When it holds: `2026-11-27/2026-12-01` (both days included), or a recurrence. Always, when absent."""
    profile: str | None = None
    """The profile that is on meanwhile; only with `during`."""
    lead: Duration | None = None
    """How long before `during` the profile is on already; only with `profile`."""
    stock_mode: Mode | None = msgspec.field(name="stock.mode", default=None)
    stock_safety: Safety | None = msgspec.field(name="stock.safety", default=None)
    stock_allocation: AllocationMode | None = msgspec.field(name="stock.allocation", default=None)
    """In place of `flows.stock.allocation.mode`."""
    stock_significant: Significant | None = msgspec.field(name="stock.significant", default=None)
    """In place of what `flows.stock.significant` says, as far as it says something itself."""
    stock_buffer: Buffer | None = msgspec.field(name="stock.buffer", default=None)
    """In place of `flows.stock.buffer`."""
    stock_peak: Mapping[str, Annotated[float, Meta(ge=0, le=1_000_000)]] | None = msgspec.field(
        name="stock.peak", default=None
    )
    """Channel -> units a second that it is expected to sell at most: of each item that the override is for."""


class Config(_Part, frozen=True, kw_only=True):
    """The whole file."""

    preset: Literal["shop-and-erp", "stock-only", "none"] | None = None
    """What is filled in where the file says nothing; see `config/presets.py`."""
    since: datetime | None = None
    """`since` of the orders flow where that has none. Aware UTC."""
    tenant: Name = "main"
    cell: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9]{0,11}$")] = "c0"
    """Prefix of every public id and webhook address; differs between whole installations."""
    listen: Listen = Listen()
    public_url: str | None = None
    """What senders are told: scheme, host and port in front of the webhook path."""
    network: Network = Network()
    connections: Mapping[str, ConnectionConfig] = {}
    owns: Owns = Owns()
    flows: Flows = Flows()
    processes: Processes = Processes()
    polling: Polling = Polling()
    lanes: Mapping[str, LaneConfig] = {}
    """How each connection's lane goes; `default` stands for all of them. See `config.lanes`."""
    reconcile: Mapping[str, Look] = {}
    """When each connection is compared by itself; `default` stands for all of them. See `config.reconcile`."""
    maps: Maps = Maps()
    """How payloads are shaped for their target; see `tidegate.mapping`."""
    tables: Mapping[str, Any] = {}
    """Value tables by name: inline `{from: to}` lines, or `{csv: file}`; read by `mapping.tables`."""
    hooks: Hooks = Hooks()
    timezone: str = "UTC"
    """Time zone of days and schedules that name none. IANA name."""
    groups: Mapping[Name, tuple[str, ...]] = {}
    """Names for sets of SKUs; each a list of patterns with `*` and `?`."""
    profiles: Mapping[Name, Profile] = {}
    overrides: tuple[Override, ...] = ()
    alerts: Alerts = Alerts()

    @property
    def needs_since(self) -> bool:
        """Whether it is still open from which moment on orders count."""
        return self.flows.orders is not None and self.flows.orders.since is None

    @property
    def webhook_base(self) -> str:
        """The address that webhook paths are appended to, without a slash at the end."""
        if self.public_url is not None:
            return self.public_url.rstrip("/")
        return f"http://{self.listen.host}:{self.listen.port}"

    @property
    def web_base(self) -> str:
        """The address of health, metrics and pages."""
        return f"http://{self.listen.web_host}:{self.listen.web_port}"
