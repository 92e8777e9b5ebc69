-- Where the answers of several attempts were compared, each says whether it is the one the caller got: what is charged
-- follows it, and a speculation that was needed counts as the escalation it saved the wait for.

ALTER TABLE calls ADD COLUMN served boolean;
COMMENT ON COLUMN calls.served IS 'Whether the caller got this answer, where the answers of several attempts were compared; None elsewhere.';

CREATE OR REPLACE VIEW routing_decisions WITH (security_invoker) AS
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
        coalesce(bool_or(attempt_role = 'escalation' OR (attempt_role = 'hedge' AND served)), false) AS escalated,
        (array_agg(attempt_reason ORDER BY attempt_no)
            FILTER (WHERE attempt_role = 'escalation' OR (attempt_role = 'hedge' AND served)))[1]
            AS escalation_reason,
        (array_agg(route_tier ORDER BY coalesce(served, false) DESC, attempt_no DESC)
            FILTER (WHERE status = 'ok' AND (served OR coalesce(attempt_role NOT IN ('verify', 'hedge'), true))))[1]
            AS served_tier,
        max(ended_at_us) - min(started_at_us) AS total_us
    FROM calls AS one
    WHERE one.operation_id = decided.operation_id AND one.tenant_id = decided.tenant_id
        AND one.decision_id IS NOT NULL
) AS made
WHERE decided.decision_id IS NOT NULL AND decision IS NOT NULL;
