'use strict';
/**
 * Writes the outbox in the shop's own transaction.
 *
 * Blocking event handlers run inside the transaction that published the event; they only note which order
 * changed. The rows are written when TypeORM is about to commit the outermost transaction, because an event is
 * published before the work is complete (a payment, for example, is linked to its order afterwards). So:
 * a transaction that rolls back leaves nothing, one that commits leaves one event per changed order with the
 * order as it was committed, and when the event cannot be written the shop's transaction fails with it.
 */
const {
    FulfillmentEvent,
    FulfillmentStateTransitionEvent,
    Order,
    OrderEvent,
    OrderLineEvent,
    OrderPlacedEvent,
    OrderStateTransitionEvent,
    PaymentStateTransitionEvent,
    RefundEvent,
    RefundStateTransitionEvent,
} = require('@vendure/core');
const { TidegateOutboxRow, TidegateSubscription } = require('./entities');
const { SNAPSHOT_RELATIONS, orderSnapshot } = require('./snapshot');
const { uuid7 } = require('./uuid');

/** Topics, the most telling first: it names the event, all of them stand in `changes`. */
const TOPICS = [
    'order.placed',
    'order.cancelled',
    'refund.created',
    'refund.updated',
    'fulfillment.created',
    'fulfillment.updated',
    'payment.updated',
    'order.updated',
];

/** Vendure event class -> topic of that event. */
const TOPIC_OF = new Map([
    [OrderPlacedEvent, () => 'order.placed'],
    [OrderStateTransitionEvent, event => (event.toState === 'Cancelled' ? 'order.cancelled' : 'order.updated')],
    [OrderEvent, () => 'order.updated'],
    [OrderLineEvent, () => 'order.updated'],
    [PaymentStateTransitionEvent, () => 'payment.updated'],
    [RefundEvent, () => 'refund.created'],
    [RefundStateTransitionEvent, () => 'refund.updated'],
    [FulfillmentEvent, () => 'fulfillment.created'],
    [FulfillmentStateTransitionEvent, () => 'fulfillment.updated'],
]);

/** Now, in whole milliseconds as the API shows them, but always later than before: even if the clock was set back. */
const NEXT_UPDATED_AT = `GREATEST(
    date_trunc('milliseconds', CAST(clock_timestamp() AS timestamp)),
    date_trunc('milliseconds', "updatedAt") + interval '1 millisecond'
)`;

/** Events that carts publish all the time; only those of placed orders count. */
const CART_EVENTS = new Set([OrderEvent, OrderLineEvent]);

/** Listens to Vendure's event bus by itself and to TypeORM's transactions as a subscriber. */
class OutboxRecorder {
    /** `onCommitted` is called after a transaction that wrote events has committed. */
    constructor({ connection, eventBus, encodeId, onCommitted }) {
        this.connection = connection;
        this.encodeId = encodeId;
        this.onCommitted = onCommitted;
        this.notes = new WeakMap(); // query runner -> Map of order id -> Set of topics
        this.written = new WeakSet(); // query runners whose current transaction wrote events
        for (const [event, topicOf] of TOPIC_OF) {
            eventBus.registerBlockingEventHandler({
                event,
                id: `tidegate-${event.name}`,
                handler: published => this.note(published, topicOf(published)),
            });
        }
    }

    /** Note that the event's orders changed; outside a transaction, open one that records just that. */
    async note(event, topic) {
        if (CART_EVENTS.has(event.constructor) && !(event.order ?? event.entity)?.orderPlacedAt) return;
        const queryRunner = this.activeQueryRunner(event.ctx);
        if (!queryRunner) {
            await this.connection.withTransaction(event.ctx, async ctx => {
                this.noteOrders(this.activeQueryRunner(ctx), await this.orderIdsOf(ctx, event), topic);
            });
            return;
        }
        this.noteOrders(queryRunner, await this.orderIdsOf(event.ctx, event), topic);
    }

    activeQueryRunner(ctx) {
        const queryRunner = this.connection.getRepository(ctx, Order).manager.queryRunner;
        return queryRunner?.isTransactionActive ? queryRunner : undefined;
    }

