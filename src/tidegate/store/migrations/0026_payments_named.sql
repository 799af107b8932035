-- A payment that is read because we asked is joined with the order that named it before that mattered.
CREATE INDEX payment_psp_reference ON payment (tenant_id, psp_reference) WHERE psp_reference <> '';
