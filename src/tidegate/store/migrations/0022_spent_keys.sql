-- A provider may keep its failure under our idempotency key: the same request is answered the same for ever. Once it is
-- known that nothing was done, the command goes out as another call, under another key.
ALTER TABLE call ADD COLUMN key_spent_at timestamptz;
