-- name: statistics_expected
-- Tell the planner of few tenants, connections and kinds where it knows nothing yet; return the columns. PostgreSQL 18.
SELECT c.relname AS table_name, a.attname AS column_name
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
JOIN unnest($1::text[], $2::float4[]) AS expected(column_name, distinct_values) ON expected.column_name = a.attname
CROSS JOIN LATERAL (
  SELECT pg_restore_attribute_stats(
    'schemaname', current_schema()::text, 'relname', c.relname::text, 'attname', a.attname::text,
    'inherited', c.relkind = 'p', 'null_frac', 0::float4, 'avg_width', 16::int, 'n_distinct', expected.distinct_values
  ) AS is_kept OFFSET 0) told
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0
  AND NOT EXISTS (SELECT FROM pg_stats s WHERE s.schemaname = current_schema() AND s.tablename = c.relname
                                           AND s.attname = a.attname AND s.inherited = (c.relkind = 'p'))
  AND told.is_kept
