'use strict';
/** Our two tables. They live in the shop's own database, so that a row commits or rolls back with the change it tells. */
const { Column, Entity, Index, PrimaryGeneratedColumn } = require('typeorm');

const NOW = { default: () => 'now()' };

/** One address that wants to hear of changes. The secret is needed in clear to sign and never leaves the shop. */
class TidegateSubscription {}

/** One event for one subscription: the order as it stood when its transaction committed. `id` is the version. */
class TidegateOutboxRow {}

/** Declare a table: its columns (name -> column decorator) and its class decorators (indices). */
function declareTable(entity, tableName, columns, ...classDecorators) {
    for (const [name, decorator] of Object.entries(columns)) decorator(entity.prototype, name);
    for (const decorator of [...classDecorators, Entity(tableName)]) decorator(entity);
}

declareTable(TidegateSubscription, 'tidegate_subscription', {
    id: PrimaryGeneratedColumn('increment', { type: 'int' }),
    url: Column('varchar', { unique: true }),
    secret: Column('varchar'),
    createdAt: Column('timestamptz', NOW),
    lastSuccessAt: Column('timestamptz', { nullable: true }),
    lastError: Column('varchar', { nullable: true }),
});

declareTable(
    TidegateOutboxRow,
    'tidegate_outbox',
    {
        id: PrimaryGeneratedColumn('increment', { type: 'bigint' }),
        eventId: Column('uuid', { unique: true }),
        subscriptionId: Column('int'),
        orderId: Column('varchar'),
        topic: Column('varchar'),
        changes: Column('varchar'),
        order: Column('text'),
        occurredAt: Column('timestamptz', { precision: 3 }),
        attempts: Column('int', { default: 0 }),
        dueAt: Column('timestamptz', NOW),
        sentAt: Column('timestamptz', { nullable: true }),
    },
    Index('tidegate_outbox_unsent', ['subscriptionId', 'id'], { where: '"sentAt" IS NULL' }),
    Index('tidegate_outbox_sent', ['sentAt'], { where: '"sentAt" IS NOT NULL' }),
);

module.exports = { TidegateSubscription, TidegateOutboxRow };
