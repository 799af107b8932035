'use strict';
/** Keeps the list of addresses that want to hear of changes. */
const { Injectable } = require('@nestjs/common');
const { TransactionalConnection, UserInputError } = require('@vendure/core');
const { IsNull } = require('typeorm');
const { injectInto } = require('./decorate');
const { TidegateOutboxRow, TidegateSubscription } = require('./entities');
const { decodeSecret } = require('./signature');

class SubscriptionDesk {
    constructor(connection) {
        this.connection = connection;
    }

    /** Make sure that one subscription with this url and secret exists; return its id. Safe to repeat. */
    async subscribe(ctx, url, secret) {
        assertHttpUrl(url);
        assertSecret(secret);
        const subscriptions = this.connection.getRepository(ctx, TidegateSubscription);
        await subscriptions.upsert({ url, secret }, ['url']);
        const { id } = await subscriptions.findOneByOrFail({ url });
        return id;
    }

    /** Remove a subscription and its undelivered events; return whether there was one. */
    async unsubscribe(ctx, id) {
        const { affected } = await this.connection.getRepository(ctx, TidegateSubscription).delete({ id });
        await this.connection.getRepository(ctx, TidegateOutboxRow).delete({ subscriptionId: id });
        return affected > 0;
    }

    /** Return every subscription with the state of its queue; never a secret. */
    async list(ctx) {
        const subscriptions = await this.connection.getRepository(ctx, TidegateSubscription).find({ order: { id: 'ASC' } });
        return Promise.all(
            subscriptions.map(async ({ id, url, createdAt, lastSuccessAt, lastError }) => {
                const unsent = { subscriptionId: id, sentAt: IsNull() };
                const rows = this.connection.getRepository(ctx, TidegateOutboxRow);
                const oldest = await rows.findOne({ where: unsent, order: { id: 'ASC' }, select: { id: true, occurredAt: true } });
                const pending = await rows.countBy(unsent);
                return { id, url, createdAt, lastSuccessAt, lastError, pending, oldestPendingAt: oldest?.occurredAt ?? null };
            }),
        );
    }
}

function assertHttpUrl(url) {
    const isHttp = URL.canParse(url) && ['http:', 'https:'].includes(new URL(url).protocol);
    if (!isHttp) throw new UserInputError('url must be an http or https address');
}

function assertSecret(secret) {
    try {
        decodeSecret(secret);
    } catch (error) {
        throw new UserInputError(error.message);
    }
}

Injectable()(SubscriptionDesk);
injectInto(SubscriptionDesk, TransactionalConnection);

module.exports = { SubscriptionDesk };
