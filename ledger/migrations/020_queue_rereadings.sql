-- Calls are charged anew for three reasons: other prices, a mended reading, a price that arrived. Which run a batch of
-- the writer carried out is kept, so that "what changed, and why" has a name.

ALTER TABLE repricing_runs
    ADD COLUMN kind text NOT NULL DEFAULT 'reprice' CHECK (kind IN ('reprice', 'reread', 'arrival'));
COMMENT ON COLUMN repricing_runs.kind IS '`reprice` by another book, `reread` by a mended reading, `arrival` of a price for calls that had none.';

ALTER TABLE repricings ADD COLUMN again bytea;
COMMENT ON COLUMN repricings.record IS 'The PricedCall by the new book, as JSON; in a rereading the call''s winner as it was read again.';
COMMENT ON COLUMN repricings.again IS 'In a rereading every record of the call that was read again: pairs of the fingerprint it had and the PricedCall, as JSON.';
CREATE INDEX repricings_run ON repricings (run_no, call_id);

CREATE TABLE run_batches (
    posted_at_us bigint PRIMARY KEY,
    run_no bigint NOT NULL REFERENCES repricing_runs
);
COMMENT ON TABLE run_batches IS 'Batches of the writer that carried out a run, and nothing else.';
COMMENT ON COLUMN run_batches.posted_at_us IS 'The batch, as in `batches`, µs UTC.';
COMMENT ON COLUMN run_batches.run_no IS 'The run.';

GRANT SELECT, INSERT ON run_batches TO writer;
GRANT SELECT ON run_batches, repricing_runs TO analyst, keeper, watcher;
