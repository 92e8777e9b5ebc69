-- The price book with both times: when a rate applies, and when we knew. Rows are never edited but for the end of their
-- knowledge; two rows that could price one call, as known at one time, cannot both be there.

DROP TABLE prices;
DROP TABLE contracts;

CREATE TABLE price_changes (
    change_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    made_at_us bigint NOT NULL,
    made_by text NOT NULL DEFAULT session_user,
    action text NOT NULL,
    reason text NOT NULL,
    undoes_change_no bigint REFERENCES price_changes
);
COMMENT ON TABLE price_changes IS 'Every change of the price book; only added to.';
COMMENT ON COLUMN price_changes.change_no IS 'Its number.';
COMMENT ON COLUMN price_changes.made_at_us IS 'When it was made, µs UTC: where knowledge of its rows begins or ends.';
COMMENT ON COLUMN price_changes.made_by IS 'Who made it.';
COMMENT ON COLUMN price_changes.action IS '`import`, `add`, `correct`, `end`, `withdraw` or `undo`.';
COMMENT ON COLUMN price_changes.reason IS 'Why, in the words of who made it.';
COMMENT ON COLUMN price_changes.undoes_change_no IS 'The change this one takes back.';

CREATE TABLE prices (
    row_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    price_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('rate', 'surcharge')),
    layer text NOT NULL CHECK (layer IN ('contract', 'own', 'catalogue')),
    tenant_id text NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    meter text NOT NULL,
    processing text NOT NULL,
    service_tier text NOT NULL,
    region text NOT NULL,
    speed text NOT NULL,
    context_tokens int8range NOT NULL,
    windows int8multirange NOT NULL,
    valid_us int8range NOT NULL CHECK (NOT isempty(valid_us)),
    known_us int8range NOT NULL,
    pico bigint NOT NULL CHECK (pico >= 0),
    per bigint NOT NULL CHECK (per > 0),
    minimum_quantity bigint NOT NULL,
    note text NOT NULL,
    change_no bigint NOT NULL REFERENCES price_changes,
    withdrawn_by bigint REFERENCES price_changes,
    CHECK ((layer = 'contract') = (tenant_id <> '')),
    EXCLUDE USING gist (
        kind WITH =, layer WITH =, tenant_id WITH =, lower(provider) WITH =, lower(model) WITH =, meter WITH =,
        processing WITH =, service_tier WITH =, region WITH =, speed WITH =, context_tokens WITH &&, windows WITH &&, valid_us WITH &&,
        known_us WITH &&
    )
);
COMMENT ON TABLE prices IS 'Every rate, own and of the catalogue: when it applies and when we knew.';
COMMENT ON COLUMN prices.row_no IS 'Number of the row.';
COMMENT ON COLUMN prices.price_id IS 'Hash of everything in the rate but its end and our knowledge of it: what cost lines name.';
COMMENT ON COLUMN prices.kind IS '`rate`, or `surcharge` for one on top, by the model that was asked for.';
COMMENT ON COLUMN prices.layer IS '`contract` for a tenant''s own rate, `own`, or `catalogue`.';
COMMENT ON COLUMN prices.tenant_id IS 'Tenant of a contract rate; empty for all.';
COMMENT ON COLUMN prices.provider IS 'Provider.';
COMMENT ON COLUMN prices.model IS 'Model by the book''s name; one that ends in `*` is a prefix.';
COMMENT ON COLUMN prices.meter IS 'Meter.';
COMMENT ON COLUMN prices.processing IS 'Processing the rate asks for, such as `batch`; empty for none.';
COMMENT ON COLUMN prices.service_tier IS 'Service tier it asks for; empty for none.';
COMMENT ON COLUMN prices.region IS 'Region it asks for; empty for none.';
COMMENT ON COLUMN prices.speed IS 'Speed it asks for; empty for none.';
COMMENT ON COLUMN prices.context_tokens IS 'Range of the request''s total input.';
COMMENT ON COLUMN prices.windows IS 'Parts of the week, µs since Monday 00:00 UTC.';
COMMENT ON COLUMN prices.valid_us IS 'When it applies, µs UTC.';
COMMENT ON COLUMN prices.known_us IS 'When we believed it, µs UTC.';
COMMENT ON COLUMN prices.pico IS 'Pico-USD per `per` units.';
COMMENT ON COLUMN prices.per IS 'Units the rate is for.';
COMMENT ON COLUMN prices.minimum_quantity IS 'Least quantity billed for a call that used any.';
COMMENT ON COLUMN prices.note IS 'A word for people.';
COMMENT ON COLUMN prices.change_no IS 'The change that added it.';
COMMENT ON COLUMN prices.withdrawn_by IS 'The change that ended our knowledge of it.';

