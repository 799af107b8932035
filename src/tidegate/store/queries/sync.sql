-- name: sync_status
-- Each connection that is looked at: when it is due, what its newest look came to, and what is open. $1 tenant.
SELECT c.name AS connection, c.connection_id, c.state AS connection_state, p.due_at, p.interval_seconds, p.paused_at, p.paused_until, p.paused_by,
       p.connection_id IS NOT NULL AS is_scheduled,
       o.run_id AS open_run, o.state AS open_state, o.articles AS open_articles, o.compared AS open_compared,
       o.started_at AS open_since, o.held AS is_held, o.error AS open_error,
       n.run_id AS last_run, n.state AS last_state, n.pages, n.articles, n.compared, n.missing, n.differences, n.healed, n.heal_waits,
       n.error AS last_error, n.finished_at,
       extract(epoch FROM n.read_at - n.started_at)::float8 AS reading_seconds,
       n.read_at,
       (SELECT count(*) FROM drift d WHERE d.tenant_id = c.tenant_id AND d.connection_id = c.connection_id
                                       AND NOT d.in_flight) AS open_differences,
       (SELECT min(d.since) FROM drift d WHERE d.tenant_id = c.tenant_id AND d.connection_id = c.connection_id
                                           AND NOT d.in_flight) AS oldest,
       (SELECT count(*) FROM drift d WHERE d.tenant_id = c.tenant_id AND d.connection_id = c.connection_id
                                       AND d.heal = 'waits') AS waiting
FROM connection c
LEFT JOIN sync_schedule p ON p.tenant_id = c.tenant_id AND p.connection_id = c.connection_id
LEFT JOIN LATERAL (
  SELECT * FROM sync_read s WHERE s.tenant_id = c.tenant_id AND s.connection_id = c.connection_id
     AND s.state IN ('waiting', 'reading', 'comparing', 'healing') LIMIT 1
) o ON true
LEFT JOIN LATERAL (
  SELECT * FROM sync_read s WHERE s.tenant_id = c.tenant_id AND s.connection_id = c.connection_id
     AND s.state IN ('done', 'failed') ORDER BY s.run_id DESC LIMIT 1
) n ON true
WHERE c.tenant_id = $1 AND (p.connection_id IS NOT NULL OR o.run_id IS NOT NULL OR n.run_id IS NOT NULL)
ORDER BY c.name

-- name: order_counts
-- Per channel: its newest count of its own orders, and of the last day the window of which most are still missing here. $1 tenant,
-- $2 counted before: a window that was counted later may still be being read.
SELECT c.name AS connection, n.since, n.until, n.theirs, n.ours, n.counted_at, g.since AS gap_since, g.until AS gap_until,
       g.missing, g.event_id
FROM connection c
CROSS JOIN LATERAL (
  SELECT o.since, o.until, o.theirs, o.ours, o.counted_at FROM order_count o
  WHERE o.tenant_id = c.tenant_id AND o.connection_id = c.connection_id ORDER BY o.until DESC, o.since LIMIT 1
) n
LEFT JOIN LATERAL (
  SELECT o.since, o.until, o.theirs - k.orders AS missing, o.event_id FROM order_count o
  CROSS JOIN LATERAL (
    SELECT count(*) AS orders FROM "order" d
    WHERE d.tenant_id = o.tenant_id AND d.connection_id = o.connection_id AND d.placed_at >= o.since AND d.placed_at < o.until
  ) k
  WHERE o.tenant_id = c.tenant_id AND o.connection_id = c.connection_id AND o.until > clock_timestamp() - interval '1 day'
    AND o.theirs > o.ours AND o.theirs > k.orders AND o.counted_at < $2
  ORDER BY missing DESC, o.until DESC LIMIT 1
) g ON true
WHERE c.tenant_id = $1
ORDER BY c.name

-- name: sku_drift
-- What looks found of a SKU and what became of it, newest first. $1 tenant, $2 SKU, $3 at most.
SELECT e.entry_id, c.name AS connection, e.external_id, e.run_id, e.event_id, e.field, e.kind, e.owner_value, e.other_value, e.cause, e.actor, e.at
FROM drift_entry e JOIN connection c USING (tenant_id, connection_id)
WHERE e.tenant_id = $1 AND e.sku = $2 ORDER BY e.entry_id DESC LIMIT $3
