"""What a connector is: declarations and pure mappers, plus thin endpoint functions. Never a retry, never a loop over time.

The engine owns order, pace, retries, read-back and storage. A connector says how a platform signs, what its events mean,
which reads move a feed forward, and how a batch of commands becomes one request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal

import msgspec

from tidegate.commerce.changes import CanonicalChange
from tidegate.commerce.commands import CommandKind, Payload
from tidegate.commerce.stock import StockNumber
from tidegate.kernel.errors import TidegateError
from tidegate.kernel.redaction import Secret
from tidegate.sdk.budgets import DEFAULT_BUDGET, Budget, BudgetReader
from tidegate.sdk.budgets import TokenBucket as TokenBucket  # noqa: PLC0414 - connectors find it here too
from tidegate.sdk.health import NO_CHECKS, Checks
from tidegate.sdk.http import Api, Response, Session
from tidegate.sdk.oauth import OAuth
from tidegate.sdk.signatures import Signer, Verifier


# --- coming in -----------------------------------------------------------------------------------------------------
class EventKeys(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The key fields of a verified delivery, read with a bounded decode at the door."""

    topic: str
    sender_event_id: str
    """The sender's id of the event; dedupe key = (connection, sender_event_id, topic)."""
    ordering_key: str
    """Events of one key are applied in order; usually '<entity kind>:<external id>'."""
    occurred_at: str | None = None
    """ISO 8601, as the sender says."""


class RawEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A stored event as a mapper sees it. `body` is the sender's bytes (webhook) or the JSON that a feed gave (poll, fetch)."""

    source: Literal["webhook", "poll", "fetch", "import", "operator"]
    topic: str
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """How a platform delivers."""

    verify: Verifier
    """Checks the signature on raw bytes. See `sdk.signatures`."""
    read_keys: Callable[[Mapping[str, str], bytes], EventKeys]
    """(lower-cased headers, raw body) -> keys. Runs after `verify`. ValueError means: authentic but unreadable."""
    sign: Signer | None = None
    """Signs as the platform does, for the self-test of `tidegate doctor`. None: that test is left out."""
    secret_field: str = ""
    """The field whose answer signs the deliveries, where the platform or the operator makes that secret: an app's client
    secret, a public key. Without an answer, and where this is '', connecting makes one."""
    stored_headers: frozenset[str] = frozenset({"content-type", "user-agent"})
    """Allow-list of headers kept with the event."""
    body_bytes_max: int = 1 << 20
    keyed_by_body: bool = False
    """True where the sender's event ids are not unique: `sender_event_id` is then a digest of the body."""
    is_ping: Callable[[Mapping[str, str], bytes], bool] | None = None
    """(lower-cased headers, raw body) -> whether the platform only asks, unsigned, if somebody is there. Such a request to
    an address of ours is answered 200; it is no event and nothing is stored. None: the platform asks no such thing."""
    version_header: str = ""
    """Lower-case name of a stored header that tells the API version of the body; compared with `Connector.api_version`."""


