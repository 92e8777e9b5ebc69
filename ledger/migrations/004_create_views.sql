-- What analysts read: stable names, a comment on every column, money always beside the count of calls it misses.
-- Every view runs with the rights of whoever reads it, so row-level security holds through it.

CREATE VIEW rollup_deltas WITH (security_invoker) AS
SELECT (charged_at_us / 900000000)::integer AS bucket_no, dim_no, '' AS meter, sum(calls)::bigint AS calls,
    sum(incomplete_calls)::bigint AS incomplete_calls, 0::numeric(38, 0) AS quantity,
    0::numeric(38, 0) AS amount_usd_pico, 0::numeric(38, 0) AS list_amount_usd_pico
FROM postings
WHERE posted_at_us > (SELECT posted_at_us FROM compaction)
GROUP BY 1, 2
UNION ALL
SELECT bucket_no, dim_no, meter, 0, 0, sum(quantity)::numeric(38, 0),
    sum(amount_usd_pico)::numeric(38, 0), sum(list_amount_usd_pico)::numeric(38, 0)
FROM lines JOIN rates USING (rate_no)
WHERE posted_at_us > (SELECT posted_at_us FROM compaction)
GROUP BY 1, 2, 3;
COMMENT ON VIEW rollup_deltas IS 'What the postings since the last compaction add to `rollups_15m`.';
COMMENT ON COLUMN rollup_deltas.bucket_no IS 'Quarter-hour: number since 1970, UTC.';
COMMENT ON COLUMN rollup_deltas.dim_no IS 'The dimensions.';
COMMENT ON COLUMN rollup_deltas.meter IS 'The meter; empty in the row that counts calls.';
COMMENT ON COLUMN rollup_deltas.calls IS 'Calls more or less.';
COMMENT ON COLUMN rollup_deltas.incomplete_calls IS 'Calls whose cost is not wholly known, more or less.';
COMMENT ON COLUMN rollup_deltas.quantity IS 'Quantity more or less.';
COMMENT ON COLUMN rollup_deltas.amount_usd_pico IS 'Contracted amount more or less, 10⁻¹² USD.';
COMMENT ON COLUMN rollup_deltas.list_amount_usd_pico IS 'List amount more or less, 10⁻¹² USD.';

CREATE VIEW latency_deltas WITH (security_invoker) AS
SELECT (charged_at_us / 900000000)::integer AS bucket_no, dim_no, metric, bucket, sum(calls)::bigint AS n
FROM postings
CROSS JOIN LATERAL (
    VALUES ('total', total_bucket), ('ttft', ttft_bucket), ('tpot', tpot_bucket),
        ('first_token_wait', first_token_wait_bucket), ('queue', queue_bucket), ('prefill', prefill_bucket),
        ('decode', decode_bucket)
) AS measured (metric, bucket)
WHERE posted_at_us > (SELECT posted_at_us FROM compaction) AND bucket IS NOT NULL
GROUP BY 1, 2, 3, 4;
COMMENT ON VIEW latency_deltas IS 'What the postings since the last compaction add to `latency_15m`.';
COMMENT ON COLUMN latency_deltas.bucket_no IS 'Quarter-hour: number since 1970, UTC.';
COMMENT ON COLUMN latency_deltas.dim_no IS 'The dimensions.';
COMMENT ON COLUMN latency_deltas.metric IS 'Which duration.';
COMMENT ON COLUMN latency_deltas.bucket IS 'Histogram bucket.';
COMMENT ON COLUMN latency_deltas.n IS 'Calls more or less.';

CREATE VIEW rollups WITH (security_invoker) AS
SELECT to_timestamp(bucket_no * 900.0) AS bucket_start, tenant_id, environment, project, feature, cost_centre,
    api_key_id, provider, api, model, service_tier_served, processing, meter, calls, incomplete_calls, quantity,
    amount_usd_pico, list_amount_usd_pico
