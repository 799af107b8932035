-- What is tried again has a part of its own in a lane's window, and is found without reading what waits for its first try.
CREATE INDEX command_again ON command (tenant_id, connection_id, priority, command_id)
    WHERE state = 'pending' AND attempt_number > 0;
