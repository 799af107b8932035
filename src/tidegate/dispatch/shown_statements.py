"""SQL of reading what systems show, and of comparing it. $1 is the tenant, $2 the connection where there is one."""

from __future__ import annotations

WINDOW_READS = """
SELECT run_id, state, cursor, version, tries, not_before AS due_at FROM sync_read
WHERE tenant_id = $1 AND connection_id = $2 AND state IN ('waiting', 'reading', 'comparing', 'healing') AND NOT held
  AND not_before <= statement_timestamp()
LIMIT 1
"""

# --- reading ---------------------------------------------------------------------------------------------------------
# $3 run, $4 version. The time is taken before the request: what is shown is at least as old.
BEGIN_PAGE = """
UPDATE sync_read SET state = 'reading', started_at = coalesce(started_at, clock_timestamp())
WHERE tenant_id = $1 AND connection_id = $2 AND run_id = $3 AND version = $4 AND state IN ('waiting', 'reading')
RETURNING clock_timestamp()
"""
# $5 cursor, $6 articles of the page, $7 has more, $8 seconds until the next page is there.
END_PAGE = """
UPDATE sync_read
SET state = CASE WHEN $7 THEN 'reading' ELSE 'comparing' END, cursor = CASE WHEN $7 THEN $5 ELSE '' END,
    version = version + 1, pages = pages + 1, articles = articles + $6, tries = 0, error = NULL,
    not_before = clock_timestamp() + make_interval(secs => $8::float8), read_at = CASE WHEN $7 THEN NULL ELSE clock_timestamp() END
WHERE tenant_id = $1 AND connection_id = $2 AND run_id = $3 AND version = $4 AND state = 'reading'
RETURNING true
"""
# $3 run, $4 observed at, then one row per number.
KEEP_SHOWN = """
INSERT INTO shown (tenant_id, connection_id, external_id, field, place, sku, title, value, currency, observed_at, run_id)
SELECT $1, $2, n.external_id, n.field, n.place, n.sku, n.title, n.value, n.currency, $4, $3
FROM unnest($5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::numeric[], $11::text[])
  AS n(external_id, field, place, sku, title, value, currency)
ORDER BY n.external_id, n.field, n.place
ON CONFLICT (tenant_id, connection_id, external_id, field, place) DO UPDATE
SET sku = excluded.sku, title = excluded.title, value = excluded.value, currency = excluded.currency,
    observed_at = excluded.observed_at, run_id = excluded.run_id
"""
# $5 seconds, $6 error, $7 counts as a failure.
PARK_READ = """
UPDATE sync_read SET tries = least(tries + CASE WHEN $7 THEN 1 ELSE 0 END, 1000), error = $6,
       not_before = clock_timestamp() + make_interval(secs => $5::float8)
WHERE tenant_id = $1 AND connection_id = $2 AND run_id = $3 AND version = $4
"""
# The row of the run is locked first, so that of several reads that end together the last one sees the others.
LOCK_RUN = "SELECT FROM sync_run WHERE tenant_id = $1 AND run_id = $2 FOR NO KEY UPDATE"
END_READ = """
UPDATE sync_read SET state = $5, error = $6, version = version + 1, finished_at = clock_timestamp(), held = false
WHERE tenant_id = $1 AND connection_id = $2 AND run_id = $3 AND version = $4
  AND state IN ('waiting', 'reading', 'comparing', 'healing')
RETURNING pages, articles, compared, differences, healed, heal_waits,
          coalesce(extract(epoch FROM read_at - started_at), 0)::float8 AS reading_seconds
"""
END_RUN = """
UPDATE sync_run r SET finished_at = clock_timestamp()
WHERE r.tenant_id = $1 AND r.run_id = $2 AND r.finished_at IS NULL
  AND NOT EXISTS (SELECT FROM sync_read s WHERE s.tenant_id = $1 AND s.run_id = $2
                    AND s.state IN ('waiting', 'reading', 'comparing', 'healing'))
"""

