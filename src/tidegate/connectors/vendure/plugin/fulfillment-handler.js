'use strict';
/**
 * A fulfillment handler that remembers who asked: it stores the caller's reference and refuses to create a second
 * fulfillment with the same one, so that a request whose answer was lost can be repeated.
 */
const { Fulfillment, FulfillmentHandler, LanguageCode, TransactionalConnection } = require('@vendure/core');
const { lockOrders } = require('./locks');

const HANDLER_CODE = 'tidegate-fulfillment';
const DUPLICATE_REFERENCE = 'TIDEGATE_DUPLICATE_REFERENCE';
const REFERENCE_MISSING = 'TIDEGATE_REFERENCE_MISSING';

let connection;

/** Return the order's fulfillment with that reference, cancelled ones included, or null. */
function findByReference(shopConnection, ctx, orderId, reference) {
    return shopConnection.getRepository(ctx, Fulfillment).findOne({
        where: { orders: { id: orderId }, customFields: { tidegateRef: reference } },
    });
}

const tidegateFulfillmentHandler = new FulfillmentHandler({
    code: HANDLER_CODE,
    description: [{ languageCode: LanguageCode.en, value: 'Created by Tidegate from a shipment elsewhere' }],
    args: {
        method: { type: 'string', required: false },
        trackingCode: { type: 'string', required: false },
        reference: { type: 'string', required: true },
    },
    init(injector) {
        connection = injector.get(TransactionalConnection);
    },
    async createFulfillment(ctx, orders, lines, { method, trackingCode, reference }) {
        if (!reference) throw new Error(REFERENCE_MISSING);
        await lockOrders(connection, ctx, orders.map(order => order.id));
        for (const order of orders) {
            const existing = await findByReference(connection, ctx, order.id, reference);
            if (existing) throw new Error(`${DUPLICATE_REFERENCE}: fulfillment ${existing.id}`);
        }
        return { method, trackingCode, customFields: { tidegateRef: reference } };
    },
});

module.exports = { tidegateFulfillmentHandler, findByReference, HANDLER_CODE, DUPLICATE_REFERENCE };
