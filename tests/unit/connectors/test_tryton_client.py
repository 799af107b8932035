"""Sales are finished and cancelled by the state they are in; what the ERP hides is named."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from msgspec.structs import replace
from tests.feedbed import BEGIN, Row, TrytonTable, read_round

from tidegate.commerce.changes import OrderPrivate
from tidegate.commerce.commands import CancelOrder, CreateOrder
from tidegate.connectors.tryton import feeds, orders
from tidegate.connectors.tryton.rest import Rest
from tidegate.kernel.errors import ConfigurationError, RejectedError
from tidegate.sdk.connector import Done, Failed
from tidegate.sdk.http import Response

NEXT = {
    ("draft", "quote"): "quotation",
    ("quotation", "confirm"): "confirmed",
    ("confirmed", "process"): "processing",
    ("draft", "cancel"): "cancelled",
    ("quotation", "cancel"): "cancelled",
    ("confirmed", "draft"): "draft",
}
RECORDS: dict[str, list[dict[str, Any]]] = {
    "web.shop": [{"id": 1, "company": 1, "warehouses": [5]}],
    "party.party": [{"id": 2, "addresses": [3]}],
    "product.product": [{"id": 9, "default_uom": 1}],
    "account.invoice.payment_term": [],
    "currency.currency": [{"id": 1, "code": "EUR"}],
}


class Erp:
    """One sale with Tryton's buttons: a button that the state forbids is refused with 400."""

    def __init__(
        self,
        state: str | None,
        *,
        overtaken: bool = False,
        broken_rule: str | None = None,
        processes_itself: bool = False,
    ) -> None:
        self.settings: dict[str, Any] = {}
        self.memory: dict[str, Any] = {}
        self.records = dict(RECORDS)
        self.pressed: list[str] = []
        self.created: dict[str, Any] = {}
        self._state = state
        self._overtaken = overtaken
        self._broken_rule = broken_rule
        self._processes_itself = processes_itself

    async def request(self, method: str, path: str, **options: Any) -> Response:
        model, *rest = urlsplit(path).path.partition("/model/")[2].split("/")
        if model != "sale.sale":
            return answer(200, self.records[model])
        if method == "GET":
            return answer(200, [self._sale()] if self._state else [])
        if rest:
            return self._press(rest[1])
        if self._state is not None:
            return answer(400, {"message": "The web ID must be unique per shop."})
        self._state, self.created = "draft", options["json"]
        return answer(200, self._sale())

    def _press(self, button: str) -> Response:
        assert self._state is not None
        if self._overtaken:
            self._state, self._overtaken = NEXT[self._state, button], False
        if button == self._broken_rule or (self._state, button) not in NEXT:
            return answer(400, {"message": f'You can not call "{button}".'})
        self.pressed.append(button)
        self._state = NEXT[self._state, button]
        answered = answer(200, self._sale())
        if self._processes_itself and self._state == "confirmed":
            self._state = "processing"  # after the answer was made
        return answered

    def _sale(self) -> dict[str, Any]:
        return {"id": 4, "state": self._state, "lines": [{"id": 6, "note": "oln_c0_1"}, {"id": 7, "note": None}]}


def answer(status: int, value: Any) -> Response:
    return Response(status=status, headers={}, body=msgspec.json.encode(value))


CANCEL = CancelOrder(reference="ord_c0_1", order_external_id="")
ORDER = CreateOrder(
    reference="ord_c0_1",
    number="#1",
    channel="shop",
    placed_at=datetime(2026, 11, 23, tzinfo=UTC),
    currency="EUR",
    lines=(),
    shipping_minor=490,
    shipping_method="parcel",
    discount_minor=0,
    total_minor=490,
    private=OrderPrivate(),
)
MADE = Done(external_id="4", bindings={"oln_c0_1": "6"})


@pytest.mark.parametrize(
    ("state", "pressed"),
    [
        (None, ["quote", "confirm", "process"]),
        ("draft", ["quote", "confirm", "process"]),
        ("quotation", ["confirm", "process"]),
        ("confirmed", ["process"]),
        ("processing", []),
        ("done", []),
    ],
)
def test_an_order_is_finished_from_wherever_it_stopped(state: str | None, pressed: list[str]) -> None:
    erp = Erp(state)

    assert asyncio.run(orders.create_order(erp, [ORDER], "key")) == [MADE]
    assert erp.pressed == pressed


def test_a_sale_that_processes_itself_is_not_pressed_to() -> None:
    erp = Erp(None, processes_itself=True)

    assert asyncio.run(orders.create_order(erp, [ORDER], "key")) == [MADE]
    assert erp.pressed == ["quote", "confirm"]


