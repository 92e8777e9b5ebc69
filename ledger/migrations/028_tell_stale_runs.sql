-- What was priced too early is charged anew by itself, what people have charged otherwise is left as they want it: the
-- two kinds of runs are told apart.

ALTER TABLE repricing_runs DROP CONSTRAINT repricing_runs_kind_check;
UPDATE repricing_runs SET kind = 'stale' WHERE kind = 'reprice' AND reason = 'priced by an older book than was known';
ALTER TABLE repricing_runs ADD CHECK (kind IN ('reprice', 'reread', 'arrival', 'stale'));
COMMENT ON COLUMN repricing_runs.kind IS '`reprice` by another book, `reread` by a mended reading, `arrival` of a price for calls that had none, `stale`: by the book that was known when the log took calls that an older one had priced.';
