-- name: drift_run
-- A run with its reads; the newest one when $2 is null. $1 tenant, $2 run.
SELECT r.run_id, r.requested_by, r.requested_at, r.finished_at, c.name AS connection, s.state, s.pages, s.articles,
       s.compared, s.error, s.started_at, s.finished_at AS read_finished_at, c.state AS connection_state
FROM sync_run r
LEFT JOIN sync_read s USING (tenant_id, run_id)
LEFT JOIN connection c USING (tenant_id, connection_id)
WHERE r.tenant_id = $1
  AND r.run_id = coalesce($2::uuid, (SELECT run_id FROM sync_run WHERE tenant_id = $1 ORDER BY run_id DESC LIMIT 1))
ORDER BY c.name

-- name: drift_runs
-- The newest runs. $1 tenant, $2 before this run, $3 at most.
SELECT r.run_id, r.kind, r.requested_by, r.requested_at, r.finished_at,
       count(s.run_id) AS reads, count(*) FILTER (WHERE s.state = 'failed') AS failed, coalesce(sum(s.articles), 0) AS articles
FROM sync_run r LEFT JOIN sync_read s USING (tenant_id, run_id)
WHERE r.tenant_id = $1 AND ($2::uuid IS NULL OR r.run_id < $2)
GROUP BY r.tenant_id, r.run_id ORDER BY r.run_id DESC LIMIT $3

-- name: drift_top
-- The differences with the highest value at risk. $1 tenant, $2 fields or null, $3 connection or null, $4 at most; $5 to $10 behind
-- this one, null: from the first on.
SELECT c.name AS connection, d.external_id, d.sku, d.field, d.place, l.name AS location, d.owner, d.other, d.owner_value,
       d.other_value, d.currency, d.risk, d.risk_currency, d.cause, d.since, d.seen_at, d.heal, d.heals,
       d.healed_at
FROM drift d
JOIN connection c USING (tenant_id, connection_id)
LEFT JOIN binding b ON b.tenant_id = d.tenant_id AND b.connection_id = d.connection_id AND b.kind = 'location'
                   AND b.external_id = d.place
LEFT JOIN location l ON l.tenant_id = d.tenant_id AND l.location_id = b.internal_id
WHERE d.tenant_id = $1 AND NOT d.in_flight AND ($2::text[] IS NULL OR d.field = ANY($2)) AND ($3::text IS NULL OR c.name = $3)
  AND ($6::timestamptz IS NULL
       OR (coalesce(-d.risk, 'Infinity'), d.since, c.name, d.external_id, d.field, d.place)
          > (coalesce(-$5::numeric, 'Infinity'), $6::timestamptz, $7::text, $8::text, $9::text, $10::text))
ORDER BY d.risk DESC NULLS LAST, d.since, c.name, d.external_id, d.field, d.place LIMIT $4

-- name: drift_totals
-- How much differs, by cause and currency. $1 tenant, $2 fields or null, $3 connection or null.
SELECT d.cause, d.risk_currency, d.in_flight, count(*) AS rows, sum(d.risk) AS risk
FROM drift d JOIN connection c USING (tenant_id, connection_id)
WHERE d.tenant_id = $1 AND ($2::text[] IS NULL OR d.field = ANY($2)) AND ($3::text IS NULL OR c.name = $3)
GROUP BY d.cause, d.risk_currency, d.in_flight ORDER BY count(*) DESC, d.cause

-- name: conflicts
-- Fields that somebody else wrote, the oldest first. $1 tenant, $2 causes, $3 connection by name or null, $4 SKU or null, $5 at most.
SELECT c.name AS connection, d.external_id, d.sku, d.field, d.owner, d.owner_value, d.other_value, d.currency, d.cause, d.heal,
       d.since, d.seen_at, m.acked_at AS owner_at, d.item_id, coalesce(i.required_qty, 1) AS units, d.run_id
FROM drift d
JOIN connection c ON c.tenant_id = d.tenant_id AND c.connection_id = d.connection_id
LEFT JOIN channel_stock m ON m.tenant_id = d.tenant_id AND m.connection_id = d.connection_id AND m.item_id = d.item_id
                         AND d.field = 'stock'
LEFT JOIN variant_item i ON i.tenant_id = d.tenant_id AND i.variant_id = d.variant_id
WHERE d.tenant_id = $1 AND NOT d.in_flight AND d.cause = ANY($2::text[]) AND ($3::text IS NULL OR c.name = $3)
  AND ($4::text IS NULL OR d.sku = $4)
ORDER BY d.since, c.name, d.external_id, d.field LIMIT $5
