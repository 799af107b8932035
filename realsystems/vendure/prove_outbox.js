'use strict';
/**
 * Proves on a real shop that the outbox follows the shop's transactions. Needs the shop's environment and a
 * database whose two newest orders have five units or more on their first lines; prints one line per proof and
 * leaves the subscriptions and the outbox of that database empty.
 */
const assert = require('assert/strict');
const { bootstrap, Order, OrderService, RequestContextService, TransactionalConnection } = require('@vendure/core');
const { config } = require('./vendure-config');

const UNREACHABLE = 'http://127.0.0.1:9/nobody-listens';
const SECRET = `whsec_${Buffer.alloc(32, 1).toString('base64')}`;

async function main() {
    const app = await bootstrap(config);
    const connection = app.get(TransactionalConnection);
    const orderService = app.get(OrderService);
    const ctx = await app.get(RequestContextService).create({ apiType: 'admin' });
    const query = (sql, values) => connection.rawConnection.query(sql, values);
    const rows = () => query('SELECT id, "orderId", topic, "order"::json AS "order" FROM tidegate_outbox ORDER BY id');
    const read = id => connection.getRepository(ctx, Order).findOneOrFail({ where: { id }, relations: { lines: true } });
    const told = ({ code, state, updatedAt, lines }) => ({ code, state, updatedAt, units: lines.map(line => line.quantity) });
    const cancelOne = (transaction, order) =>
        orderService.cancelOrder(transaction, {
            orderId: order.id, reason: 'proof', lines: [{ orderLineId: order.lines[0].id, quantity: 1 }],
        });
    const placed = await query('SELECT id FROM "order" WHERE "orderPlacedAt" IS NOT NULL ORDER BY id DESC LIMIT 2');
    const [first, second] = await Promise.all(placed.map(({ id }) => read(id)));
    await query('DELETE FROM tidegate_subscription');
    await query('INSERT INTO tidegate_subscription (url, secret) VALUES ($1, $2)', [UNREACHABLE, SECRET]);
    await query('DELETE FROM tidegate_outbox');

    const proofs = {
        'a rolled back transaction leaves no event and does not move updatedAt': async () => {
            await assert.rejects(
                connection.withTransaction(ctx, async transaction => {
                    await cancelOne(transaction, first);
                    throw new Error('no');
                }),
                /no/,
            );
            assert.equal((await rows()).length, 0);
            assert.deepEqual(told(await read(first.id)), told(first));
        },
        'a committed transaction leaves one event, with what was written after the last Vendure event': async () => {
            await connection.withTransaction(ctx, async transaction => {
                await cancelOne(transaction, first);
                assert.equal((await rows()).length, 0, 'nothing can be seen before the commit');
                await connection.getRepository(transaction, Order).update(first.id, { code: `${first.code}-LATE` });
            });
            const [row, ...others] = await rows();
            assert.equal(others.length, 0);
            const order = await read(first.id);
            assert.equal(row.order.code, `${first.code}-LATE`);
            assert.equal(row.order.lines[0].quantity, order.lines[0].quantity);
            assert.ok(order.updatedAt > first.updatedAt);
            assert.equal(row.order.updatedAt, order.updatedAt.toISOString());
        },
        'a savepoint that rolls back inside a committed transaction never shows in an event': async () => {
            await query('DELETE FROM tidegate_outbox');
            await connection.withTransaction(ctx, async transaction => {
                await cancelOne(transaction, first);
                await assert.rejects(
                    connection.withTransaction(transaction, async nested => {
                        await cancelOne(nested, second);
                        throw new Error('inner');
                    }),
                    /inner/,
                );
            });
            for (const row of await rows()) {
                const order = await read(row.orderId);
                assert.equal(row.order.lines[0].quantity, order.lines[0].quantity);
            }
            assert.equal((await read(second.id)).lines[0].quantity, second.lines[0].quantity);
            assert.ok((await rows()).some(row => row.orderId === String(first.id)));
        },
        'when the event cannot be written, the change is not committed either': async () => {
            const before = await read(first.id);
            await query('ALTER TABLE tidegate_outbox RENAME TO tidegate_outbox_away');
            try {
                await assert.rejects(connection.withTransaction(ctx, transaction => cancelOne(transaction, before)));
            } finally {
                await query('ALTER TABLE tidegate_outbox_away RENAME TO tidegate_outbox');
            }
            assert.deepEqual(told(await read(first.id)), told(before));
        },
        'of two transactions on one order the higher version tells both changes': async () => {
            await query('DELETE FROM tidegate_outbox');
            const order = await read(second.id);
            const repository = transaction => connection.getRepository(transaction, Order);
            let release;
            const held = new Promise(resolve => (release = resolve));
            const slow = connection.withTransaction(ctx, async transaction => {
                await repository(transaction).update(order.id, { code: `${order.code}-A` });
                await cancelOne(transaction, order);
                await held;
            });
            const quick = connection.withTransaction(ctx, transaction => cancelOne(transaction, order));
            release();
            await Promise.all([slow, quick]);
            const all = (await rows()).filter(row => row.orderId === String(order.id));
            assert.equal(all.length, 2);
            const now = await read(order.id);
            assert.equal(all[1].order.code, now.code);
            assert.equal(all[1].order.lines[0].quantity, now.lines[0].quantity);
        },
    };
    for (const [promise, prove] of Object.entries(proofs)) {
        await prove();
        console.log(`PROVED ${promise}`);
    }
    await query('DELETE FROM tidegate_subscription');
    await query('DELETE FROM tidegate_outbox');
    await app.close();
    console.log('ALL PROVED');
}

main().then(
    () => process.exit(0),
    error => {
        console.error(error);
        process.exit(1);
    },
);
