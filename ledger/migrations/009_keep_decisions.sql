-- What the router chose stands with the operation's first call, once; why another attempt was made stands with that one.
-- A call without either pays two bits of its null bitmap. The index holds calls of decided operations only.

ALTER TABLE calls ADD COLUMN attempt_reason text, ADD COLUMN decision jsonb;
COMMENT ON COLUMN calls.attempt_role IS '`primary`, `retry`, `fallback`, `hedge`, `verify` or `escalation`.';
COMMENT ON COLUMN calls.attempt_reason IS 'Why it was made where it is not the first: `disagreement`, `format`, `refusal`, `upstream_error`, …';
COMMENT ON COLUMN calls.decision IS 'That decision itself, on the operation''s first attempt only.';
CREATE INDEX calls_decided ON calls (operation_id) WHERE decision_id IS NOT NULL;

CREATE VIEW routing_decisions WITH (security_invoker) AS
SELECT decided.call_id, decided.tenant_id, decided.operation_id, decided.decision_id,
    to_timestamp(decided.charged_at_us / 1e6) AS decided_at, decided.feature,
    decision ->> 'route' AS route, coalesce(decision ->> 'mode', '') AS mode,
    decision ->> 'experiment' AS experiment, decision ->> 'arm' AS arm,
    decision ->> 'tier' AS tier, decision ->> 'reason' AS reason,
    decision ->> 'best_tier' AS best_tier, decision ->> 'best_reason' AS best_reason,
    coalesce((decision ->> 'propensity')::double precision, 1) AS propensity,
    (decision ->> 'confidence')::double precision AS confidence,
    (decision ->> 'expected_loss')::double precision AS expected_loss,
    (decision ->> 'familiarity')::double precision AS familiarity,
    (decision ->> 'expected_cost_usd_pico')::bigint AS expected_cost_usd_pico,
    (decision ->> 'strongest_cost_usd_pico')::bigint AS strongest_cost_usd_pico,
    made.incurred_cost_usd_pico, made.chargeable_usd_pico, made.incomplete_calls,
    CASE WHEN made.incomplete_calls = 0
        THEN (decision ->> 'strongest_cost_usd_pico')::bigint - made.incurred_cost_usd_pico
    END AS saved_usd_pico,
    made.attempts, made.checks, made.escalated, made.escalation_reason, made.served_tier, made.total_us,
    decision ->> 'model_version' AS model_version, coalesce(decision ->> 'policy_version', '') AS policy_version,
    coalesce(decision ->> 'features_hash', '') AS features_hash,
    coalesce(decision -> 'features', '{}') AS features,
    (decision ->> 'features_age_us')::bigint AS features_age_us,
    coalesce(decision -> 'losses', '{}') AS losses, coalesce(decision -> 'risks', '{}') AS risks,
    coalesce(decision -> 'propensities', '{}') AS propensities
