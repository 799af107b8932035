'use strict';
/** The package's public face: the plugin class, its fulfillment handler and the pure signing function. */
const { TidegatePlugin } = require('./plugin');
const { tidegateFulfillmentHandler, DUPLICATE_REFERENCE } = require('./fulfillment-handler');
const { signWebhook } = require('./signature');

module.exports = { TidegatePlugin, tidegateFulfillmentHandler, DUPLICATE_REFERENCE, signWebhook };