# --- what a comparison needs -------------------------------------------------------------------------------------------
COMPARED_READ = "SELECT read_at FROM sync_read WHERE tenant_id = $1 AND connection_id = $2 AND run_id = $3"
COMPARED = "SELECT compared FROM sync_read WHERE tenant_id = $1 AND connection_id = $2 AND run_id = $3"
STATES_OF_RUN = """
SELECT c.name, c.connection_id, CASE WHEN c.state = 'active' THEN s.state ELSE 'failed' END AS state,
       s.read_at IS NOT NULL AS is_read
FROM sync_read s JOIN connection c USING (tenant_id, connection_id) WHERE s.tenant_id = $1 AND s.run_id = $2
"""
# Whether movements that happened before the page was read may still be on their way into the ledger.
# $4 feeds that tell of no orders.
FEEDS_READ = """
SELECT coalesce(bool_and(last_ok_at > $3), true) FROM poll_cursor
WHERE tenant_id = $1 AND connection_id = $2 AND feed <> ALL($4::text[])
"""
QUEUED = """
SELECT EXISTS (SELECT FROM (SELECT event_id FROM event_queue WHERE tenant_id = $1 LIMIT 10000) q
               JOIN event e ON e.tenant_id = $1 AND e.event_id = q.event_id AND e.connection_id = $2)
"""
# $3 the last article compared, $4 how many. Articles that are shown, and those that are bound.
ARTICLES = """
WITH keys AS (
  SELECT external_id FROM (
    (SELECT DISTINCT external_id FROM shown
     WHERE tenant_id = $1 AND connection_id = $2 AND external_id > $3 ORDER BY external_id LIMIT $4)
    UNION
    (SELECT external_id FROM binding
     WHERE tenant_id = $1 AND connection_id = $2 AND kind = 'variant' AND external_id > $3 ORDER BY external_id LIMIT $4)
  ) k ORDER BY external_id LIMIT $4
)
SELECT k.external_id, v.variant_id, v.sku, bill.item_id, bill.required_qty AS units, coalesce(bill.is_kit, false) AS is_kit
FROM keys k
LEFT JOIN binding b ON b.tenant_id = $1 AND b.connection_id = $2 AND b.kind = 'variant' AND b.external_id = k.external_id
LEFT JOIN variant v ON v.tenant_id = $1 AND v.variant_id = b.internal_id
LEFT JOIN LATERAL (
  SELECT i.item_id, i.required_qty, EXISTS (SELECT FROM kit_part p WHERE p.tenant_id = $1 AND p.item_id = i.item_id) AS is_kit
  FROM variant_item i WHERE i.tenant_id = $1 AND i.variant_id = v.variant_id OFFSET 0
) bill ON true
ORDER BY k.external_id
"""
SHOWN_OF = """
SELECT external_id, field, place, sku, value, currency, observed_at FROM shown
WHERE tenant_id = $1 AND connection_id = $2 AND external_id = ANY($3::text[]) AND run_id = $4
"""
MARKS_OF = """
SELECT item_id, dirty, blocked_by IS NOT NULL AS is_blocked, tries > 0 AS is_failing, push_version, acked_quantity, acked_at
FROM channel_stock WHERE tenant_id = $1 AND connection_id = $2 AND item_id = ANY($3::uuid[])
"""
# Levels that have an entry; the newest entry is the balance. $2 items.
BALANCES_OF = """
SELECT l.item_id, l.location_id, e.on_hand_after AS on_hand, e.at
FROM stock_level l
CROSS JOIN LATERAL (
  SELECT n.on_hand_after, n.at FROM stock_entry n
  WHERE n.tenant_id = $1 AND n.item_id = l.item_id AND n.location_id = l.location_id ORDER BY n.version DESC LIMIT 1
) e
WHERE l.tenant_id = $1 AND l.item_id = ANY($2::uuid[])
"""
# Items whose newest number here ended as a dead letter. $3 items.
DEAD_NUMBERS = """
SELECT w.item_id FROM unnest($3::uuid[]) AS w(item_id)
CROSS JOIN LATERAL (
  SELECT c.state FROM command c
  WHERE c.tenant_id = $1 AND c.entity_id = w.item_id AND c.connection_id = $2 AND c.kind = 'inventory.set'
  ORDER BY c.command_id DESC LIMIT 1
) newest WHERE newest.state = 'failed'
"""
LOCATIONS_OF = """
SELECT external_id, internal_id FROM binding WHERE tenant_id = $1 AND connection_id = $2 AND kind = 'location'
"""
# What one unit of a variant costs: there itself if it says so, else anywhere; with tax where that is shown. $3 variants.
PRICES_OF = """
SELECT DISTINCT ON (b.internal_id) b.internal_id AS variant_id, s.value, s.currency
FROM connection c
JOIN binding b ON b.tenant_id = $1 AND b.connection_id = c.connection_id AND b.kind = 'variant'
              AND b.internal_id = ANY($3::uuid[])
JOIN shown s ON s.tenant_id = $1 AND s.connection_id = c.connection_id AND s.external_id = b.external_id
            AND s.field IN ('price', 'price_with_tax')
WHERE c.tenant_id = $1
ORDER BY b.internal_id, c.connection_id <> $2, s.field DESC
"""
# Prices that the owner shows in this run. $2 owner, $3 variants, $4 run.
OWNED_PRICES = """
SELECT b.internal_id AS variant_id, s.field, s.value, s.currency, s.observed_at
FROM binding b
JOIN shown s ON s.tenant_id = $1 AND s.connection_id = $2 AND s.external_id = b.external_id
            AND s.field IN ('price', 'price_with_tax') AND s.run_id = $4
WHERE b.tenant_id = $1 AND b.connection_id = $2 AND b.kind = 'variant' AND b.internal_id = ANY($3::uuid[])
"""