FROM calls AS decided
CROSS JOIN LATERAL (
    SELECT sum(known_cost_usd_pico)::numeric(38, 0) AS incurred_cost_usd_pico,
        sum(coalesce(chargeable_usd_pico, 0))::numeric(38, 0) AS chargeable_usd_pico,
        count(*) FILTER (WHERE cost_usd_pico IS NULL) AS incomplete_calls,
        count(*) AS attempts,
        count(*) FILTER (WHERE attempt_role = 'verify') AS checks,
        bool_or(attempt_role IS NOT DISTINCT FROM 'escalation') AS escalated,
        (array_agg(attempt_reason ORDER BY attempt_no) FILTER (WHERE attempt_role = 'escalation'))[1]
            AS escalation_reason,
        (array_agg(route_tier ORDER BY attempt_no DESC)
            FILTER (WHERE status = 'ok' AND attempt_role NOT IN ('verify', 'hedge')))[1] AS served_tier,
        max(ended_at_us) - min(started_at_us) AS total_us
    FROM calls AS one
    WHERE one.operation_id = decided.operation_id AND one.tenant_id = decided.tenant_id
        AND one.decision_id IS NOT NULL
) AS made
WHERE decided.decision_id IS NOT NULL AND decision IS NOT NULL;
COMMENT ON VIEW routing_decisions IS 'One row a routing decision: what was chosen and why, and what the whole operation came to.';
COMMENT ON COLUMN routing_decisions.call_id IS 'Number of the operation''s first call, which carries the decision.';
COMMENT ON COLUMN routing_decisions.tenant_id IS 'The tenant.';
COMMENT ON COLUMN routing_decisions.operation_id IS 'What the caller wanted done; every attempt shares it.';
COMMENT ON COLUMN routing_decisions.decision_id IS 'Id of the decision.';
COMMENT ON COLUMN routing_decisions.decided_at IS 'When the first call is charged.';
COMMENT ON COLUMN routing_decisions.feature IS 'Product feature.';
COMMENT ON COLUMN routing_decisions.route IS 'Route of the policy.';
COMMENT ON COLUMN routing_decisions.mode IS '`shadow` (logged only), `stream-now` or `verify-first`; empty where it was not said.';
COMMENT ON COLUMN routing_decisions.experiment IS 'Experiment the request took part in.';
COMMENT ON COLUMN routing_decisions.arm IS 'Its arm there.';
COMMENT ON COLUMN routing_decisions.tier IS 'The tier that was chosen.';
COMMENT ON COLUMN routing_decisions.reason IS 'Why.';
COMMENT ON COLUMN routing_decisions.best_tier IS 'The tier without exploration.';
COMMENT ON COLUMN routing_decisions.best_reason IS 'Why that one.';
COMMENT ON COLUMN routing_decisions.propensity IS 'Probability with which the tier was chosen.';
COMMENT ON COLUMN routing_decisions.confidence IS 'Probability that its answer is not worse than the strongest tier''s.';
COMMENT ON COLUMN routing_decisions.expected_loss IS 'Quality that the strongest tier would add, 0 to 1.';
COMMENT ON COLUMN routing_decisions.familiarity IS 'Share of held-out training prompts at least as strange.';
COMMENT ON COLUMN routing_decisions.expected_cost_usd_pico IS 'What one call of the tier was expected to cost, 10⁻¹² USD.';
COMMENT ON COLUMN routing_decisions.strongest_cost_usd_pico IS 'What one call of the strongest tier was expected to cost, 10⁻¹² USD.';
COMMENT ON COLUMN routing_decisions.incurred_cost_usd_pico IS 'Known cost of every attempt of the operation, 10⁻¹² USD.';
COMMENT ON COLUMN routing_decisions.chargeable_usd_pico IS 'What of it the customer is charged, 10⁻¹² USD.';
COMMENT ON COLUMN routing_decisions.incomplete_calls IS 'Attempts whose cost is not wholly known.';
COMMENT ON COLUMN routing_decisions.saved_usd_pico IS 'Expected cost on the strongest tier minus incurred cost, 10⁻¹² USD; negative where checks cost more than they saved, null while the cost is not wholly known.';
COMMENT ON COLUMN routing_decisions.attempts IS 'Attempts of the operation, checks and hedges included.';
COMMENT ON COLUMN routing_decisions.checks IS 'Attempts that checked another one''s answer.';
COMMENT ON COLUMN routing_decisions.escalated IS 'Whether a stronger tier was asked after all.';
COMMENT ON COLUMN routing_decisions.escalation_reason IS 'Why it was: `disagreement`, `format`, `refusal`, …';
COMMENT ON COLUMN routing_decisions.served_tier IS 'Tier of the answer that was served; null where none was.';
COMMENT ON COLUMN routing_decisions.total_us IS 'First attempt''s start to last attempt''s end, µs.';
COMMENT ON COLUMN routing_decisions.model_version IS 'Version of the router''s model; null without one.';
COMMENT ON COLUMN routing_decisions.policy_version IS 'Version of the router''s policy.';
COMMENT ON COLUMN routing_decisions.features_hash IS 'Hash of everything the choice was made from.';
COMMENT ON COLUMN routing_decisions.features IS 'What the choice was made from, by name, without n-grams.';
COMMENT ON COLUMN routing_decisions.features_age_us IS 'Age of the oldest of these, µs.';
COMMENT ON COLUMN routing_decisions.losses IS 'Per tier, quality that the strongest tier would add.';
COMMENT ON COLUMN routing_decisions.risks IS 'Per tier, probability that its answer is worse than the strongest tier''s.';
COMMENT ON COLUMN routing_decisions.propensities IS 'Per tier, the probability with which it was chosen.';

GRANT SELECT ON routing_decisions TO app, analyst, writer;
