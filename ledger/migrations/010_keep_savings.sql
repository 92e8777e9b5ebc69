-- What calls would have cost had a cache not answered them, and the sums of it by day.

ALTER TABLE calls ADD COLUMN saved_usd_pico bigint;
COMMENT ON COLUMN calls.saved_usd_pico IS 'What it would have cost had a cache not answered it, 10⁻¹² USD; None if it did not, or if not wholly known.';

CREATE OR REPLACE VIEW cost_by_request WITH (security_invoker) AS
SELECT call_id, tenant_id, event_id, response_id, operation_id, to_timestamp(charged_at_us / 1e6) AS charged_at,
    environment, project, feature, provider, api, coalesce(priced_model, response_model, request_model) AS model,
    status, usage, input_tokens, output_tokens, price_status, cost_usd_pico, known_cost_usd_pico,
    known_cost_usd_pico / 1e12::numeric AS known_cost_usd,
    (cost_usd_pico IS NULL)::integer AS incomplete_calls, total_us, ttft_us, anomalies, id_reuse,
    coalesce(cache_hit, false) AS cache_hit, saved_usd_pico
FROM calls;
COMMENT ON COLUMN cost_by_request.cache_hit IS 'Whether a cache answered it; its usage is that of the call that was kept.';
COMMENT ON COLUMN cost_by_request.saved_usd_pico IS 'What it would have cost otherwise, 10⁻¹² USD; null if no cache answered it, or if not wholly known.';

CREATE VIEW cache_savings WITH (security_invoker) AS
SELECT (to_timestamp(charged_at_us / 1e6) AT TIME ZONE 'UTC')::date AS day, tenant_id, project, feature, route,
    count(*) FILTER (WHERE cache_hit) AS cache_hits,
    count(*) FILTER (WHERE cache_hit AND replica_id = 'exact') AS exact_hits,
    count(*) FILTER (WHERE cache_hit AND replica_id = 'static') AS static_hits,
    count(*) FILTER (WHERE cache_hit AND replica_id = 'semantic') AS semantic_hits,
    count(*) FILTER (WHERE cache_hit AND saved_usd_pico IS NULL) AS hits_of_unknown_saving,
    coalesce(sum(saved_usd_pico) FILTER (WHERE cache_hit), 0)::numeric(38, 0) AS saved_usd_pico,
    count(*) FILTER (WHERE attempt_role = 'verify') AS checks,
    count(*) FILTER (WHERE attempt_role = 'verify' AND cost_usd_pico IS NULL) AS incomplete_calls,
    coalesce(sum(known_cost_usd_pico) FILTER (WHERE attempt_role = 'verify'), 0)::numeric(38, 0) AS checks_cost_usd_pico
FROM calls
WHERE cache_hit OR (attempt_role = 'verify' AND attempt_reason = 'cache_hit')
GROUP BY 1, 2, 3, 4, 5;
COMMENT ON VIEW cache_savings IS 'What the caches answered per UTC day and route, what that saved and what checking it cost.';
COMMENT ON COLUMN cache_savings.day IS 'UTC day.';
COMMENT ON COLUMN cache_savings.tenant_id IS 'The tenant.';
COMMENT ON COLUMN cache_savings.project IS 'Project.';
COMMENT ON COLUMN cache_savings.feature IS 'Product feature.';
COMMENT ON COLUMN cache_savings.route IS 'Route of the gateway.';
COMMENT ON COLUMN cache_savings.cache_hits IS 'Requests answered from a cache.';
COMMENT ON COLUMN cache_savings.exact_hits IS 'Of these, the same request again.';
COMMENT ON COLUMN cache_savings.static_hits IS 'Of these, by a written answer.';
COMMENT ON COLUMN cache_savings.semantic_hits IS 'Of these, a question asked before in other words.';
COMMENT ON COLUMN cache_savings.hits_of_unknown_saving IS 'Of these, hits whose saving is not known: a written answer, or a model without a price.';
COMMENT ON COLUMN cache_savings.saved_usd_pico IS 'What the others would have cost, 10⁻¹² USD.';
COMMENT ON COLUMN cache_savings.checks IS 'Hits that were checked against a model.';
COMMENT ON COLUMN cache_savings.incomplete_calls IS 'Of these, checks whose cost is not wholly known.';
COMMENT ON COLUMN cache_savings.checks_cost_usd_pico IS 'Known cost of the checks, 10⁻¹² USD.';

GRANT SELECT ON cache_savings TO app, analyst, writer;
