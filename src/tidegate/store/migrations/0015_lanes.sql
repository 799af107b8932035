-- A call that is refused as a whole is taken apart: its numbers go alone until they are accepted.
ALTER TABLE channel_stock ADD COLUMN alone boolean NOT NULL DEFAULT false;

-- When the next parked thing of a lane is due: found without reading what is not parked.
CREATE INDEX command_parked ON command (tenant_id, connection_id, not_before)
    WHERE state IN ('pending', 'in_doubt') AND not_before IS NOT NULL;
CREATE INDEX channel_stock_parked ON channel_stock (tenant_id, connection_id, not_before)
    WHERE dirty AND sendable AND not_before IS NOT NULL;
CREATE INDEX fetch_request_due ON fetch_request (tenant_id, connection_id, not_before);
