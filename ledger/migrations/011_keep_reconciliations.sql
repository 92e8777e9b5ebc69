-- Bills that were compared with the ledger, and what came of it: a history that is only added to.

CREATE TABLE reconciliations (
    reconciliation_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    made_by text NOT NULL DEFAULT session_user,
    first_day date NOT NULL,
    last_day date NOT NULL,
    providers text[] NOT NULL,
    tenants text[],
    files jsonb NOT NULL,
    billed_usd_pico numeric(38, 0) NOT NULL,
    our_usd_pico numeric(38, 0) NOT NULL,
    causes jsonb NOT NULL,
    cells jsonb NOT NULL
);
COMMENT ON TABLE reconciliations IS 'Bills that were compared with the ledger, as it stood then.';
COMMENT ON COLUMN reconciliations.reconciliation_no IS 'Its number.';
COMMENT ON COLUMN reconciliations.made_at IS 'When it was made.';
COMMENT ON COLUMN reconciliations.made_by IS 'Who made it.';
COMMENT ON COLUMN reconciliations.first_day IS 'First UTC day the bill has usage of.';
COMMENT ON COLUMN reconciliations.last_day IS 'Last such day.';
COMMENT ON COLUMN reconciliations.providers IS 'Providers whose bill it was.';
COMMENT ON COLUMN reconciliations.tenants IS 'Tenants it was compared for; null for all.';
COMMENT ON COLUMN reconciliations.files IS 'Name and SHA-256 of each file.';
COMMENT ON COLUMN reconciliations.billed_usd_pico IS 'By the bill, 10⁻¹² USD.';
COMMENT ON COLUMN reconciliations.our_usd_pico IS 'By the ledger, of the same days and providers, 10⁻¹² USD.';
COMMENT ON COLUMN reconciliations.causes IS 'Cause → 10⁻¹² USD as text; they add up to billed less ours.';
COMMENT ON COLUMN reconciliations.cells IS 'Every cell that differs: day, provider, model, meter, both sides, causes.';

ALTER TABLE reconciliations ENABLE ROW LEVEL SECURITY;
ALTER TABLE reconciliations FORCE ROW LEVEL SECURITY;
CREATE POLICY analyst_all ON reconciliations TO analyst USING ((SELECT sees_all())) WITH CHECK ((SELECT sees_all()));
GRANT SELECT, INSERT ON reconciliations TO analyst;
