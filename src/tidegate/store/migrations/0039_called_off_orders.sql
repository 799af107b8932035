-- Orders that their channels are asked to cancel, because nobody has their goods: nobody is told to ship them.
ALTER TABLE "order" ADD COLUMN called_off_at timestamptz;
ALTER TABLE oversold_order DROP CONSTRAINT oversold_order_outcome_check;
ALTER TABLE oversold_order ADD CONSTRAINT oversold_order_outcome_check CHECK (outcome IN ('moved', 'called_off', 'let_stand'));
