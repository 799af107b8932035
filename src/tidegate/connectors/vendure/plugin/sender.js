'use strict';
/** Drains the outbox: signed POSTs, a few at a time, until the receiver answers 2xx. */
const { Logger } = require('@vendure/core');
const { eventBody } = require('./event');
const { backoffMs, isReceiverFailure, retryAfterMs } = require('./retry');
const { signWebhook } = require('./signature');

const LOG_CONTEXT = 'TidegatePlugin';
const LEASE_MARGIN_MS = 5_000;
const SUCCESS_NOTE_INTERVAL_MS = 1_000;

/** What the sender knows about one subscription: kept in memory only, a restart begins with a fresh try. */
class Lane {
    constructor(subscription) {
        this.subscription = subscription;
        this.inFlight = 0;
        this.failures = 0;
        this.resumeAtMs = 0;
        this.successNotedAtMs = 0;
    }

    /** How many deliveries may start now; one probe while the receiver is failing. */
    room(concurrency, nowMs) {
        if (nowMs < this.resumeAtMs) return 0;
        return (this.failures ? 1 : concurrency) - this.inFlight;
    }

    /** Pause after a failure of the receiver; failures that were already in flight do not count again. */
    pause(askedMs, capMs, nowMs) {
        if (this.resumeAtMs <= nowMs) this.failures += 1;
        this.resumeAtMs = Math.max(this.resumeAtMs, nowMs + Math.max(backoffMs(this.failures, capMs), askedMs));
        return this.resumeAtMs - nowMs;
    }
}

class OutboxSender {
    /** `settings`: concurrency, timeoutMs, retryCapMs, pollMs, keepSentMs, giveUpMs, pruneMs. */
    constructor(outbox, settings) {
        this.outbox = outbox;
        this.settings = settings;
        this.lanes = new Map();
        this.deliveries = new Set();
        this.stopping = new AbortController();
        this.prunedAtMs = Date.now();
        this.woken = false;
        this.rouse = () => {};
    }

    start() {
        this.running = this.run();
    }

    /** Look for due rows now rather than at the next poll. */
    wake() {
        this.woken = true;
        this.rouse();
    }

    /** Stop claiming, abort what is in flight (its rows stay) and wait until everything has ended. */
    async stop() {
        this.stopping.abort();
        this.wake();
        await this.running;
        await Promise.allSettled(this.deliveries);
    }

    async run() {
        while (!this.stopping.signal.aborted) {
            this.woken = false;
            try {
                await this.startDue();
                await this.pruneSometimes();
            } catch (error) {
                Logger.error(`outbox not readable, trying again: ${error.message}`, LOG_CONTEXT);
            }
            await this.sleep();
        }
    }

    /** Sleep until the next poll, unless somebody called `wake` since the last look. */
    async sleep() {
        if (this.woken) return;
        await new Promise(resolve => {
            const timer = setTimeout(resolve, this.settings.pollMs);
            this.rouse = () => {
                clearTimeout(timer);
                resolve();
            };
        });
    }

    async startDue() {
        const { concurrency, timeoutMs } = this.settings;
        for (const lane of await this.currentLanes()) {
            const room = lane.room(concurrency, Date.now());
            if (room <= 0) continue;
            const rows = await this.outbox.claim(lane.subscription.id, room, timeoutMs + LEASE_MARGIN_MS);
            for (const row of rows) this.track(lane, row);
        }
    }

    async currentLanes() {
        const subscriptions = await this.outbox.subscriptions();
        const lanes = new Map();
        for (const subscription of subscriptions) {
            const lane = this.lanes.get(subscription.id) ?? new Lane(subscription);
            lane.subscription = subscription;
            lanes.set(subscription.id, lane);
        }
        this.lanes = lanes;
        return lanes.values();
    }

    track(lane, row) {
        lane.inFlight += 1;
        const delivery = this.deliver(lane, row)
            .catch(error => Logger.error(`event ${row.eventId} not settled: ${error.message}`, LOG_CONTEXT))
            .finally(() => {
                lane.inFlight -= 1;
                this.deliveries.delete(delivery);
                this.wake();
            });
        this.deliveries.add(delivery);
    }

    async deliver(lane, row) {
        const answer = await this.post(lane.subscription, row);
        if (answer.status >= 200 && answer.status < 300) return this.settleSuccess(lane, row);
        if (this.stopping.signal.aborted) return this.outbox.postpone(row.id, 0);
        return this.settleFailure(lane, row, answer);
    }

    /** Return {status, retryAfter} of the answer, or {reason} when there was none in time. */
    async post({ url, secret }, row) {
        const body = eventBody(row);
        const timestampSeconds = Math.floor(Date.now() / 1_000);
        try {
            const response = await fetch(url, {
                method: 'POST',
                redirect: 'manual',
                headers: {
                    'content-type': 'application/json',
                    'user-agent': 'tidegate-vendure-plugin',
                    ...signWebhook({ id: row.eventId, timestampSeconds, body, secret }),
                },
                body,
                signal: AbortSignal.any([this.stopping.signal, AbortSignal.timeout(this.settings.timeoutMs)]),
            });
            await response.arrayBuffer(); // read to the end, so that the connection can be used again
            return { status: response.status, retryAfter: response.headers.get('retry-after') };
        } catch (error) {
            return { reason: error.cause?.code ?? error.name };
        }
    }

    async settleSuccess(lane, row) {
        await this.outbox.markSent(row.id);
        if (lane.failures) Logger.info(`subscription ${lane.subscription.id} answers again`, LOG_CONTEXT);
        lane.failures = 0;
        lane.resumeAtMs = 0;
        if (Date.now() - lane.successNotedAtMs < SUCCESS_NOTE_INTERVAL_MS) return;
        lane.successNotedAtMs = Date.now();
        await this.outbox.noteSuccess(lane.subscription.id);
    }

    async settleFailure(lane, row, { status, retryAfter, reason }) {
        const said = status ? `HTTP ${status}` : reason;
        const askedMs = retryAfterMs(retryAfter);
        if (!isReceiverFailure(status)) {
            const delayMs = Math.max(backoffMs(row.attempts, this.settings.retryCapMs), askedMs);
            Logger.warn(`event ${row.eventId} refused (${said}), next try in ${delayMs} ms`, LOG_CONTEXT);
            return this.outbox.postpone(row.id, delayMs);
        }
        const isFirst = lane.failures === 0;
        const delayMs = lane.pause(askedMs, this.settings.retryCapMs, Date.now());
        await this.outbox.postpone(row.id, delayMs);
        if (!isFirst) return undefined;
        Logger.warn(`subscription ${lane.subscription.id} fails (${said}), events are kept`, LOG_CONTEXT);
        return this.outbox.noteFailure(lane.subscription.id, said);
    }

    async pruneSometimes() {
        if (Date.now() - this.prunedAtMs < this.settings.pruneMs) return;
        this.prunedAtMs = Date.now();
        await this.outbox.prune(this.settings.keepSentMs);
        const lost = await this.outbox.giveUp(this.settings.giveUpMs);
        if (lost) Logger.error(`gave up ${lost} events that nobody took for days; poll the orders`, LOG_CONTEXT);
    }
}

module.exports = { OutboxSender };