    noteOrders(queryRunner, orderIds, topic) {
        const notes = this.notes.get(queryRunner) ?? new Map();
        this.notes.set(queryRunner, notes);
        for (const orderId of orderIds) {
            if (!notes.has(orderId)) notes.set(orderId, new Set());
            notes.get(orderId).add(topic);
        }
    }

    /** Return the ids of the orders that an event is about; a fulfillment may belong to several. */
    async orderIdsOf(ctx, event) {
        if (event instanceof OrderEvent) return [event.entity.id];
        if (event instanceof FulfillmentEvent) return event.input.orders.map(order => order.id);
        if (event instanceof FulfillmentStateTransitionEvent) {
            const orders = await this.connection.getRepository(ctx, Order).find({
                select: { id: true },
                where: { fulfillments: { id: event.fulfillment.id } },
                loadEagerRelations: false,
            });
            return orders.map(order => order.id);
        }
        return [event.order.id];
    }

    /** TypeORM: awaited before every COMMIT and every release of a savepoint; the latter is not yet the end. */
    async beforeTransactionCommit({ queryRunner }) {
        const notes = this.notes.get(queryRunner);
        if (!notes || queryRunner.transactionDepth > 1) return;
        this.notes.delete(queryRunner);
        const subscriptions = await queryRunner.manager.find(TidegateSubscription, { select: { id: true } });
        for (const orderId of [...notes.keys()].sort(inIdOrder)) {
            await this.writeOrder(queryRunner, orderId, [...notes.get(orderId)], subscriptions);
        }
    }

    afterTransactionCommit({ queryRunner }) {
        if (!queryRunner.isTransactionActive && this.written.delete(queryRunner)) this.onCommitted();
    }

    afterTransactionRollback({ queryRunner }) {
        if (queryRunner.isTransactionActive) return; // only a savepoint: what it noted is written as it then stands
        this.notes.delete(queryRunner);
        this.written.delete(queryRunner);
    }

    /**
     * Move the order's updatedAt and append its events.
     *
     * The update comes first because it locks the order's row: of two transactions that change one order, the
     * second reads what the first committed and gets the higher version, so the highest version is always complete.
     */
    async writeOrder(queryRunner, orderId, topics, subscriptions) {
        const { manager } = queryRunner;
        const touched = await manager
            .createQueryBuilder()
            .update(Order)
            .set({ updatedAt: () => NEXT_UPDATED_AT })
            .where('id = :orderId AND "orderPlacedAt" IS NOT NULL', { orderId })
            .callListeners(false)
            .execute();
        if (!touched.affected || !subscriptions.length) return;
        const order = await loadForSnapshot(manager, orderId);
        const changes = TOPICS.filter(topic => topics.includes(topic));
        const snapshot = JSON.stringify(orderSnapshot(order, this.encodeId));
        const rows = subscriptions.map(({ id }) => ({
            eventId: uuid7(),
            subscriptionId: id,
            orderId: String(orderId),
            topic: changes[0],
            changes: changes.join(','),
            order: snapshot,
            occurredAt: new Date(),
        }));
        await manager.createQueryBuilder().insert().into(TidegateOutboxRow).values(rows).callListeners(false).execute();
        this.written.add(queryRunner);
    }
}

/** Load the order group by group, one query after the other: a transaction has a single database connection. */
async function loadForSnapshot(manager, orderId) {
    let order;
    for (const relations of SNAPSHOT_RELATIONS) {
        // `find`, because `findOne` asks twice as soon as there are relations
        const [loaded] = await manager.find(Order, { where: { id: orderId }, relations, loadEagerRelations: false });
        order ??= loaded;
        for (const name of Object.keys(relations)) order[name] = loaded[name];
    }
    return order;
}

/** One order for everybody, so that two transactions never lock the same orders crosswise. */
function inIdOrder(a, b) {
    return String(a).localeCompare(String(b), 'en', { numeric: true });
}

module.exports = { OutboxRecorder };
