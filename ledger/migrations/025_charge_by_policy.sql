-- What the customer is charged follows the tenant's policy of the time when the call is charged. A record says what was
-- incurred and what served; which of the two it is stands in `tenants`, so that no record is written again for it.

CREATE VIEW charges WITH (security_invoker) AS
SELECT (to_timestamp(charged_at_us / 1e6) AT TIME ZONE 'UTC')::date AS day, calls.tenant_id, calls.project,
    calls.feature, calls.cost_centre, coalesce(stated.charge_policy, 'served') AS charge_policy, count(*) AS calls,
    count(*) FILTER (WHERE calls.cost_usd_pico IS NULL) AS incomplete_calls,
    coalesce(sum(calls.cost_usd_pico), 0)::numeric(38, 0) AS incurred_usd_pico,
    coalesce(sum(
        CASE WHEN stated.charge_policy = 'incurred' THEN calls.cost_usd_pico ELSE calls.chargeable_usd_pico END
    ), 0)::numeric(38, 0) AS charged_usd_pico
FROM calls
LEFT JOIN tenants AS stated ON stated.tenant_id = calls.tenant_id AND stated.known_us @> calls.charged_at_us
GROUP BY 1, 2, 3, 4, 5, 6;
COMMENT ON VIEW charges IS 'What calls cost and what the customer is charged for them, per UTC day; amounts posted by hand are in `adjustments`.';
COMMENT ON COLUMN charges.day IS 'UTC day of the charge.';
COMMENT ON COLUMN charges.tenant_id IS 'The tenant.';
COMMENT ON COLUMN charges.project IS 'Project.';
COMMENT ON COLUMN charges.feature IS 'Product feature.';
COMMENT ON COLUMN charges.cost_centre IS 'Cost centre.';
COMMENT ON COLUMN charges.charge_policy IS 'What was stated of the tenant when the call was charged; `served` where nothing was.';
COMMENT ON COLUMN charges.calls IS 'Calls, attempts that did not serve among them.';
COMMENT ON COLUMN charges.incomplete_calls IS 'Of these, calls whose cost is not wholly known: they are in neither amount.';
COMMENT ON COLUMN charges.incurred_usd_pico IS 'What they cost, 10⁻¹² USD.';
COMMENT ON COLUMN charges.charged_usd_pico IS 'What of it the customer is charged by that policy, 10⁻¹² USD.';

GRANT SELECT ON charges TO app, analyst, writer;
