"""The remote counts what really happened, whatever its answers say."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.remotebed import api_of, fill, fulfillment, order, running_remote, stock

from tidegate.kernel.errors import ConflictError, OutcomeUnknownError, RateLimitedError, RejectedError, TidegateError
from tidegate.sdk.connector import Done, Failed, NotFound
from tidegate.sdk.testing.hostile_connector import client
from tidegate.sdk.testing.hostile_faults import Fault, FaultKind
from tidegate.sdk.testing.hostile_process import HostileProcess

EFFECT_AND_ANSWER: dict[FaultKind, tuple[int, type]] = {
    "duplicate": (1, Done),
    "lose_reply": (1, OutcomeUnknownError),
    "truncated": (1, OutcomeUnknownError),
    "slow_drip": (1, Done),
    "delay": (1, Done),
    "delay_reply": (1, Done),
    "reset": (0, OutcomeUnknownError),
    "rate_limit": (0, RateLimitedError),
    "status": (0, OutcomeUnknownError),
    "garbage": (1, OutcomeUnknownError),
    "wrong_content_type": (1, Done),
    "lie": (0, Done),
    "stale_read": (1, Done),
    "reject_items": (1, Done),
}


async def outcome_of(call: Any) -> object:
    try:
        return (await call)[0]
    except TidegateError as error:
        return error


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", EFFECT_AND_ANSWER)
async def test_each_fault_has_its_effect_and_its_answer(kind: FaultKind) -> None:
    effects, answer = EFFECT_AND_ANSWER[kind]
    async with running_remote() as remote, api_of(remote) as api:
        fill(remote.world)
        remote.put_faults(Fault(kind=kind, path="/api/erp/orders", seconds=0.001))

        outcome = await outcome_of(client.create_order(api, [order("ord_c0_x")], "key"))
        found = await client.find_order(api, order("ord_c0_x"))

        assert type(outcome) is answer
        assert remote.world.effects["order.create"].get("ord_c0_x", 0) == effects
        assert isinstance(found, Done if effects else NotFound)
        assert remote.world.faults_used == {kind: 1}


@pytest.mark.asyncio
async def test_references_are_unique_only_when_they_are_told_to_be() -> None:
    async with running_remote() as remote, api_of(remote) as api:
        fill(remote.world)
        for unique, effects in ((True, 1), (False, 3)):
            remote.world.unique_references = unique
            await client.create_order(api, [order()], "key")
            again = await client.create_order(api, [order()], "key")

            assert isinstance(again[0], Done)
            assert remote.world.effects["order.create"]["ord_c0_x"] == effects


@pytest.mark.asyncio
async def test_a_stale_read_does_not_see_what_is_there() -> None:
    async with running_remote() as remote, api_of(remote) as api:
        fill(remote.world)
        await client.create_order(api, [order()], "key")
        remote.put_faults(Fault(kind="stale_read", method="GET", times=2))

        found = [type(await client.find_order(api, order())).__name__ for _ in range(3)]

        assert found == ["NotFound", "NotFound", "Done"]


@pytest.mark.asyncio
async def test_a_bulk_call_can_fail_in_part() -> None:
    async with running_remote() as remote, api_of(remote) as api:
        fill(remote.world)
        remote.put_faults(Fault(kind="reject_items", items=(1,)))

        outcomes = await client.set_inventory(api, [stock(5), stock(6, article_id="art-X"), stock(7)], "key-7")

        assert [outcome.error.code if isinstance(outcome, Failed) else "done" for outcome in outcomes] == [
            "done",
            "item_rejected",
            "done",
        ]
        assert [(set_.quantity, set_.idempotency_key) for set_ in remote.world.stock_sets] == [
            (5, "key-7"),
            (7, "key-7"),
        ]


@pytest.mark.asyncio
async def test_a_shop_refuses_a_fulfillment_beyond_its_number_or_its_order() -> None:
    async with running_remote() as remote, api_of(remote) as api:
        fill(remote.world, orders=2, units=2)
        await client.create_fulfillment(api, [fulfillment("ful_1")], "key")
        assert remote.world.articles["art-TEA-1"].shop_on_hand == 1
        assert remote.world.articles["art-TEA-1"].shop_allocated == 1

        with pytest.raises(RejectedError, match="never") as exceeding:
            await client.create_fulfillment(api, [fulfillment("ful_2")], "key")
        await client.set_inventory(api, [stock(0)], "key")
        with pytest.raises(ConflictError) as short:
            await client.create_fulfillment(api, [fulfillment("ful_3", order_id="o-2", line_id="2-1")], "key")

        assert (exceeding.value.code, short.value.code) == ("quantity_exceeds_open", "insufficient_stock")
        assert remote.world.effects["fulfillment.create"] == {"ful_1": 1}


def test_the_process_keeps_its_world_over_a_restart(tmp_path: Path) -> None:
    with HostileProcess(tmp_path / "world.json", account="shop-one") as remote:
        remote.control("POST", "/__articles", [{"sku": "TEA-1", "shop_on_hand": 3, "erp_on_hand": 4}])
        placed = remote.control("POST", "/__shop/orders", {"lines": [{"sku": "TEA-1", "quantity": 2}]})
        address = remote.base_url

        remote.stop()
        remote.start()

        world = remote.world()
        assert remote.base_url == address
        assert world.account == "shop-one"
        assert world.shop_orders[placed["order_id"]].lines[0].current == 2
        assert world.articles["art-TEA-1"].shop_allocated == 2
        assert [event.topic for event in world.events] == ["stock.moved", "order.updated"]


def test_the_test_drives_the_remote_by_its_own_routes(tmp_path: Path) -> None:
    with HostileProcess() as remote:
        remote.control("POST", "/__articles", [{"sku": "TEA-1", "erp_on_hand": 4}])
        placed = remote.control("POST", "/__shop/orders", {"lines": [{"sku": "TEA-1", "quantity": 2}]})
        remote.control("POST", f"/__shop/orders/{placed['order_id']}", {"cancel": True, "thin": True})
        remote.control("POST", "/__erp/moves", [{"sku": "TEA-1", "kind": "adjust", "quantity_delta": -1}])
        remote.control("PUT", "/__settings", {"unique_references": False})
        remote.control("PUT", "/__faults", {"rules": [{"kind": "reset"}], "random": {"lie": 0.5}, "seed": 3})

        world = remote.world()
        events = remote.control("GET", "/__events?after=1")

        assert world.shop_orders["o-1"].state == "cancelled"
        assert (world.articles["art-TEA-1"].shop_allocated, world.articles["art-TEA-1"].erp_on_hand) == (0, 3)
        assert world.unique_references is False
        assert [event["topic"] for event in events] == ["order.updated", "order.hint", "stock.moved"]
        with pytest.raises(RuntimeError, match="lose_replies"):
            remote.control("PUT", "/__faults", {"rules": [{"kind": "lose_replies"}]})
        with pytest.raises(RuntimeError, match="no_such_route"):
            remote.control("GET", "/__nothing")
        with pytest.raises(RuntimeError, match="unknown_article"):
            remote.control("POST", "/__shop/orders", {"lines": [{"sku": "NONE", "quantity": 1}]})


@pytest.mark.asyncio
async def test_many_requests_at_once_are_counted_one_by_one() -> None:
    async with running_remote() as remote, api_of(remote) as api:
        fill(remote.world)

        await asyncio.gather(*(client.create_order(api, [order(f"ord_{number}")], "key") for number in range(100)))

        counted = {
            name: count for name, count in remote.world.effects["order.create"].items() if name.startswith("ord_")
        }
        assert set(counted.values()) == {1}
        assert len(counted) == 101  # one of them from `fill`
