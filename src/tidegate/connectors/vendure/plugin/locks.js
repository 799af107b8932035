'use strict';
/**
 * The row locks that this plugin takes, always in this order: orders, then stock levels, each sorted by id.
 * They are held until the shop's transaction ends. "No key" locks leave foreign key checks of others alone.
 */
const { Order, OrderLine, StockLevel } = require('@vendure/core');
const { In } = require('typeorm');

/** Query runner -> what its transaction has locked, as sets of ids: {orders, variants}. */
const held = new WeakMap();

/** TypeORM subscriber: forgets what is held when a transaction ends; a savepoint's rollback may release locks too. */
const lockSubscriber = {
    afterTransactionCommit({ queryRunner }) {
        if (!queryRunner.isTransactionActive) held.delete(queryRunner);
    },
    afterTransactionRollback({ queryRunner }) {
        held.delete(queryRunner);
    },
};

/** Lock orders, so that what follows happens once at a time for each of them. */
async function lockOrders(connection, ctx, orderIds) {
    await connection
        .getRepository(ctx, Order)
        .createQueryBuilder('o')
        .select('o.id')
        .where('o.id IN (:...orderIds)', { orderIds })
        .orderBy('o.id')
        .setLock('for_no_key_update')
        .getMany();
}

/** Lock the stock levels of variants, at every location; what is read afterwards stays true until the commit. */
async function lockStock(connection, ctx, variantIds) {
    if (!variantIds.length) return;
    await connection
        .getRepository(ctx, StockLevel)
        .createQueryBuilder('level')
        .select('level.id')
        .where('level.productVariantId IN (:...variantIds)', { variantIds })
        .orderBy('level.id')
        .setLock('for_no_key_update')
        .getMany();
}

/**
 * Lock orders and the stock of everything on them, and `variantIds` besides (a line that is only being added).
 * Cheap when this transaction holds those locks; does nothing where there is no transaction to hold them.
 */
async function lockOrdersAndStock(connection, ctx, orderIds, variantIds = []) {
    const { queryRunner } = connection.getRepository(ctx, Order).manager;
    if (!queryRunner?.isTransactionActive) return;
    const { orders, variants } = held.get(queryRunner) ?? { orders: new Set(), variants: new Set() };
    const wanted = new Set(variantIds);
    if (!orderIds.every(id => orders.has(id))) {
        await lockOrders(connection, ctx, orderIds);
        for (const id of await variantsOf(connection, ctx, orderIds)) wanted.add(id);
    }
    const missing = [...wanted].filter(id => !variants.has(id));
    await lockStock(connection, ctx, missing);
    held.set(queryRunner, { orders: new Set([...orders, ...orderIds]), variants: new Set([...variants, ...missing]) });
}

async function variantsOf(connection, ctx, orderIds) {
    const lines = await connection.getRepository(ctx, OrderLine).find({
        where: { order: { id: In(orderIds) } },
        select: { id: true, productVariantId: true },
        loadEagerRelations: false,
    });
    return lines.map(line => line.productVariantId);
}

module.exports = { lockOrders, lockStock, lockOrdersAndStock, lockSubscriber };
