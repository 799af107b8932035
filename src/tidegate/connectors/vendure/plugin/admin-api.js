'use strict';
/** What we add to the shop's Admin API: subscriptions, and fulfillment as one repeatable call. */
const { Args, Mutation, Query, Resolver } = require('@nestjs/graphql');
const { Allow, Ctx, Permission, Transaction } = require('@vendure/core');
const { parse } = require('graphql');
const { onMethod, injectInto } = require('./decorate');
const { FulfillmentDesk } = require('./fulfillment-desk');
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

    extend type Query {
        tidegateSubscriptions: [TidegateSubscription!]!
    }

    extend type Mutation {
        "One subscription per url; repeating it replaces the secret"
        tidegateSubscribe(url: String!, secret: String!): ID!
        "Also forgets what was not yet delivered; false when there is no such subscription"
        tidegateUnsubscribe(id: ID!): Boolean!
        tidegateFulfillOrder(input: TidegateFulfillOrderInput!): TidegateFulfillOrderResult!
    }
`);

class TidegateResolver {
    constructor(subscriptionDesk, fulfillmentDesk) {
        this.subscriptionDesk = subscriptionDesk;
        this.fulfillmentDesk = fulfillmentDesk;
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
}

Resolver()(TidegateResolver);
injectInto(TidegateResolver, SubscriptionDesk, FulfillmentDesk);
const withArguments = [Ctx(), Args()];
onMethod(TidegateResolver, 'tidegateSubscriptions', [Query(), Allow(Permission.ReadSettings)], [Ctx()]);
onMethod(TidegateResolver, 'tidegateSubscribe', [Transaction(), Mutation(), Allow(Permission.UpdateSettings)], withArguments);
onMethod(TidegateResolver, 'tidegateUnsubscribe', [Transaction(), Mutation(), Allow(Permission.UpdateSettings)], withArguments);
onMethod(TidegateResolver, 'tidegateFulfillOrder', [Transaction(), Mutation(), Allow(Permission.UpdateOrder)], withArguments);

module.exports = { adminSchema, TidegateResolver };
