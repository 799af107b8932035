'use strict';
/** Fulfillment as one call that can be repeated: find by reference, else create and bring to the wanted state. */
const { Injectable } = require('@nestjs/common');
const { InternalServerError, OrderService, TransactionalConnection, UserInputError, isGraphQlErrorResult } = require('@vendure/core');
const { injectInto } = require('./decorate');
const { HANDLER_CODE, findByReference } = require('./fulfillment-handler');
const { lockOrders } = require('./locks');

/** Wanted state -> the states to walk through from Pending. */
const STEPS = { Pending: [], Shipped: ['Shipped'], Delivered: ['Shipped', 'Delivered'] };

class FulfillmentDesk {
    constructor(connection, orderService) {
        this.connection = connection;
        this.orderService = orderService;
    }

    /**
     * Return {fulfillment, created} or {errorCode, message}; throws, and so rolls everything back, when the
     * fulfillment could be created but not brought to the wanted state.
     */
    async fulfill(ctx, input) {
        const steps = STEPS[input.state ?? 'Shipped'];
        if (!steps) throw new UserInputError('state must be Pending, Shipped or Delivered');
        const order = await this.orderService.findOne(ctx, input.orderId, ['lines']); // also checks the channel
        const ofOrder = new Set(order?.lines.map(line => String(line.id)));
        if (!order || !input.lines.every(line => ofOrder.has(String(line.orderLineId)))) {
            return { created: false, errorCode: 'TIDEGATE_ORDER_LINES_UNKNOWN', message: 'no such lines in that order' };
        }
        await lockOrders(this.connection, ctx, [order.id]);
        const existing = await findByReference(this.connection, ctx, order.id, input.reference);
        if (existing) return { created: false, fulfillment: existing };
        const created = await this.orderService.createFulfillment(ctx, {
            lines: input.lines,
            handler: { code: HANDLER_CODE, arguments: handlerArguments(input) },
        });
        if (isGraphQlErrorResult(created)) {
            const message = created.fulfillmentHandlerError ?? created.message;
            return { created: false, errorCode: created.errorCode, message };
        }
        return { created: true, fulfillment: await this.walk(ctx, created, steps) };
    }

    async walk(ctx, fulfillment, steps) {
        let reached = fulfillment;
        for (const state of steps) {
            reached = await this.orderService.transitionFulfillmentToState(ctx, fulfillment.id, state);
            if (isGraphQlErrorResult(reached)) {
                throw new InternalServerError(`fulfillment cannot become ${state}: ${reached.transitionError}`);
            }
        }
        return reached;
    }
}

function handlerArguments({ method, trackingCode, reference }) {
    const values = { method: method ?? '', trackingCode: trackingCode ?? '', reference };
    return Object.entries(values).map(([name, value]) => ({ name, value }));
}

Injectable()(FulfillmentDesk);
injectInto(FulfillmentDesk, TransactionalConnection, OrderService);

module.exports = { FulfillmentDesk };
