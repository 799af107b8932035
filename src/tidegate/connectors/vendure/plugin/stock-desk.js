'use strict';
/** Sets stock for many variants in one call, under the lock, and only where the caller's picture still holds. */
const { Injectable } = require('@nestjs/common');
const {
    ProductVariant,
    StockLevel,
    StockLocation,
    StockMovementService,
    TransactionalConnection,
    UserInputError,
} = require('@vendure/core');
const { In, IsNull } = require('typeorm');
const { injectInto } = require('./decorate');
const { lockStock } = require('./locks');

const ITEMS_MAX = 500;

class StockDesk {
    constructor(connection, stockMovementService) {
        this.connection = connection;
        this.stockMovementService = stockMovementService;
    }

    /** Return one result per item, in the order of the items; items that do not match are left as they are. */
    async setStock(ctx, items) {
        if (items.length > ITEMS_MAX) throw new UserInputError(`at most ${ITEMS_MAX} items in one call`);
        const keys = new Set(items.map(key));
        if (keys.size < items.length) throw new UserInputError('every variant and location at most once');
        const variantIds = [...new Set(items.map(item => item.variantId))];
        const known = await this.readKnown(ctx, variantIds);
        await lockStock(this.connection, ctx, variantIds);
        const levels = await this.readLevels(ctx, variantIds);
        const results = [];
        for (const item of items) results.push(await this.setOne(ctx, item, known, levels.get(key(item))));
        return results;
    }

    /** Return which of the variants and which locations this channel has. */
    async readKnown(ctx, variantIds) {
        const channels = { id: ctx.channelId };
        const options = { select: { id: true }, loadEagerRelations: false };
        const variants = await this.connection.getRepository(ctx, ProductVariant).find({
            where: { id: In(variantIds), deletedAt: IsNull(), channels },
            ...options,
        });
        const locations = await this.connection.getRepository(ctx, StockLocation).find({ where: { channels }, ...options });
        return { variants: idSet(variants), locations: idSet(locations) };
    }

    async readLevels(ctx, variantIds) {
        const levels = await this.connection
            .getRepository(ctx, StockLevel)
            .find({ where: { productVariantId: In(variantIds) } });
        return new Map(
            levels.map(level => [key({ variantId: level.productVariantId, locationId: level.stockLocationId }), level]),
        );
    }

    /** Set one level; where a location has none of a variant yet it counts as zero and is made. */
    async setOne(ctx, item, known, level) {
        const { variantId, locationId, onHand } = item;
        if (!known.variants.has(String(variantId)) || !known.locations.has(String(locationId))) {
            return { variantId, locationId, outcome: 'UNKNOWN', onHand: null, allocated: null };
        }
        const { stockOnHand, stockAllocated } = level ?? { stockOnHand: 0, stockAllocated: 0 };
        if (!matches(item.expectedOnHand, stockOnHand) || !matches(item.expectedAllocated, stockAllocated)) {
            return { variantId, locationId, outcome: 'STALE', onHand: stockOnHand, allocated: stockAllocated };
        }
        const change = [{ stockLocationId: locationId, stockOnHand: onHand }];
        await this.stockMovementService.adjustProductVariantStock(ctx, variantId, change);
        return { variantId, locationId, outcome: 'SET', onHand, allocated: stockAllocated };
    }
}

function idSet(entities) {
    return new Set(entities.map(entity => String(entity.id)));
}

function key({ variantId, locationId }) {
    return `${variantId}@${locationId}`;
}

function matches(expected, actual) {
    return expected === null || expected === undefined || expected === actual;
}

Injectable()(StockDesk);
injectInto(StockDesk, TransactionalConnection, StockMovementService);

module.exports = { StockDesk };
