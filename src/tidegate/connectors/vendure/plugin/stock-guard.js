'use strict';
/**
 * Makes the shop's stock numbers hold when several things happen at once.
 *
 * Vendure (up to 3.7 at least) reads a stock level, adds to it and writes it back without a lock, and checks stock
 * long before it allocates. Of twenty shoppers who wanted ten units at once, twenty got an order, and the shop then
 * said that two units were allocated. The guard takes row locks at three official seams:
 *   - the stock location strategy, which Vendure asks right before every stock movement of an order;
 *   - payment handlers: stock is checked again, under the lock, before any money moves;
 *   - fulfillment handlers: the open quantity is checked again, under the lock, before a fulfillment is made.
 */
const {
    FulfillmentLine,
    Logger,
    MultiChannelStockLocationStrategy,
    Order,
    OrderLine,
    idsAreEqual,
} = require('@vendure/core');
const { In, Not } = require('typeorm');
const { lockOrdersAndStock } = require('./locks');

const LOG_CONTEXT = 'TidegatePlugin';
const OUT_OF_STOCK = 'TIDEGATE_INSUFFICIENT_STOCK';
const ALREADY_FULFILLED = 'TIDEGATE_ITEMS_ALREADY_FULFILLED';
const GUARD = Symbol('tidegate guard');

/** Vendure's own strategy behind a lock; an order that is split over locations gets what it asked for, not more. */
class GuardedStockLocationStrategy extends MultiChannelStockLocationStrategy {
    async forAllocation(ctx, stockLocations, orderLine, quantity) {
        await this.lock(ctx, orderLine);
        const proposed = await super.forAllocation(ctx, stockLocations, orderLine, quantity);
        return capTogether(proposed, quantity);
    }

    async forSale(ctx, stockLocations, orderLine, quantity) {
        await this.lock(ctx, orderLine);
        return super.forSale(ctx, stockLocations, orderLine, quantity);
    }

    async forRelease(ctx, stockLocations, orderLine, quantity) {
        await this.lock(ctx, orderLine);
        return super.forRelease(ctx, stockLocations, orderLine, quantity);
    }

    async forCancellation(ctx, stockLocations, orderLine, quantity) {
        await this.lock(ctx, orderLine);
        return super.forCancellation(ctx, stockLocations, orderLine, quantity);
    }

    /** Lock the whole order at its first line: locking line by line could meet another order crosswise. */
    async lock(ctx, orderLine) {
        const orders = await this.connection
            .getRepository(ctx, Order)
            .find({ where: { lines: { id: orderLine.id } }, select: { id: true }, loadEagerRelations: false });
        const ids = orders.map(order => order.id);
        if (ids.length) await lockOrdersAndStock(this.connection, ctx, ids, [orderLine.productVariantId]);
    }
}

/** Limit allocations so that together they do not pass `quantity`. */
function capTogether(allocations, quantity) {
    let open = quantity;
    return allocations
        .map(({ location, quantity: proposed }) => {
            const taken = Math.min(proposed, open);
            open -= taken;
            return { location, quantity: taken };
        })
        .filter(allocation => allocation.quantity > 0);
}

/** Put the guarded strategy into a config that uses Vendure's own; leave a merchant's own strategy alone. */
function guardStrategy(catalogOptions) {
    const { stockLocationStrategy } = catalogOptions;
    if (stockLocationStrategy.constructor === MultiChannelStockLocationStrategy) {
        catalogOptions.stockLocationStrategy = new GuardedStockLocationStrategy();
    } else if (!(stockLocationStrategy instanceof GuardedStockLocationStrategy)) {
        Logger.warn('this shop has its own stock location strategy, stock movements are not guarded', LOG_CONTEXT);
    }
}

class HandlerGuard {
    constructor({ connection, productVariantService }) {
        this.connection = connection;
        this.productVariantService = productVariantService;
    }

    /** Guard every payment and fulfillment handler of the shop, whichever plugin brought it. */
    protect({ paymentMethodHandlers, fulfillmentHandlers }) {
        for (const handler of paymentMethodHandlers) {
            guardMethod(handler, 'createPayment', (ctx, order, amount) => this.refusePayment(ctx, order, amount));
        }
        for (const handler of fulfillmentHandlers) {
            guardMethod(handler, 'createFulfillment', (ctx, orders, lines) => this.assertStillOpen(ctx, orders, lines));
        }
    }

    /** Return a declined payment when the cart cannot be had any more, else nothing. */
    async refusePayment(ctx, order, amount) {
        if (order.orderPlacedAt) return undefined; // an additional payment: its stock is allocated already
        await lockOrdersAndStock(this.connection, ctx, [order.id]);
        const lines = await this.connection.getRepository(ctx, OrderLine).find({
            where: { order: { id: order.id } },
            relations: { productVariant: true },
            loadEagerRelations: false,
        });
        for (const variant of new Map(lines.map(line => [line.productVariantId, line.productVariant])).values()) {
            const wanted = lines
                .filter(line => idsAreEqual(line.productVariantId, variant.id))
                .reduce((sum, line) => sum + line.quantity, 0);
            if (wanted > (await this.productVariantService.getSaleableStockLevel(ctx, variant))) {
                return { amount, state: 'Declined', errorMessage: `${OUT_OF_STOCK}: ${variant.sku}`, metadata: {} };
            }
        }
        return undefined;
    }

    /** Throw when another request has fulfilled the lines since Vendure looked. */
    async assertStillOpen(ctx, orders, lines) {
        await lockOrdersAndStock(this.connection, ctx, orders.map(order => order.id));
        const ids = lines.map(line => line.orderLineId);
        const ordered = await this.connection.getRepository(ctx, OrderLine).find({
            where: { id: In(ids) },
            select: { id: true, quantity: true },
            loadEagerRelations: false,
        });
        const fulfilled = await this.connection.getRepository(ctx, FulfillmentLine).find({
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
}

/** Ask `guard` before a handler's method runs; what it returns, if anything, is the answer. */
function guardMethod(handler, name, guard) {
    const isGuarded = handler[GUARD] !== undefined;
    handler[GUARD] = guard; // replaced when a second application in one process uses the same handlers
    if (isGuarded) return;
    const original = handler[name].bind(handler);
    handler[name] = async (...args) => (await handler[GUARD](...args)) ?? original(...args);
}

module.exports = { GuardedStockLocationStrategy, HandlerGuard, capTogether, guardStrategy };