CREATE TABLE contracts (
    row_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id text NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    discount_ppm integer NOT NULL CHECK (discount_ppm BETWEEN 0 AND 1000000),
    valid_us int8range NOT NULL CHECK (NOT isempty(valid_us)),
    known_us int8range NOT NULL,
    change_no bigint NOT NULL REFERENCES price_changes,
    withdrawn_by bigint REFERENCES price_changes,
    EXCLUDE USING gist (
        tenant_id WITH =, lower(provider) WITH =, lower(model) WITH =, valid_us WITH &&, known_us WITH &&
    )
);
COMMENT ON TABLE contracts IS 'Discounts a tenant agreed with a provider: when they apply and when we knew.';
COMMENT ON COLUMN contracts.row_no IS 'Number of the row.';
COMMENT ON COLUMN contracts.tenant_id IS 'The tenant.';
COMMENT ON COLUMN contracts.provider IS 'Provider, or a prefix that ends in `*`.';
COMMENT ON COLUMN contracts.model IS 'Model, or a prefix that ends in `*`.';
COMMENT ON COLUMN contracts.discount_ppm IS 'Millionths off the list price.';
COMMENT ON COLUMN contracts.valid_us IS 'When it applies, µs UTC.';
COMMENT ON COLUMN contracts.known_us IS 'When we believed it, µs UTC.';
COMMENT ON COLUMN contracts.change_no IS 'The change that added it.';
COMMENT ON COLUMN contracts.withdrawn_by IS 'The change that ended our knowledge of it.';

CREATE TABLE aliases (
    row_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    provider text NOT NULL,
    name text NOT NULL,
    model text NOT NULL,
    valid_us int8range NOT NULL CHECK (NOT isempty(valid_us)),
    known_us int8range NOT NULL,
    change_no bigint NOT NULL REFERENCES price_changes,
    withdrawn_by bigint REFERENCES price_changes,
    EXCLUDE USING gist (lower(provider) WITH =, lower(name) WITH =, valid_us WITH &&, known_us WITH &&)
);
COMMENT ON TABLE aliases IS 'Names that mean another model for a time, such as `-latest`.';
COMMENT ON COLUMN aliases.row_no IS 'Number of the row.';
COMMENT ON COLUMN aliases.provider IS 'Provider.';
COMMENT ON COLUMN aliases.name IS 'The name calls use.';
COMMENT ON COLUMN aliases.model IS 'The model it means.';
COMMENT ON COLUMN aliases.valid_us IS 'When it means that, µs UTC.';
COMMENT ON COLUMN aliases.known_us IS 'When we believed it, µs UTC.';
COMMENT ON COLUMN aliases.change_no IS 'The change that added it.';
COMMENT ON COLUMN aliases.withdrawn_by IS 'The change that ended our knowledge of it.';

GRANT SELECT ON price_changes, prices, contracts, aliases TO analyst, keeper, writer;
GRANT INSERT ON price_changes, prices, contracts, aliases TO keeper;
GRANT UPDATE (known_us, withdrawn_by) ON prices, contracts, aliases TO keeper;

DO $$
DECLARE
    name text;
BEGIN
    -- What is agreed with one tenant is nobody else's business.
    FOREACH name IN ARRAY ARRAY['prices', 'contracts'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY keeper_all ON %I TO keeper USING (true) WITH CHECK (true)', name);
        EXECUTE format(
            'CREATE POLICY analyst_grants ON %I FOR SELECT TO analyst
             USING (tenant_id = '''' OR (SELECT sees_all())
                    OR tenant_id IN (SELECT g.tenant_id FROM tenant_grants g WHERE g.grantee = session_user))', name);
    END LOOP;
END
$$;
