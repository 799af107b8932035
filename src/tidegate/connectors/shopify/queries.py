"""GraphQL documents of Shopify's Admin API, version 2026-10, and of its bulk operations.

The shop charges for what a document could give: one point per object, a connection times its `first`. No document here
comes near the 1,000 points that one may cost.
"""

from __future__ import annotations

SHOP = """
query Shop {
  shop { id name myshopifyDomain currencyCode }
  locations(first: 50, includeInactive: false) { nodes { id name isActive } }
  currentAppInstallation { accessScopes { handle } }
}
"""

VARIANTS = """
query Variants($first: Int!, $after: String) {
  productVariants(first: $first, after: $after, sortKey: ID) {
    pageInfo { hasNextPage endCursor }
    nodes { id sku displayName barcode inventoryItem { id } }
  }
}
"""

BULK_VARIANTS = """
{ productVariants { edges { node { id sku displayName barcode product { id } inventoryItem { id } } } } }
"""

VARIANT = """
query OneVariant($id: ID!) {
  productVariant(id: $id) { id sku displayName updatedAt product { id } inventoryItem { id } }
}
"""

PRODUCT = "query OneProduct($id: ID!) { product(id: $id) { id } }"

CHANGED_ORDERS = """
query ChangedOrders($first: Int!, $after: String, $query: String!) {
  orders(first: $first, after: $after, query: $query, sortKey: UPDATED_AT) {
    pageInfo { hasNextPage endCursor }
    nodes { legacyResourceId createdAt processedAt updatedAt }
  }
}
"""

ORDERS_COUNT = """
query OrdersCount($query: String!) { ordersCount(query: $query, limit: 10000) { count } }
"""

PLACED_ORDERS = """
query PlacedOrders($first: Int!, $query: String!) {
  orders(first: $first, query: $query, sortKey: PROCESSED_AT) { nodes { legacyResourceId createdAt processedAt updatedAt } }
}
"""

ORDER = """
query OneOrder($id: ID!) {
  order(id: $id) {
    legacyResourceId name email phone createdAt processedAt updatedAt cancelledAt closedAt test taxesIncluded currencyCode
    displayFinancialStatus
    currentTotalPriceSet { shopMoney { amount } }
    currentTotalTaxSet { shopMoney { amount } }
    currentTotalDutiesSet { shopMoney { amount } }
    totalTipReceivedSet { shopMoney { amount } }
    customer { legacyResourceId firstName lastName }
    shippingAddress { name company address1 address2 city provinceCode zip countryCodeV2 phone }
    billingAddress { name company address1 address2 city provinceCode zip countryCodeV2 phone }
    shippingLines(first: 5) {
      nodes {
        code title originalPriceSet { shopMoney { amount } }
        discountAllocations { allocatedAmountSet { shopMoney { amount } } }
        taxLines { priceSet { shopMoney { amount } } }
      }
    }
    transactions(first: 10) {
      id kind status gateway paymentId createdAt processedAt test
      amountSet { shopMoney { amount currencyCode } } parentTransaction { id } receiptJson
    }
    refunds(first: 10) { legacyResourceId note transactions(first: 3) { nodes { id } } }
    lineItems(first: 20) {
      pageInfo { hasNextPage endCursor }
      nodes {
        id sku name quantity currentQuantity variant { legacyResourceId }
        originalUnitPriceSet { shopMoney { amount } }
        discountAllocations { allocatedAmountSet { shopMoney { amount } } }
        taxLines { priceSet { shopMoney { amount } } }
      }
    }
  }
}
"""

ORDER_LINES = """
query OrderLines($id: ID!, $after: String!) {
  order(id: $id) {
    updatedAt
    lineItems(first: 50, after: $after) {
      pageInfo { hasNextPage endCursor }
      nodes {
        id sku name quantity currentQuantity variant { legacyResourceId }
        originalUnitPriceSet { shopMoney { amount } }
        discountAllocations { allocatedAmountSet { shopMoney { amount } } }
        taxLines { priceSet { shopMoney { amount } } }
      }
    }
  }
}
"""

PRICING = "query Pricing { shop { currencyCode taxesIncluded } }"

BULK_SHOWN = """
{
  productVariants {
    edges {
      node {
        id sku displayName price product { id }
        inventoryItem { tracked inventoryLevel(locationId: "LOCATION") { quantities(names: ["available"]) { quantity } } }
      }
    }
  }
}
"""
"""LOCATION stands for the location's id: a bulk operation takes no variables."""

