'use strict';
/** Give an empty database tables, a tax zone, a shipping method and two payment methods; products come later. */
const { bootstrap, LanguageCode } = require('@vendure/core');
const { populate } = require('@vendure/core/cli');
const { config } = require('./vendure-config');

const dummyPayment = (name, settlesAtOnce) => ({
    name,
    handler: {
        code: 'dummy-payment-handler',
        arguments: [{ name: 'automaticSettle', value: String(settlesAtOnce) }],
    },
});

const initialData = {
    defaultLanguage: LanguageCode.en,
    defaultZone: 'Europe',
    countries: [
        { code: 'DE', name: 'Germany', zone: 'Europe' },
        { code: 'NL', name: 'Netherlands', zone: 'Europe' },
    ],
    taxRates: [{ name: 'Standard', percentage: 20 }],
    shippingMethods: [{ name: 'Parcel', price: 500 }],
    paymentMethods: [dummyPayment('Card', true), dummyPayment('Invoice', false)],
    collections: [],
};

async function main() {
    const app = await populate(() => bootstrap(config), initialData);
    await app.close();
    console.log('POPULATED');
    process.exit(0);
}

main().catch(error => {
    console.error(error);
    process.exit(1);
});
