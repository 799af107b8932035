-- Articles are matched by barcode where the SKU says nothing; and who applies events notices that bindings changed.
ALTER TABLE variant ADD COLUMN barcode text NOT NULL DEFAULT '';
ALTER TABLE tenant ADD COLUMN catalogue_version bigint NOT NULL DEFAULT 0;  -- +1 with every change of bindings of articles
