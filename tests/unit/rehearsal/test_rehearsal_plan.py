"""Load profiles and the orders that they become."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from tidegate.kernel.errors import ConfigurationError
from tidegate.rehearsal.plan import HOT_SKU, name_plan, plan_articles, plan_orders, weight_at
from tidegate.rehearsal.profile import BUILT_IN, Killing, Profile, Spike, built_in, plan_kills, read_profile

CHANNELS = ("shop", "web", "pos")


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_profiles_can_be_played(name: str) -> None:
    """Each has its orders, in time, from articles that there are, in all channels."""
    profile = built_in(name)
    orders = plan_orders(profile, CHANNELS)
    skus = {article.sku for article in plan_articles(profile)}
    assert len(orders) == profile.orders
    assert [order.at for order in orders] == sorted(order.at for order in orders)
    assert all(0 <= order.at <= profile.seconds for order in orders)
    assert {sku for order in orders for sku, _ in order.lines} <= skus
    assert {order.channel for order in orders} == set(CHANNELS)
    assert len(skus) == profile.skus


def test_the_same_seed_gives_the_same_orders_and_another_one_does_not() -> None:
    """A run can be repeated."""
    profile = built_in("smoke")
    other = msgspec.structs.replace(profile, seed=2)
    assert plan_orders(profile, CHANNELS) == plan_orders(profile, CHANNELS)
    assert plan_orders(profile, CHANNELS) != plan_orders(other, CHANNELS)


def test_equal_plans_have_equal_names() -> None:
    """Orders, faults and kills are in the name; another seed, channel or fault gives another one."""
    profile = built_in("bad-day")
    name = name_plan(profile, plan_orders(profile, CHANNELS))
    assert name == name_plan(built_in("bad-day"), plan_orders(built_in("bad-day"), CHANNELS))
    others = [
        msgspec.structs.replace(profile, seed=2),
        msgspec.structs.replace(profile, kills=()),
        msgspec.structs.replace(profile, faults=msgspec.structs.replace(profile.faults, dropped=0.5)),
    ]
    assert len({name, *(name_plan(other, plan_orders(other, CHANNELS)) for other in others)}) == 4
    assert name_plan(profile, plan_orders(profile, ("shop",))) != name


def test_the_flash_sale_is_as_described() -> None:
    """10,000 orders in a minute, 200 articles, a hot one that a fifth of the lines is for, and the faults of a hard day."""
    profile = built_in("flash-sale")
    faults = profile.faults
    assert (profile.orders, profile.seconds, profile.skus) == (10_000, 60.0, 200)
    assert (faults.duplicates, faults.reordered, faults.dropped, faults.replies_lost, faults.errors) == (
        0.10,
        0.30,
        0.02,
        0.02,
        0.05,
    )
    lines = Counter(sku for order in plan_orders(profile, CHANNELS) for sku, _ in order.lines)
    ranks = [count for sku, count in lines.most_common() if sku != HOT_SKU]
    assert lines[HOT_SKU] / sum(lines.values()) > 0.2
    assert ranks[0] > 20 * ranks[-1]


def test_people_come_as_the_curve_says() -> None:
    """More of them where it is high."""
    curve = (Spike(at=0.0, weight=4.0), Spike(at=0.5, weight=4.0), Spike(at=0.5, weight=1.0), Spike(at=1.0, weight=1.0))
    profile = msgspec.structs.replace(built_in("smoke"), orders=4_000, seconds=10.0, spike=curve)
    early = sum(order.at < 5.0 for order in plan_orders(profile, CHANNELS))
    assert 3_000 < early < 3_400


@pytest.mark.parametrize(
    ("at", "weight"), [(0.0, 2.0), (0.1, 2.0), (0.3, 2.0), (0.5, 4.0), (0.7, 6.0), (0.9, 6.0), (1.0, 6.0)]
)
def test_the_curve_is_straight_between_its_points(at: float, weight: float) -> None:
    """And level outside of them."""
    curve = (Spike(at=0.7, weight=6.0), Spike(at=0.3, weight=2.0))
    assert weight_at(curve, at) == pytest.approx(weight)


def test_no_channel_no_orders() -> None:
    """Nobody can buy where nobody sells."""
    assert plan_orders(built_in("smoke"), ()) == ()


def test_a_profile_of_ones_own_says_what_differs() -> None:
    """What it leaves out is as in the built-in one that it is like."""
    profile = read_profile({"like": "flash-sale", "name": "mine", "orders": 50, "faults": {"dropped": 0.5}})
    assert (profile.orders, profile.skus, profile.faults.dropped, profile.faults.duplicates) == (50, 200, 0.5, 0.0)


@pytest.mark.parametrize(
    "raw", [None, [], {"orders": 0}, {"orders": "many"}, {"like": "nothing"}, {"typo": 1}, {"faults": {"dropped": 2}}]
)
def test_a_bad_profile_is_refused_with_the_key(raw: object) -> None:
    """Never a traceback."""
    with pytest.raises(ConfigurationError) as refused:
        read_profile(raw)
    assert refused.value.hint


def test_profiles_are_values() -> None:
    """They survive JSON."""
    for profile in BUILT_IN.values():
        assert msgspec.json.decode(msgspec.json.encode(profile), type=Profile) == profile


def test_the_overload_kills_in_turn_every_five_seconds() -> None:
    """60 kills in five minutes, apply and dispatch alternating, and the last one at the end."""
    kills = plan_kills(built_in("overload"))
    assert len(kills) == 60
    assert [role for _, role in kills[:3]] == ["apply", "dispatch", "apply"]
    assert [at for at, _ in kills] == [5.0 * number for number in range(1, 61)]


def test_kills_at_regular_times_follow_the_length_of_the_day_and_join_the_single_ones() -> None:
    profile = read_profile(
        {"like": "smoke", "seconds": 12, "killing": {"every_seconds": 5, "roles": ["door"]},
         "kills": [{"at": 0.5, "role": "postgres"}]}
    )  # fmt: skip
    assert plan_kills(profile) == ((5.0, "door"), (6.0, "postgres"), (10.0, "door"))
    assert plan_kills(built_in("smoke")) == ()
    assert Killing(every_seconds=5.0).roles == ("apply", "dispatch")


def test_the_overload_is_ten_times_what_fits_one_by_one() -> None:
    """Changes that Shopify must be told per second, against the calls that its smallest plan lets through with one each."""
    profile = built_in("overload")
    orders = plan_orders(profile, CHANNELS)
    changes = sum(len(order.lines) for order in orders if order.channel != "shop") / profile.seconds
    assert 9 <= changes / (100 / 11) <= 12
