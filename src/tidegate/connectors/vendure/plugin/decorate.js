'use strict';
/** Decorators as plain calls, so that the plugin needs no build step. */
const { Inject } = require('@nestjs/common');

/** Apply method decorators (last first, as the compiler does) and one parameter decorator per parameter. */
function onMethod(target, name, methodDecorators, parameterDecorators) {
    parameterDecorators.forEach((decorator, index) => decorator(target.prototype, name, index));
    const descriptor = Object.getOwnPropertyDescriptor(target.prototype, name);
    for (const decorator of [...methodDecorators].reverse()) decorator(target.prototype, name, descriptor);
    Object.defineProperty(target.prototype, name, descriptor);
}

/** Tell Nest what to hand to the constructor, in order. */
function injectInto(target, ...providers) {
    providers.forEach((provider, index) => Inject(provider)(target, undefined, index));
}

module.exports = { onMethod, injectInto };
