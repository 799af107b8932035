'use strict';
/** Start the shop; "READY" on standard output means that both APIs answer. */
const { bootstrap } = require('@vendure/core');
const { config } = require('./vendure-config');

bootstrap(config).then(
    () => console.log('READY'),
    error => {
        console.error(error);
        process.exit(1);
    },
);
