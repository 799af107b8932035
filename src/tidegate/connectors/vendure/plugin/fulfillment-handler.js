'use strict';
/**
 * A fulfillment handler that remembers who asked: it stores the caller's reference and refuses to create a second
 * fulfillment with the same one, so that a request whose answer was lost can be repeated.
 */
const {
    Fulfillment,
    FulfillmentHandler,
    FulfillmentLine,
    LanguageCode,
    Order,
    OrderLine,
    TransactionalConnection,
    idsAreEqual,
} = require('@vendure/core');
const { In, Not } = require('typeorm');

const HANDLER_CODE = 'tidegate-fulfillment';
const DUPLICATE_REFERENCE = 'TIDEGATE_DUPLICATE_REFERENCE';
const ALREADY_FULFILLED = 'TIDEGATE_ITEMS_ALREADY_FULFILLED';

let connection;

/** Lock the orders' rows until the transaction ends, so that fulfillments of one order are made one by one. */
async function lockOrders(connectionOfShop, ctx, orderIds) {
    await connectionOfShop
        .getRepository(ctx, Order)
        .createQueryBuilder('o')
        .select('o.id')
        .where('o.id IN (:...orderIds)', { orderIds })
        .orderBy('o.id')
        .setLock('for_no_key_update')
        .getMany();
}

/** Return the order's fulfillment with that reference, cancelled ones included, or null. */
function findByReference(connectionOfShop, ctx, orderId, reference) {
    return connectionOfShop.getRepository(ctx, Fulfillment).findOne({
        where: { orders: { id: orderId }, customFields: { tidegateRef: reference } },
    });
}

/** Throw when another request has fulfilled the lines between Vendure's own check and our lock. */
async function assertStillOpen(ctx, lines) {
    const ids = lines.map(line => line.orderLineId);
    const ordered = await connection.getRepository(ctx, OrderLine).find({
        where: { id: In(ids) },
        select: { id: true, quantity: true },
        loadEagerRelations: false,
    });
    const fulfilled = await connection.getRepository(ctx, FulfillmentLine).find({
        where: { orderLineId: In(ids), fulfillment: { state: Not('Cancelled') } },
    });
    for (const { orderLineId, quantity } of lines) {
        const line = ordered.find(({ id }) => idsAreEqual(id, orderLineId));
        const done = fulfilled
            .filter(reference => idsAreEqual(reference.orderLineId, orderLineId))
            .reduce((sum, reference) => sum + reference.quantity, 0);
        if (!line || done + quantity > line.quantity) {
            throw new Error(`${ALREADY_FULFILLED}: order line ${orderLineId}`);
        }
    }
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
        if (!reference) throw new Error('TIDEGATE_REFERENCE_MISSING');
        await lockOrders(connection, ctx, orders.map(order => order.id));
        for (const order of orders) {
            const existing = await findByReference(connection, ctx, order.id, reference);
            if (existing) throw new Error(`${DUPLICATE_REFERENCE}: fulfillment ${existing.id}`);
        }
        await assertStillOpen(ctx, lines);
        return { method, trackingCode, customFields: { tidegateRef: reference } };
    },
});

module.exports = { tidegateFulfillmentHandler, lockOrders, findByReference, HANDLER_CODE, DUPLICATE_REFERENCE };
