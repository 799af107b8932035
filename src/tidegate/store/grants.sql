-- What each database role may touch. Run as the owner of the schema after every migration that applied
-- something, and whenever this file changes: it first takes everything back, then grants anew.
-- Partitions are reached through their parents and need no grants of their own.

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM tidegate_door, tidegate_apply, tidegate_dispatch, tidegate_web;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM tidegate_door, tidegate_apply, tidegate_dispatch, tidegate_web;
GRANT USAGE ON SCHEMA public TO tidegate_door, tidegate_apply, tidegate_dispatch, tidegate_web;
GRANT SELECT ON schema_migration TO tidegate_door, tidegate_apply, tidegate_dispatch, tidegate_web;

-- door: appends, and reads no more than the dedupe keys and what the verification of a signature needs
GRANT INSERT ON event, event_dedupe, event_queue TO tidegate_door;
GRANT SELECT (tenant_id, connection_id, dedupe_key, event_id, body_digest) ON event_dedupe TO tidegate_door;
GRANT USAGE ON SEQUENCE event_seq TO tidegate_door;
GRANT SELECT, INSERT, UPDATE ON conservation, intake_refusal TO tidegate_door;  -- counters, nothing else
GRANT SELECT (tenant_id, connection_id, connector, state, path_hash) ON connection TO tidegate_door;
GRANT SELECT ON credential, tenant_key TO tidegate_door;
GRANT SELECT, INSERT ON data_key TO tidegate_door;  -- the key of a new day
-- Of these three it sees the rows of class 'intake': no API credential, not even as ciphertext.
DROP POLICY IF EXISTS door_of_class ON credential;
DROP POLICY IF EXISTS door_of_class ON tenant_key;
DROP POLICY IF EXISTS door_of_class ON data_key;
CREATE POLICY door_of_class ON credential AS RESTRICTIVE TO tidegate_door USING (key_class = 'intake');
CREATE POLICY door_of_class ON tenant_key AS RESTRICTIVE TO tidegate_door USING (key_class = 'intake');
CREATE POLICY door_of_class ON data_key AS RESTRICTIVE TO tidegate_door USING (key_class = 'intake');

-- apply: T2 reads the log and moves the canonical state; it sees no credential
GRANT SELECT ON tenant, connection, config_version, config_bundle, event, event_dedupe, event_outcome, binding, switch TO tidegate_apply;
GRANT SELECT, INSERT, UPDATE ON tenant_key, data_key TO tidegate_apply;
GRANT SELECT, INSERT, DELETE ON event_queue, event_parked, event_crash, fetch_request TO tidegate_apply;
GRANT UPDATE ON event_queue, event_parked, event_crash, fetch_request TO tidegate_apply;
GRANT INSERT ON event_outcome, binding TO tidegate_apply;
GRANT SELECT, INSERT ON stock_entry TO tidegate_apply;  -- the ledger is append-only
GRANT SELECT ON stock_balance TO tidegate_apply;
GRANT SELECT, INSERT, UPDATE ON conservation, entity_version, product, variant, inventory_item, variant_item, location,
    stock_level, channel_stock, "order", order_line, payment, fulfillment, fulfillment_line, command_key,
    command TO tidegate_apply;
GRANT SELECT, INSERT, UPDATE, DELETE ON node TO tidegate_apply;
GRANT SELECT, UPDATE ON slot TO tidegate_apply;
GRANT USAGE, SELECT ON SEQUENCE event_seq TO tidegate_apply;

-- dispatch: sends commands, records what came of them, reads for the log; it opens credentials and changes none
GRANT SELECT ON tenant, connection, config_version, config_bundle, credential, binding, switch, variant, inventory_item, variant_item,
    location, stock_balance, "order", order_line, fulfillment, fulfillment_line, channel_stock, command, call, attempt,
    attempt_answer, lane_state, poll_cursor, poll_observation, fetch_request, tenant_key, data_key TO tidegate_dispatch;
GRANT INSERT ON binding, command_key, command, call, attempt, attempt_answer, lane_state, poll_cursor, poll_observation,
    event, event_dedupe, event_queue, event_outcome, tenant_key, data_key TO tidegate_dispatch;
GRANT SELECT, INSERT, UPDATE ON conservation TO tidegate_dispatch;
GRANT UPDATE ON channel_stock, command, lane_state, poll_cursor, poll_observation, fetch_request TO tidegate_dispatch;
GRANT DELETE ON fetch_request TO tidegate_dispatch;
GRANT UPDATE (state, state_reason) ON connection TO tidegate_dispatch;
GRANT UPDATE (state) ON fulfillment TO tidegate_dispatch;
GRANT UPDATE (fulfilled) ON order_line TO tidegate_dispatch;
GRANT UPDATE (order_id) ON "order" TO tidegate_dispatch;  -- needed to lock a row; nothing is ever changed
GRANT UPDATE (name) ON switch TO tidegate_dispatch;  -- needed to lock the row
GRANT SELECT (tenant_id, connection_id, dedupe_key, event_id, body_digest) ON event_dedupe TO tidegate_dispatch;
GRANT SELECT, INSERT, UPDATE, DELETE ON node TO tidegate_dispatch;
GRANT SELECT, UPDATE ON slot TO tidegate_dispatch;
GRANT SELECT, INSERT, UPDATE ON event_crash TO tidegate_dispatch;
GRANT USAGE, SELECT ON SEQUENCE event_seq TO tidegate_dispatch;

-- web: health and metrics; it reads counters and states, and of events and commands no more than it counts
GRANT SELECT ON tenant, event_queue, event_parked, conservation, lane_state, channel_stock, poll_cursor, node, slot, switch
    TO tidegate_web;
GRANT SELECT (tenant_id, connection_id, name, connector, state, state_reason) ON connection TO tidegate_web;
GRANT SELECT (tenant_id, event_id, connection_id) ON event TO tidegate_web;
GRANT SELECT (tenant_id, event_id, run) ON event_outcome TO tidegate_web;
GRANT SELECT (tenant_id, connection_id, command_id, kind, state, not_before) ON command TO tidegate_web;
