-- name: statistics_expected
-- Tell the planner of few tenants, connections and kinds where it knows nothing yet; return the columns. PostgreSQL 18.
-- What is unknown is listed first, whatever the plan: what is told overwrites what was measured.
WITH unknown AS MATERIALIZED (
  SELECT c.relname::text AS table_name, a.attname::text AS column_name, c.relkind = 'p' AS inherited, expected.distinct_values
  FROM pg_class c
  JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
  JOIN unnest($1::text[], $2::float4[]) AS expected(column_name, distinct_values) ON expected.column_name = a.attname
  WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0
    AND NOT EXISTS (SELECT FROM pg_stats s WHERE s.schemaname = current_schema() AND s.tablename = c.relname
                                             AND s.attname = a.attname AND s.inherited = (c.relkind = 'p'))
)
SELECT table_name, column_name FROM unknown
WHERE pg_restore_attribute_stats(
  'schemaname', current_schema()::text, 'relname', table_name, 'attname', column_name, 'inherited', inherited,
  'null_frac', 0::float4, 'avg_width', 16::int, 'n_distinct', distinct_values)
