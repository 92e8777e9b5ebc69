-- Calls without a price wait in an index of their own, so that looking for what a new price is for costs nothing.

CREATE INDEX calls_unpriced ON calls (posting_id) WHERE price_status IN ('unpriced', 'partly_priced');

CREATE TABLE price_arrivals (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    change text NOT NULL,
    posting_id bigint NOT NULL,
    run_no bigint REFERENCES repricing_runs
);
INSERT INTO price_arrivals (change, posting_id) VALUES ('', 0);
COMMENT ON TABLE price_arrivals IS 'How far calls without a price were looked at with today''s book: one row.';
COMMENT ON COLUMN price_arrivals.one IS 'There is one row.';
COMMENT ON COLUMN price_arrivals.change IS 'The state of the book: its newest change, and the packaged catalogue''s version.';
COMMENT ON COLUMN price_arrivals.posting_id IS 'Calls charged by postings up to this one were looked at.';
COMMENT ON COLUMN price_arrivals.run_no IS 'The run that this state of the book has begun, if it has.';

GRANT SELECT, UPDATE ON price_arrivals TO writer;
GRANT SELECT ON price_arrivals TO analyst;