FROM (
    SELECT bucket_no, dim_no, meter, calls, incomplete_calls, quantity, amount_usd_pico, list_amount_usd_pico
    FROM rollups_15m
    UNION ALL
    SELECT bucket_no, dim_no, meter, calls, incomplete_calls, quantity, amount_usd_pico, list_amount_usd_pico
    FROM rollup_deltas
) AS both_parts
JOIN dimensions USING (dim_no);
COMMENT ON VIEW rollups IS 'Sums per quarter-hour and dimensions, compacted or not; several rows of one key add up.';
COMMENT ON COLUMN rollups.bucket_start IS 'Start of the quarter-hour.';
COMMENT ON COLUMN rollups.tenant_id IS 'The tenant.';
COMMENT ON COLUMN rollups.environment IS '`production`, `staging`, …';
COMMENT ON COLUMN rollups.project IS 'Project.';
COMMENT ON COLUMN rollups.feature IS 'Product feature.';
COMMENT ON COLUMN rollups.cost_centre IS 'Cost centre.';
COMMENT ON COLUMN rollups.api_key_id IS 'Id of the API key, never the key.';
COMMENT ON COLUMN rollups.provider IS 'Provider.';
COMMENT ON COLUMN rollups.api IS 'API.';
COMMENT ON COLUMN rollups.model IS 'Priced model; else the one the reply names, else the one asked for.';
COMMENT ON COLUMN rollups.service_tier_served IS 'Service tier that served.';
COMMENT ON COLUMN rollups.processing IS '`batch`, or null for the synchronous API.';
COMMENT ON COLUMN rollups.meter IS 'Meter; empty in rows that count calls.';
COMMENT ON COLUMN rollups.calls IS 'Calls, in rows without meter.';
COMMENT ON COLUMN rollups.incomplete_calls IS 'Calls whose cost is not wholly known, in rows without meter.';
COMMENT ON COLUMN rollups.quantity IS 'Quantity in the meter''s base unit.';
COMMENT ON COLUMN rollups.amount_usd_pico IS 'Contracted amount, 10⁻¹² USD.';
COMMENT ON COLUMN rollups.list_amount_usd_pico IS 'List amount, 10⁻¹² USD.';

CREATE VIEW cost_daily WITH (security_invoker) AS
SELECT (bucket_start AT TIME ZONE 'UTC')::date AS day, tenant_id, provider, model,
    sum(calls)::bigint AS calls, sum(incomplete_calls)::bigint AS incomplete_calls,
    sum(amount_usd_pico) AS known_cost_usd_pico, sum(amount_usd_pico) / 1e12 AS known_cost_usd,
    sum(list_amount_usd_pico) AS list_cost_usd_pico
FROM rollups
GROUP BY 1, 2, 3, 4;
COMMENT ON VIEW cost_daily IS 'Cost per UTC day, tenant, provider and model.';
COMMENT ON COLUMN cost_daily.day IS 'UTC day.';
COMMENT ON COLUMN cost_daily.tenant_id IS 'The tenant.';
COMMENT ON COLUMN cost_daily.provider IS 'Provider.';
COMMENT ON COLUMN cost_daily.model IS 'Model.';
COMMENT ON COLUMN cost_daily.calls IS 'Calls.';
COMMENT ON COLUMN cost_daily.incomplete_calls IS 'Calls whose cost is not wholly known: the amounts lack their missing part.';
COMMENT ON COLUMN cost_daily.known_cost_usd_pico IS 'Known cost, 10⁻¹² USD.';
COMMENT ON COLUMN cost_daily.known_cost_usd IS 'The same in USD.';
COMMENT ON COLUMN cost_daily.list_cost_usd_pico IS 'The same at list price, 10⁻¹² USD.';

CREATE VIEW cost_by_feature WITH (security_invoker) AS
SELECT (bucket_start AT TIME ZONE 'UTC')::date AS day, tenant_id, environment, project, feature, cost_centre,
    sum(calls)::bigint AS calls, sum(incomplete_calls)::bigint AS incomplete_calls,
    sum(amount_usd_pico) AS known_cost_usd_pico, sum(amount_usd_pico) / 1e12 AS known_cost_usd
