'use strict';
/** Time-ordered identifiers (UUID version 7). */
const { randomBytes } = require('crypto');

/** Return a new UUIDv7 as text: 48 bits of milliseconds, the rest random. */
function uuid7(nowMs = Date.now()) {
    const bytes = randomBytes(16);
    bytes.writeUIntBE(nowMs, 0, 6);
    bytes[6] = (bytes[6] & 0x0f) | 0x70;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = bytes.toString('hex');
    return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

module.exports = { uuid7 };
