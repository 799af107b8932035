-- Articles that a system deleted. The binding moves here: nothing is told there any more, and what names the article (orders that
-- are still open, orders that come late) goes on standing for the same variant.
CREATE TABLE tombstone (
    tenant_id      uuid NOT NULL,
    connection_id  uuid NOT NULL,
    external_id    text NOT NULL,
    variant_id     uuid NOT NULL,
    parent_id      text NOT NULL,
    event_id       uuid,                               -- the fact that told of it
    gone_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, connection_id, external_id)
);
CREATE INDEX tombstone_variant ON tombstone (tenant_id, connection_id, variant_id);

-- What a system calls the product that an article is part of, as far as it told: a deleted product takes its articles with it.
ALTER TABLE binding ADD COLUMN parent_id text NOT NULL DEFAULT '';
CREATE INDEX binding_parent ON binding (tenant_id, connection_id, parent_id) WHERE parent_id <> '';

-- Articles of which a system shows no number are there all the same; and which of them have a SKU is asked.
ALTER TABLE shown DROP CONSTRAINT shown_field_check;
ALTER TABLE shown ADD CONSTRAINT shown_field_check
    CHECK (field IN ('stock', 'on_hand', 'price', 'price_with_tax', 'listed'));
CREATE INDEX shown_sku ON shown (tenant_id, connection_id, sku);

ALTER TABLE drift_entry DROP CONSTRAINT drift_entry_kind_check;
ALTER TABLE drift_entry ADD CONSTRAINT drift_entry_kind_check
    CHECK (kind IN ('found', 'changed', 'gone', 'told', 'asked', 'deleted', 'restored', 'relinked', 'relink_asked'));

ALTER TABLE match_open DROP CONSTRAINT match_open_reason_check;
ALTER TABLE match_open ADD CONSTRAINT match_open_reason_check
    CHECK (reason IN ('ambiguous', 'missing', 'without_sku', 'recreated'));

-- Bound articles that a look did not find.
ALTER TABLE sync_read ADD COLUMN missing int NOT NULL DEFAULT 0;