# --- what a comparison leaves --------------------------------------------------------------------------------------------
# $3 run, $4 version, $5 last article compared, $6 how many.
END_CHUNK = """
UPDATE sync_read SET cursor = $5, version = version + 1, compared = compared + $6, tries = 0,
       not_before = clock_timestamp()
WHERE tenant_id = $1 AND connection_id = $2 AND run_id = $3 AND version = $4 AND state = 'comparing' RETURNING true
"""
# What is known of these articles. $3 articles, $4 fields that could not be compared.
KNOWN_DRIFT = """
SELECT external_id, field, place, sku, owner_value, other_value, cause, in_flight, heal, heals, healed_at FROM drift
WHERE tenant_id = $1 AND connection_id = $2 AND external_id = ANY($3::text[]) AND field <> ALL($4::text[])
"""
# Differences that are gone, by key.
CLOSE_DRIFT = """
DELETE FROM drift d USING unnest($3::text[], $4::text[], $5::text[]) AS n(external_id, field, place)
WHERE d.tenant_id = $1 AND d.connection_id = $2 AND d.external_id = n.external_id AND d.field = n.field AND d.place = n.place
"""
# `since` stays. $3 run, then one row per difference.
OPEN_DRIFT = """
INSERT INTO drift (tenant_id, connection_id, run_id, external_id, field, place, sku, variant_id, item_id, owner, other,
                   owner_value, other_value, currency, risk, risk_currency, cause, in_flight, heal)
SELECT $1, $2, $3, n.*
FROM unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::uuid[], $9::uuid[], $10::text[], $11::text[], $12::numeric[],
            $13::numeric[], $14::text[], $15::numeric[], $16::text[], $17::text[], $18::bool[], $19::text[])
  AS n(external_id, field, place, sku, variant_id, item_id, owner, other, owner_value, other_value, currency, risk,
       risk_currency, cause, in_flight, heal)
ORDER BY n.external_id, n.field, n.place
ON CONFLICT (tenant_id, connection_id, external_id, field, place) DO UPDATE
SET run_id = excluded.run_id, sku = excluded.sku, variant_id = excluded.variant_id, item_id = excluded.item_id,
    owner = excluded.owner, other = excluded.other, owner_value = excluded.owner_value, other_value = excluded.other_value,
    currency = excluded.currency, risk = excluded.risk, risk_currency = excluded.risk_currency, cause = excluded.cause,
    in_flight = excluded.in_flight, heal = excluded.heal, seen_at = clock_timestamp()
"""
# The story of SKUs. $3 run or null, $4 event or null, $5 actor, then one row per entry.
ADD_ENTRIES = """
INSERT INTO drift_entry (tenant_id, connection_id, run_id, event_id, actor, entry_id, sku, external_id, field, place, kind,
                         owner_value, other_value, cause)
SELECT $1, $2, $3, $4, $5, n.*
FROM unnest($6::uuid[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::numeric[], $13::numeric[],
            $14::text[])
  AS n(entry_id, sku, external_id, field, place, kind, owner_value, other_value, cause)
"""
FORGET_DRIFT = (
    "DELETE FROM drift WHERE tenant_id = $1 AND connection_id = $2 AND run_id <> $3 AND field <> ALL($4::text[])"
)
COUNT_DIFFERENCES = """
UPDATE sync_read SET differences = differences + $4 WHERE tenant_id = $1 AND connection_id = $2 AND run_id = $3
"""
COUNT_MISSING = """
UPDATE sync_read SET missing = missing + $4 WHERE tenant_id = $1 AND connection_id = $2 AND run_id = $3
"""
MISSING = "SELECT missing FROM sync_read WHERE tenant_id = $1 AND connection_id = $2 AND run_id = $3"
# Articles that have to be read by themselves, once everything is compared: bound ones that were not shown ($3: at most so many),
# deleted ones that are shown again, and those that are bound to nothing and have the SKU of a deleted one.
TO_BE_READ = """
(SELECT b.external_id, 'missing' AS why FROM binding b
 WHERE $3::int > 0 AND b.tenant_id = $1 AND b.connection_id = $2 AND b.kind = 'variant'
   AND NOT EXISTS (SELECT FROM shown s WHERE s.tenant_id = $1 AND s.connection_id = $2 AND s.external_id = b.external_id)
 ORDER BY b.external_id LIMIT $3)
UNION ALL
(SELECT t.external_id, 'back' FROM tombstone t
 WHERE t.tenant_id = $1 AND t.connection_id = $2
   AND EXISTS (SELECT FROM shown s WHERE s.tenant_id = $1 AND s.connection_id = $2 AND s.external_id = t.external_id)
   AND NOT EXISTS (SELECT FROM binding b WHERE b.tenant_id = $1 AND b.connection_id = $2 AND b.kind = 'variant'
                     AND b.internal_id = t.variant_id)
 ORDER BY t.external_id LIMIT $4)
UNION ALL
(SELECT DISTINCT s.external_id, 'successor' FROM tombstone t
 JOIN variant v ON v.tenant_id = $1 AND v.variant_id = t.variant_id
 JOIN shown s ON s.tenant_id = $1 AND s.connection_id = $2 AND s.sku = v.sku
 WHERE t.tenant_id = $1 AND t.connection_id = $2
   AND NOT EXISTS (SELECT FROM binding b WHERE b.tenant_id = $1 AND b.connection_id = $2 AND b.kind = 'variant'
                     AND (b.internal_id = t.variant_id OR b.external_id = s.external_id))
   AND NOT EXISTS (SELECT FROM tombstone o WHERE o.tenant_id = $1 AND o.connection_id = $2 AND o.external_id = s.external_id)
 ORDER BY s.external_id LIMIT $4)
"""
# $3 topic, $4 articles, $5 the fact that asks.
READ_ARTICLES = """
INSERT INTO fetch_request (tenant_id, connection_id, topic, external_id, requested_by)
SELECT $1, $2, $3, n.external_id, $5 FROM unnest($4::text[]) AS n(external_id) ORDER BY n.external_id
ON CONFLICT DO NOTHING
"""
FORGET_SHOWN = "DELETE FROM shown WHERE tenant_id = $1 AND connection_id = $2 AND run_id <> $3"

