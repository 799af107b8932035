"""The sandbox's Shopify held to the official description: its own schema, and what it answers under the official one."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    build_client_schema,
    is_non_null_type,
    parse,
    print_ast,
    validate,
    validate_schema,
)
from tests.sandboxbed import RunningSandbox, running
from tests.sandboxshop import CANCEL, FULFIL, LEVEL, OFFICIAL, ORDER, REFUND, SET, SUBSCRIBE, ShopHand, shop_world

from tidegate.sandbox.shopify.idempotency import LISTED
from tidegate.sandbox.shopify.mutations import REASONS
from tidegate.sandbox.shopify.schema import load_schema

needs_official = pytest.mark.skipif(
    not OFFICIAL.exists(), reason="the official description of Shopify's API is not beside this checkout"
)
EXAMPLES = OFFICIAL.with_name("operations.graphql")
OWN = {
    "SET": SET,
    "LEVEL": LEVEL,
    "ORDER": ORDER,
    "FULFIL": FULFIL,
    "REFUND": REFUND,
    "CANCEL": CANCEL,
    "SUB": SUBSCRIBE,
}


@pytest.fixture(scope="module")
def official() -> GraphQLSchema:
    told = json.loads(gzip.decompress(OFFICIAL.read_bytes()))
    return build_client_schema(told.get("data", told), assume_valid=True)


def test_the_reduced_schema_is_sound() -> None:
    assert validate_schema(load_schema(None)) == []


@needs_official
def test_the_reduced_schema_is_a_part_of_the_official_one(official: GraphQLSchema) -> None:
    """Same names, same types, same arguments; nothing that is required there is missing here."""
    differences = list(differing(load_schema(None), official))
    assert differences == []


@needs_official
def test_the_comparison_can_fail(official: GraphQLSchema) -> None:
    reduced = load_schema(None)
    field = reduced.type_map["Shop"].fields.pop("name")  # type: ignore[attr-defined]
    try:
        reduced.type_map["Shop"].fields["nickname"] = field  # type: ignore[attr-defined]
        assert list(differing(reduced, official)) == ["Shop.nickname is not there"]
    finally:
        del reduced.type_map["Shop"].fields["nickname"]  # type: ignore[attr-defined]
        reduced.type_map["Shop"].fields["name"] = field  # type: ignore[attr-defined]


@needs_official
def test_listed_mutations_exist(official: GraphQLSchema) -> None:
    assert official.mutation_type is not None
    assert set(official.mutation_type.fields) >= LISTED
    assert "correction" in REASONS


@needs_official
@pytest.mark.parametrize("name", OWN)
def test_documents_of_these_tests_are_valid_there(official: GraphQLSchema, name: str) -> None:
    assert validate(official, parse(OWN[name])) == []


@needs_official
def test_answers_fit_the_official_schema(tmp_path: Path) -> None:
    """Executed under the official schema: a value of a wrong type, or a null where none may be, would be an error."""
    world = shop_world(options={"schema": str(OFFICIAL), "locations": ["Warehouse", "Store"]})
    with running(world, tmp_path) as sandbox:
        hand = ShopHand(sandbox)
        order = _one_of_everything(sandbox, hand)
        for definition in parse(EXAMPLES.read_text()).definitions:
            assert isinstance(definition, OperationDefinitionNode)
            text, name = print_ast(definition), definition.name.value if definition.name else ""
            if name in _NOT_HERE:
                continue
            answer = hand.send(_affordable(text), **_variables(name, hand, order)).json
            assert "errors" not in answer, (name, answer["errors"])


@needs_official
def test_whole_objects_fit_the_official_schema(tmp_path: Path) -> None:
    """Every scalar that the reduced schema names, of every kind of object, under the official one."""
    world = shop_world(options={"schema": str(OFFICIAL)})
    with running(world, tmp_path) as sandbox:
        hand = ShopHand(sandbox)
        _one_of_everything(sandbox, hand)
        for query in _everything(load_schema(None)):
            answer = hand.send(query).json
            assert "errors" not in answer, (query, answer["errors"])


def differing(reduced: GraphQLSchema, official: GraphQLSchema) -> Iterator[str]:
    """Yield what the reduced schema says otherwise than the official one."""
    for name, kind in reduced.type_map.items():
        if name.startswith("__"):
            continue
        there: Any = official.type_map.get(name)
        if there is None or type(there) is not type(kind):
            yield f"{name} is not there"
        elif isinstance(kind, GraphQLEnumType):
            yield from (f"{name}.{value} is not there" for value in kind.values if value not in there.values)
        elif isinstance(kind, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
            yield from _differing_fields(name, kind, there)


def _differing_fields(name: str, kind: Any, there: Any) -> Iterator[str]:
    for field, definition in kind.fields.items():
        official = there.fields.get(field)
        if official is None:
            yield f"{name}.{field} is not there"
            continue
        if str(official.type) != str(definition.type):
            yield f"{name}.{field} is {official.type}, not {definition.type}"
        for argument, value in getattr(definition, "args", {}).items():
            if argument not in official.args or str(official.args[argument].type) != str(value.type):
                yield f"{name}.{field}({argument}) differs"
        for argument, value in getattr(official, "args", {}).items():
            if is_non_null_type(value.type) and argument not in definition.args:
                yield f"{name}.{field}({argument}) is required"
    if isinstance(kind, GraphQLInputObjectType):
        for field, definition in there.fields.items():
            if is_non_null_type(definition.type) and field not in kind.fields:
                yield f"{name}.{field} is required"


_NOT_HERE = {"BulkMutation", "Stage", "UpsertProduct", "UpsertCustomer"}
"""Documents for what this server does not have."""


def _affordable(text: str) -> str:
    """Return a document with small pages: the linear rule makes the large ones of the examples too dear."""
    return text.replace("first: 50", "first: 5").replace("first: 20", "first: 3")


def _variables(name: str, hand: ShopHand, order: str) -> dict[str, Any]:
    item = hand.item(2)
    shown = hand.order(order)
    held = hand.level(2)["available"]
    fulfillment = hand.ask("query F($id: ID!) { order(id: $id) { fulfillments { id } } }", id=order)
    adjust = {
        "name": "available",
        "reason": "correction",
        "changes": [{**item, "delta": 1, "changeFromQuantity": held}],
    }
    of_document: dict[str, dict[str, Any]] = {
        "Orders": {"first": 2},
        "InventoryItems": {"first": 2},
        "SetQuantities": {
            "input": hand.set_input({**item, "quantity": 9, "changeFromQuantity": held}),
            "key": "example-set",
        },
        "AdjustQuantities": {"input": adjust, "key": "example-adjust"},
        "Fulfil": {"fulfillment": {"lineItemsByFulfillmentOrder": []}},
        "Track": {
            "fulfillmentId": fulfillment["order"]["fulfillments"][0]["id"],
            "info": {"number": "T-2"},
        },
        "Refund": {
            "input": {
                "orderId": order,
                "transactions": [
                    {
                        "orderId": order,
                        "parentId": shown["transactions"][0]["id"],
                        "amount": "1.00",
                        "kind": "REFUND",
                        "gateway": "bogus",
                    }
                ],
            },
            "key": "example-refund",
        },
        "Cancel": {"orderId": hand.buy("S3"), "reason": "CUSTOMER", "restock": True},
        "SubscribeWebhook": {"topic": "ORDERS_PAID", "sub": {"uri": "http://127.0.0.1:9/paid"}},
        "Subscriptions": {"first": 5},
        "UnsubscribeWebhook": {"id": "gid://shopify/WebhookSubscription/1"},
        "BulkQuery": {"q": "{ orders { edges { node { id } } } }"},
        "Bulk": {"id": "gid://shopify/BulkOperation/3000000000001"},
        "Locations": {"first": 5},
    }
    return of_document.get(name, {})


def _one_of_everything(sandbox: RunningSandbox, hand: ShopHand) -> str:
    """Make orders in every state, a subscription and a bulk operation; return an order that was shipped and paid."""
    order = hand.buy("S1", 2, extra={"shipping_minor": 490, "psp_reference": "pi_1", "gateway": "stripe"})
    hand.fulfil(order, company="DHL", number="T-1")
    money = {
        "orderId": order,
        "parentId": hand.order(order)["transactions"][0]["id"],
        "amount": "1.00",
        "kind": "REFUND",
        "gateway": "stripe",
    }
    line = hand.order(order)["lineItems"]["nodes"][0]["id"]
    back = {"lineItemId": line, "quantity": 1, "restockType": "RETURN", "locationId": hand.item(1)["locationId"]}
    wanted = {"orderId": order, "transactions": [money], "refundLineItems": [back]}
    assert hand.ask(REFUND, input=wanted, key="first-refund")["refundCreate"]["userErrors"] == []
    hand.ask(CANCEL, id=hand.buy("S2"))
    hand.buy("S2", extra={"payment": "authorized"})
    hand.buy("S2", extra={"payment": "pending"})
    hand.ask(SUBSCRIBE, topic="ORDERS_CREATE", uri="http://127.0.0.1:9/hook")
    sandbox.ask("PUT", "/faults/shop", {"profile": {"dropped": 1.0}})
    return order


def _everything(schema: GraphQLSchema) -> Iterator[str]:
    """Yield a query for the scalars of each kind of object in turn, one connection deep."""
    yield f"{{ shop {{ {_scalars(schema, 'Shop')} plan {{ {_scalars(schema, 'ShopPlan')} }} }} }}"
    yield f"{{ locations(first: 2) {{ nodes {{ {_scalars(schema, 'Location')} }} }} }}"
    yield f"{{ products(first: 2) {{ nodes {{ {_scalars(schema, 'Product')} }} edges {{ cursor }} }} }}"
    yield f"{{ productVariants(first: 2) {{ nodes {{ {_scalars(schema, 'ProductVariant')} }} }} }}"
    yield (
        f"{{ inventoryItems(first: 2) {{ nodes {{ {_scalars(schema, 'InventoryItem')} locationsCount {{ count precision }} "
        f"inventoryLevels(first: 2) {{ nodes {{ {_scalars(schema, 'InventoryLevel')} "
        f'quantities(names: ["on_hand"]) {{ {_scalars(schema, "InventoryQuantity")} }} }} }} }} }} }}'
    )
    price = "{ shopMoney { amount currencyCode } presentmentMoney { amount currencyCode } }"
    sets = " ".join(
        f"{name} {price}"
        for name, field in schema.type_map["Order"].fields.items()  # type: ignore[attr-defined]
        if "MoneyBag" in str(field.type)
    )
    yield f"{{ orders(first: 9) {{ nodes {{ {_scalars(schema, 'Order')} {sets} }} }} }}"
    lines = f"lineItems(first: 2) {{ nodes {{ {_scalars(schema, 'LineItem')} originalTotalSet {price} }} }}"
    address = f"shippingAddress {{ {_scalars(schema, 'MailingAddress')} }}"
    customer = f"customer {{ {_scalars(schema, 'Customer')} }}"
    shipping = f"shippingLines(first: 2) {{ nodes {{ {_scalars(schema, 'ShippingLine')} }} }}"
    yield f"{{ orders(first: 9) {{ nodes {{ {lines} {address} {customer} {shipping} }} }} }}"
    transactions = f"transactions(first: 5) {{ {_scalars(schema, 'OrderTransaction')} parentTransaction {{ id }} }}"
    refund_lines = f"refundLineItems(first: 2) {{ nodes {{ {_scalars(schema, 'RefundLineItem')} location {{ id }} }} }}"
    refunds = f"refunds(first: 5) {{ {_scalars(schema, 'Refund')} {refund_lines} }}"
    yield f"{{ orders(first: 9) {{ nodes {{ {transactions} {refunds} }} }} }}"
    open_lines = f"lineItems(first: 2) {{ nodes {{ {_scalars(schema, 'FulfillmentOrderLineItem')} }} }}"
    to_ship = f"fulfillmentOrders(first: 2) {{ nodes {{ {_scalars(schema, 'FulfillmentOrder')} {open_lines} }} }}"
    tracking = f"trackingInfo {{ {_scalars(schema, 'FulfillmentTrackingInfo')} }}"
    shipped = f"fulfillments {{ {_scalars(schema, 'Fulfillment')} {tracking} }}"
    yield f"{{ orders(first: 9) {{ nodes {{ {to_ship} {shipped} }} }} }}"
    yield f"{{ webhookSubscriptions(first: 2) {{ nodes {{ {_scalars(schema, 'WebhookSubscription')} }} }} }}"
    yield f"{{ publicApiVersions {{ {_scalars(schema, 'ApiVersion')} }} currentAppInstallation {{ app {{ id title handle apiKey }} }} }}"


def _scalars(schema: GraphQLSchema, name: str) -> str:
    """Return the names of an object's scalars."""
    fields = schema.type_map[name].fields  # type: ignore[attr-defined]
    objects = (GraphQLObjectType, GraphQLInterfaceType)
    return " ".join(
        field
        for field, definition in fields.items()
        if not isinstance(schema.type_map[str(definition.type).strip("[]!")], objects)
    )
