-- Who sent a rejected record, and which were sent through the stream again.

ALTER TABLE rejected ADD COLUMN ce_source text;
COMMENT ON COLUMN rejected.ce_source IS 'CloudEvents source: who produced it, where it says so. Travels in the producer''s own header.';

CREATE TABLE replays (
    kept_topic text NOT NULL,
    kept_partition integer NOT NULL,
    kept_offset bigint NOT NULL,
    attempt_no bigint NOT NULL,
    replayed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    replayed_by text NOT NULL DEFAULT session_user,
    PRIMARY KEY (kept_topic, kept_partition, kept_offset)
);
COMMENT ON TABLE replays IS 'Rejected records that were sent through the stream again. What became of them stands in the log.';
COMMENT ON COLUMN replays.kept_topic IS 'Topic that keeps the bytes, as in `rejected`.';
COMMENT ON COLUMN replays.kept_partition IS 'Partition of that topic.';
COMMENT ON COLUMN replays.kept_offset IS 'Offset in that partition.';
COMMENT ON COLUMN replays.attempt_no IS 'Which attempt the replay is: one more than was refused.';
COMMENT ON COLUMN replays.replayed_at IS 'When the log had acknowledged it.';
COMMENT ON COLUMN replays.replayed_by IS 'Who replayed it.';

GRANT SELECT ON replays TO analyst, writer;
GRANT SELECT, INSERT ON replays TO keeper;
GRANT SELECT ON rejected, call_keys TO keeper;
CREATE POLICY keeper_all ON rejected FOR SELECT TO keeper USING (true);
