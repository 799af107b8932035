"""Load profiles: how many orders, how fast, of which articles, through which channels, and what breaks meanwhile. Pure."""

from __future__ import annotations

import math
from itertools import cycle
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from tidegate.kernel.errors import ConfigurationError

Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Role = Literal["door", "apply", "dispatch", "postgres"]


class Faults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How badly the platforms and the network behave: shares of deliveries, and of requests."""

    duplicates: Share = 0.0
    """Share of webhooks that are delivered twice."""
    reordered: Share = 0.0
    """Share of webhooks that are held back until later ones have passed."""
    dropped: Share = 0.0
    """Share of webhooks that never arrive, and are not sent again."""
    untold: Share = 0.0
    """Share of orders of which no webhook ever tells, whatever happens to them."""
    replies_lost: Share = 0.0
    """Share of writes that happen at the platform while the answer does not arrive."""
    errors: Share = 0.0
    """Share of requests answered with a 5xx, without an effect."""


class Kill(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kill -9 of one of our own processes."""

    at: Share
    """When: as a share of the time in which people shop."""
    role: Role


class Killing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A kill -9 at regular times while people shop, of one role after the other."""

    every_seconds: Annotated[float, Meta(ge=0.5, le=86_400.0)]
    roles: Annotated[tuple[Role, ...], Meta(min_length=1, max_length=100)] = ("apply", "dispatch")


class Spike(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A point of the curve of arrivals: at this share of the time people come this many times as fast as on average."""

    at: Share
    weight: Annotated[float, Meta(ge=0.0, le=1000.0)]


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A load, and everything that goes wrong during it."""

    name: str
    title: str
    orders: Annotated[int, Meta(ge=1, le=1_000_000)]
    seconds: Annotated[float, Meta(gt=0.0, le=86_400.0)]
    """How long people shop."""
    shoppers: Annotated[int, Meta(ge=1, le=1_000_000)] = 200
    """Different people; each order is one of theirs."""
    skus: Annotated[int, Meta(ge=1, le=5_000)] = 200
    zipf: Annotated[float, Meta(ge=0.0, le=3.0)] = 1.0
    """Exponent of the popularity of articles; 0: all are bought alike."""
    hot_share: Share = 0.0
    """Share of order lines that is for the one hot article, whatever its rank."""
    stock: Annotated[int, Meta(ge=1, le=10_000_000)] = 10_000
    """Units of every article but the hot one."""
    hot_stock: Annotated[int, Meta(ge=0, le=10_000_000)] = 10_000
    favourite: Share = 0.0
    """Share of the orders that go to the first channel; the rest is spread evenly over all of them."""
    lines_max: Annotated[int, Meta(ge=1, le=20)] = 2
    units_max: Annotated[int, Meta(ge=1, le=20)] = 2
    spike: tuple[Spike, ...] = (Spike(at=0.0, weight=1.0), Spike(at=1.0, weight=1.0))
    """Arrivals over time, by points between which the line is straight."""
    faults: Faults = Faults()
    kills: tuple[Kill, ...] = ()
    killing: Killing | None = None
    sells_on_seconds: Annotated[float, Meta(ge=0.0, le=600.0)] = 0.0
    """For so long after an article is gone, shops that cannot refuse in time still sell it."""
    strict_limits: bool = False
    """Platforms that publish no limit refuse what is more than their connectors believe that they allow."""
    eaten: Share = 0.0
    """Share of every platform's budget that another app uses meanwhile."""
    shipments_per_second: Annotated[float, Meta(ge=0.0, le=1000.0)] = 2.0
    """How fast the warehouse ships."""
    freshness_seconds: Annotated[float, Meta(gt=0.0, le=600.0)] = 1.0
    """How old a stock number may be. The fewest calls that do the job are counted for it."""
    drain_seconds: Annotated[float, Meta(gt=0.0, le=7200.0)] = 120.0
    """How long the rehearsal waits for everything to settle, before it counts what is missing."""
    seed: int = 1


_SALE_CURVE = (
    Spike(at=0.0, weight=1.8),
    Spike(at=0.25, weight=1.4),
    Spike(at=0.6, weight=0.8),
    Spike(at=1.0, weight=0.6),
)
_HARD_DAY = Faults(duplicates=0.10, reordered=0.30, dropped=0.02, replies_lost=0.02, errors=0.05)

_ALLOCATION = Profile(
    name="allocation",
    title="10,000 purchases of one article of which there are 500, nearly all in one shop, while processes are killed",
    orders=10_000,
    seconds=120.0,
    shoppers=6_000,
    skus=1,
    hot_share=1.0,
    hot_stock=500,
    favourite=0.875,
    lines_max=1,
    units_max=1,
    faults=_HARD_DAY,
    killing=Killing(every_seconds=5.0, roles=("apply", "dispatch", "door")),
    drain_seconds=600.0,
)

