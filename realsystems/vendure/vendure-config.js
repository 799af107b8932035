'use strict';
/**
 * One shop: Vendure's server on PostgreSQL, no worker, with the Tidegate plugin beside this file.
 *
 * Environment: SHOP_PORT, SHOP_DATABASE_PORT, SHOP_DATABASE, SHOP_SYNCHRONIZE=1 (create or alter the tables).
 */
const { DefaultJobQueuePlugin, DefaultLogger, LogLevel, dummyPaymentHandler } = require('@vendure/core');
const { TidegatePlugin } = require('./tidegate-plugin');

const { SHOP_PORT, SHOP_DATABASE_PORT, SHOP_DATABASE, SHOP_SYNCHRONIZE } = process.env;

exports.config = {
    apiOptions: { hostname: '127.0.0.1', port: Number(SHOP_PORT), adminApiPath: 'admin-api', shopApiPath: 'shop-api' },
    authOptions: {
        tokenMethod: ['bearer', 'api-key'],
        requireVerification: false,
        superadminCredentials: { identifier: 'superadmin', password: 'superadmin' },
    },
    dbConnectionOptions: {
        type: 'postgres',
        host: '127.0.0.1',
        port: Number(SHOP_DATABASE_PORT),
        username: 'postgres',
        database: SHOP_DATABASE,
        synchronize: SHOP_SYNCHRONIZE === '1',
        extra: { max: 20 },
    },
    customFields: { ProductVariant: [{ name: 'ean', type: 'string', nullable: true }] },
    paymentOptions: { paymentMethodHandlers: [dummyPaymentHandler] },
    logger: new DefaultLogger({ level: LogLevel.Info, timestamp: true }),
    // Jobs go to a table, where nobody runs them: a worker in this process would swallow events (both would
    // listen to the end of transactions), and nothing that a shopper or Tidegate does needs one.
    plugins: [DefaultJobQueuePlugin.init({ useDatabaseForBuffer: true }), TidegatePlugin],
};