# --- asking for a run --------------------------------------------------------------------------------------------------
LOCK_REQUESTS = "SELECT pg_advisory_xact_lock(7482, hashtext($1::uuid::text))"
"""Whoever asks for a run waits for whoever asks at the same time, so that one run answers both."""
LOCK_RUNS = "SELECT FROM sync_run WHERE tenant_id = $1 AND finished_at IS NULL ORDER BY run_id FOR NO KEY UPDATE"
# The newest run that is under way and has read none of these to its end: it answers whoever asks now. $2 connections by name.
OPEN_RUN = """
SELECT r.run_id FROM sync_run r
WHERE r.tenant_id = $1 AND r.finished_at IS NULL
  AND NOT EXISTS (SELECT FROM sync_read s JOIN connection c USING (tenant_id, connection_id)
                  WHERE s.tenant_id = $1 AND s.run_id = r.run_id AND c.name = ANY($2::text[]) AND s.state IN ('done', 'failed'))
ORDER BY r.run_id DESC LIMIT 1
"""
ADD_RUN = "INSERT INTO sync_run (tenant_id, run_id, kind, requested_by) VALUES ($1, $2, 'drift', $3)"
# A connection without a lane ends no read by itself: the run would stay open, and nobody would be read again.
END_STOPPED = """
UPDATE sync_read s SET state = 'failed', error = 'the connection is ' || c.state, version = s.version + 1,
       finished_at = clock_timestamp()
FROM connection c
WHERE s.tenant_id = $1 AND s.state IN ('waiting', 'reading', 'comparing', 'healing')
  AND c.tenant_id = s.tenant_id AND c.connection_id = s.connection_id AND c.state <> 'active'
"""
END_RUNS = """
UPDATE sync_run r SET finished_at = clock_timestamp()
WHERE r.tenant_id = $1 AND r.finished_at IS NULL
  AND NOT EXISTS (SELECT FROM sync_read s WHERE s.tenant_id = $1 AND s.run_id = r.run_id
                    AND s.state IN ('waiting', 'reading', 'comparing', 'healing'))
"""
# A connection that is being read already is not read by a second run at the same time: the index refuses it.
ADD_READS = """
INSERT INTO sync_read (tenant_id, run_id, connection_id)
SELECT $1, $2, c.connection_id FROM connection c
WHERE c.tenant_id = $1 AND c.name = ANY($3::text[]) AND c.state = 'active'
  AND NOT EXISTS (SELECT FROM sync_schedule p WHERE p.tenant_id = $1 AND p.connection_id = c.connection_id
                    AND p.paused_at IS NOT NULL AND (p.paused_until IS NULL OR p.paused_until > clock_timestamp()))
ON CONFLICT DO NOTHING
"""
# Connections that another run is reading. $2 run, $3 connections by name.
ELSEWHERE = """
SELECT c.name FROM sync_read s JOIN connection c USING (tenant_id, connection_id)
WHERE s.tenant_id = $1 AND s.run_id <> $2 AND c.name = ANY($3::text[])
  AND s.state IN ('waiting', 'reading', 'comparing', 'healing') ORDER BY c.name
"""
# $2: how many are kept.
FORGET_RUNS = """
DELETE FROM sync_run WHERE tenant_id = $1 AND finished_at IS NOT NULL
  AND run_id <= (SELECT run_id FROM sync_run WHERE tenant_id = $1 ORDER BY run_id DESC OFFSET $2 LIMIT 1)
"""
STOPPED = """
SELECT c.name, c.state, CASE WHEN c.state <> 'active' THEN c.state_reason
                             ELSE 'paused by ' || p.paused_by || '; go on with: tidegate sync resume ' || c.name END AS state_reason
FROM connection c LEFT JOIN sync_schedule p ON p.tenant_id = c.tenant_id AND p.connection_id = c.connection_id
WHERE c.tenant_id = $1 AND c.name = ANY($2::text[])
  AND (c.state <> 'active'
       OR (p.paused_at IS NOT NULL AND (p.paused_until IS NULL OR p.paused_until > clock_timestamp())))
ORDER BY c.name
"""
"""Connections that have no lane, or whose looks are paused: they are not read."""

