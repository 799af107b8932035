'use strict';
/** Tests of the plugin's pure parts; needs no packages: `node --test realsystems/vendure/plugin.test.js`. */
const assert = require('assert/strict');
const { createHmac, randomBytes } = require('crypto');
const path = require('path');
const { test } = require('node:test');

const plugin = path.join(__dirname, '..', '..', 'src', 'tidegate', 'connectors', 'vendure', 'plugin');
const { decodeSecret, signWebhook } = require(path.join(plugin, 'signature'));
const { backoffMs, isReceiverFailure, retryAfterMs } = require(path.join(plugin, 'retry'));
const { uuid7 } = require(path.join(plugin, 'uuid'));
const { eventBody } = require(path.join(plugin, 'event'));
const { orderSnapshot } = require(path.join(plugin, 'snapshot'));

const encodeId = id => `T_${id}`;

test('a signature covers id, timestamp and the exact bytes', () => {
    const key = randomBytes(32);
    const body = Buffer.from('{"name":"Zoë ☃"}');
    const secret = `whsec_${key.toString('base64')}`;

    const headers = signWebhook({ id: 'evt-1', timestampSeconds: 1_795_305_600, body, secret });

    const signed = Buffer.concat([Buffer.from('evt-1.1795305600.'), body]);
    assert.deepEqual(headers, {
        'webhook-id': 'evt-1',
        'webhook-timestamp': '1795305600',
        'webhook-signature': `v1,${createHmac('sha256', key).update(signed).digest('base64')}`,
    });
});

test('a malformed secret is refused and not repeated in the message', () => {
    for (const secret of ['', 'whsec_', 'whsec_c2hvcnQ=', `whsec_${'?'.repeat(44)}`, randomBytes(32).toString('base64')]) {
        assert.throws(() => decodeSecret(secret), error => secret.length < 8 || !error.message.includes(secret));
    }
});

test('pauses double from one second to the cap, half of them jitter', () => {
    assert.equal(backoffMs(1, 300_000, () => 1), 1_000);
    assert.equal(backoffMs(1, 300_000, () => 0), 500);
    assert.equal(backoffMs(4, 300_000, () => 1), 8_000);
    assert.equal(backoffMs(1_000, 300_000, () => 1), 300_000);
});

test('Retry-After is read as seconds or a date, and bounded', () => {
    const now = Date.parse('2026-11-23T00:00:00Z');
    assert.equal(retryAfterMs('120', now), 120_000);
    assert.equal(retryAfterMs('Mon, 23 Nov 2026 01:00:00 GMT', now), 3_600_000);
    assert.equal(retryAfterMs('Sun, 22 Nov 2026 01:00:00 GMT', now), 0);
    assert.equal(retryAfterMs('999999999', now), 86_400_000);
    for (const nothing of [null, undefined, '', 'soon', '-5']) assert.equal(retryAfterMs(nothing, now), 0);
});

test('a refused event does not stop its neighbours, a failing receiver does', () => {
    for (const status of [400, 409, 413, 415, 422]) assert.equal(isReceiverFailure(status), false);
    for (const status of [undefined, 301, 401, 404, 408, 410, 429, 500, 503]) assert.equal(isReceiverFailure(status), true);
});

test('identifiers are version 7 and sort by time', () => {
    const earlier = uuid7(1_795_305_600_000);
    assert.match(earlier, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    assert.ok(earlier < uuid7(1_795_305_600_001));
});

test('the body holds the stored order text unchanged', () => {
    const order = '{"b":1,"a":"é","big":12345678901234567890}';
    const row = {
        id: '41', eventId: 'e', topic: 'order.placed', changes: 'order.placed,order.updated',
        occurredAt: new Date('2026-11-23T00:00:00.123Z'), order,
    };

    const text = eventBody(row).toString();

    assert.equal(
        text,
        '{"id":"e","type":"order.placed","timestamp":"2026-11-23T00:00:00.123Z","version":41,' +
            `"data":{"changes":["order.placed","order.updated"],"order":${order}}}`,
    );
    assert.equal(JSON.parse(text).data.order.a, 'é');
});

test('an order with next to nothing on it still makes a snapshot', () => {
    const snapshot = orderSnapshot({ id: 7, code: 'X', payments: [{ id: 10 }, { id: 9, refunds: [{ id: 3 }] }] }, encodeId);

    assert.equal(snapshot.id, 'T_7');
    assert.equal(snapshot.customer, null);
    assert.deepEqual(snapshot.lines, []);
    assert.deepEqual(snapshot.payments.map(payment => payment.id), ['T_9', 'T_10']);
    assert.equal(snapshot.refunds[0].paymentId, 'T_9');
});
