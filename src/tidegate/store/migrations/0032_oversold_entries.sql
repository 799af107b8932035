-- Sales that took more than there was. They are few, and asked for often: who oversold what is told within one batch.
CREATE INDEX stock_entry_oversold ON stock_entry (tenant_id, at)
    WHERE committed_delta > 0 AND on_hand_after - unavailable_after - committed_after - reserved_after < 0;
