-- Events that are told to listeners, and the flow that plans them.

ALTER TABLE command DROP CONSTRAINT command_kind_check;
ALTER TABLE command ADD CONSTRAINT command_kind_check CHECK (kind IN ('order.create', 'order.cancel', 'fulfillment.create',
    'inventory.set', 'payment.capture', 'payment.void', 'refund.create', 'event.send'));
ALTER TABLE flow_mode DROP CONSTRAINT flow_mode_flow_check;
ALTER TABLE flow_mode ADD CONSTRAINT flow_mode_flow_check CHECK (flow IN ('orders', 'shipments', 'payments', 'stock', 'events'));