class FeedItem(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One entity as a feed or a fetch showed it."""

    topic: str
    external_id: str
    """Of the entity; with topic and body it decides whether this read is news."""
    ordering_key: str
    """The same key that webhooks of this entity have."""
    body: bytes
    """JSON for the mapper; equal bytes mean an equal observation, so leave out what changes with every read."""


class FeedPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a feed. Items and the cursor's move are stored in one transaction."""

    items: tuple[FeedItem, ...]
    cursor: str
    """Where to go on; opaque to the engine."""
    has_more: bool
    """True: read the next page at once (budget permitting), False: after the feed's interval."""


@dataclass(frozen=True, kw_only=True)
class Feed:
    """A read that moves a cursor: half-open overlapping windows, so that nothing falls between two polls."""

    read: Callable[[Api, str], Awaitable[FeedPage]]
    """(api, cursor or '' at the very first read) -> page."""
    interval: timedelta
    charge: float = 1.0
    """Budget tokens per page."""
    operation: str = ""
    """What the platform calls it, where operations have budgets of their own (`PerOperation`)."""
    mends: bool = False
    """True: the read also mends what it finds (a webhook that the platform switched off), in a way that may be repeated. It
    is left out while writes are stopped."""
    open_orders: int = 0
    """More than 0: the read looks whether orders are still there. In place of a cursor it is given the ids of up to so many
    orders of the connection of which something is still to leave, as a JSON list ('' for none), and gives those that are gone. The
    engine goes round them, one page per interval."""
    is_of_articles: bool = False
    """True: it tells of articles, and of no order: whether it was read says nothing of what was sold."""

    counts: timedelta | None = None
    """Not None: the read counts what was placed in a closed window of this length. In place of a cursor it is given the window
    (`sdk.windows`), and its item maps to `OrdersCounted`. One window ends with each interval, so that they overlap. Where fewer are
    known here, the window is read by `fetch["window"]`, whose item maps to one `NeedsFetch` with a version per order."""

    @property
    def tells_sales(self) -> bool:
        """Whether what was sold is known once it was read."""
        return self.tells_news and not self.is_of_articles

    @property
    def tells_news(self) -> bool:
        """Whether it tells what happened by itself: somebody may wait for it."""
        return not self.mends and not self.open_orders and self.counts is None


# --- articles, when connecting --------------------------------------------------------------------------------------
class ArticlesPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the articles of a system. An article may be told twice; it must not be left out."""

    variants: tuple[Variant, ...]
    cursor: str
    """Where to go on; opaque to the engine. Used only when `has_more`."""
    has_more: bool
    wait_seconds: float = 0.0
    """Until the next page may be read, where the platform is preparing it."""


@dataclass(frozen=True, kw_only=True)
class Articles:
    """How all articles of a system are read page by page when it is connected; it begins at '' and ends."""

    read: Callable[[Api, str], Awaitable[ArticlesPage]]
    """(api, cursor or '' at the beginning) -> page."""
    charge: float = 1.0
    """Budget tokens of the dearest page."""


# --- what the other side shows ---------------------------------------------------------------------------------------
class ShownField(StrEnum):
    """What a system shows of an article."""

    STOCK = "stock"
    """A channel's number at a location, as `inventory.set` sets it."""
    ON_HAND = "on_hand"
    """Units that an ERP counts at a location."""
    PRICE = "price"
    """Price of one unit without tax."""
    PRICE_WITH_TAX = "price_with_tax"
    """Price of one unit with tax."""
    LISTED = "listed"
    """That the article is there; the engine's own, where nothing else is shown of it."""


class ShownValue(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One number that a system shows."""

    field: ShownField
    value: Decimal
    """Units for stock and on_hand; for prices an amount of the currency with at most 6 decimals."""
    place: str = ""
    """External id of the location; '' for prices."""
    currency: str = ""
    """ISO 4217; '' for units."""


class ShownArticle(msgspec.Struct, frozen=True, kw_only=True):
    """One article as a system shows it now."""

    external_id: str
    """The id that `inspect` gives it."""
    sku: str
    values: tuple[ShownValue, ...]
    title: str = ""
    parent_external_id: str = ""
    """The product that it is part of, where the system has such a thing; '' where it is not told."""


class ShownPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of what a system shows. An article may be shown twice; it must not be left out."""

    articles: tuple[ShownArticle, ...]
    cursor: str
    """Where to go on; opaque to the engine. Used only when `has_more`."""
    has_more: bool
    wait_seconds: float = 0.0
    """Until the next page may be read, where the platform is preparing it."""
    observed_at: datetime | None = None
    """When these numbers were read there, aware, where that was before this page was asked for. None: just now."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """The bulk read of what a system shows of all its articles; it begins at '' and ends."""

    read: Callable[[Api, str], Awaitable[ShownPage]]
    """(api, cursor or '' at the beginning) -> page."""
    fields: frozenset[ShownField]
    articles_max: int
    """Articles per page; what a plan of calls counts with."""
    charge: float = 1.0
    """Budget tokens per page."""
    operation: str = ""
    """What the platform calls it, where operations have budgets of their own (`PerOperation`)."""


# --- going out -----------------------------------------------------------------------------------------------------
class Done(msgspec.Struct, frozen=True, kw_only=True):
    """It is done there."""

    external_id: str = ""
    """Id of what was made there, '' where nothing was."""
    bindings: dict[str, str] = {}
    """Our public ids of parts (lines) -> their ids."""
    detail: str = ""
    shown: int | None = None
    """Of a conditional inventory.set: what was there right before, where that was fewer units than expected; the number
    that was set is lower by as many. In the payload's units; None where it was as expected."""


SIBLING_REFUSED = "sibling_refused"
"""Code of a ConflictError: nothing is wrong with this number, it was not set because of others of its call. It is sent again at
once, as a new number."""
STOCK_DIFFERS = "stock_differs"
"""Code of a ConflictError: the number was set, and the channel shows another one all the same (`shown` in its context)."""
NOT_COUNTED = "stock_not_managed"
"""Code of a RejectedError: the channel sells the article without counting it, so no number bounds what it sells."""


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """It is not done; `error` says by its class what to do next."""

    error: TidegateError


ItemOutcome = Done | Failed


class NotFound(msgspec.Struct, frozen=True, kw_only=True):
    """A read-back looked properly and did not find the effect."""

    shown: int | None = None
    """Of an inventory.set: the number that is there instead, in the payload's units; None where it was not told."""


class Partly(msgspec.Struct, frozen=True, kw_only=True):
    """A read-back found the thing half made; sending the same frozen command again finishes it and doubles nothing."""

    detail: str = ""


FindOutcome = Done | NotFound | Partly


@dataclass(frozen=True, kw_only=True)
class CommandSpec:
    """How one kind of command is carried out."""

    execute: Callable[[Api, Sequence[Payload], str], Awaitable[Sequence[ItemOutcome]]]
    """(api, payloads of one kind, idempotency key of the call) -> one outcome per payload, in order.
    Raises a TidegateError for the whole call; OutcomeUnknownError when it cannot know what happened."""
    find: Callable[[Api, Payload], Awaitable[FindOutcome]] | None = None
    """Read-back by our reference. None together with `safe_to_resend=False`: a person decides when in doubt."""
    find_many: Callable[[Api, Sequence[Payload]], Awaitable[Sequence[FindOutcome]]] | None = None
    """Read-back of all members of a call in one request, one outcome per payload, in order; None: one by one."""
    ask_again: Callable[[Api, Sequence[Payload], str], Awaitable[Sequence[ItemOutcome] | None]] | None = None
    """(as for `execute`) -> what became of a call of which no answer is known, by asking again under its key; what nothing became
    of is done now. Only where the platform keeps the keys of requests, so that a `Done` is its last word: whatever is still on its
    way under the key has no effect any more. Of what is not done, and where it is None, the keys do not tell: that is read back."""
    keys_kept: timedelta = timedelta(0)
    """For how long after a request its key is certainly remembered: later it is not asked again."""
    all_or_nothing: bool = False
    """A call is carried out whole by the last one of its requests, or not at all: those before it were refused."""
    bulk_max: int = 1
    """Commands per call."""
    safe_to_resend: bool = False
    """True when sending the same frozen call again can never double the effect (unique reference, absolute set)."""
    readback_settle: timedelta = timedelta(seconds=20)
    """How long after the lost answer a 'not found' may be believed (the request may still be running)."""
    repeats: int = 0
    """How often `execute` may repeat requests of a call at once, byte for byte, because no usable answer came: only where
    the platform keeps the keys of requests. `charge` contains them. Whatever else is made again is the engine's to decide."""
    retries: tuple[timedelta, ...] = ()
    """When a call that was not served is made again: one wait per retry, counted from the try before it, and jittered by the
    engine. After the last one the command fails and a person decides; its deadline does not count. (): the engine backs off
    by itself until the deadline. A wait that the other side names is waited in any case."""
    charge: float = 1.0
    """Budget tokens of a call with one command."""
    charge_each: float = 0.0
    """Budget tokens of every further command in a call, where each has requests of its own, made one after the other. Such
    a call saves transactions and looks, not writes: while one is in flight, others gather until what they share of the
    next is little. 0: one request carries them all."""
    reserve_each: float = 0.0
    """Budget tokens that a call keeps ready for each of its commands, for what it may turn out to need; what its answers say
    it did not cost comes back."""
    operation: str = ""
    """What the platform calls it, where operations have budgets of their own (`PerOperation`)."""

    def charge_of(self, commands: int) -> float:
        """Return the budget tokens of a call with so many commands."""
        return self.charge + self.charge_each * (commands - 1) + self.reserve_each * commands


@dataclass(frozen=True, kw_only=True)
class Target:
    """A field of a command's payload that a map may fill, because the platform really takes it."""

    path: str
    """As in the configuration: `customer.ref`, `note`, `lines.tax_code`, `fields.<name>`, ... See `mapping.paths`."""
    title: str
    """What the platform makes of it, in words for people."""
    chars_max: int | None = None
    """Longest text that the platform takes; None where it has no limit."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """Something `tidegate connect` asks for."""

    name: str
    question: str
    secret: bool
    default: str | None = None
    make: Callable[[Mapping[str, Any]], str] | None = None
    """(settings) -> a fresh value, for a secret that is ours to make: it is made once, when the operator gives none."""


class HandedOver(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the operator has to paste at the other side."""

    label: str
    value: Secret
    is_public: bool = False
    """True: it may be shown again at any time. False: it is shown when it is new."""


class Variant(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An article found while connecting."""

    external_id: str
    sku: str
    title: str
    barcode: str = ""
    """EAN, UPC or GTIN, '' where the system knows none."""
    counted_external_id: str = ""
    """What the system calls the thing that it counts, where that is another one than the article (Shopify's inventory
    items). '': the article itself."""
    parent_external_id: str = ""
    """The product that it is part of, where the system has such a thing; '' where it is not told."""


class Location(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A stock location found while connecting."""

    external_id: str
    name: str


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """What a connector found at the other end with the given credentials."""

    external_account: str
    """Stable id of the shop or database: reconnecting it revives the connection. '': it has none, the name stands for it."""
    account_name: str
    version: str
    locations: tuple[Location, ...]
    variants: tuple[Variant, ...]
    findings: tuple[str, ...] = ()
    """Sentences for people: what was found, what is missing and how to mend it."""


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the webhook."""

    registered: bool
    explanation: str
    """When not registered: what the operator has to do."""
    signing_secret: Secret | None = None
    """Made by the platform at this registration, and shown once: deliveries are signed with it from now on."""


@dataclass(frozen=True, kw_only=True)
class Connector:
    """One platform."""

    name: str
    title: str
    version: str
    """Of the connector's code; recorded with every outcome."""
    mapping_version: int
    """Raise it when the mapper's result changes; a re-run after a fix then passes the version gates."""
    roles: frozenset[Literal["channel", "erp", "payment", "listener"]]
    """channel: sells. erp: counts the goods and ships. payment: holds the money that shoppers paid."""
    fields: tuple[Field, ...]
    open_session: Callable[[Api, Mapping[str, Secret], Mapping[str, Any]], Awaitable[Session]]
    """(api without session, secrets, connection settings) -> headers for the following requests. Called again after a 401."""
    inspect: Callable[[Api], Awaitable[Inspection]]
    """A few requests at most, where `articles` reads the articles."""
    normalize: Callable[[RawEvent], Sequence[CanonicalChange]]
    """Pure. Raises ValueError for a body that it cannot read: the event is quarantined with the text."""
    articles: Articles | None = None
    """How to read the articles of a system that may have many, paced by its budget; None: `inspect` reads them."""
    api_version: str = ""
    """The version of the platform's API that the connector speaks, where it is pinned."""
    hosts: tuple[str, ...] = ()
    """Hosts that `base_url` may come to, `*.` for one label in front. (): any host."""
    oauth: OAuth | None = None
    """How the platform gives tokens that expire; see `sdk.oauth`. A field `refresh_token` begins it."""
    refuses_session: Callable[[Response], bool] | None = None
    """Says of an answer other than 401 that it refuses the session and nothing was done, where a platform puts that into
    a 200. The client then logs in anew and sends the request once more, as after a 401."""
    webhook: Webhook | None = None
    subscribe: Callable[[Api, str, Secret], Awaitable[Subscription]] | None = None
    """(api, public webhook URL, signing secret) -> idempotent registration."""
    hand_over: Callable[[Mapping[str, Secret]], Sequence[HandedOver]] | None = None
    """(secrets) -> what the other side must know to trust what we send. Pure."""
    checks: Checks = NO_CHECKS
    """What the platform can say about its own side."""
    feeds: Mapping[str, Feed] = field(default_factory=dict)
    fetch: Mapping[str, Callable[[Api, str], Awaitable[FeedItem | None]]] = field(default_factory=dict)
    """topic -> (api, external id) -> the entity now, None when it is gone."""
    fetch_charge: Mapping[str, float] = field(default_factory=dict)
    """topic -> budget tokens of a fetch; 1 where it is not named."""
    shown: Shown | None = None
    """How to read what the system shows of its articles; None: nothing can be compared with it."""
    commands: Mapping[CommandKind, CommandSpec] = field(default_factory=dict)
    targets: Mapping[CommandKind, tuple[Target, ...]] = field(default_factory=dict)
    """What a map may fill. A target that is not declared is refused when the configuration is checked."""
    base_url: str | None = None
    """Where the platform answers when the connection's entry names no `url`; `{name}` stands for a setting of the entry.
    None: the entry must name it."""
    articles_are_ours: bool = False
    """The platform has no list of articles: it is bound to every article of ours, under its SKU."""
    names_location: bool = False
    """As an ERP: an `order.create` can say from which location the goods are to leave (`OrderLineOut.location_external_id`)."""
    cancels_own_orders: bool = False
    """As a channel: `order.cancel` cancels an order that was placed there, too (`CancelOrder.is_own`)."""
    cancel_pays_back: bool = False
    """As a channel: an order that it is asked to cancel is paid back there, without anybody else."""
    answers_by_status: bool = False
    """A 2xx says that it is done, whatever its body says."""
    budget: Budget = DEFAULT_BUDGET
    """How many calls the platform allows; see `sdk.budgets`."""
    read_budget: BudgetReader | None = None
    """What an answer, of whatever status, says about the platform's own count. None: the usual headers are read."""
    shares_host: bool = False
    """Its connections go to endpoints of strangers at one host: that one of them is down says nothing of the others there."""
    concurrency_max: int = 4
    """Calls of one connection in flight."""
    request_deadline: timedelta = timedelta(seconds=30)
    # How the channel counts (ARCHITECTURE 8).
    enforces_stock: bool = False
    conditional_set: bool = False
    """`inventory.set` is refused as stale (ConflictError `stock_stale`, `shown` in its context) where the channel shows
    another number than `SetInventory.expected`."""
    stock_number: StockNumber = "available"
    deducts_own_orders: bool = False
    """It lowers the number by itself: an `on_hand` channel when it fulfils, an `available` one when it sells."""

    @property
    def deducts_fulfilled(self) -> bool:
        """Whether it takes what it fulfils off its number: then both wait for each other where they are about one item."""
        return self.stock_number == "on_hand"