# --- healing -----------------------------------------------------------------------------------------------------------
# What this run would tell anew, and what it did not find any more. $3 run.
COUNT_DUE = """
SELECT count(*) FILTER (WHERE heal = 'due') AS due, count(*) FILTER (WHERE cause = 'not_shown') AS missing,
       count(*) FILTER (WHERE heal = 'waits') AS waits
FROM drift WHERE tenant_id = $1 AND connection_id = $2 AND run_id = $3
"""
# More than one run may do by itself: a person is asked. $3 run.
ASK_INSTEAD = """
UPDATE drift SET heal = 'waits' WHERE tenant_id = $1 AND connection_id = $2 AND run_id = $3 AND heal = 'due'
"""
# $3 run, $4 version, $5 numbers that wait for a person.
BEGIN_HEALING = """
UPDATE sync_read SET state = 'healing', cursor = '', version = version + 1, heal_waits = $5, not_before = clock_timestamp()
WHERE tenant_id = $1 AND connection_id = $2 AND run_id = $3 AND version = $4 AND state = 'comparing' RETURNING true
"""
SET_WAITING = """
UPDATE sync_read SET heal_waits = $5 WHERE tenant_id = $1 AND connection_id = $2 AND run_id = $3 AND version = $4
"""
END_HEALED = """
UPDATE sync_read SET version = version + 1, healed = healed + $5, tries = 0
WHERE tenant_id = $1 AND connection_id = $2 AND run_id = $3 AND version = $4 AND state = 'healing' RETURNING true
"""
# $3 run, $4 at most.
DUE_ROWS = """
SELECT external_id, field, place, sku, item_id, owner_value, other_value, cause FROM drift
WHERE tenant_id = $1 AND connection_id = $2 AND run_id = $3 AND heal = 'due' ORDER BY external_id LIMIT $4
"""
# The usual way of telling a number: its mark. `late_until` in the past has the lane tell it whatever it believes to be shown,
# and a channel that compares answers what it shows instead. What is on its way is left alone. $3 items.
TELL_AGAIN = """
WITH chosen AS MATERIALIZED (
  SELECT tenant_id, connection_id, item_id FROM channel_stock
  WHERE tenant_id = $1 AND connection_id = $2 AND item_id = ANY($3::uuid[]) AND mode <> 'observe' AND blocked_by IS NULL
  ORDER BY item_id FOR NO KEY UPDATE
)
UPDATE channel_stock m SET dirty = true, dirty_at = coalesce(m.dirty_at, clock_timestamp()),
                           late_until = coalesce(m.late_until, clock_timestamp()),
                           not_before = CASE WHEN m.tries > 0 THEN m.not_before END
FROM chosen c WHERE m.tenant_id = c.tenant_id AND m.connection_id = c.connection_id AND m.item_id = c.item_id
RETURNING m.item_id
"""
# $3 actor, then the keys; what somebody else decided meanwhile is left alone.
SET_HEALING = """
UPDATE drift d SET heal = 'healing', heals = least(d.heals + 1, 1000), healed_at = clock_timestamp(), healed_by = $3
FROM unnest($4::text[], $5::text[], $6::text[]) AS n(external_id, field, place)
WHERE d.tenant_id = $1 AND d.connection_id = $2 AND d.external_id = n.external_id AND d.field = n.field AND d.place = n.place
"""
# What cannot be told now waits for the next look. The keys from $3 on.
SET_UNHEALED = """
UPDATE drift d SET heal = ''
FROM unnest($3::text[], $4::text[], $5::text[]) AS n(external_id, field, place)
WHERE d.tenant_id = $1 AND d.connection_id = $2 AND d.external_id = n.external_id AND d.field = n.field AND d.place = n.place
  AND d.heal = 'due'
"""
# What a person may have told anew: $2 connection by name or null, $3 only what waits, $4 causes.
CHOSEN_DRIFT = """
SELECT d.connection_id, c.name, d.external_id, d.field, d.place, d.sku, d.item_id, d.owner_value, d.other_value, d.cause, d.heal
FROM drift d JOIN connection c USING (tenant_id, connection_id)
WHERE d.tenant_id = $1 AND ($2::text IS NULL OR c.name = $2) AND d.field = 'stock' AND NOT d.in_flight
  AND d.item_id IS NOT NULL AND d.cause = ANY($4::text[]) AND (d.heal = 'waits' OR NOT $3::boolean)
ORDER BY d.connection_id, d.external_id, d.place
"""
# Numbers that the channel was told before the last one. $3 items.
TOLD_BEFORE = """
SELECT w.item_id, told.quantity FROM unnest($3::uuid[]) AS w(item_id)
CROSS JOIN LATERAL (
  SELECT c.quantity FROM command c
  WHERE c.tenant_id = $1 AND c.entity_id = w.item_id AND c.connection_id = $2 AND c.kind = 'inventory.set'
    AND c.state = 'succeeded' ORDER BY c.command_id DESC OFFSET 1 LIMIT 1
) told
"""
FORGET_ENTRIES = """
DELETE FROM drift_entry WHERE (tenant_id, entry_id) IN (
  SELECT tenant_id, entry_id FROM drift_entry WHERE tenant_id = $1 AND entry_id < $2 ORDER BY entry_id LIMIT $3)
"""