FROM rollups
GROUP BY 1, 2, 3, 4, 5, 6;
COMMENT ON VIEW cost_by_feature IS 'Cost per UTC day and product feature.';
COMMENT ON COLUMN cost_by_feature.day IS 'UTC day.';
COMMENT ON COLUMN cost_by_feature.tenant_id IS 'The tenant.';
COMMENT ON COLUMN cost_by_feature.environment IS '`production`, `staging`, …';
COMMENT ON COLUMN cost_by_feature.project IS 'Project.';
COMMENT ON COLUMN cost_by_feature.feature IS 'Product feature; null where the calls name none.';
COMMENT ON COLUMN cost_by_feature.cost_centre IS 'Cost centre.';
COMMENT ON COLUMN cost_by_feature.calls IS 'Calls.';
COMMENT ON COLUMN cost_by_feature.incomplete_calls IS 'Calls whose cost is not wholly known.';
COMMENT ON COLUMN cost_by_feature.known_cost_usd_pico IS 'Known cost, 10⁻¹² USD.';
COMMENT ON COLUMN cost_by_feature.known_cost_usd IS 'The same in USD.';

CREATE VIEW cost_by_meter WITH (security_invoker) AS
WITH incomplete AS (
    SELECT (bucket_start AT TIME ZONE 'UTC')::date AS day, tenant_id, provider, model,
        sum(incomplete_calls)::bigint AS incomplete_calls
    FROM rollups
    WHERE meter = ''
    GROUP BY 1, 2, 3, 4
), metered AS (
    SELECT (bucket_start AT TIME ZONE 'UTC')::date AS day, tenant_id, provider, model, meter,
        sum(quantity) AS quantity, sum(amount_usd_pico) AS amount_usd_pico,
        sum(list_amount_usd_pico) AS list_amount_usd_pico
    FROM rollups
    WHERE meter <> ''
    GROUP BY 1, 2, 3, 4, 5
)
SELECT metered.day, metered.tenant_id, metered.provider, metered.model, meter, quantity, amount_usd_pico,
    amount_usd_pico / 1e12 AS amount_usd, list_amount_usd_pico, coalesce(incomplete_calls, 0) AS incomplete_calls
FROM metered
LEFT JOIN incomplete ON metered.day = incomplete.day AND metered.tenant_id = incomplete.tenant_id
    AND metered.provider = incomplete.provider AND coalesce(metered.model, '') = coalesce(incomplete.model, '');
COMMENT ON VIEW cost_by_meter IS 'Quantity and cost per UTC day, model and meter.';
COMMENT ON COLUMN cost_by_meter.day IS 'UTC day.';
COMMENT ON COLUMN cost_by_meter.tenant_id IS 'The tenant.';
COMMENT ON COLUMN cost_by_meter.provider IS 'Provider.';
COMMENT ON COLUMN cost_by_meter.model IS 'Model.';
COMMENT ON COLUMN cost_by_meter.meter IS 'Meter.';
COMMENT ON COLUMN cost_by_meter.quantity IS 'Quantity that was priced, in the meter''s base unit.';
COMMENT ON COLUMN cost_by_meter.amount_usd_pico IS 'Contracted amount, 10⁻¹² USD.';
COMMENT ON COLUMN cost_by_meter.amount_usd IS 'The same in USD.';
COMMENT ON COLUMN cost_by_meter.list_amount_usd_pico IS 'List amount, 10⁻¹² USD.';
COMMENT ON COLUMN cost_by_meter.incomplete_calls IS 'Calls of that day, tenant and model whose cost is not wholly known, whatever their meters.';

