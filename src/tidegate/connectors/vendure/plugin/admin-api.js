'use strict';
/** What we add to the shop's Admin API: subscriptions, and fulfillment as one repeatable call. */
const { Args, Mutation, Parent, Query, ResolveField, Resolver } = require('@nestjs/graphql');
const { Allow, Ctx, Permission, Transaction } = require('@vendure/core');
const { parse } = require('graphql');
const { onMethod, injectInto } = require('./decorate');
const { FulfillmentDesk } = require('./fulfillment-desk');
const { StockDesk } = require('./stock-desk');
const { SubscriptionDesk } = require('./subscription-desk');

const adminSchema = parse(`
    type TidegateSubscription {
        id: ID!
        url: String!
        createdAt: DateTime!
        lastSuccessAt: DateTime
        lastError: String
        pending: Int!
        oldestPendingAt: DateTime
    }

    input TidegateFulfillOrderInput {
        orderId: ID!
        "The caller's own key: repeating a call with the same reference changes nothing and answers the same fulfillment"
        reference: String!
        lines: [OrderLineInput!]!
        method: String
        trackingCode: String
        "Pending, Shipped (the default) or Delivered"
        state: String
    }

    "Either fulfillment is set, or errorCode and message say why nothing was changed"
    type TidegateFulfillOrderResult {
        fulfillment: Fulfillment
        created: Boolean!
        errorCode: String
        message: String
    }

    "Sets onHand; with expectations only if they all hold at that moment"
    input TidegateSetStockInput {
        variantId: ID!
        locationId: ID!
        onHand: Int!
        expectedOnHand: Int
        expectedAllocated: Int
    }

    enum TidegateSetStockOutcome {
        SET
        "An expectation did not hold; onHand and allocated are the shop's numbers, unchanged"
        STALE
        "This channel has no such variant or no such location"
        UNKNOWN
    }

    type TidegateSetStockResult {
        variantId: ID!
        locationId: ID!
        outcome: TidegateSetStockOutcome!
        onHand: Int
        allocated: Int
    }

    extend type ProductVariant {
        "The first of the custom fields barcode, ean, gtin and upc that is filled"
        tidegateBarcode: String
    }

    extend type Query {
        tidegateSubscriptions: [TidegateSubscription!]!
    }

    extend type Mutation {
        "One subscription per url; repeating it replaces the secret"
        tidegateSubscribe(url: String!, secret: String!): ID!
        "Also forgets what was not yet delivered; false when there is no such subscription"
        tidegateUnsubscribe(id: ID!): Boolean!
        tidegateFulfillOrder(input: TidegateFulfillOrderInput!): TidegateFulfillOrderResult!
        "At most 500 items; one result per item, in the same order"
        tidegateSetStock(input: [TidegateSetStockInput!]!): [TidegateSetStockResult!]!
    }
`);

class TidegateResolver {
    constructor(subscriptionDesk, fulfillmentDesk, stockDesk) {
        this.subscriptionDesk = subscriptionDesk;
        this.fulfillmentDesk = fulfillmentDesk;
        this.stockDesk = stockDesk;
    }

    tidegateSubscriptions(ctx) {
        return this.subscriptionDesk.list(ctx);
    }

    tidegateSubscribe(ctx, { url, secret }) {
        return this.subscriptionDesk.subscribe(ctx, url, secret);
    }

    tidegateUnsubscribe(ctx, { id }) {
        return this.subscriptionDesk.unsubscribe(ctx, id);
    }

    tidegateFulfillOrder(ctx, { input }) {
        return this.fulfillmentDesk.fulfill(ctx, input);
    }

    tidegateSetStock(ctx, { input }) {
        return this.stockDesk.setStock(ctx, input);
    }
}

Resolver()(TidegateResolver);
injectInto(TidegateResolver, SubscriptionDesk, FulfillmentDesk, StockDesk);
expose('tidegateSubscriptions', Query(), [Permission.ReadSettings]);
expose('tidegateSubscribe', Mutation(), [Permission.UpdateSettings]);
expose('tidegateUnsubscribe', Mutation(), [Permission.UpdateSettings]);
expose('tidegateFulfillOrder', Mutation(), [Permission.UpdateOrder]);
expose('tidegateSetStock', Mutation(), [Permission.UpdateCatalog, Permission.UpdateProduct]);

/** Make a method of the resolver a field of the API, in one transaction, for those who have one of the permissions. */
function expose(name, kind, permissions) {
    onMethod(TidegateResolver, name, [Transaction(), kind, Allow(...permissions)], [Ctx(), Args()]);
}

const BARCODE_FIELDS = ['barcode', 'ean', 'gtin', 'upc'];

/** Shops keep barcodes in a custom field; Vendure has none of its own. */
class TidegateVariantResolver {
    tidegateBarcode(variant) {
        const filled = BARCODE_FIELDS.find(name => variant.customFields?.[name]);
        return filled ? String(variant.customFields[filled]) : null;
    }
}

Resolver('ProductVariant')(TidegateVariantResolver);
onMethod(TidegateVariantResolver, 'tidegateBarcode', [ResolveField()], [Parent()]);

module.exports = { adminSchema, TidegateResolver, TidegateVariantResolver };
