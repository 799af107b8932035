'use strict';
/** When to try a delivery again. Pure. */

const FIRST_RETRY_MS = 1_000;
const RETRY_AFTER_MAX_MS = 24 * 3_600_000;

/** Return the pause before retry number `retry` (1-based): doubling from one second to the cap, half of it jitter. */
function backoffMs(retry, capMs, random = Math.random) {
    const full = Math.min(capMs, FIRST_RETRY_MS * 2 ** Math.min(retry - 1, 30));
    return Math.round(full * (0.5 + 0.5 * random()));
}

/** Return the milliseconds a Retry-After header asks for (seconds or a date), at most a day; 0 when it asks nothing. */
function retryAfterMs(header, nowMs = Date.now()) {
    if (!header) return 0;
    const asked = /^\s*\d+\s*$/.test(header) ? Number(header) * 1_000 : Date.parse(header) - nowMs;
    return Number.isFinite(asked) ? Math.min(Math.max(asked, 0), RETRY_AFTER_MAX_MS) : 0;
}

/** Refusals that are about this one event; every other failure is about the receiver as a whole. */
const EVENT_REFUSALS = new Set([400, 409, 413, 415, 422]);

/** Tell whether a failed answer (undefined: no answer) means that the other events would fare no better now. */
function isReceiverFailure(status) {
    return !EVENT_REFUSALS.has(status);
}

module.exports = { backoffMs, retryAfterMs, isReceiverFailure };