BUILT_IN = {
    profile.name: profile
    for profile in (
        Profile(
            name="smoke",
            title="60 orders in 6 seconds with everything that can go wrong; for CI and a first look",
            orders=60,
            seconds=6.0,
            shoppers=20,
            skus=12,
            hot_share=0.25,
            stock=200,
            hot_stock=200,
            faults=_HARD_DAY,
            shipments_per_second=4.0,
            drain_seconds=90.0,
        ),
        Profile(
            name="flash-sale",
            title="10,000 orders in a minute, one hot article, and a bad network",
            orders=10_000,
            seconds=60.0,
            shoppers=6_000,
            skus=200,
            hot_share=0.20,
            hot_stock=10_000,
            lines_max=2,
            spike=_SALE_CURVE,
            faults=_HARD_DAY,
            drain_seconds=900.0,
        ),
        Profile(
            name="sell-out",
            title="2,000 orders in a minute for an article that runs out half-way; the one shared number oversells it",
            orders=2_000,
            seconds=60.0,
            shoppers=1_500,
            skus=50,
            hot_share=0.5,
            hot_stock=1_800,
            spike=_SALE_CURVE,
            faults=_HARD_DAY,
            drain_seconds=600.0,
        ),
        _ALLOCATION,
        msgspec.structs.replace(
            _ALLOCATION,
            name="blind",
            title="the same with a shop that sells below zero for seconds and takes any number: the worst case is known before",
            sells_on_seconds=3.0,
        ),
        msgspec.structs.replace(
            _ALLOCATION,
            name="broadcast",
            title="the same with one number for all shops, less buffers: the worst case is known before",
        ),
        Profile(
            name="bad-day",
            title="600 orders in a minute while processes of ours are killed and another app uses a third of the budget",
            orders=600,
            seconds=60.0,
            skus=50,
            hot_share=0.2,
            faults=_HARD_DAY,
            kills=(
                Kill(at=0.15, role="apply"),
                Kill(at=0.3, role="dispatch"),
                Kill(at=0.5, role="door"),
                Kill(at=0.7, role="postgres"),
                Kill(at=0.85, role="dispatch"),
            ),
            eaten=1 / 3,
            drain_seconds=300.0,
        ),
        Profile(
            name="missed-events",
            title="1,200 orders in two minutes, and of one in twenty no webhook ever tells",
            orders=1_200,
            seconds=120.0,
            skus=100,
            hot_share=0.3,
            hot_stock=5_000,
            stock=2_000,
            faults=Faults(dropped=0.05, untold=0.05),
            drain_seconds=600.0,
        ),
        Profile(
            name="overload",
            title="five minutes with ten times the news that fit one by one, while apply and dispatch are killed in turn",
            orders=4_350,
            seconds=300.0,
            shoppers=3_000,
            skus=300,
            zipf=0.6,
            lines_max=20,
            units_max=1,
            faults=_HARD_DAY,
            shipments_per_second=15.0,
            killing=Killing(every_seconds=5.0),
            strict_limits=True,
            drain_seconds=900.0,
        ),
    )
}
"""Name -> profile. A profile of one's own is a JSON or YAML file with the same keys."""


def plan_kills(profile: Profile) -> tuple[tuple[float, Role], ...]:
    """Return what is killed when, in seconds after the doors opened, by time."""
    planned = [(kill.at * profile.seconds, kill.role) for kill in profile.kills]
    if (killing := profile.killing) is not None:
        count = math.ceil(profile.seconds / killing.every_seconds)
        moments = (number * killing.every_seconds for number in range(1, count + 1))
        roles = cycle(killing.roles)
        planned += [(moment, role) for moment, role in zip(moments, roles, strict=False) if moment <= profile.seconds]
    return tuple(sorted(planned))


def built_in(name: str) -> Profile:
    """Return a built-in profile. Raises ConfigurationError for a name that is none."""
    found = BUILT_IN.get(name)
    if found is None:
        raise ConfigurationError(
            f"there is no load profile {name!r}", code="profile_unknown", hint=f"there are: {', '.join(BUILT_IN)}"
        )
    return found


def read_profile(raw: object) -> Profile:
    """Return the profile that a file says, with the values of its `like` (a built-in name) where it says nothing.

    Raises ConfigurationError that names the key at fault.
    """
    if not isinstance(raw, dict):
        raise ConfigurationError("a load profile is a mapping of keys", code="profile_invalid", hint=_HINT)
    values = dict(raw)
    begin = built_in(str(values.pop("like", "smoke")))
    try:
        return msgspec.convert({**msgspec.to_builtins(begin), **values}, type=Profile)
    except msgspec.ValidationError as error:
        raise ConfigurationError(
            f"the load profile is not valid: {error}", code="profile_invalid", hint=_HINT
        ) from error


_HINT = "start from a built-in one: {like: flash-sale, orders: 2000, seconds: 30}"
