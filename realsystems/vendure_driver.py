"""What people do in a shop: merchants who fill it, shoppers who order, staff who ship and refund."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from realsystems.graphql_client import GraphQLClient, ShopError

PAGE_SIZE = 500
BULK_SIZE = 100

ADDRESS = {
    "fullName": "Robin Tester",
    "streetLine1": "1 Test Street",
    "city": "Berlin",
    "postalCode": "10115",
    "countryCode": "DE",
}
ORDER_FIELDS = """id code state orderPlacedAt updatedAt totalWithTax currencyCode
    lines { id quantity orderPlacedQuantity productVariant { id sku } }
    payments { id state amount method refunds { id state total } }
    fulfillments { id state method trackingCode customFields { tidegateRef } lines { orderLineId quantity } }"""
PROBLEM = "__typename ... on ErrorResult { errorCode message }"


@dataclass(frozen=True, kw_only=True)
class PlacedOrder:
    """An order that the shop accepted; `units` are what was ordered, by SKU, `short` what was not to be had."""

    id: str
    code: str
    state: str
    total_minor: int
    units: dict[str, int]
    short: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class SoldOut:
    """The shopper left without an order; `short` are the units that were not to be had, by SKU."""

    short: dict[str, int]
    reason: str


class VendureDriver:
    """Drives one running shop through its public APIs, as people would."""

    def __init__(self, client: GraphQLClient) -> None:
        self._client = client
        self._variant_ids: dict[str, str] = {}
        self._shipping_method_id: str | None = None

    def create_location(self, name: str) -> str:
        """Return the id of the stock location of that name, creating it if there is none."""
        for location in self.locations():
            if location["name"] == name:
                return str(location["id"])
        document = """mutation ($input: CreateStockLocationInput!) { createStockLocation(input: $input) { id } }"""
        created = self._client.admin(document, {"input": {"name": name, "description": ""}})
        return str(created["createStockLocation"]["id"])

    def locations(self) -> list[dict[str, Any]]:
        """Return the stock locations as {id, name}, oldest first."""
        document = "{ stockLocations(options: {sort: {createdAt: ASC}}) { items { id name } } }"
        items: list[dict[str, Any]] = self._client.admin(document)["stockLocations"]["items"]
        return items

    def seed_catalogue(
        self, items: Iterable[tuple[str, str, int, int]], location_id: str | None = None
    ) -> dict[str, str]:
        """Create variants from (sku, name, price_minor, on_hand) and return their ids by SKU.

        SKUs that exist keep their name and price and get the given stock. Inventory is tracked and
        nothing is sold below zero.
        """
        wanted = list(items)
        location = location_id or str(self.locations()[0]["id"])
        known = self.variant_ids(refresh=True)
        fresh = [item for item in wanted if item[0] not in known]
        for start in range(0, len(fresh), BULK_SIZE):
            self._create_variants(fresh[start : start + BULK_SIZE], location)
        self.set_stock({sku: on_hand for sku, _, _, on_hand in wanted if sku in known}, location)
        known = self.variant_ids(refresh=True)
        return {sku: known[sku] for sku, _, _, _ in wanted}

    def _create_variants(self, items: list[tuple[str, str, int, int]], location_id: str) -> None:
        for (
            sku,
            name,
            price_minor,
            on_hand,
        ) in items:  # one product each: variants of one need options
            translation = {"languageCode": "en", "name": name}
            product = self._client.admin(
                "mutation ($input: CreateProductInput!) { createProduct(input: $input) { id } }",
                {"input": {"translations": [{**translation, "slug": sku.lower(), "description": ""}]}},
            )["createProduct"]
            variant = {
                "productId": product["id"],
                "sku": sku,
                "price": price_minor,
                "trackInventory": "TRUE",
                "useGlobalOutOfStockThreshold": False,
                "outOfStockThreshold": 0,
                "translations": [translation],
                "stockLevels": [{"stockLocationId": location_id, "stockOnHand": on_hand}],
            }
            self._client.admin(
                "mutation ($input: [CreateProductVariantInput!]!) { createProductVariants(input: $input) { id } }",
                {"input": [variant]},
            )

    def set_stock(self, on_hand: Mapping[str, int], location_id: str | None = None) -> None:
        """Set on-hand counts by SKU at one location (the oldest when none is named), as a merchant does."""
        location = location_id or str(self.locations()[0]["id"])
        ids = self.variant_ids()
        document = """mutation ($input: [UpdateProductVariantInput!]!) {
            updateProductVariants(input: $input) { id }
        }"""
        changes = [
            {"id": ids[sku], "stockLevels": [{"stockLocationId": location, "stockOnHand": count}]}
            for sku, count in sorted(on_hand.items())
        ]
        for start in range(0, len(changes), BULK_SIZE):
            self._client.admin(document, {"input": changes[start : start + BULK_SIZE]})

    def variant_ids(self, *, refresh: bool = False) -> dict[str, str]:
        """Return variant ids by SKU; read once, and again when `refresh`."""
        if refresh or not self._variant_ids:
            self._variant_ids = {variant["sku"]: variant["id"] for variant in self._variants("id sku")}
        return self._variant_ids

    def stock_levels(self) -> dict[str, tuple[int, int]]:
        """Return (on_hand, allocated) by SKU, summed over the locations."""
        variants = self._variants("sku stockLevels { stockOnHand stockAllocated }")
        return {
            variant["sku"]: (
                sum(level["stockOnHand"] for level in variant["stockLevels"]),
                sum(level["stockAllocated"] for level in variant["stockLevels"]),
            )
            for variant in variants
        }

    def stock_movements(self, sku: str) -> list[dict[str, Any]]:
        """Return what moved the stock of an article as {id, createdAt, type, quantity}, in the order in which it was noted."""
        document = """query ($id: ID!, $options: StockMovementListOptions) {
            productVariant(id: $id) { stockMovements(options: $options) { totalItems items {
                ... on StockMovement { id createdAt type quantity } } } }
        }"""
        items: list[dict[str, Any]] = []
        while True:
            options = {"take": BULK_SIZE, "skip": len(items)}
            answer = self._client.admin(document, {"id": self.variant_ids()[sku], "options": options})
            page = answer["productVariant"]["stockMovements"]
            items += page["items"]
            if not page["items"] or len(items) >= page["totalItems"]:
                return sorted(items, key=lambda movement: int(movement["id"]))

    def _variants(self, fields: str) -> list[dict[str, Any]]:
        return self._pages(
            "productVariants",
            f"""query ($options: ProductVariantListOptions) {{
                productVariants(options: $options) {{ items {{ {fields} }} totalItems }}
            }}""",
        )

    def orders(self) -> list[dict[str, Any]]:
        """Return every placed order, oldest first, with lines, payments and fulfillments."""
        document = f"""query ($options: OrderListOptions) {{
            orders(options: $options) {{ items {{ {ORDER_FIELDS} }} totalItems }}
        }}"""
        return self._pages("orders", document, {"filter": {"orderPlacedAt": {"isNull": False}}})

    def fulfillments(self) -> list[dict[str, Any]]:
        """Return every fulfillment of every placed order, with the order's code as `orderCode`."""
        return [
            {**fulfillment, "orderCode": order["code"]}
            for order in self.orders()
            for fulfillment in order["fulfillments"] or []
        ]

    def _pages(self, name: str, document: str, options: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        while True:
            page = {"take": PAGE_SIZE, "skip": len(items), "sort": {"id": "ASC"}, **(options or {})}
            answer = self._client.admin(document, {"options": page})[name]
            items += answer["items"]
            if not answer["items"] or len(items) >= answer["totalItems"]:
                return items

    def place_order(
        self,
        lines: Mapping[str, int],
        email: str,
        *,
        accept_partial: bool = True,
        payment_method: str = "card",
    ) -> PlacedOrder | SoldOut:
        """Shop as a guest: fill a basket, check out, pay; return the order, or SoldOut.

        Vendure adds what it can when it has less than asked; the shopper then orders that, or leaves
        when `accept_partial` is False. `payment_method` is `card` (settled at once) or `invoice`
        (authorized). Raises ShopError when the shop refuses for any other reason.
        """
        basket, session, short = self._fill_basket(lines)
        if not basket or (short and not accept_partial):
            return SoldOut(short=short, reason="INSUFFICIENT_STOCK_ERROR")
        self._give_details(session, email)
        raw_order = self._pay(session, payment_method)
        if raw_order["__typename"] != "Order":
            if _is_stock_refusal(raw_order):  # somebody else took the last units between basket and payment
                return SoldOut(short=dict(lines), reason=str(raw_order["errorCode"]))
            raise ShopError(f"order refused: {raw_order}")
        return PlacedOrder(
            id=raw_order["id"],
            code=raw_order["code"],
            state=raw_order["state"],
            total_minor=raw_order["totalWithTax"],
            units={line["productVariant"]["sku"]: line["quantity"] for line in raw_order["lines"]},
            short=short,
        )

    def _fill_basket(self, lines: Mapping[str, int]) -> tuple[bool, str | None, dict[str, int]]:
        document = f"""mutation ($variant: ID!, $quantity: Int!) {{
            addItemToOrder(productVariantId: $variant, quantity: $quantity) {{
                {PROBLEM} ... on InsufficientStockError {{ quantityAvailable }}
            }}
        }}"""
        ids = self.variant_ids()
        session: str | None = None
        filled = False
        short: dict[str, int] = {}
        for sku, quantity in lines.items():
            data, session = self._client.call(
                "shop-api", document, {"variant": ids[sku], "quantity": quantity}, session
            )
            answer = data["addItemToOrder"]
            available = quantity
            if answer["__typename"] == "InsufficientStockError":
                available = max(0, answer["quantityAvailable"])
                short[sku] = quantity - available
            elif answer["__typename"] != "Order":
                raise ShopError(f"{sku} not added: {answer}")
            filled = filled or available > 0
        return filled, session, short

    def _give_details(self, session: str | None, email: str) -> None:
        if self._shipping_method_id is None:
            data, _ = self._client.call("shop-api", "{ eligibleShippingMethods { id } }", None, session)
            self._shipping_method_id = data["eligibleShippingMethods"][0]["id"]
        document = f"""mutation ($customer: CreateCustomerInput!, $address: CreateAddressInput!, $method: [ID!]!) {{
            customer: setCustomerForOrder(input: $customer) {{ {PROBLEM} }}
            shipping: setOrderShippingAddress(input: $address) {{ {PROBLEM} }}
            billing: setOrderBillingAddress(input: $address) {{ {PROBLEM} }}
            method: setOrderShippingMethod(shippingMethodId: $method) {{ {PROBLEM} }}
        }}"""
        customer = {
            "emailAddress": email,
            "firstName": "Robin",
            "lastName": "Tester",
            "phoneNumber": "+49301234567",
        }
        variables = {"customer": customer, "address": ADDRESS, "method": [self._shipping_method_id]}
        data, _ = self._client.call("shop-api", document, variables, session)
        for step, answer in data.items():
            if answer["__typename"] != "Order":
                raise ShopError(f"{step} refused: {answer}")

    def _pay(self, session: str | None, payment_method: str) -> dict[str, Any]:
        document = f"""mutation ($method: String!) {{
            transition: transitionOrderToState(state: "ArrangingPayment") {{
                {PROBLEM} ... on OrderStateTransitionError {{ transitionError }}
            }}
            payment: addPaymentToOrder(input: {{method: $method, metadata: {{}}}}) {{
                {PROBLEM} ... on PaymentDeclinedError {{ paymentErrorMessage }}
                ... on Order {{ id code state totalWithTax lines {{ quantity productVariant {{ sku }} }} }}
            }}
        }}"""
        data, _ = self._client.call("shop-api", document, {"method": payment_method}, session)
        refused: bool = data["transition"]["__typename"] != "Order"
        answer: dict[str, Any] = data["transition"] if refused else data["payment"]
        return answer

    def settle_payment(self, payment_id: str) -> None:
        """Capture an authorized payment."""
        document = f"mutation ($id: ID!) {{ settlePayment(id: $id) {{ {PROBLEM} }} }}"
        self._expect("Payment", self._client.admin(document, {"id": payment_id})["settlePayment"])

    def refund(self, payment_id: str, amount_minor: int) -> str:
        """Refund part of a payment without returning goods; return the refund's id."""
        document = f"mutation ($input: RefundOrderInput!) {{ refundOrder(input: $input) {{ {PROBLEM} ... on Refund {{ id }} }} }}"
        given = {
            "paymentId": payment_id,
            "amount": amount_minor,
            "lines": [],
            "shipping": 0,
            "adjustment": 0,
        }
        answer = self._client.admin(document, {"input": {**given, "reason": "goodwill"}})["refundOrder"]
        return str(self._expect("Refund", answer)["id"])

    def cancel(self, order_id: str, lines: list[dict[str, Any]] | None = None) -> None:
        """Cancel an order, or only some {orderLineId, quantity} of it; does not refund."""
        document = f"mutation ($input: CancelOrderInput!) {{ cancelOrder(input: $input) {{ {PROBLEM} }} }}"
        given = {
            "orderId": order_id,
            "lines": lines,
            "cancelShipping": lines is None,
            "reason": "changed mind",
        }
        self._expect("Order", self._client.admin(document, {"input": given})["cancelOrder"])

    def _expect(self, typename: str, answer: dict[str, Any]) -> dict[str, Any]:
        if answer["__typename"] != typename:
            raise ShopError(f"refused: {answer}")
        return answer


def _is_stock_refusal(answer: Mapping[str, Any]) -> bool:
    said = f"{answer.get('transitionError', '')} {answer.get('paymentErrorMessage', '')}"
    return "insufficient stock" in said.lower().replace("_", " ")