def test_an_order_that_an_earlier_call_finishes_at_the_same_moment_is_done() -> None:
    assert asyncio.run(orders.create_order(Erp("draft", overtaken=True), [ORDER], "key")) == [MADE]


def test_a_rule_that_refuses_a_button_is_told_and_not_tried_for_ever() -> None:
    with pytest.raises(RejectedError, match="You can not call"):
        asyncio.run(orders.create_order(Erp(None, broken_rule="confirm"), [ORDER], "key"))


@pytest.mark.parametrize(
    ("state", "pressed"),
    [("draft", ["cancel"]), ("quotation", ["cancel"]), ("confirmed", ["draft", "cancel"]), ("cancelled", [])],
)
def test_a_sale_is_cancelled_from_wherever_that_is_possible(state: str, pressed: list[str]) -> None:
    erp = Erp(state)

    for _ in range(2):
        assert asyncio.run(orders.cancel_order(erp, [CANCEL], "key")) == [Done(external_id="4")]

    assert erp.pressed == pressed


@pytest.mark.parametrize("state", ["processing", "done"])
def test_a_sale_with_shipments_is_left_to_people(state: str) -> None:
    erp = Erp(state)

    (outcome,) = asyncio.run(orders.cancel_order(erp, [CANCEL], "key"))

    assert isinstance(outcome, Failed)
    assert (outcome.error.code, erp.pressed) == (f"sale_{state}", [])
    assert outcome.error.hint is not None


@pytest.mark.parametrize(
    ("model", "found"),
    [
        ("web.shop", []),
        ("web.shop", [{"id": 1, "company": 1, "warehouses": []}]),
        ("party.party", []),
        ("party.party", [{"id": 2, "addresses": []}]),
        ("product.product", []),
    ],
)
def test_what_orders_need_and_is_not_there_is_named(model: str, found: list[dict[str, Any]]) -> None:
    erp = Erp(None)
    erp.records[model] = found

    with pytest.raises(ConfigurationError) as caught:
        asyncio.run(orders.create_order(erp, [ORDER], "key"))

    assert caught.value.code == "record_missing"


def test_a_field_that_the_user_may_not_read_is_named() -> None:
    erp = Erp(None)
    erp.records["product.product"] = [{"id": 9}]

    with pytest.raises(ConfigurationError, match=r"default_uom of product\.product") as caught:
        asyncio.run(Rest(erp).search("product.product", [], ("id", "default_uom")))

    assert caught.value.code == "field_unreadable"


def test_addresses_stay_short_however_many_lines_a_page_ships() -> None:
    table = TrytonTable([Row(number, BEGIN, BEGIN) for number in range(1, 201)], line_id_base=2_000_000_000)

    ids, _, _ = read_round(feeds.read_moves, table, "")

    assert len(ids) == 200
    assert max(len(path) for path in table.paths) < 4000


def test_what_a_map_filled_reaches_the_sale() -> None:
    erp = Erp(None)
    erp.records |= {"party.party": [{"id": 77, "addresses": [78]}], "account.invoice.payment_term": [{"id": 5}]}
    order = replace(
        ORDER, customer_ref="C-1", payment_method="30 days", shipping_ref="DHL_EXP", note="call first",
        fields={"description": "from the shop"},
    )  # fmt: skip

    assert asyncio.run(orders.create_order(erp, [order], "key")) == [MADE]
    sale = erp.created
    assert (sale["party"], sale["shipment_address"], sale["payment_term"]) == (77, 78, 5)
    assert (sale["comment"], sale["description"]) == ("call first", "from the shop")
    assert sale["lines"][0][1][0]["description"] == "DHL_EXP"


def test_without_a_map_the_sale_has_no_new_fields() -> None:
    erp = Erp(None)
    asyncio.run(orders.create_order(erp, [ORDER], "key"))
    assert "description" not in erp.created
    assert "description" not in erp.created["lines"][0][1][0]
    assert (erp.created["party"], erp.created["comment"]) == (2, "")


@pytest.mark.parametrize("field", ["customer_ref", "payment_method"])
def test_a_name_that_the_erp_does_not_have_refuses_the_order(field: str) -> None:
    erp = Erp(None)
    asyncio.run(orders.create_order(erp, [ORDER], "key"))  # the facts of the connection are known
    erp.records |= {"party.party": [], "account.invoice.payment_term": []}
    with pytest.raises(RejectedError) as caught:
        asyncio.run(orders.create_order(erp, [replace(ORDER, **{field: "NOBODY"})], "key"))
    assert caught.value.code == "reference_unknown"
    assert "NOBODY" in str(caught.value)
