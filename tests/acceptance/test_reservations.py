"""A checkout holds units in a whole installation: the shop shows fewer at once, and its order takes them over."""

from __future__ import annotations

from tests.acceptance.installation import eventually, installed
from tests.acceptance.test_api_day import ask
from tests.acceptance.test_first_day import FLOWS, Day
from tidegate.sdk.testing.hostile_process import HostileProcess


def test_a_checkout_holds_units_and_its_order_takes_them_over() -> None:
    with HostileProcess(account="shop") as shop, HostileProcess(account="erp") as erp, installed() as tidegate:
        day = Day(tidegate, shop, erp)
        shop.control("POST", "/__articles", [{"sku": "TEA"}])
        erp.control("POST", "/__articles", [{"sku": "TEA", "erp_on_hand": 10}])
        tidegate.configure({"shop": shop, "erp": erp}, FLOWS)
        tidegate.do("up", "--detach")
        for name in ("erp", "shop"):
            tidegate.do("connect", name, "--yes")
        eventually(lambda: day.shop_number("TEA") == 10, "the shop was not told 10 teas", tidegate)
        key = tidegate.do("keys", "create", "checkout", "--scope", "stock:*", "--json").json["key"]

        status, made = ask(tidegate, "/v1/reservations", key, {"lines": [{"sku": "TEA", "quantity": 4}]}, "one")
        assert (status, made["state"]) == (201, "held")
        assert ask(tidegate, "/v1/reservations", key, {"lines": [{"sku": "TEA", "quantity": 4}]}, "one")[1] == made
        eventually(lambda: day.shop_number("TEA") == 6, "the shop does not show 6 teas", tidegate)

        quote = tidegate.do("stock", "reserve", "TEA:5", "--for", "2d", "--reference", "quote-7", "--json").json
        again = tidegate.do("stock", "reserve", "TEA:5", "--for", "2d", "--reference", "quote-7", "--json").json
        short = tidegate.run("stock", "reserve", "TEA:2")
        unknown = tidegate.run("stock", "reserve", "TEE")
        listed = tidegate.do("stock", "reservations", "--state", "held", "--sku", "TEA").out
        assert again["id"] == quote["id"]
        assert (short.status, unknown.status) == (75, 78)
        assert "TEA: 2 wanted, 1 available" in short.err
        assert "no article has the SKU 'TEE'" in unknown.err
        assert quote["id"] in listed
        assert made["id"] in listed
        assert "quote-7" in tidegate.do("why", "sku", "TEA").out

        placed = day.order("TEA", 4)
        eventually(lambda: day.erp_reference(placed) is not None, "the ERP did not get the order", tidegate)
        tidegate.do("stock", "claim", made["id"], "--channel", "shop", "--order", placed["number"])
        released = tidegate.do("stock", "release", quote["id"], "--json").json
        brief = tidegate.do("stock", "reserve", "TEA", "--for", "1s", "--json").json
        eventually(
            lambda: tidegate.do("stock", "show", "TEA", "--json").json["levels"][0]["reserved"] == 0,
            "what is over is still held",
            tidegate,
        )

        level = tidegate.do("stock", "show", "TEA", "--json").json["levels"][0]
        assert (level["on_hand"], level["committed"], level["reserved"]) == (10, 4, 0)

        # What a person says of the stock: where the ERP counts, units are set aside and no others are moved.
        owned = tidegate.run("stock", "adjust", "TEA", "--to", "3", "--yes")
        asked = tidegate.run("stock", "adjust", "TEA", "--by", "1", "--aside", "damaged")
        trial = tidegate.do("stock", "adjust", "TEA", "--by", "1", "--aside", "damaged", "--dry-run").out
        aside = ("stock", "adjust", "TEA", "--by", "1", "--aside", "damaged", "--key", "t-1", "--yes", "--json")
        first, second = tidegate.do(*aside).json, tidegate.do(*aside).json
        kept = tidegate.do("stock", "adjust", "TEA", "--safety", "2", "--yes", "--json").json
        mixed = tidegate.run("stock", "adjust", "TEA", "--safety", "0", "--aside", "damaged")
        back = tidegate.do("stock", "adjust", "TEA", "--safety", "0", "--yes").out
        newest = tidegate.do("stock", "history", "TEA", "--limit", "1", "--json").json[0]
        eventually(lambda: day.shop_number("TEA") == 9, "the shop does not show a tea less", tidegate)
        assert (owned.status, asked.status) == (75, 78)
        assert "'erp' counts the goods" in owned.err
        assert "unavailable 0 -> 1 (+1, damaged): would be posted" in trial
        assert (kept["counter"], kept["before"], kept["after"], mixed.status) == ("safety_stock", 0, 2, 64)
        assert "safety_stock 2 -> 0" in back, "it is taken back as it was said"
        assert (first["is_posted"], first["is_repeated"], second["is_repeated"]) == (True, False, True)
        assert (newest["reason"], newest["before"]["unavailable"], newest["after"]["unavailable"]) == ("damaged", 0, 1)
        assert newest["actor"].startswith("cli:")
        assert "damaged" in tidegate.do("stock", "history", "TEA", "--kind", "adjust").out
        assert released["state"] == "released"
        assert ask(tidegate, f"/v1/reservations/{brief['id']}", key)[1]["state"] == "expired"
        shown = ask(tidegate, f"/v1/reservations/{made['id']}", key)[1]
        assert (shown["state"], shown["order"], shown["awaits_order"]) == ("claimed", placed["number"], False)
        eventually(lambda: day.shop_number("TEA") in (5, 9), "the shop's number is not right", tidegate)
