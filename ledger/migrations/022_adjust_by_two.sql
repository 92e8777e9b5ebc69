-- Amounts that no call made: one person proposes, another approves, the writer posts. Who did it is the login itself,
-- never a word of the command, and one login cannot be both.

ALTER TYPE posting_cause ADD VALUE 'adjustment';
COMMENT ON COLUMN postings.subject_id IS 'What it is about: `calls.call_id` for a call, `adjustments.adjustment_no` for what was posted by hand.';

CREATE TABLE adjustments (
    adjustment_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id text NOT NULL CHECK (tenant_id <> ''),
    month date NOT NULL CHECK (extract(day FROM month) = 1),
    charged_at_us bigint NOT NULL,
    amount_usd_pico bigint NOT NULL CHECK (amount_usd_pico <> 0),
    reason text NOT NULL CHECK (reason <> ''),
    reference text CHECK (reference <> ''),
    provider text NOT NULL DEFAULT '',
    model text,
    project text,
    feature text,
    cost_centre text,
    proposed_by text NOT NULL DEFAULT session_user,
    proposed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (tenant_id, reference)
);
COMMENT ON TABLE adjustments IS 'Credits and charges that no call made, as they were proposed.';
COMMENT ON COLUMN adjustments.adjustment_no IS 'Its number.';
COMMENT ON COLUMN adjustments.tenant_id IS 'The tenant.';
COMMENT ON COLUMN adjustments.month IS 'First day of the month it is charged to.';
COMMENT ON COLUMN adjustments.charged_at_us IS 'The instant it is charged to, µs UTC: within that month in every time zone.';
COMMENT ON COLUMN adjustments.amount_usd_pico IS 'The amount, 10⁻¹² USD; negative for a credit.';
COMMENT ON COLUMN adjustments.reason IS 'In the words of who proposed it.';
COMMENT ON COLUMN adjustments.reference IS 'Number of the letter or ticket behind it; one of a tenant''s is taken once.';
COMMENT ON COLUMN adjustments.provider IS 'Provider it concerns; empty for none.';
COMMENT ON COLUMN adjustments.model IS 'Model it concerns, where it is one.';
COMMENT ON COLUMN adjustments.project IS 'Project it concerns, where it is one.';
COMMENT ON COLUMN adjustments.feature IS 'Product feature it concerns, where it is one.';
COMMENT ON COLUMN adjustments.cost_centre IS 'Cost centre it concerns, where it is one.';
COMMENT ON COLUMN adjustments.proposed_by IS 'The login that proposed it.';
COMMENT ON COLUMN adjustments.proposed_at IS 'When.';

CREATE TABLE adjustment_decisions (
    adjustment_no bigint PRIMARY KEY REFERENCES adjustments,
    approves boolean NOT NULL,
    reason text NOT NULL,
    decided_by text NOT NULL DEFAULT session_user,
    decided_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE adjustment_decisions IS 'What became of each proposal: approved by another login than proposed it, or refused.';
COMMENT ON COLUMN adjustment_decisions.adjustment_no IS 'The proposal.';
COMMENT ON COLUMN adjustment_decisions.approves IS 'Whether it is to be posted.';
COMMENT ON COLUMN adjustment_decisions.reason IS 'In the words of who decided.';
COMMENT ON COLUMN adjustment_decisions.decided_by IS 'The login that decided.';
COMMENT ON COLUMN adjustment_decisions.decided_at IS 'When.';

CREATE TABLE adjustment_postings (
    adjustment_no bigint PRIMARY KEY REFERENCES adjustment_decisions,
    posting_id bigint NOT NULL,
    posted_at_us bigint NOT NULL
);
COMMENT ON TABLE adjustment_postings IS 'Approved adjustments that the writer has posted.';
COMMENT ON COLUMN adjustment_postings.adjustment_no IS 'The adjustment.';
COMMENT ON COLUMN adjustment_postings.posting_id IS 'Its posting.';
COMMENT ON COLUMN adjustment_postings.posted_at_us IS 'The batch that posted it, µs UTC.';

-- The rule of two, for every login there is.
CREATE FUNCTION decide_adjustment() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
    proposer text := (SELECT proposed_by FROM adjustments WHERE adjustment_no = NEW.adjustment_no);
BEGIN
    NEW.decided_by := session_user;
    IF NEW.approves AND proposer = session_user THEN
        RAISE EXCEPTION 'adjustment % was proposed by %; another login must approve it', NEW.adjustment_no, proposer
            USING ERRCODE = 'check_violation';
    END IF;
    INSERT INTO audit_log (action, detail) VALUES (
        CASE WHEN NEW.approves THEN 'adjustment approved' ELSE 'adjustment refused' END,
        jsonb_build_object('adjustment_no', NEW.adjustment_no, 'proposed_by', proposer, 'reason', NEW.reason)
    );
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION decide_adjustment IS 'Refuses an approval by the login that proposed, and keeps every decision in the audit log.';
CREATE TRIGGER decided BEFORE INSERT ON adjustment_decisions FOR EACH ROW EXECUTE FUNCTION decide_adjustment();

CREATE FUNCTION propose_adjustment() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
BEGIN
    NEW.proposed_by := session_user;
    INSERT INTO audit_log (action, detail) VALUES ('adjustment proposed', to_jsonb(NEW));
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION propose_adjustment IS 'Keeps every proposal in the audit log, under the login it came from.';
CREATE TRIGGER proposed BEFORE INSERT ON adjustments FOR EACH ROW EXECUTE FUNCTION propose_adjustment();

CREATE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION '% is only added to', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;
COMMENT ON FUNCTION refuse_change IS 'Refuses every change of a row, whoever asks.';
CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON adjustments FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON adjustment_decisions FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON adjustment_postings FOR EACH ROW EXECUTE FUNCTION refuse_change();

GRANT SELECT ON adjustments, adjustment_decisions, adjustment_postings TO keeper, analyst, app, writer, watcher;
GRANT INSERT (tenant_id, month, charged_at_us, amount_usd_pico, reason, reference, provider, model, project, feature,
    cost_centre) ON adjustments TO keeper;
GRANT INSERT (adjustment_no, approves, reason) ON adjustment_decisions TO keeper;
GRANT INSERT ON adjustment_postings TO writer;
GRANT SELECT ON audit_log TO keeper;
ALTER TABLE adjustments ENABLE ROW LEVEL SECURITY;
ALTER TABLE adjustments FORCE ROW LEVEL SECURITY;
CREATE POLICY keeper_all ON adjustments TO keeper USING (true) WITH CHECK (true);
CREATE POLICY watcher_all ON adjustments FOR SELECT TO watcher USING (true);
CREATE POLICY owner_all ON adjustments FOR SELECT TO owner USING (true);
CREATE POLICY app_tenant ON adjustments FOR SELECT TO app
    USING (tenant_id = (SELECT current_setting('app.tenant', true)));
CREATE POLICY analyst_grants ON adjustments FOR SELECT TO analyst
    USING ((SELECT sees_all())
           OR tenant_id IN (SELECT g.tenant_id FROM tenant_grants g WHERE g.grantee = session_user));
DO $$
DECLARE
    name text;
BEGIN
    -- These follow the adjustment they belong to.
    FOREACH name IN ARRAY ARRAY['adjustment_decisions', 'adjustment_postings'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY keeper_all ON %I TO keeper USING (true) WITH CHECK (true)', name);
        EXECUTE format(
            'CREATE POLICY follow ON %I FOR SELECT TO app, analyst, watcher
             USING (adjustment_no IN (SELECT a.adjustment_no FROM adjustments a))', name);
    END LOOP;
END
$$;
