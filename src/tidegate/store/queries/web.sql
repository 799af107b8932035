-- name: web_write_probe
-- Write one record to the log of the database and commit it; fails on a read-only or full server. Changes nothing.
SELECT pg_logical_emit_message(true, 'tidegate', 'probe')
