-- A month that is closed keeps what it came to then. Later truth is posted later, so the books as of the close still say it.

ALTER TABLE periods
    ADD COLUMN calls bigint NOT NULL DEFAULT 0,
    ADD COLUMN incomplete_calls bigint NOT NULL DEFAULT 0,
    ADD COLUMN known_cost_usd_pico numeric(38, 0) NOT NULL DEFAULT 0,
    ADD COLUMN reason text NOT NULL DEFAULT '';
COMMENT ON COLUMN periods.closed_at_us IS 'Postings up to this instant are in the close, µs UTC.';
COMMENT ON COLUMN periods.calls IS 'Calls of the month, as of the close.';
COMMENT ON COLUMN periods.incomplete_calls IS 'Of these, calls whose cost was not wholly known then.';
COMMENT ON COLUMN periods.known_cost_usd_pico IS 'Their known cost as of the close, 10⁻¹² USD.';
COMMENT ON COLUMN periods.reason IS 'In the words of who closed it.';

GRANT SELECT, INSERT ON periods TO keeper;
CREATE POLICY keeper_all ON periods TO keeper USING (true) WITH CHECK (true);
GRANT SELECT ON postings, lines, dimensions TO keeper;
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['postings', 'lines', 'dimensions'] LOOP
        EXECUTE format('CREATE POLICY keeper_all ON %I FOR SELECT TO keeper USING (true)', name);
    END LOOP;
END
$$;