CREATE VIEW cost_by_request WITH (security_invoker) AS
SELECT call_id, tenant_id, event_id, response_id, operation_id, to_timestamp(charged_at_us / 1e6) AS charged_at,
    environment, project, feature, provider, api, coalesce(priced_model, response_model, request_model) AS model,
    status, usage, input_tokens, output_tokens, price_status, cost_usd_pico, known_cost_usd_pico,
    known_cost_usd_pico / 1e12::numeric AS known_cost_usd,
    (cost_usd_pico IS NULL)::integer AS incomplete_calls, total_us, ttft_us, anomalies, id_reuse
FROM calls;
COMMENT ON VIEW cost_by_request IS 'One row a call: what it cost and how long it took.';
COMMENT ON COLUMN cost_by_request.call_id IS 'Number of the call.';
COMMENT ON COLUMN cost_by_request.tenant_id IS 'The tenant.';
COMMENT ON COLUMN cost_by_request.event_id IS 'Id of the event that reported it.';
COMMENT ON COLUMN cost_by_request.response_id IS 'The provider''s own id of the reply.';
COMMENT ON COLUMN cost_by_request.operation_id IS 'What the caller wanted done; retries share it.';
COMMENT ON COLUMN cost_by_request.charged_at IS 'When it is charged.';
COMMENT ON COLUMN cost_by_request.environment IS '`production`, `staging`, …';
COMMENT ON COLUMN cost_by_request.project IS 'Project.';
COMMENT ON COLUMN cost_by_request.feature IS 'Product feature.';
COMMENT ON COLUMN cost_by_request.provider IS 'Provider.';
COMMENT ON COLUMN cost_by_request.api IS 'API.';
COMMENT ON COLUMN cost_by_request.model IS 'Priced model; else the one the reply names, else the one asked for.';
COMMENT ON COLUMN cost_by_request.status IS '`ok`, `error`, `aborted` or `in_progress`.';
COMMENT ON COLUMN cost_by_request.usage IS 'Meter → quantity.';
COMMENT ON COLUMN cost_by_request.input_tokens IS 'Inclusive input total.';
COMMENT ON COLUMN cost_by_request.output_tokens IS 'Inclusive output total.';
COMMENT ON COLUMN cost_by_request.price_status IS 'How its cost is known, or why not.';
COMMENT ON COLUMN cost_by_request.cost_usd_pico IS 'What it cost, 10⁻¹² USD; null while that is not wholly known.';
COMMENT ON COLUMN cost_by_request.known_cost_usd_pico IS 'The known part, 10⁻¹² USD.';
COMMENT ON COLUMN cost_by_request.known_cost_usd IS 'The known part in USD.';
COMMENT ON COLUMN cost_by_request.incomplete_calls IS '1 if the cost is not wholly known, else 0.';
COMMENT ON COLUMN cost_by_request.total_us IS 'Total duration, µs.';
COMMENT ON COLUMN cost_by_request.ttft_us IS 'Time to first token, µs.';
COMMENT ON COLUMN cost_by_request.anomalies IS 'Everything odd about it; null for nothing.';
COMMENT ON COLUMN cost_by_request.id_reuse IS 'Whether another reply came under its event id.';

CREATE VIEW unpriced_calls WITH (security_invoker) AS
SELECT (to_timestamp(charged_at_us / 1e6) AT TIME ZONE 'UTC')::date AS day, tenant_id, provider,
    coalesce(response_model, request_model) AS model, price_status, unpriced_meters,
    count(*) AS incomplete_calls, sum(known_cost_usd_pico) AS known_cost_usd_pico,
    sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens
FROM calls
WHERE cost_usd_pico IS NULL
GROUP BY 1, 2, 3, 4, 5, 6;
COMMENT ON VIEW unpriced_calls IS 'Calls whose cost is not wholly known, and why.';
COMMENT ON COLUMN unpriced_calls.day IS 'UTC day.';
COMMENT ON COLUMN unpriced_calls.tenant_id IS 'The tenant.';
COMMENT ON COLUMN unpriced_calls.provider IS 'Provider.';
COMMENT ON COLUMN unpriced_calls.model IS 'Model the reply names, else the one asked for.';
COMMENT ON COLUMN unpriced_calls.price_status IS 'Why: `unpriced`, `partly_priced`, `unmetered` or `self_hosted`.';
COMMENT ON COLUMN unpriced_calls.unpriced_meters IS 'Meters for which no rate was found.';
COMMENT ON COLUMN unpriced_calls.incomplete_calls IS 'How many.';
COMMENT ON COLUMN unpriced_calls.known_cost_usd_pico IS 'The part that is known, 10⁻¹² USD.';
COMMENT ON COLUMN unpriced_calls.input_tokens IS 'Their input tokens.';
COMMENT ON COLUMN unpriced_calls.output_tokens IS 'Their output tokens.';

