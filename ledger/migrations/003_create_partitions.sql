-- Months come into being when the first row of theirs arrives. The writer owns no table, so it asks this function.

CREATE FUNCTION ensure_month(parent regclass, at_us bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
    month timestamp := date_trunc('month', to_timestamp(at_us / 1000000.0) AT TIME ZONE 'UTC');
    child text := format('%s_%s', parent, to_char(month, 'YYYYMM'));
BEGIN
    IF parent NOT IN ('calls'::regclass, 'postings'::regclass, 'lines'::regclass) THEN
        RAISE EXCEPTION 'ensure_month: % has no monthly partitions', parent;
    END IF;
    -- Two sessions that ask for one month at once: the second finds it made.
    PERFORM pg_advisory_xact_lock(hashtext('ensure_month'));
    IF to_regclass(child) IS NOT NULL THEN
        RETURN;
    END IF;
    -- Made apart and then attached: PARTITION OF would shut out readers of the whole table.
    EXECUTE format('CREATE TABLE %I (LIKE %s INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', child, parent);
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', child);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', child);
    EXECUTE format(
        'ALTER TABLE %s ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
        parent, child,
        (extract(epoch FROM month) * 1000000)::bigint,
        (extract(epoch FROM month + interval '1 month') * 1000000)::bigint
    );
END
$$;
COMMENT ON FUNCTION ensure_month IS 'Makes the monthly partition that holds an instant (µs UTC), unless it is there.';
