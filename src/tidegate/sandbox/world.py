"""The world file, and what is made of it: one place per platform with its books, faults, sender and calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from aiohttp import web

from tidegate.kernel.clock import Clock
from tidegate.kernel.errors import ConfigurationError
from tidegate.sandbox.books import Books, Item, Level, OutOfStock
from tidegate.sandbox.calls import Call, Calls
from tidegate.sandbox.faults import CallFault, FaultProfile, Faults
from tidegate.sandbox.limits import Bucket, InFlight
from tidegate.sandbox.sender import Sender

WORLD_BYTES_MAX = 64 << 20
BODY_BYTES_MAX = 32 << 20
"""What a platform reads of one request."""
_Options = TypeVar("_Options")
RATE, AT_ONCE = "allowed_rate", "allowed_at_once"
"""Names of the limits that an allowance makes."""
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
Sku = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Units = Annotated[int, msgspec.Meta(ge=-1_000_000_000, le=1_000_000_000)]


class ItemSpec(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """An article that every platform knows. `stock` is units at a platform's first location, or units per location."""

    sku: Sku
    title: str = ""
    price_minor: Annotated[int, msgspec.Meta(ge=0, le=10_000_000_000)] = 1_000
    barcode: str | None = None
    stock: Units | dict[str, Units] = 0


