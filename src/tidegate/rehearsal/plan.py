"""From a profile and a seed to the orders of every shopper: who buys what, where and when. Pure and reproducible."""

from __future__ import annotations

import hashlib
import random
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate, pairwise

import msgspec

from tidegate.rehearsal.profile import Profile, Spike

HOT_SKU = "HOT-001"
"""The hot article. Its name sorts in front, so that people find it in tables."""
_STEPS = 200
"""Into how many pieces the curve of arrivals is cut."""


class PlannedOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One purchase that a shopper will try."""

    number: int
    at: float
    """Seconds after the doors open. Open loop: nobody waits for anybody."""
    channel: str
    shopper: int
    lines: tuple[tuple[str, int], ...]
    """SKU and units, each SKU once."""


class Article(msgspec.Struct, frozen=True, kw_only=True):
    """An article of the play, and how many of it the ERP's shelf holds at first."""

    sku: str
    title: str
    price_minor: int
    stock: int


def plan_articles(profile: Profile) -> tuple[Article, ...]:
    """Return the articles, the hot one first."""
    hot = Article(sku=HOT_SKU, title="Storm jacket", price_minor=12_990, stock=profile.hot_stock)
    others = (
        Article(sku=f"ART-{n:04d}", title=f"Harbour article {n}", price_minor=990 + n % 40 * 150, stock=profile.stock)
        for n in range(1, profile.skus)
    )
    return (hot, *others)


def plan_orders(profile: Profile, channels: Sequence[str]) -> tuple[PlannedOrder, ...]:
    """Return the orders by time. The same profile, seed and channels give the same orders."""
    if not channels:
        return ()
    chance = random.Random(f"orders:{profile.seed}")  # noqa: S311 - a play, not a secret
    skus = [article.sku for article in plan_articles(profile)]
    weights = list(accumulate(1.0 / rank**profile.zipf for rank in range(1, len(skus) + 1)))
    times = plan_arrivals(profile.orders, profile.seconds, profile.spike, chance)
    return tuple(
        PlannedOrder(
            number=number,
            at=at,
            channel=channels[0]
            if profile.favourite and chance.random() < profile.favourite
            else chance.choice(channels),
            shopper=chance.randrange(profile.shoppers),
            lines=_lines(profile, skus, weights, chance),
        )
        for number, at in enumerate(times, 1)
    )


def name_plan(profile: Profile, orders: Sequence[PlannedOrder]) -> str:
    """Return a short name of all that is tried: orders, faults and kills. Equal plans have equal names."""
    accidents = (profile.seed, profile.faults, profile.kills, profile.eaten, profile.shipments_per_second)
    whole = msgspec.json.encode((plan_articles(profile), orders, accidents))
    return hashlib.sha256(whole).hexdigest()[:8]


def plan_arrivals(orders: int, seconds: float, spike: Sequence[Spike], chance: random.Random) -> list[float]:
    """Return when each order comes, sorted: independent shoppers whose rate follows the curve."""
    edges = [place / _STEPS for place in range(_STEPS + 1)]
    heights = [weight_at(spike, (left + right) / 2) for left, right in pairwise(edges)]
    sums = list(accumulate(heights, initial=0.0))
    if sums[-1] <= 0:
        return sorted(chance.uniform(0, seconds) for _ in range(orders))
    return sorted(_time_of(chance.uniform(0, sums[-1]), sums, heights) * seconds for _ in range(orders))


def weight_at(spike: Sequence[Spike], at: float) -> float:
    """Return the height of the curve at a share of the time: straight between points, level outside of them."""
    points = sorted(spike, key=lambda point: point.at)
    if not points:
        return 1.0
    if at <= points[0].at:
        return points[0].weight
    for left, right in pairwise(points):
        if at <= right.at:
            width = right.at - left.at
            return right.weight if width == 0 else left.weight + (right.weight - left.weight) * (at - left.at) / width
    return points[-1].weight


def _time_of(drawn: float, sums: Sequence[float], heights: Sequence[float]) -> float:
    step = min(max(bisect_left(sums, drawn) - 1, 0), _STEPS - 1)
    height = heights[step]
    return (step + ((drawn - sums[step]) / height if height else 0.0)) / _STEPS


def _lines(
    profile: Profile, skus: Sequence[str], weights: Sequence[float], chance: random.Random
) -> tuple[tuple[str, int], ...]:
    chosen: dict[str, int] = {}
    for _ in range(chance.randint(1, profile.lines_max)):
        if chance.random() < profile.hot_share:
            sku = skus[0]
        else:
            sku = skus[min(bisect_left(weights, chance.uniform(0, weights[-1])), len(skus) - 1)]
        chosen[sku] = chosen.get(sku, 0) + chance.randint(1, profile.units_max)
    return tuple(sorted(chosen.items()))
