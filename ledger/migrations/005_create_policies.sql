-- Who may do what. `writer` bypasses row-level security because COPY into a table under it is refused to anyone else;
-- what it may touch is bounded by these grants. `app` sees the tenant it set for the transaction, `analyst` (and every
-- login that is a member of it) the tenants granted to the login.

GRANT SELECT ON ALL TABLES IN SCHEMA public TO writer;
GRANT INSERT ON postings, lines, batches, book_versions, dimensions, rates, rejected TO writer;
GRANT INSERT, UPDATE ON call_keys, offsets, origins, origin_ranges TO writer;
GRANT INSERT, UPDATE, DELETE ON calls, witnesses, rollups_15m, latency_15m TO writer;
GRANT UPDATE ON compaction TO writer;
REVOKE UPDATE, DELETE, TRUNCATE ON postings, lines FROM writer, app, analyst, PUBLIC;
REVOKE ALL ON FUNCTION ensure_month FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_month TO writer;

GRANT SELECT ON calls, postings, lines, witnesses, rates, dimensions, book_versions, rollups_15m, latency_15m,
    compaction, rejected, tenants, contracts, periods, tenant_grants,
    rollup_deltas, latency_deltas, rollups, cost_daily, cost_by_feature, cost_by_meter, cost_by_request,
    unpriced_calls, conflicts, provider_gap, latency_histograms, latency_percentiles TO app, analyst;
GRANT SELECT ON batches, offsets, origins, origin_ranges, prices TO analyst;

-- The grants of the login that asks; `*` grants every tenant.
CREATE FUNCTION sees_all() RETURNS boolean
LANGUAGE sql STABLE
RETURN EXISTS (SELECT FROM tenant_grants WHERE grantee = session_user AND tenant_id = '*');
COMMENT ON FUNCTION sees_all IS 'Whether the login may read every tenant.';

ALTER TABLE tenant_grants ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenant_grants FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON tenant_grants FOR SELECT TO analyst USING (grantee = session_user);

DO $$
DECLARE
    name text;
BEGIN
    -- Tables that name the tenant themselves.
    FOREACH name IN ARRAY ARRAY[
        'calls', 'witnesses', 'rates', 'dimensions', 'rejected', 'tenants', 'contracts', 'periods'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY app_tenant ON %I FOR SELECT TO app
             USING (tenant_id = (SELECT current_setting(''app.tenant'', true)))', name);
        EXECUTE format(
            'CREATE POLICY analyst_grants ON %I FOR SELECT TO analyst
             USING ((SELECT sees_all())
                    OR tenant_id IN (SELECT g.tenant_id FROM tenant_grants g WHERE g.grantee = session_user))', name);
    END LOOP;
    -- Tables that name it by their dimensions, whose own policy decides.
    FOREACH name IN ARRAY ARRAY['postings', 'lines', 'rollups_15m', 'latency_15m'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY app_tenant ON %I FOR SELECT TO app
             USING (dim_no IN (SELECT d.dim_no FROM dimensions d))', name);
        EXECUTE format(
            'CREATE POLICY analyst_grants ON %I FOR SELECT TO analyst
             USING ((SELECT sees_all()) OR dim_no IN (SELECT d.dim_no FROM dimensions d))', name);
    END LOOP;
END
$$;