CREATE VIEW conflicts WITH (security_invoker) AS
SELECT call_id, calls.tenant_id, calls.event_id, meter, (calls.usage ->> meter)::bigint AS winner_quantity,
    quantity::bigint AS loser_quantity, record -> 'call' ->> 'event_id' AS loser_event_id,
    known_cost_usd_pico, (cost_usd_pico IS NULL)::integer AS incomplete_calls
FROM witnesses
JOIN calls USING (call_id)
CROSS JOIN LATERAL jsonb_each_text(record -> 'call' -> 'usage') AS other (meter, quantity)
WHERE quantity::bigint > coalesce((calls.usage ->> meter)::bigint, 0);
COMMENT ON VIEW conflicts IS 'Calls of which a record that counts less claims more of some meter.';
COMMENT ON COLUMN conflicts.call_id IS 'The call.';
COMMENT ON COLUMN conflicts.tenant_id IS 'The tenant.';
COMMENT ON COLUMN conflicts.event_id IS 'Event of the record that counts.';
COMMENT ON COLUMN conflicts.meter IS 'The meter.';
COMMENT ON COLUMN conflicts.winner_quantity IS 'What counts; null for none.';
COMMENT ON COLUMN conflicts.loser_quantity IS 'What the other record says.';
COMMENT ON COLUMN conflicts.loser_event_id IS 'Event of the other record.';
COMMENT ON COLUMN conflicts.known_cost_usd_pico IS 'Known cost of the call, 10⁻¹² USD.';
COMMENT ON COLUMN conflicts.incomplete_calls IS '1 if that is not the whole, else 0.';

CREATE VIEW provider_gap WITH (security_invoker) AS
SELECT (to_timestamp(charged_at_us / 1e6) AT TIME ZONE 'UTC')::date AS day, tenant_id, provider,
    coalesce(priced_model, response_model, request_model) AS model, count(*) AS calls,
    count(*) FILTER (WHERE computed_usd_pico IS NULL) AS incomplete_calls,
    sum(billed_usd_pico) FILTER (WHERE computed_usd_pico IS NOT NULL) AS billed_usd_pico,
    sum(computed_usd_pico) AS computed_usd_pico,
    sum(billed_usd_pico - computed_usd_pico) AS gap_usd_pico
FROM calls
WHERE billed_usd_pico IS NOT NULL
GROUP BY 1, 2, 3, 4;
COMMENT ON VIEW provider_gap IS 'What providers billed in their own replies against what our price book says.';
COMMENT ON COLUMN provider_gap.day IS 'UTC day.';
COMMENT ON COLUMN provider_gap.tenant_id IS 'The tenant.';
COMMENT ON COLUMN provider_gap.provider IS 'Provider.';
COMMENT ON COLUMN provider_gap.model IS 'Model.';
COMMENT ON COLUMN provider_gap.calls IS 'Calls whose reply states an amount.';
COMMENT ON COLUMN provider_gap.incomplete_calls IS 'Of these, calls our book cannot price: they are in none of the amounts.';
COMMENT ON COLUMN provider_gap.billed_usd_pico IS 'Billed by the provider, 10⁻¹² USD.';
COMMENT ON COLUMN provider_gap.computed_usd_pico IS 'By our book, 10⁻¹² USD.';
COMMENT ON COLUMN provider_gap.gap_usd_pico IS 'Billed less computed, 10⁻¹² USD.';

