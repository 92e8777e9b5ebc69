-- Why a price changed or a run was made, and what it came to, may be of a tenant that an analyst has no grant for: a
-- change and a run name no tenant, so only who sees all reads them. Of which kind a run was is known to all: it is the
-- cause that a tenant's own costs changed for.

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['repricing_runs', 'price_changes'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY analyst_all ON %I FOR SELECT TO analyst USING ((SELECT sees_all()))', name);
        -- Migrations run as the owner, and change rows.
        EXECUTE format('CREATE POLICY owner_all ON %I TO owner USING (true) WITH CHECK (true)', name);
    END LOOP;
END
$$;
-- Everybody else as before: what each may do is bounded by its grants.
CREATE POLICY others_all ON repricing_runs TO writer, keeper, watcher USING (true) WITH CHECK (true);
CREATE POLICY others_all ON price_changes TO writer, keeper, pricing USING (true) WITH CHECK (true);

CREATE FUNCTION run_kinds() RETURNS TABLE (run_no bigint, kind text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$ SELECT r.run_no, r.kind FROM repricing_runs r $$;
COMMENT ON FUNCTION run_kinds IS 'Number and kind of every run, for whoever may not read more of them.';
REVOKE ALL ON FUNCTION run_kinds FROM PUBLIC;
GRANT EXECUTE ON FUNCTION run_kinds TO analyst, keeper, writer;
