-- What the channel was last told, and up to which numbers the next change can wait for company. In units that are available at
-- all active locations together; null: nothing is known to have arrived there.
ALTER TABLE channel_stock
    ADD COLUMN told_available int,
    ADD COLUMN quiet_from int,
    ADD COLUMN quiet_to int;
