"""GraphQL documents of Vendure's Admin API (3.x) and of our plugin."""

from __future__ import annotations

LOGIN = """
mutation Login($username: String!, $password: String!) {
  login(username: $username, password: $password) { __typename ... on CurrentUser { id } ... on ErrorResult { errorCode } }
}
"""

ABOUT = """
query About {
  activeChannel { id code defaultCurrencyCode }
  stockLocations(options: { take: 100 }) { items { id name } }
  tidegateSubscriptions { id }
}
"""

VARIANTS = """
query Variants($skip: Int!) {
  productVariants(options: { skip: $skip, take: 100, sort: { id: ASC } }) { totalItems items { id sku name barcode: tidegateBarcode } }
}
"""

SHOWN = """
query Shown($skip: Int!, $take: Int!) {
  productVariants(options: { skip: $skip, take: $take, sort: { id: ASC } }) {
    items { id sku name currencyCode price priceWithTax stockLevels { stockLocationId stockOnHand } }
  }
}
"""

SUBSCRIBE = "mutation Subscribe($url: String!, $secret: String!) { tidegateSubscribe(url: $url, secret: $secret) }"

ORDER_FIELDS = """
fragment OrderFields on Order {
  id code state orderPlacedAt updatedAt currencyCode shippingWithTax totalWithTax
  taxSummary { taxTotal }
  customer { id email: emailAddress firstName lastName phone: phoneNumber }
  shippingAddress { fullName company streetLine1 streetLine2 city province postalCode countryCode phoneNumber }
  billingAddress { fullName company streetLine1 streetLine2 city province postalCode countryCode phoneNumber }
  shippingLines { shippingMethod { code } }
  surcharges { priceWithTax }
  lines {
    id quantity orderPlacedQuantity unitPriceWithTax linePriceWithTax proratedLinePriceWithTax
    productVariant { id sku name }
  }
  payments { id state amount method refunds { id state total method } }
}
"""

ORDERS = (
    """
query Orders($options: OrderListOptions!) { orders(options: $options) { items { ...OrderFields } } }
"""
    + ORDER_FIELDS
)

ORDER = "query OneOrder($id: ID!) { order(id: $id) { ...OrderFields } }" + ORDER_FIELDS

FULFILL = """
mutation Fulfill($input: TidegateFulfillOrderInput!) {
  tidegateFulfillOrder(input: $input) { created errorCode message fulfillment { id state } }
}
"""

FULFILLMENTS = """
query Fulfillments($id: ID!) { order(id: $id) { fulfillments { id state customFields { tidegateRef } } } }
"""

CANCEL = """
mutation Cancel($input: CancelOrderInput!) {
  cancelOrder(input: $input) { __typename ... on Order { id state } ... on ErrorResult { errorCode } }
}
"""

ORDER_STATE = "query OrderState($id: ID!) { order(id: $id) { id state } }"

SET_STOCK = """
mutation SetStock($input: [TidegateSetStockInput!]!) {
  tidegateSetStock(input: $input) { variantId outcome onHand allocated }
}
"""

STOCK = (
    "query Stock($id: ID!) { productVariant(id: $id) { stockLevels { stockLocationId stockOnHand stockAllocated } } }"
)

SUBSCRIPTIONS = """
query Subscriptions { tidegateSubscriptions { id url lastSuccessAt lastError pending oldestPendingAt } }
"""

RIGHTS = "query Rights { activeChannel { code } me { channels { code permissions } } }"