RUN_BULK = """
mutation RunBulk($query: String!) {
  bulkOperationRunQuery(query: $query, groupObjects: false) {
    bulkOperation { id status }
    userErrors { code field message }
  }
}
"""

BULK = """
query Bulk($id: ID!) { bulkOperation(id: $id) { id status errorCode url createdAt } }
"""

SHOWN_PAGE = """
query ShownPage($first: Int!, $after: String, $location: ID!) {
  productVariants(first: $first, after: $after, sortKey: ID) {
    pageInfo { hasNextPage endCursor }
    nodes {
      id sku displayName price
      inventoryItem { tracked inventoryLevel(locationId: $location) { quantities(names: ["available"]) { quantity } } }
    }
  }
}
"""

SET_QUANTITIES = """
mutation SetQuantities($input: InventorySetQuantitiesInput!, $key: String!) {
  inventorySetQuantities(input: $input) @idempotent(key: $key) {
    inventoryAdjustmentGroup { id }
    userErrors { code field message }
  }
}
"""

LEVELS = """
query Levels($items: [ID!]!, $location: ID!) {
  nodes(ids: $items) {
    ... on InventoryItem { id inventoryLevel(locationId: $location) { quantities(names: ["available"]) { quantity } } }
  }
}
"""

FULFILLMENT_ORDERS = """
query FulfillmentOrders($id: ID!, $after: String) {
  order(id: $id) {
    id
    fulfillmentOrders(first: 5, after: $after) {
      pageInfo { hasNextPage endCursor }
      nodes {
        id status
        lineItems(first: 50) { pageInfo { hasNextPage } nodes { id remainingQuantity lineItem { id } } }
      }
    }
  }
}
"""

FULFIL = """
mutation Fulfil($fulfillment: FulfillmentInput!, $message: String) {
  fulfillmentCreate(fulfillment: $fulfillment, message: $message) {
    fulfillment { legacyResourceId status }
    userErrors { field message }
  }
}
"""

FULFILLMENTS = """
query Fulfillments($id: ID!) {
  order(id: $id) {
    id
    fulfillments(first: 20) {
      legacyResourceId status createdAt trackingInfo(first: 3) { number }
      fulfillmentLineItems(first: 10) { pageInfo { hasNextPage } nodes { quantity lineItem { id } } }
    }
  }
}
"""

REFUND = """
mutation Refund($input: RefundInput!, $key: String!) {
  refundCreate(input: $input) @idempotent(key: $key) { refund { legacyResourceId } userErrors { field message } }
}
"""

PAYMENTS = """
query Payments($id: ID!) { order(id: $id) { id transactions(first: 20) { id kind status manualPaymentGateway } } }
"""

REFUNDS = "query Refunds($id: ID!) { order(id: $id) { id refunds(first: 50) { legacyResourceId note } } }"

CANCEL = """
mutation Cancel($id: ID!, $notify: Boolean!, $note: String!) {
  orderCancel(
    orderId: $id, reason: INVENTORY, restock: true, refundMethod: { originalPaymentMethodsRefund: true }
    notifyCustomer: $notify, staffNote: $note
  ) { job { id done } orderCancelUserErrors { code field message } }
}
"""

CANCELLED = "query Cancelled($id: ID!) { order(id: $id) { id cancelledAt } }"

SUBSCRIPTIONS = """
query Subscriptions($first: Int!, $after: String) {
  webhookSubscriptions(first: $first, after: $after) {
    pageInfo { hasNextPage endCursor }
    nodes { id topic uri format filter includeFields apiVersion { handle } }
  }
}
"""

SUBSCRIBE = """
mutation Subscribe($topic: WebhookSubscriptionTopic!, $uri: String!) {
  webhookSubscriptionCreate(topic: $topic, webhookSubscription: { uri: $uri, format: JSON }) {
    webhookSubscription { id topic uri }
    userErrors { field message }
  }
}
"""

UNSUBSCRIBE = """
mutation Unsubscribe($id: ID!) {
  webhookSubscriptionDelete(id: $id) { deletedWebhookSubscriptionId userErrors { field message } }
}
"""

GRANTS = "query Grants { currentAppInstallation { accessScopes { handle } } }"

VERSIONS = "query Versions { publicApiVersions { handle supported displayName } }"
