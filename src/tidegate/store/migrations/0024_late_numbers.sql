-- A number that was given up may still arrive until then; afterwards its channel is told once more.
ALTER TABLE channel_stock ADD COLUMN late_until timestamptz;
