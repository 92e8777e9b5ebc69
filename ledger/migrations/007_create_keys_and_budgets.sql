-- Who may use the gateway, how fast, and for how much. `keeper` writes, `gateway` reads; the keys themselves are nowhere.

CREATE TABLE api_keys (
    key_id text PRIMARY KEY,
    hmac bytea NOT NULL UNIQUE CHECK (octet_length(hmac) = 32),
    tenant_id text NOT NULL CHECK (tenant_id <> ''),
    name text NOT NULL DEFAULT '',
    project text,
    environment text,
    feature text,
    features text[] NOT NULL DEFAULT '{}',
    apis text[],
    models text[],
    requests_per_min bigint CHECK (requests_per_min > 0),
    tokens_per_min bigint CHECK (tokens_per_min > 0),
    created_at_us bigint NOT NULL,
    expires_at_us bigint,
    revoked_at_us bigint
);
COMMENT ON TABLE api_keys IS 'Keys of the gateway. A key is shown once, when it is made, and kept only as its HMAC.';
COMMENT ON COLUMN api_keys.key_id IS 'Id of the key, which calls carry.';
COMMENT ON COLUMN api_keys.hmac IS 'HMAC-SHA256 of the key, by the secret of the installation.';
COMMENT ON COLUMN api_keys.tenant_id IS 'The tenant its calls are charged to.';
COMMENT ON COLUMN api_keys.name IS 'Name for people.';
COMMENT ON COLUMN api_keys.project IS 'Project of its calls.';
COMMENT ON COLUMN api_keys.environment IS 'Environment of its calls.';
COMMENT ON COLUMN api_keys.feature IS 'Feature of its calls, unless the request names one it may.';
COMMENT ON COLUMN api_keys.features IS 'Features a request may name; `*` for any, empty for none.';
COMMENT ON COLUMN api_keys.apis IS 'APIs it may use: `chat`, `embeddings`; null for all.';
COMMENT ON COLUMN api_keys.models IS 'Routes it may use; one that ends in `*` is a prefix; null for all.';
COMMENT ON COLUMN api_keys.requests_per_min IS 'Requests a minute; null for no limit.';
COMMENT ON COLUMN api_keys.tokens_per_min IS 'Input and output tokens a minute; null for no limit.';
COMMENT ON COLUMN api_keys.created_at_us IS 'When it was made, µs UTC.';
COMMENT ON COLUMN api_keys.expires_at_us IS 'From when it is refused, µs UTC; null for never.';
COMMENT ON COLUMN api_keys.revoked_at_us IS 'When it was revoked, µs UTC; null while it is not.';

CREATE TABLE budgets (
    tenant_id text NOT NULL CHECK (tenant_id <> ''),
    feature text,
    period text NOT NULL CHECK (period IN ('day', 'month')),
    limit_usd_pico bigint NOT NULL CHECK (limit_usd_pico >= 0),
    set_at_us bigint NOT NULL,
    UNIQUE NULLS NOT DISTINCT (tenant_id, feature, period)
);
COMMENT ON TABLE budgets IS 'The most a tenant, or one feature of it, may spend by the gateway in a UTC day or month.';
COMMENT ON COLUMN budgets.tenant_id IS 'The tenant.';
COMMENT ON COLUMN budgets.feature IS 'The feature; null for all of the tenant''s calls together.';
COMMENT ON COLUMN budgets.period IS '`day` or `month`, UTC.';
COMMENT ON COLUMN budgets.limit_usd_pico IS 'The limit, 10⁻¹² USD.';
COMMENT ON COLUMN budgets.set_at_us IS 'When it was last set, µs UTC.';

GRANT SELECT, INSERT ON api_keys TO keeper;
GRANT UPDATE (revoked_at_us) ON api_keys TO keeper;
GRANT SELECT, INSERT, UPDATE, DELETE ON budgets TO keeper;
GRANT INSERT ON audit_log TO keeper;
GRANT SELECT ON api_keys, budgets, dimensions, rollups_15m, compaction, batches, call_keys TO gateway;
GRANT SELECT (posting_id, posted_at_us, amount_usd_pico, bucket_no, dim_no) ON lines TO gateway;
GRANT SELECT (call_id, charged_at_us, status, cost_usd_pico) ON calls TO gateway;
GRANT SELECT (
    key_id, tenant_id, name, project, environment, feature, features, apis, models, requests_per_min, tokens_per_min,
    created_at_us, expires_at_us, revoked_at_us
) ON api_keys TO app, analyst;
GRANT SELECT ON budgets TO app, analyst;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['api_keys', 'budgets'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY keeper_all ON %I TO keeper USING (true) WITH CHECK (true)', name);
        EXECUTE format(
            'CREATE POLICY app_tenant ON %I FOR SELECT TO app
             USING (tenant_id = (SELECT current_setting(''app.tenant'', true)))', name);
        EXECUTE format(
            'CREATE POLICY analyst_grants ON %I FOR SELECT TO analyst
             USING ((SELECT sees_all())
                    OR tenant_id IN (SELECT g.tenant_id FROM tenant_grants g WHERE g.grantee = session_user))', name);
    END LOOP;
    -- The gateway serves every tenant, and reads no text, no usage and no line's rate.
    FOREACH name IN ARRAY ARRAY['api_keys', 'budgets', 'dimensions', 'rollups_15m', 'lines', 'calls'] LOOP
        EXECUTE format('CREATE POLICY gateway_all ON %I FOR SELECT TO gateway USING (true)', name);
    END LOOP;
END
$$;