class Allowance(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What a platform allows beside the rules of its own: requests per second with a burst, and requests at once."""

    per_second: Annotated[float, msgspec.Meta(gt=0.0, le=1_000_000.0)] | None = None
    burst: Annotated[float, msgspec.Meta(ge=1.0, le=1_000_000.0)] | None = None
    """Absent: what it allows in one second."""
    at_once: Annotated[int, msgspec.Meta(ge=1, le=100_000)] | None = None


class PlatformSpec(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One platform. `skus` are those that it knows (all, when it names none); `stock` replaces the articles' own numbers.

    `enforces_stock`: it sells only what it has. `options` are its server's own (docs/reference/sandbox.md).
    """

    kind: str
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    skus: tuple[Sku, ...] = ()
    stock: dict[Sku, Units] = {}
    enforces_stock: bool = True
    faults: FaultProfile = FaultProfile()
    allows: Allowance = Allowance()
    options: dict[str, Any] = {}


class WorldSpec(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A world file.

    `time_scale` is how many of a platform's seconds pass in one of ours, for waits between attempts of a webhook and the
    life of tokens; limits count real seconds. `routes` say where public addresses are reached on this machine.
    """

    seed: int = 1
    time_scale: Annotated[float, msgspec.Meta(gt=0.0, le=1_000_000.0)] = 1.0
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")] = "EUR"
    routes: dict[str, str] = {}
    items: tuple[ItemSpec, ...] = ()
    platforms: Annotated[dict[Name, PlatformSpec], msgspec.Meta(min_length=1, max_length=32)]


class PurchaseLine(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What a shopper wants of one article."""

    sku: Sku
    quantity: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1


class Purchase(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A shopper buys. `key` names the purchase; the same key again buys nothing more. `extra` is the server's own."""

    platform: Name
    lines: Annotated[tuple[PurchaseLine, ...], msgspec.Meta(min_length=1, max_length=100)]
    key: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None
    email: str = "shopper@example.com"
    extra: dict[str, Any] = {}


class Sale(msgspec.Struct, kw_only=True):
    """What became of a purchase. `id` and `number` are the platform's own; `reason` and `sku` say why it was refused."""

    sold: bool
    key: str
    id: str = ""
    number: int = 0
    reason: str = ""
    sku: str = ""


@dataclass(kw_only=True)
class Handles:
    """What a platform's server gives to the core, beside its routes. `refuse` makes its own words for a fault of a call.

    `actions` are what may be asked for on the control API by name: a cancellation, a dispute, a return.
    """

    refuse: Callable[[CallFault, web.Request], web.StreamResponse]
    buy: Callable[[Purchase, str], Sale | OutOfStock] | None = None
    set_stock: Callable[[str, str | None, int], None] | None = None
    expire_tokens: Callable[[], None] | None = None
    actions: Mapping[str, Callable[[Mapping[str, Any]], Any]] = field(default_factory=dict)
    details: Callable[[], Any] | None = None
    open: Callable[[], Awaitable[None]] | None = None
    close: Callable[[], Awaitable[None]] | None = None


HANDLES: web.AppKey[Handles] = web.AppKey("handles", Handles)
CALL: web.RequestKey[Call] = web.RequestKey("call", Call)


def new_app(handles: Handles) -> web.Application:
    """Return an empty server of a platform."""
    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app[HANDLES] = handles
    return app


@dataclass(kw_only=True)
class Place:
    """What a platform has of its own."""

    name: str
    spec: PlatformSpec
    world: World
    books: Books
    faults: Faults
    sender: Sender
    calls: Calls
    limits: dict[str, Bucket | InFlight] = field(default_factory=dict)

    @property
    def clock(self) -> Clock:
        """The world's clock."""
        return self.world.clock

    def now(self) -> float:
        """Return seconds since 1970."""
        return self.world.clock.now().timestamp()

    def allow(self, allowance: Allowance) -> None:
        """Refuse from now on what is more than this; its count begins anew."""
        for name in (RATE, AT_ONCE):
            self.limits.pop(name, None)
        if allowance.per_second is not None:
            burst = allowance.burst or max(1.0, allowance.per_second)
            self.limits[RATE] = Bucket(burst, allowance.per_second, now=self.clock.monotonic())
        if allowance.at_once is not None:
            self.limits[AT_ONCE] = InFlight(allowance.at_once)

    def enter(self) -> InFlight | Literal[False] | None:
        """Let a request in; return where it must be taken out again, False when it is refused."""
        now = self.clock.monotonic()
        rate, at_once = self.limits.get(RATE), self.limits.get(AT_ONCE)
        if isinstance(rate, Bucket) and rate.take(1.0, now):
            return False
        if not isinstance(at_once, InFlight):
            return None
        return at_once if at_once.enter(now) else False

    def stock_items(self, locations: tuple[str, ...]) -> None:
        """Put the world's articles into the books, at the locations that the platform has (the first one: the default).

        Raises ConfigurationError for an article or a location that there is not.
        """
        spec, known = self.spec, {item.sku for item in self.world.spec.items}
        if unknown := sorted((set(spec.skus) | set(spec.stock)) - known):
            raise ConfigurationError(
                f"platform {self.name!r} names articles that there are not: {', '.join(unknown[:5])}"
            )
        wanted = set(spec.skus) or known
        for item in self.world.spec.items:
            if item.sku not in wanted:
                continue
            stock = spec.stock.get(item.sku, item.stock)
            numbers = stock if isinstance(stock, dict) else {locations[0]: stock}
            if foreign := set(numbers) - set(locations):
                raise ConfigurationError(f"platform {self.name!r} has no location {min(foreign)!r}")
            self.books.add_item(
                Item(
                    sku=item.sku,
                    title=item.title or item.sku,
                    price_minor=item.price_minor,
                    barcode=item.barcode,
                    levels={location: Level(numbers.get(location, 0)) for location in locations},
                )
            )


class World:
    """All platforms of one process. Make it inside of the event loop."""

    def __init__(self, spec: WorldSpec, clock: Clock) -> None:
        self.spec = spec
        self.clock = clock
        self.places: dict[str, Place] = {}
        for name, platform in spec.platforms.items():
            faults = Faults(spec.seed, name, platform.faults)
            sender = Sender(faults, clock, time_scale=spec.time_scale, routes=spec.routes)
            place = Place(
                name=name, spec=platform, world=self, books=Books(), faults=faults, sender=sender, calls=Calls()
            )
            place.allow(platform.allows)
            self.places[name] = place


def read_world(path: Path) -> WorldSpec:
    """Read a world file. Raises ConfigurationError with the place of what is wrong."""
    try:
        if path.stat().st_size > WORLD_BYTES_MAX:
            raise ConfigurationError(f"{path}: a world file has at most {WORLD_BYTES_MAX} bytes")
        return msgspec.json.decode(path.read_bytes(), type=WorldSpec)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"{path}: {error}", hint="docs/reference/sandbox.md lists what it may hold") from error


def read_options(place: Place, kind: type[_Options]) -> _Options:
    """Return the options of a platform as its server's own type. Raises ConfigurationError with the place of what is wrong."""
    try:
        return msgspec.convert(place.spec.options, kind)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"options of platform {place.name!r}: {error}") from error
