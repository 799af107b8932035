-- What each database role may touch. Run as the owner of the schema after every migration that applied
-- something, and whenever this file changes: it first takes everything back, then grants anew.
-- Partitions are reached through their parents and need no grants of their own.

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM tidegate_door, tidegate_apply, tidegate_dispatch, tidegate_web;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM tidegate_door, tidegate_apply, tidegate_dispatch, tidegate_web;
GRANT USAGE ON SCHEMA public TO tidegate_door, tidegate_apply, tidegate_dispatch, tidegate_web;
GRANT SELECT ON schema_migration TO tidegate_door, tidegate_apply, tidegate_dispatch, tidegate_web;

-- door: appends, and reads no more than the dedupe keys and what the verification of a signature needs
GRANT INSERT ON event, event_dedupe, event_queue, event_outcome TO tidegate_door;
GRANT SELECT (tenant_id, connection_id, dedupe_key, event_id, body_digest) ON event_dedupe TO tidegate_door;
GRANT USAGE ON SEQUENCE event_seq TO tidegate_door;