# --- when looks are due --------------------------------------------------------------------------------------------------
# A new connection, or one whose rules are others now. $3 due, $4 interval, $5 rules.
PLAN_LOOK = """
INSERT INTO sync_schedule (tenant_id, connection_id, due_at, interval_seconds, rules) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant_id, connection_id) DO UPDATE
SET due_at = excluded.due_at, interval_seconds = excluded.interval_seconds, rules = excluded.rules
WHERE sync_schedule.rules <> excluded.rules
"""
FORGET_LOOK = "DELETE FROM sync_schedule WHERE tenant_id = $1 AND connection_id = $2 AND paused_at IS NULL"
# What is due, and what nearly is: one run compares them together. $2 part of the interval.
DUE_LOOKS = """
SELECT p.connection_id, c.name, c.state, p.interval_seconds, p.due_at <= clock_timestamp() AS is_due
FROM sync_schedule p JOIN connection c USING (tenant_id, connection_id)
WHERE p.tenant_id = $1 AND (p.paused_at IS NULL OR p.paused_until <= clock_timestamp())
  AND p.due_at <= clock_timestamp() + make_interval(secs => p.interval_seconds * $2)
ORDER BY p.connection_id FOR NO KEY UPDATE OF p
"""
# $3 due, $4 run or null. A pause that is over is gone.
MOVE_LOOK = """
UPDATE sync_schedule SET due_at = $3, last_run = coalesce($4, last_run), paused_at = NULL, paused_until = NULL, paused_by = NULL
WHERE tenant_id = $1 AND connection_id = $2
"""
LOOK_INTERVAL = "SELECT interval_seconds FROM sync_schedule WHERE tenant_id = $1 AND connection_id = $2"
# $3 interval. What is due moves with it.
ADAPT_LOOK = """
UPDATE sync_schedule
SET due_at = greatest(clock_timestamp(), due_at + make_interval(secs => $3::float8 - interval_seconds)), interval_seconds = $3
WHERE tenant_id = $1 AND connection_id = $2 AND interval_seconds <> $3
"""
# $2 connections by name, or null for all; $3 actor, $4 until or null.
PAUSE = """
UPDATE sync_schedule p SET paused_at = coalesce(p.paused_at, clock_timestamp()), paused_until = $4, paused_by = $3,
                           due_at = coalesce($4, p.due_at)
FROM connection c
WHERE p.tenant_id = $1 AND c.tenant_id = $1 AND c.connection_id = p.connection_id AND ($2::text[] IS NULL OR c.name = ANY($2))
RETURNING c.name, c.connection_id
"""
# What came due meanwhile is looked at once. $2 connections by name, or null for all.
RESUME = """
UPDATE sync_schedule p SET paused_at = NULL, paused_until = NULL, paused_by = NULL
FROM connection c
WHERE p.tenant_id = $1 AND c.tenant_id = $1 AND c.connection_id = p.connection_id AND ($2::text[] IS NULL OR c.name = ANY($2))
  AND p.paused_at IS NOT NULL
RETURNING c.name, c.connection_id
"""
# $2 connections, $3 held or not.
HOLD_READS = """
UPDATE sync_read SET held = $3 WHERE tenant_id = $1 AND connection_id = ANY($2::uuid[])
  AND state IN ('waiting', 'reading', 'comparing', 'healing')
"""
RELEASE_OVERDUE = """
UPDATE sync_read s SET held = false FROM sync_schedule p
WHERE s.tenant_id = $1 AND s.held AND s.state IN ('waiting', 'reading', 'comparing', 'healing') AND p.tenant_id = $1
  AND p.connection_id = s.connection_id AND (p.paused_at IS NULL OR p.paused_until <= clock_timestamp())
"""
