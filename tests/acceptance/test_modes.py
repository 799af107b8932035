"""Going live without fear: one SKU, then approvals, then everything, from the command line of a whole installation."""

from __future__ import annotations

from tests.acceptance.installation import eventually, installed
from tidegate.sdk.testing.hostile_process import HostileProcess

FLOWS = """
owns: {stock.on_hand: erp, shipment: erp}
flows:
  orders:    {from: [shop], to: erp, since: 2020-01-01, mode: observe}   # the old way still runs
  shipments: {from: erp, to: origin, mode: observe}
  stock:     {from: erp, to: [shop], mode: observe}
"""
SKUS = ("TEA", "CUP", "POT")


def test_one_sku_goes_live_then_orders_are_approved_then_all_is_live() -> None:
    with HostileProcess(account="shop") as shop, HostileProcess(account="erp") as erp, installed() as tidegate:

        def number(sku: str) -> int:
            return shop.world().articles[f"art-{sku}"].shop_on_hand

        def sell(sku: str) -> str:
            placed = shop.control("POST", "/__shop/orders", {"lines": [{"sku": sku, "quantity": 1}]})
            return str(placed["number"])

        def is_known(order: str) -> bool:
            return tidegate.run("why", "order", order).status == 0

        def is_proposed(order: str) -> bool:
            return any(each.get("order") == order for each in tidegate.do("proposals", "--json").json["proposals"])

        shop.control("POST", "/__articles", [{"sku": sku} for sku in SKUS])
        tidegate.configure({"shop": shop, "erp": erp}, FLOWS)
        erp.control("POST", "/__articles", [{"sku": sku, "erp_on_hand": 10} for sku in SKUS])
        tidegate.do("up", "--detach")
        for name in ("erp", "shop"):
            tidegate.do("connect", name, "--yes")
        old = sell("POT")
        eventually(lambda: is_known(old), "the old order is seen", tidegate)
        assert not shop.world().effects
        assert not erp.world().effects

        trial = tidegate.do("live", "stock", "--sku", "TEA", "--dry-run")
        assert "numbers to tell: 0 -> 1" in trial.out
        refused = tidegate.run("live", "stock", "--sku", "TEA")
        assert refused.status == 78
        assert "--yes" in refused.err
        tidegate.do("live", "stock", "--sku", "TEA", "--yes")
        eventually(lambda: number("TEA") == 10, "the shop is told of TEA", tidegate)
        assert (number("CUP"), number("POT")) == (0, 0)
        file = (tidegate.folder / "tidegate.yaml").read_text()
        assert "# the old way still runs" in file
        assert '{match: "sku:TEA", stock.mode: live}' in file

        tidegate.do("propose", "orders", "--yes")
        new = sell("TEA")
        eventually(lambda: is_proposed(new), "the order is proposed", tidegate)
        assert not erp.world().effects
        assert "1 commands" in tidegate.do("approve", new).out
        assert tidegate.run("approve", new).status == 78, "it waits no more"
        eventually(lambda: len(erp.world().erp_orders) == 1, "the ERP has the order", tidegate)

        tidegate.do("live", "stock", "--yes")
        tidegate.do("live", "orders", "--yes")
        eventually(lambda: number("CUP") == 10, "the shop is told of CUP", tidegate)
        numbers = {order.number for order in erp.world().erp_orders.values()}
        assert numbers == {new}, "nothing historical is created"
        assert "nothing to change" in tidegate.do("live", "orders", "--yes").out
        tidegate.do("observe", "orders")
        tidegate.do("down")
