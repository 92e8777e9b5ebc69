-- Tenants as they stand and as they stood: a statement is never edited but for the end of our knowledge of it.

DROP TABLE tenants;
CREATE TABLE tenants (
    row_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id text NOT NULL CHECK (tenant_id <> ''),
    name text NOT NULL,
    time_zone text NOT NULL,
    charge_policy text NOT NULL CHECK (charge_policy IN ('served', 'incurred')),
    capture_consent boolean NOT NULL,
    status text NOT NULL CHECK (status IN ('active', 'suspended', 'closed')),
    known_us int8range NOT NULL CHECK (NOT isempty(known_us)),
    made_by text NOT NULL DEFAULT session_user,
    reason text NOT NULL CHECK (reason <> ''),
    EXCLUDE USING gist (tenant_id WITH =, known_us WITH &&)
);
COMMENT ON TABLE tenants IS 'Who may be charged, how, and in which time zone: every statement of it. Nobody stated means UTC, `served`, no consent, active.';
COMMENT ON COLUMN tenants.row_no IS 'Number of the row.';
COMMENT ON COLUMN tenants.tenant_id IS 'The tenant, by credential.';
COMMENT ON COLUMN tenants.name IS 'Name for people.';
COMMENT ON COLUMN tenants.time_zone IS 'IANA time zone its accounting months begin and end in.';
COMMENT ON COLUMN tenants.charge_policy IS 'What the customer is charged: `served` for the answer that served, `incurred` for everything the provider charged.';
COMMENT ON COLUMN tenants.capture_consent IS 'Whether prompts and answers may be kept.';
COMMENT ON COLUMN tenants.status IS '`active`, `suspended` or `closed`; told, not enforced: keys and budgets decide who may call.';
COMMENT ON COLUMN tenants.known_us IS 'When this was what we knew, µs UTC.';
COMMENT ON COLUMN tenants.made_by IS 'Who stated it.';
COMMENT ON COLUMN tenants.reason IS 'Why, in their words.';
CREATE INDEX tenants_known ON tenants (tenant_id) WHERE upper_inf(known_us);

GRANT SELECT ON tenants TO app, analyst, keeper, pricing, archive, writer;
GRANT INSERT, UPDATE (known_us) ON tenants TO keeper;

ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenants FORCE ROW LEVEL SECURITY;
CREATE POLICY keeper_all ON tenants TO keeper USING (true) WITH CHECK (true);
CREATE POLICY pricing_all ON tenants FOR SELECT TO pricing USING (true);
CREATE POLICY archive_all ON tenants FOR SELECT TO archive USING (true);
CREATE POLICY app_tenant ON tenants FOR SELECT TO app
    USING (tenant_id = (SELECT current_setting('app.tenant', true)));
CREATE POLICY analyst_grants ON tenants FOR SELECT TO analyst
    USING ((SELECT sees_all())
           OR tenant_id IN (SELECT g.tenant_id FROM tenant_grants g WHERE g.grantee = session_user));
