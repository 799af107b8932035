"""Signed generic events: what they become, what is refused and why, and both directions against the reference library."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from tests.hookbed import Receiver, receiving, reference_headers

from tidegate.commerce.changes import Address, Customer, Ignored, OrderPrivate, OrderSeen, ShipmentSeen, StockMoved
from tidegate.commerce.commands import CancelOrder, CommandKind, CreateOrder, OrderLineOut, SetInventory
from tidegate.commerce.states import OrderState, PaymentState
from tidegate.connectors.standard_webhooks import CONNECTOR, client, mapper, outbound, webhooks
from tidegate.kernel.clock import SystemClock
from tidegate.kernel.errors import (
    ConfigurationError,
    ConflictError,
    IntakeError,
    OutcomeUnknownError,
    RateLimitedError,
    RejectedError,
    TransientError,
)
from tidegate.kernel.ids import first_id_at, public_id
from tidegate.kernel.redaction import Secret
from tidegate.sdk.client import HttpApi
from tidegate.sdk.connector import Done, RawEvent
from tidegate.sdk.signatures import StandardWebhooks, new_signing_key, public_key_of

AT = "2026-11-27T09:00:00Z"
ORDER: dict[str, Any] = {
    "id": "1001",
    "state": "open",
    "payment_state": "paid",
    "placed_at": AT,
    "currency": "EUR",
    "total": "24.80",
    "shipping": 4.9,
    "lines": [{"id": 1, "sku": "TEA", "quantity": 1, "unit_price": "19.90"}],
}
KEY = public_id("cal", "c0", first_id_at(datetime(2026, 11, 27, 9, 0, 5, tzinfo=UTC)))
CREATE = CreateOrder(
    reference="ord_c0_1",
    number="1001",
    channel="shop",
    placed_at=datetime(2026, 11, 27, 9, tzinfo=UTC),
    currency="EUR",
    lines=(
        OrderLineOut(
            reference="lin_c0_1",
            sku="TEA",
            item_external_id="TEA",
            title="Tea",
            quantity=1,
            unit_price="19.90",
            total_minor=1990,
        ),
    ),
    shipping_minor=490,
    shipping_method="standard",
    discount_minor=0,
    total_minor=2480,
    private=OrderPrivate(customer=Customer(email="zoë@example.com"), shipping_address=Address(name="Zoë", city="Köln")),
)


def change_of(event_type: str, data: Any, **envelope: Any) -> Any:
    body = json.dumps({"type": event_type, "timestamp": AT, "data": data, **envelope}).encode()
    changes = mapper.normalize(RawEvent(source="webhook", topic=event_type, body=body))
    return changes[0] if len(changes) == 1 else list(changes)


# --- what comes in -------------------------------------------------------------------------------------------------
def test_an_order_is_read_with_its_sums_in_minor_units() -> None:
    seen = change_of("order.paid", ORDER)

    assert isinstance(seen, OrderSeen)
    assert (seen.external_id, seen.number, seen.order_state) == ("1001", "1001", OrderState.OPEN)
    assert (seen.total_minor, seen.shipping_minor, seen.payment_state) == (2480, 490, PaymentState.PAID)
    (line,) = seen.lines
    assert (line.external_id, line.unit_price, line.total_minor, line.current) == ("1", "19.900000", 1990, 1)


@pytest.mark.parametrize("currency", ["JPY", "KWD"])
def test_the_digits_of_a_currency_are_its_own(currency: str) -> None:
    seen = change_of("order.paid", {**ORDER, "currency": currency, "total": "25", "shipping": "0"})

    assert seen.total_minor == (25 if currency == "JPY" else 25_000)


def test_a_type_of_another_family_is_kept_and_says_why() -> None:
    seen = change_of("customer.updated", {"id": "1"})

    assert isinstance(seen, Ignored)
    assert seen.code == "unknown_type"
    assert "customer.updated" in seen.reason


@pytest.mark.parametrize(
    ("event_type", "data", "words"),
    [
        ("order.update", ORDER, "there is no type 'order.update'; of this family there are: order.created"),
        ("order.paid", {**ORDER, "state": "shipped"}, "data.state"),
        ("order.paid", {k: v for k, v in ORDER.items() if k != "payment_state"}, "payment_state"),
        ("order.paid", {**ORDER, "placed_at": "2026-11-27T09:00:00"}, "timezone"),
        ("order.paid", {**ORDER, "total": "1e400000000"}, "total is not an amount"),
        ("order.paid", {**ORDER, "total": "NaN"}, "total is not an amount"),
        ("order.paid", {**ORDER, "currency": "euro"}, "data.currency"),
        (
            "order.paid",
            {**ORDER, "lines": [*ORDER["lines"], *ORDER["lines"]]},
            "two lines of the order have the same id",
        ),
        ("stock.counted", {"id": "C1", "sku": "TEA", "counted": 12}, "missing required field `delta`"),
        ("stock.changed", {"id": "M1", "sku": "TEA", "kind": "ship", "delta": 2}, "has a negative delta"),
        ("stock.changed", {"id": "M1", "sku": "TEA", "kind": "receive", "delta": -2}, "has a positive delta"),
        ("stock.changed", {"id": "M1", "sku": "TEA", "delta": 1.5}, "data.delta"),
        ("shipment.created", {"id": "S", "order": "ord_c0_1", "shipped_at": AT, "lines": []}, "data.lines"),
        ("order.paid", [], "data"),
    ],
)
def test_what_does_not_fit_says_which_field_and_why(event_type: str, data: Any, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        change_of(event_type, data)


@pytest.mark.parametrize("tiny", ["1e-400000000", "0e-9", "-0", "0.0000001"])
def test_amounts_of_any_spelling_are_rounded(tiny: str) -> None:
    line = {**ORDER["lines"][0], "unit_price": tiny, "total": tiny}

    seen = change_of("order.paid", {**ORDER, "shipping": tiny, "lines": [line]})

    assert (seen.shipping_minor, seen.lines[0].total_minor) == (0, 0)
    assert len(seen.lines[0].unit_price) < 12


def test_an_event_without_a_time_or_a_version_is_refused_because_nobody_could_order_it() -> None:
    with pytest.raises(ValueError, match="neither a timestamp nor a version"):
        change_of("order.paid", ORDER, timestamp=None)

    assert change_of("order.paid", {**ORDER, "version": 7}, timestamp=None).version == 7


def test_a_shipment_that_moves_stock_is_a_movement_per_line_and_the_shipment() -> None:
    data = {
        "id": "S1",
        "order": "ord_c0_1",
        "shipped_at": AT,
        "lines": [{"sku": "TEA", "quantity": 2}, {"sku": "CUP", "quantity": 1}],
        "moves_stock": True,
    }

    *moves, shipment = change_of("shipment.created", data)

    assert isinstance(shipment, ShipmentSeen)
    assert all(isinstance(move, StockMoved) for move in moves)
    assert [(move.external_id, move.quantity_delta, move.kind) for move in moves] == [
        ("S1:1", -2, "ship"),
        ("S1:2", -1, "ship"),
    ]
    assert isinstance(change_of("shipment.created", {**data, "moves_stock": False}), ShipmentSeen)


def test_two_states_of_one_instant_are_ordered_by_an_orders_life() -> None:
    unpaid = change_of("order.created", {**ORDER, "payment_state": "pending"})
    paid = change_of("order.paid", ORDER)
    cancelled = change_of("order.cancelled", {**ORDER, "state": "cancelled"})

    assert unpaid.version == paid.version == cancelled.version
    assert 0 < unpaid.sequence < paid.sequence < cancelled.sequence


@settings(max_examples=200, deadline=None)
@given(
    body=st.binary(max_size=300)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["type", "data", "id", "lines", "timestamp"]), inner, max_size=5)
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode())
)
def test_garbage_is_a_value_error_in_keys_and_mapper(body: bytes) -> None:
    for read in (
        lambda: webhooks.read_keys({"webhook-id": "m1"}, body),
        lambda: mapper.normalize(RawEvent(source="webhook", topic="order.paid", body=body)),
    ):
        with suppress(ValueError):
            read()


@pytest.mark.parametrize(
    ("event_type", "data", "key"),
    [
        ("order.paid", {"id": 7}, "order:7"),
        ("stock.changed", {"id": "M", "sku": "TEA"}, "article:TEA"),
        ("stock.incoming", {"id": "PO-1:1", "sku": "TEA"}, "incoming:PO-1:1"),
        ("stock.changed", {"id": "M"}, "message:m1"),
        ("whatever", None, "message:m1"),
        ("whatever", "text", "message:m1"),
        ("whatever", {"id": {"deep": 1}}, "message:m1"),
    ],
)
def test_events_of_one_entity_have_one_ordering_key(event_type: str, data: Any, key: str) -> None:
    body = json.dumps({"type": event_type, "data": data}).encode()

    keys = webhooks.read_keys({"webhook-id": "m1"}, body)

    assert (keys.topic, keys.sender_event_id, keys.ordering_key) == (event_type, "m1", key)
    assert webhooks.read_keys({"svix-id": "m1"}, body) == keys


# --- the reference library -------------------------------------------------------------------------------------------
def test_what_the_reference_library_signs_is_accepted_and_understood() -> None:
    secret = new_signing_key("symmetric")
    body = json.dumps({"type": "order.paid", "timestamp": AT, "data": ORDER}).encode()
    headers = reference_headers(secret, "msg_1", body)

    assert CONNECTOR.webhook is not None
    CONNECTOR.webhook.verify(headers, body, [secret], datetime.now(UTC).timestamp())

    keys = CONNECTOR.webhook.read_keys(headers, body)
    assert (keys.sender_event_id, keys.ordering_key) == ("msg_1", "order:1001")
    with pytest.raises(IntakeError):
        CONNECTOR.webhook.verify(headers, body, [new_signing_key("symmetric")], datetime.now(UTC).timestamp())


@asynccontextmanager
async def sending(receiver: Receiver, signing_key: str, **more: Any) -> AsyncIterator[HttpApi]:
    api = HttpApi(
        CONNECTOR,
        receiver.url,
        {"url": receiver.url, **more},
        {"signing_key": Secret(signing_key), "verify_key": Secret("")},
        allow=[ip_network("127.0.0.0/8")],
        clock=SystemClock(),
    )
    try:
        yield api
    finally:
        await api.close()


@pytest.mark.asyncio
async def test_what_we_send_the_reference_library_verifies_and_each_try_has_one_id_and_a_time_of_its_own() -> None:
    key = new_signing_key("symmetric")
    with receiving() as receiver:
        async with sending(receiver, key) as api:
            receiver.answers += [(503, {"retry-after": "1"}, b""), (200, {}, b'{"id": "WH-9"}')]
            with pytest.raises(OutcomeUnknownError):
                await client.send_one(api, [CREATE], KEY)
            done = await client.send_one(api, [CREATE], KEY)

    first, second = receiver.taken
    assert done == [Done(external_id="WH-9")]
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == KEY
    event = Webhook(key).verify(second.body, second.headers)
    assert (event["type"], event["data"]["id"], event["data"]["total"]) == ("order.create", "ord_c0_1", "24.80")
    assert event["data"]["customer"] == {"email": "zoë@example.com"}
    assert event["timestamp"] == "2026-11-27T09:00:05Z"
    with pytest.raises(WebhookVerificationError):
        Webhook(key).verify(second.body + b" ", second.headers)


@pytest.mark.asyncio
async def test_while_keys_change_a_request_carries_both_signatures() -> None:
    old, new = new_signing_key("symmetric"), new_signing_key("symmetric")
    private = new_signing_key("ed25519")
    with receiving() as receiver:
        async with sending(receiver, f"{new} {old}") as api:
            await client.send_one(api, [CREATE], KEY)
        async with sending(receiver, f"{private} {old}") as api:
            await client.send_one(api, [CREATE], KEY)

    both, mixed = receiver.taken
    for key in (old, new):
        Webhook(key).verify(both.body, both.headers)
    Webhook(old).verify(mixed.body, mixed.headers)
    StandardWebhooks()(mixed.headers, mixed.body, [str(public_key_of(private))], datetime.now(UTC).timestamp())


@pytest.mark.asyncio
async def test_what_we_send_we_take_ourselves_under_both_schemes() -> None:
    for kind in ("symmetric", "ed25519"):
        key = new_signing_key(kind)  # type: ignore[arg-type]
        with receiving() as receiver:
            async with sending(receiver, key) as api:
                await client.send_one(api, [CREATE], KEY)
        (taken,) = receiver.taken
        assert CONNECTOR.webhook is not None

        CONNECTOR.webhook.verify(taken.headers, taken.body, [public_key_of(key) or key], datetime.now(UTC).timestamp())
        keys = CONNECTOR.webhook.read_keys(taken.headers, taken.body)

        assert (keys.topic, keys.sender_event_id, keys.ordering_key) == ("order.create", KEY, "order:ord_c0_1")


def test_an_order_that_we_send_has_the_shape_of_an_order_that_we_take() -> None:
    data = json.loads(json.dumps(outbound.data_of(CREATE), default=lambda moment: moment.isoformat()))

    seen = change_of("order.created", data)

    assert (seen.total_minor, seen.shipping_minor, seen.order_state) == (2480, 490, OrderState.OPEN)
    assert seen.payment_state is PaymentState.AUTHORISED
    assert seen.private.shipping_address == CREATE.private.shipping_address


# --- answers -----------------------------------------------------------------------------------------------------------
@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("status", "headers", "error", "code"),
    [
        (410, {}, ConfigurationError, "endpoint_gone"),
        (404, {"retry-after": "7"}, TransientError, "endpoint_missing"),
        (403, {}, TransientError, "forbidden"),
        (307, {"location": "http://127.0.0.1:1/"}, TransientError, "redirected"),
        (304, {}, TransientError, "redirected"),
        (400, {}, ConflictError, "malformed"),
        (409, {}, ConflictError, "conflict"),
        (418, {}, OutcomeUnknownError, "answer_unreadable"),
        (429, {"retry-after": "7"}, RateLimitedError, "rate_limited"),
        (413, {}, RejectedError, "too_large"),
        (422, {}, RejectedError, "rejected"),
        (503, {"retry-after": "7"}, OutcomeUnknownError, "server_error"),
    ],
)
async def test_each_refusal_says_what_to_do_next(
    status: int, headers: dict[str, str], error: type[Exception], code: str
) -> None:
    with receiving() as receiver:
        receiver.answers.append((status, headers, b""))
        async with sending(receiver, new_signing_key("symmetric")) as api:
            with pytest.raises(error) as refused:
                await client.send_one(api, [CancelOrder(reference="ord_c0_1", order_external_id="")], KEY)

    assert refused.value.code == code  # type: ignore[attr-defined]
    assert len(receiver.taken) == 1, "no redirect is followed and nothing is repeated"


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ["/hooks", "/hooks/", "/"])
async def test_the_address_is_used_exactly_as_it_is_written(path: str) -> None:
    with receiving(path) as receiver:
        async with sending(receiver, new_signing_key("symmetric")) as api:
            await client.send_one(api, [CREATE], KEY)

    assert [one.path for one in receiver.taken] == [path]


@pytest.mark.asyncio
async def test_numbers_go_together_and_a_request_that_is_too_large_is_not_sent() -> None:
    numbers = [
        SetInventory(
            reference=f"c{n}",
            sku=f"SKU-{n:03}",
            variant_external_id=f"SKU-{n:03}",
            location_external_id="main",
            quantity=n,
        )
        for n in range(50)
    ]
    line = CREATE.lines[0]
    long = replace_lines(CREATE, [line] * 300)
    with receiving() as receiver:
        async with sending(receiver, new_signing_key("symmetric")) as api:
            outcomes = await client.send_stock(api, numbers, KEY)
            with pytest.raises(RejectedError) as refused:
                await client.send_one(api, [long], KEY)
        async with sending(receiver, new_signing_key("symmetric"), payload_kb="100") as api:
            await client.send_one(api, [long], KEY)

    assert len(outcomes) == 50
    assert len(receiver.taken[0].body) < 20_000
    assert len(receiver.taken[0].event["data"]["items"]) == CONNECTOR.commands[CommandKind.INVENTORY_SET].bulk_max
    assert refused.value.code == "too_large"
    assert len(receiver.taken) == 2


def replace_lines(order: CreateOrder, lines: list[OrderLineOut]) -> CreateOrder:
    import msgspec  # noqa: PLC0415

    return msgspec.structs.replace(order, lines=tuple(lines))


@pytest.mark.asyncio
@pytest.mark.parametrize("key", ["", "nonsense", "whpk_AAAA", "whsec_AAAA"])
async def test_a_key_that_signs_nothing_stops_before_a_byte_is_sent_and_is_not_shown(key: str) -> None:
    with receiving() as receiver:
        async with sending(receiver, key) as api:
            with pytest.raises(ConfigurationError) as refused:
                await client.send_one(api, [CREATE], KEY)

    assert refused.value.code == "signing_key_unusable"
    assert not key or key not in f"{refused.value}{refused.value.hint}{refused.value.context}"
    assert receiver.taken == []


def test_keys_are_made_as_the_settings_say_and_only_the_public_half_is_handed_over() -> None:
    hmac = client.make_signing_key({})
    private = client.make_signing_key({"signs_with": "ed25519"})

    assert hmac.startswith("whsec_")
    assert private.startswith("whsk_")
    (shared,) = client.hand_over({"signing_key": Secret(hmac)})
    (public,) = client.hand_over({"signing_key": Secret(f"{private} {hmac}")})
    assert (shared.value.reveal(), shared.is_public) == (hmac, False)
    assert (public.value.reveal(), public.is_public) == (public_key_of(private), True)
    with pytest.raises(ConfigurationError):
        client.make_signing_key({"signs_with": "rsa"})
