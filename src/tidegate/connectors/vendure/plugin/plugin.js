'use strict';
/** Puts the pieces into a Vendure server. */
require('reflect-metadata');
const {
    ConfigService,
    EventBus,
    LanguageCode,
    PluginCommonModule,
    ProcessContext,
    ProductVariantService,
    TransactionalConnection,
    VendurePlugin,
} = require('@vendure/core');
const { adminSchema, TidegateResolver, TidegateVariantResolver } = require('./admin-api');
const { injectInto } = require('./decorate');
const { TidegateOutboxRow, TidegateSubscription } = require('./entities');
const { FulfillmentDesk } = require('./fulfillment-desk');
const { tidegateFulfillmentHandler } = require('./fulfillment-handler');
const { lockSubscriber } = require('./locks');
const { Outbox } = require('./outbox');
const { OutboxRecorder } = require('./recorder');
const { OutboxSender } = require('./sender');
const { StockDesk } = require('./stock-desk');
const { HandlerGuard, guardStrategy } = require('./stock-guard');
const { SubscriptionDesk } = require('./subscription-desk');

const DAY_MS = 24 * 3_600_000;

/** Milliseconds, except `concurrency` (deliveries in flight per subscription) and `guardStock` (see stock-guard.js). */
const DEFAULTS = {
    concurrency: 8,
    timeoutMs: 15_000,
    retryCapMs: Number(process.env.TIDEGATE_RETRY_CAP_MS) || 300_000,
    pollMs: 1_000,
    keepSentMs: 3_600_000,
    giveUpMs: 7 * DAY_MS,
    pruneMs: 60_000,
    guardStock: true,
};
const GIVE_UP_MIN_MS = 3 * DAY_MS;

class TidegatePlugin {
    constructor(connection, eventBus, configService, processContext, productVariantService) {
        this.connection = connection;
        this.eventBus = eventBus;
        this.configService = configService;
        this.processContext = processContext;
        this.productVariantService = productVariantService;
    }

    /** Change the defaults above, for example `TidegatePlugin.init({ concurrency: 4 })`. */
    static init(settings = {}) {
        TidegatePlugin.settings = { ...DEFAULTS, ...settings };
        if (TidegatePlugin.settings.giveUpMs < GIVE_UP_MIN_MS) throw new Error('giveUpMs must be three days or more');
        return TidegatePlugin;
    }

    /** The recorder runs wherever orders change (server and worker), the sender in the server only. */
    onApplicationBootstrap() {
        const dataSource = this.connection.rawConnection;
        if (dataSource.options.type !== 'postgres') throw new Error('TidegatePlugin needs a shop on PostgreSQL');
        const { entityOptions, entityIdStrategy } = this.configService;
        const idStrategy = entityOptions.entityIdStrategy ?? entityIdStrategy;
        if (this.processContext.isServer) {
            this.sender = new OutboxSender(new Outbox(dataSource), TidegatePlugin.settings);
            this.sender.start();
        }
        this.recorder = new OutboxRecorder({
            connection: this.connection,
            eventBus: this.eventBus,
            encodeId: id => idStrategy.encodeId(id),
            onCommitted: () => this.sender?.wake(),
        });
        dataSource.subscribers.push(this.recorder, lockSubscriber);
        if (TidegatePlugin.settings.guardStock) this.guardHandlers();
    }

    /** Runs when all plugins have spoken, so that no handler is missed. */
    guardHandlers() {
        const { paymentMethodHandlers } = this.configService.paymentOptions;
        const { fulfillmentHandlers } = this.configService.shippingOptions;
        new HandlerGuard(this).protect({ paymentMethodHandlers, fulfillmentHandlers });
    }

    async beforeApplicationShutdown() {
        await this.sender?.stop();
    }
}

TidegatePlugin.settings = DEFAULTS;

VendurePlugin({
    compatibility: '^3.0.0',
    imports: [PluginCommonModule],
    entities: [TidegateSubscription, TidegateOutboxRow],
    providers: [SubscriptionDesk, FulfillmentDesk, StockDesk],
    adminApiExtensions: { schema: adminSchema, resolvers: [TidegateResolver, TidegateVariantResolver] },
    configuration: config => {
        config.customFields.Fulfillment.push({
            name: 'tidegateRef',
            type: 'string',
            nullable: true,
            public: false,
            readonly: true,
            label: [{ languageCode: LanguageCode.en, value: 'Tidegate reference' }],
        });
        config.shippingOptions.fulfillmentHandlers.push(tidegateFulfillmentHandler);
        if (TidegatePlugin.settings.guardStock) guardStrategy(config.catalogOptions);
        return config;
    },
})(TidegatePlugin);
injectInto(TidegatePlugin, TransactionalConnection, EventBus, ConfigService, ProcessContext, ProductVariantService);

module.exports = { TidegatePlugin };
