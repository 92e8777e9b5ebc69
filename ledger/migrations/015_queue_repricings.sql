-- Calls that are to be charged anew by another book. The one writer takes them from here between its batches.

CREATE TABLE repricing_runs (
    run_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    made_by text NOT NULL DEFAULT session_user,
    reason text NOT NULL,
    book_version text NOT NULL,
    calls bigint NOT NULL DEFAULT 0,
    before_usd_pico numeric(38, 0) NOT NULL DEFAULT 0,
    after_usd_pico numeric(38, 0) NOT NULL DEFAULT 0
);
COMMENT ON TABLE repricing_runs IS 'Every repricing that was asked for.';
COMMENT ON COLUMN repricing_runs.run_no IS 'Its number.';
COMMENT ON COLUMN repricing_runs.made_at IS 'When it was asked for.';
COMMENT ON COLUMN repricing_runs.made_by IS 'Who asked for it.';
COMMENT ON COLUMN repricing_runs.reason IS 'Why, in their words.';
COMMENT ON COLUMN repricing_runs.book_version IS 'The book calls are charged by from then on.';
COMMENT ON COLUMN repricing_runs.calls IS 'Calls whose charge changes; 0 for a run that was broken off while it looked.';
COMMENT ON COLUMN repricing_runs.before_usd_pico IS 'Their known cost before, 10⁻¹² USD.';
COMMENT ON COLUMN repricing_runs.after_usd_pico IS 'Their known cost by the new book, 10⁻¹² USD.';

CREATE TABLE repricings (
    call_id bigint PRIMARY KEY,
    charged_at_us bigint NOT NULL,
    posting_id bigint NOT NULL,
    run_no bigint NOT NULL REFERENCES repricing_runs,
    corrects boolean NOT NULL,
    record bytea NOT NULL
);
COMMENT ON TABLE repricings IS 'Calls that wait for the writer to charge them anew; it takes them away in the same transaction.';
COMMENT ON COLUMN repricings.call_id IS 'The call.';
COMMENT ON COLUMN repricings.charged_at_us IS 'When it is charged, µs UTC.';
COMMENT ON COLUMN repricings.posting_id IS 'The charge to be taken back; if another stands by then, nothing is done.';
COMMENT ON COLUMN repricings.run_no IS 'The repricing that asked for it.';
COMMENT ON COLUMN repricings.corrects IS 'Whether its month is closed, so that this is an approved correction.';
COMMENT ON COLUMN repricings.record IS 'The PricedCall by the new book, as JSON.';

GRANT SELECT, INSERT, UPDATE ON repricing_runs TO writer;
GRANT SELECT, INSERT, UPDATE, DELETE ON repricings TO writer;
GRANT SELECT ON repricing_runs TO analyst;
GRANT SELECT ON periods TO writer;
