-- A month of a tenant begins and ends in its own time zone. What a close covered is kept with it, so that a tenant that
-- moves changes no month that is closed; two closed months of one tenant never share an instant. What is posted to a
-- closed month afterwards is a correction, and somebody approves it.

ALTER TABLE periods ADD COLUMN time_zone text, ADD COLUMN starts_us bigint, ADD COLUMN ends_us bigint;
UPDATE periods SET time_zone = 'UTC',
    starts_us = (extract(epoch FROM month::timestamp AT TIME ZONE 'UTC') * 1000000)::bigint,
    ends_us = (extract(epoch FROM (month + interval '1 month') AT TIME ZONE 'UTC') * 1000000)::bigint;
ALTER TABLE periods
    ALTER COLUMN time_zone SET NOT NULL, ALTER COLUMN starts_us SET NOT NULL, ALTER COLUMN ends_us SET NOT NULL,
    -- Roll-ups and lines know quarter-hours: a month that begins within one could not be added up.
    ADD CHECK (starts_us % 900000000 = 0 AND ends_us % 900000000 = 0 AND starts_us < ends_us),
    ADD EXCLUDE USING gist (tenant_id WITH =, int8range(starts_us, ends_us) WITH &&);
COMMENT ON COLUMN periods.time_zone IS 'IANA time zone the month was closed in.';
COMMENT ON COLUMN periods.starts_us IS 'First instant of it, µs UTC.';
COMMENT ON COLUMN periods.ends_us IS 'First instant after it, µs UTC.';

CREATE TABLE period_approvals (
    approval_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id text NOT NULL,
    month date NOT NULL,
    until_us bigint NOT NULL,
    calls bigint NOT NULL,
    known_cost_usd_pico numeric(38, 0) NOT NULL,
    reason text NOT NULL CHECK (reason <> ''),
    approved_by text NOT NULL DEFAULT session_user,
    approved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    FOREIGN KEY (tenant_id, month) REFERENCES periods
);
COMMENT ON TABLE period_approvals IS 'Corrections of a closed month that somebody approved: all that were posted up to an instant.';
COMMENT ON COLUMN period_approvals.approval_no IS 'Number of the approval.';
COMMENT ON COLUMN period_approvals.tenant_id IS 'The tenant.';
COMMENT ON COLUMN period_approvals.month IS 'First day of the month.';
COMMENT ON COLUMN period_approvals.until_us IS 'Corrections posted up to this instant are approved, µs UTC.';
COMMENT ON COLUMN period_approvals.calls IS 'By how many calls they change the month.';
COMMENT ON COLUMN period_approvals.known_cost_usd_pico IS 'By how much they change its known cost, 10⁻¹² USD.';
COMMENT ON COLUMN period_approvals.reason IS 'In the words of who approved them.';
COMMENT ON COLUMN period_approvals.approved_by IS 'Who approved them.';
COMMENT ON COLUMN period_approvals.approved_at IS 'When.';

GRANT SELECT ON period_approvals TO keeper, analyst, app, writer;
GRANT INSERT (tenant_id, month, until_us, calls, known_cost_usd_pico, reason) ON period_approvals TO keeper;
GRANT SELECT ON batches TO keeper;
GRANT SELECT ON periods, period_approvals TO watcher;
CREATE POLICY watcher_all ON periods FOR SELECT TO watcher USING (true);
ALTER TABLE period_approvals ENABLE ROW LEVEL SECURITY;
ALTER TABLE period_approvals FORCE ROW LEVEL SECURITY;
CREATE POLICY keeper_all ON period_approvals TO keeper USING (true) WITH CHECK (true);
CREATE POLICY watcher_all ON period_approvals FOR SELECT TO watcher USING (true);
CREATE POLICY app_tenant ON period_approvals FOR SELECT TO app
    USING (tenant_id = (SELECT current_setting('app.tenant', true)));
CREATE POLICY analyst_grants ON period_approvals FOR SELECT TO analyst
    USING ((SELECT sees_all())
           OR tenant_id IN (SELECT g.tenant_id FROM tenant_grants g WHERE g.grantee = session_user));
