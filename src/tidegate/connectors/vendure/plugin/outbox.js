'use strict';
/** The sender's view of the outbox table: claim, settle, prune. Statements are PostgreSQL's. */
const { TidegateOutboxRow, TidegateSubscription } = require('./entities');

class Outbox {
    constructor(dataSource) {
        this.dataSource = dataSource;
        const quoted = entity => {
            const { tablePath } = dataSource.getMetadata(entity);
            return tablePath.split('.').map(part => dataSource.driver.escape(part)).join('.');
        };
        this.rows = quoted(TidegateOutboxRow);
        this.subscriptionsTable = quoted(TidegateSubscription);
    }

    /** Return every subscription, oldest first. */
    subscriptions() {
        return this.dataSource.query(`SELECT id, url, secret FROM ${this.subscriptionsTable} ORDER BY id`);
    }

    /**
     * Claim up to `limit` due rows of a subscription, oldest first. A claimed row is due again after `leaseMs`, so
     * the rows of a killed process come back by themselves, and several shop processes never claim the same row.
     */
    async claim(subscriptionId, limit, leaseMs) {
        const [claimed] = await this.dataSource.query(
            `UPDATE ${this.rows} SET attempts = attempts + 1, "dueAt" = now() + $3 * interval '1 ms'
             WHERE id IN (SELECT id FROM ${this.rows}
                          WHERE "subscriptionId" = $1 AND "sentAt" IS NULL AND "dueAt" <= now()
                          ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED)
             RETURNING id, "eventId", topic, changes, "order", "occurredAt", attempts`,
            [subscriptionId, limit, leaseMs],
        );
        return claimed.sort((a, b) => Number(BigInt(a.id) - BigInt(b.id)));
    }

    markSent(rowId) {
        return this.dataSource.query(`UPDATE ${this.rows} SET "sentAt" = now() WHERE id = $1`, [rowId]);
    }

    postpone(rowId, delayMs) {
        return this.dataSource.query(
            `UPDATE ${this.rows} SET "dueAt" = now() + $2 * interval '1 ms' WHERE id = $1 AND "sentAt" IS NULL`,
            [rowId, delayMs],
        );
    }

    noteSuccess(subscriptionId) {
        return this.dataSource.query(
            `UPDATE ${this.subscriptionsTable} SET "lastSuccessAt" = now(), "lastError" = NULL WHERE id = $1`,
            [subscriptionId],
        );
    }

    noteFailure(subscriptionId, reason) {
        return this.dataSource.query(`UPDATE ${this.subscriptionsTable} SET "lastError" = $2 WHERE id = $1`, [
            subscriptionId,
            reason,
        ]);
    }

    /** Delete what was sent long enough ago and what nobody subscribes to any more. */
    async prune(keepSentMs) {
        await this.dataSource.query(
            `DELETE FROM ${this.rows} WHERE "sentAt" < now() - $1 * interval '1 ms'`,
            [keepSentMs],
        );
        await this.dataSource.query(
            `DELETE FROM ${this.rows} WHERE "sentAt" IS NULL
             AND "subscriptionId" NOT IN (SELECT id FROM ${this.subscriptionsTable})`,
        );
    }

    /** Give up events that nobody took for `giveUpMs`; return how many. */
    async giveUp(giveUpMs) {
        const [, count] = await this.dataSource.query(
            `DELETE FROM ${this.rows} WHERE "sentAt" IS NULL AND "occurredAt" < now() - $1 * interval '1 ms'`,
            [giveUpMs],
        );
        return count;
    }
}

module.exports = { Outbox };
