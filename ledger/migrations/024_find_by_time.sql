-- What is asked of a large ledger is found. Under row-level security an index serves only comparisons that give nothing
-- away, which those of what `to_timestamp` makes are not: views tell their times as the tables' whole numbers too.

CREATE OR REPLACE VIEW rollups WITH (security_invoker) AS
SELECT to_timestamp(bucket_no * 900.0) AS bucket_start, tenant_id, environment, project, feature, cost_centre,
    api_key_id, provider, api, model, service_tier_served, processing, meter, calls, incomplete_calls, quantity,
    amount_usd_pico, list_amount_usd_pico, bucket_no
FROM (
    SELECT bucket_no, dim_no, meter, calls, incomplete_calls, quantity, amount_usd_pico, list_amount_usd_pico
    FROM rollups_15m
    UNION ALL
    SELECT bucket_no, dim_no, meter, calls, incomplete_calls, quantity, amount_usd_pico, list_amount_usd_pico
    FROM rollup_deltas
) AS both_parts
JOIN dimensions USING (dim_no);
COMMENT ON COLUMN rollups.bucket_no IS 'The quarter-hour as a number since 1970, UTC: what a span of a long history is asked by.';

CREATE OR REPLACE VIEW cost_by_request WITH (security_invoker) AS
SELECT call_id, tenant_id, event_id, response_id, operation_id, to_timestamp(charged_at_us / 1e6) AS charged_at,
    environment, project, feature, provider, api, coalesce(priced_model, response_model, request_model) AS model,
    status, usage, input_tokens, output_tokens, price_status, cost_usd_pico, known_cost_usd_pico,
    known_cost_usd_pico / 1e12::numeric AS known_cost_usd,
    (cost_usd_pico IS NULL)::integer AS incomplete_calls, total_us, ttft_us, anomalies, id_reuse,
    coalesce(cache_hit, false) AS cache_hit, saved_usd_pico, charged_at_us
FROM calls;
COMMENT ON COLUMN cost_by_request.charged_at_us IS 'When it is charged, µs UTC: what a span of a long history is asked by.';

-- Calls whose cost is not wholly known are few; the view of them need not read the others.
CREATE INDEX calls_incomplete ON calls (charged_at_us) WHERE cost_usd_pico IS NULL;