CREATE VIEW latency_histograms WITH (security_invoker) AS
SELECT to_timestamp(bucket_no * 900.0) AS bucket_start, tenant_id, feature, provider, model, metric, bucket, n
FROM (
    SELECT bucket_no, dim_no, metric, bucket, n FROM latency_15m
    UNION ALL
    SELECT bucket_no, dim_no, metric, bucket, n FROM latency_deltas
) AS both_parts
JOIN dimensions USING (dim_no);
COMMENT ON VIEW latency_histograms IS 'Histograms of durations, compacted or not; several rows of one key add up.';
COMMENT ON COLUMN latency_histograms.bucket_start IS 'Start of the quarter-hour.';
COMMENT ON COLUMN latency_histograms.tenant_id IS 'The tenant.';
COMMENT ON COLUMN latency_histograms.feature IS 'Product feature.';
COMMENT ON COLUMN latency_histograms.provider IS 'Provider.';
COMMENT ON COLUMN latency_histograms.model IS 'Model.';
COMMENT ON COLUMN latency_histograms.metric IS 'Which duration.';
COMMENT ON COLUMN latency_histograms.bucket IS 'Histogram bucket: 0 is up to 1 µs, i is (1.02^(i-1), 1.02^i] µs.';
COMMENT ON COLUMN latency_histograms.n IS 'Calls in it.';

CREATE VIEW latency_percentiles WITH (security_invoker) AS
WITH counted AS (
    SELECT (bucket_start AT TIME ZONE 'UTC')::date AS day, tenant_id, provider, model, metric, bucket,
        sum(n)::bigint AS n
    FROM latency_histograms
    GROUP BY 1, 2, 3, 4, 5, 6
), running AS (
    SELECT *, sum(n) OVER through AS seen, sum(n) OVER whole AS total
    FROM counted
    WINDOW whole AS (PARTITION BY day, tenant_id, provider, model, metric),
        through AS (PARTITION BY day, tenant_id, provider, model, metric ORDER BY bucket)
), sized AS (
    SELECT *, CASE bucket WHEN 0 THEN 1 ELSE round(2 * power(1.02::float8, bucket) / 2.02)::bigint END AS value_us
    FROM running
    WHERE n > 0
)
SELECT day, tenant_id, provider, model, metric, max(total)::bigint AS calls,
    min(value_us) FILTER (WHERE seen >= total * 0.50) AS us_p50,
    min(value_us) FILTER (WHERE seen >= total * 0.90) AS us_p90,
    min(value_us) FILTER (WHERE seen >= total * 0.95) AS us_p95,
    min(value_us) FILTER (WHERE seen >= total * 0.99) AS us_p99,
    max(value_us) AS us_max
FROM sized
GROUP BY 1, 2, 3, 4, 5;
COMMENT ON VIEW latency_percentiles IS 'Percentiles of durations per UTC day, tenant and model, within 1 % of the true value.';
COMMENT ON COLUMN latency_percentiles.day IS 'UTC day.';
COMMENT ON COLUMN latency_percentiles.tenant_id IS 'The tenant.';
COMMENT ON COLUMN latency_percentiles.provider IS 'Provider.';
COMMENT ON COLUMN latency_percentiles.model IS 'Model.';
COMMENT ON COLUMN latency_percentiles.metric IS 'Which duration: `total`, `ttft`, `tpot`, `first_token_wait`, `queue`, `prefill` or `decode`.';
COMMENT ON COLUMN latency_percentiles.calls IS 'Calls for which it was measured.';
COMMENT ON COLUMN latency_percentiles.us_p50 IS 'Median, µs.';
COMMENT ON COLUMN latency_percentiles.us_p90 IS '90th percentile, µs.';
COMMENT ON COLUMN latency_percentiles.us_p95 IS '95th percentile, µs.';
COMMENT ON COLUMN latency_percentiles.us_p99 IS '99th percentile, µs.';
COMMENT ON COLUMN latency_percentiles.us_max IS 'Greatest, µs.';
