-- The feature store's login reads what a product feature has cost: sums, and what they are grouped by. Of every tenant,
-- because it serves every tenant's router; of postings and lines only the columns the sums need, never who called.

GRANT SELECT ON rollups_15m, rollup_deltas, compaction TO features;
GRANT SELECT (dim_no, tenant_id, feature) ON dimensions TO features;
GRANT SELECT (posted_at_us, charged_at_us, dim_no, calls, incomplete_calls) ON postings TO features;
GRANT SELECT (posted_at_us, bucket_no, dim_no, rate_no, quantity, amount_usd_pico, list_amount_usd_pico) ON lines
    TO features;
GRANT SELECT (rate_no, meter) ON rates TO features;

CREATE POLICY features_all ON rollups_15m FOR SELECT TO features USING (true);
CREATE POLICY features_all ON dimensions FOR SELECT TO features USING (true);
CREATE POLICY features_all ON postings FOR SELECT TO features USING (true);
CREATE POLICY features_all ON lines FOR SELECT TO features USING (true);
CREATE POLICY features_all ON rates FOR SELECT TO features USING (true);
