'use strict';
/** Signatures as the Standard Webhooks specification (version 1, symmetric) has them. Pure. */
const { createHmac } = require('crypto');

const SECRET_PREFIX = 'whsec_';
const SECRET_BYTES_MIN = 24;
const SECRET_BYTES_MAX = 64;

/** Return the key bytes of a `whsec_` secret; throws an Error that does not contain the secret. */
function decodeSecret(secret) {
    const encoded = secret.startsWith(SECRET_PREFIX) ? secret.slice(SECRET_PREFIX.length) : '';
    const key = Buffer.from(encoded, 'base64');
    const isCanonical = key.toString('base64').replace(/=+$/, '') === encoded.replace(/=+$/, '');
    if (!isCanonical || key.length < SECRET_BYTES_MIN || key.length > SECRET_BYTES_MAX) {
        throw new Error(
            `a secret is "${SECRET_PREFIX}" followed by base64 of ${SECRET_BYTES_MIN} to ${SECRET_BYTES_MAX} bytes`,
        );
    }
    return key;
}

/** Return the three headers that authenticate `body` (a Buffer) as message `id` at `timestampSeconds`. */
function signWebhook({ id, timestampSeconds, body, secret }) {
    const signed = createHmac('sha256', decodeSecret(secret)).update(`${id}.${timestampSeconds}.`).update(body);
    return {
        'webhook-id': id,
        'webhook-timestamp': String(timestampSeconds),
        'webhook-signature': `v1,${signed.digest('base64')}`,
    };
}

module.exports = { decodeSecret, signWebhook };
