'use strict';
/**
 * The row locks that this plugin takes, always in this order: orders, then stock levels, each sorted by id.
 * They are held until the shop's transaction ends. "No key" locks leave foreign key checks of others alone.
 */
const { Order, OrderLine, StockLevel } = require('@vendure/core');
const { In } = require('typeorm');

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

/** Lock orders and the stock of everything on them. */
async function lockOrdersAndStock(connection, ctx, orderIds) {
    await lockOrders(connection, ctx, orderIds);
    const lines = await connection.getRepository(ctx, OrderLine).find({
        where: { order: { id: In(orderIds) } },
        select: { id: true, productVariantId: true },
        loadEagerRelations: false,
    });
    await lockStock(connection, ctx, [...new Set(lines.map(line => line.productVariantId))]);
}

module.exports = { lockOrders, lockStock, lockOrdersAndStock };
